"""Axis-aligned boxes as arrays: overlap, encoding and clipping.

A box is `[x0, y0, x1, y1]` in pixels, with continuous coordinates: the pixel in
column 0 covers x in [0, 1), so a box over a complete 640x480 image is [0, 0, 640, 480]
and its width is x1 - x0. Padding is stored as [0, 0, 0, 0] and has area 0.

Every function takes one image's boxes. Batch with `jax.vmap`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

# Box and mask heads see deltas of about unit size (Fast R-CNN; Detectron's weights).
ROI_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
ANCHOR_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# An object is at most this many times as wide and high as its anchor or RoI.
MAX_LOG_GROWTH = math.log(1000 / 16)


def area(boxes: Float[Array, "n 4"]) -> Float[Array, " n"]:
    """Area of each box in square pixels; 0 if its width or height is not positive."""
    width = jnp.maximum(boxes[:, 2] - boxes[:, 0], 0)
    height = jnp.maximum(boxes[:, 3] - boxes[:, 1], 0)
    return width * height


def pairwise_iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Intersection over union of every box in `a` with every box in `b`.

    A box of area 0 (padding, for one) has IoU 0 with every box, itself included,
    so neither the result nor its gradient is ever NaN.

    Returns:
        IoU in [0, 1]; entry [i, j] is between `a[i]` and `b[j]`.
    """
    left_top = jnp.maximum(a[:, None, :2], b[None, :, :2])
    right_bottom = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    width, height = jnp.moveaxis(jnp.maximum(right_bottom - left_top, 0), -1, 0)
    intersection = width * height
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def encode(
    boxes: Float[Array, "n 4"],
    references: Float[Array, "n 4"],
    weights: tuple[float, float, float, float],
) -> Float[Array, "n 4"]:
    """The deltas that turn `references` (anchors, RoIs) into `boxes`: see `decode`.

    Where either box has no area (padding, for one) the delta is 0, and so is its
    gradient.
    """
    valid = (area(boxes) > 0) & (area(references) > 0)
    unit = jnp.array([0.0, 0.0, 1.0, 1.0], boxes.dtype)
    boxes = jnp.where(valid[:, None], boxes, unit[None, :])
    references = jnp.where(valid[:, None], references, unit[None, :])
    center, size = _center_size(boxes)
    reference_center, reference_size = _center_size(references)
    shift = (center - reference_center) / reference_size
    growth = jnp.log(size / reference_size)
    scale = jnp.array(weights, boxes.dtype)
    return jnp.concatenate([shift, growth], axis=1) * scale[None, :]


def decode(
    deltas: Float[Array, "n 4"],
    references: Float[Array, "n 4"],
    weights: tuple[float, float, float, float],
) -> Float[Array, "n 4"]:
    """Moves and scales `references` by `deltas` (R-CNN, Girshick et al. 2014).

    Args:
        deltas: `(dx, dy, dlog w, dlog h)` times `weights`; shifts are in units of the
            reference's width and height. Growth is limited to `MAX_LOG_GROWTH`.
        references: Boxes to start from. One of area 0 stays of area 0.
        weights: The factors that the deltas were multiplied with: `ANCHOR_WEIGHTS` or
            `ROI_WEIGHTS`.
    """
    deltas = deltas / jnp.array(weights, deltas.dtype)[None, :]
    center, size = _center_size(references)
    center = center + deltas[:, :2] * size
    half = 0.5 * size * jnp.exp(jnp.minimum(deltas[:, 2:], MAX_LOG_GROWTH))
    return jnp.concatenate([center - half, center + half], axis=1)


def clip(
    boxes: Float[Array, "n 4"], size: Float[Array, "2"], *, inclusive: bool = False
) -> Float[Array, "n 4"]:
    """Cuts off what leaves an image; a box wholly outside gets area 0.

    Args:
        boxes: Boxes in pixels of the image.
        size: Height and width of the image.
        inclusive: Clip as Detectron does, where a box [x1, y1, x2, y2] covers its
            last pixel: no box gets smaller than the one pixel nearest to it.
    """
    height, width = size
    least = 1.0 if inclusive else 0.0
    zero = jnp.zeros_like(height)
    low = jnp.stack([zero, zero, zero + least, zero + least])
    high = jnp.stack([width - least, height - least, width, height])
    return jnp.clip(boxes, low[None, :], high[None, :])


def _center_size(boxes):
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size
