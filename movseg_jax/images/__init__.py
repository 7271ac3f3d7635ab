"""Image files: `codecs` reads and writes them, `ids` checks those of object numbers."""

from movseg_jax.images.codecs import FORMATS as FORMATS
from movseg_jax.images.codecs import MAX_BYTES as MAX_BYTES
from movseg_jax.images.codecs import MAX_PIXELS as MAX_PIXELS
from movseg_jax.images.codecs import Header as Header
from movseg_jax.images.codecs import Stream as Stream
from movseg_jax.images.codecs import brightest as brightest
from movseg_jax.images.codecs import encode_deep_rgb as encode_deep_rgb
from movseg_jax.images.codecs import encode_ids as encode_ids
from movseg_jax.images.codecs import encode_jpeg as encode_jpeg
from movseg_jax.images.codecs import encode_png as encode_png
from movseg_jax.images.codecs import image_size as image_size
from movseg_jax.images.codecs import mask_size as mask_size
from movseg_jax.images.codecs import palette as palette
from movseg_jax.images.codecs import read_deep_rgb as read_deep_rgb
from movseg_jax.images.codecs import read_header as read_header
from movseg_jax.images.codecs import read_ids as read_ids
from movseg_jax.images.codecs import read_pictures as read_pictures
from movseg_jax.images.codecs import read_rgb as read_rgb
