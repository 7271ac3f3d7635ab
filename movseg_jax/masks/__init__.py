"""Masks on the host: boolean arrays `[h, w]`, and their run lengths.

`rle` holds masks of whole videos and compares them, `paste` resamples what a mask head
gives into a frame, `refine` moves outlines to edges of the image, `id_images` reads
images whose pixels are numbers of objects.
"""

from movseg_jax.masks.paste import Crop as Crop
from movseg_jax.masks.paste import crop as crop
from movseg_jax.masks.paste import encode_crop as encode_crop
from movseg_jax.masks.paste import paste as paste
from movseg_jax.masks.paste import paste_crops as paste_crops
from movseg_jax.masks.paste import paste_rles as paste_rles
from movseg_jax.masks.refine import refine as refine
from movseg_jax.masks.rle import MAX_COORDINATE as MAX_COORDINATE
from movseg_jax.masks.rle import MAX_OUTLINE as MAX_OUTLINE
from movseg_jax.masks.rle import MAX_PIXELS as MAX_PIXELS
from movseg_jax.masks.rle import MAX_POLYGONS as MAX_POLYGONS
from movseg_jax.masks.rle import Rle as Rle
from movseg_jax.masks.rle import Size as Size
from movseg_jax.masks.rle import area as area
from movseg_jax.masks.rle import areas as areas
from movseg_jax.masks.rle import boxes as boxes
from movseg_jax.masks.rle import containment as containment
from movseg_jax.masks.rle import decode as decode
from movseg_jax.masks.rle import decode_window as decode_window
from movseg_jax.masks.rle import encode as encode
from movseg_jax.masks.rle import from_json as from_json
from movseg_jax.masks.rle import from_runs as from_runs
from movseg_jax.masks.rle import iou as iou
from movseg_jax.masks.rle import near as near
from movseg_jax.masks.rle import tight_box as tight_box
from movseg_jax.masks.rle import tight_boxes as tight_boxes
from movseg_jax.masks.rle import to_json as to_json
from movseg_jax.masks.rle import to_runs as to_runs
from movseg_jax.masks.rle import trusted as trusted
from movseg_jax.masks.rle import union as union
