"""Reads and writes image files.

`codecs` opens and reads files, `pixels` returns their values; `encoders` writes JPEG
and PNG. `ids` checks mask images, whose values are objects' numbers.
"""

from movseg_jax.images.codecs import FORMATS as FORMATS
from movseg_jax.images.codecs import MAX_BYTES as MAX_BYTES
from movseg_jax.images.codecs import MAX_PIXELS as MAX_PIXELS
from movseg_jax.images.codecs import Header as Header
from movseg_jax.images.codecs import brightest as brightest
from movseg_jax.images.codecs import image_size as image_size
from movseg_jax.images.codecs import mask_size as mask_size
from movseg_jax.images.codecs import read_deep_rgb as read_deep_rgb
from movseg_jax.images.codecs import read_header as read_header
from movseg_jax.images.codecs import read_ids as read_ids
from movseg_jax.images.codecs import read_pictures as read_pictures
from movseg_jax.images.codecs import read_rgb as read_rgb
from movseg_jax.images.encoders import encode_deep_rgb as encode_deep_rgb
from movseg_jax.images.encoders import encode_ids as encode_ids
from movseg_jax.images.encoders import encode_jpeg as encode_jpeg
from movseg_jax.images.encoders import encode_png as encode_png
from movseg_jax.images.encoders import palette as palette
from movseg_jax.images.pixels import Stream as Stream
