"""Makes the model's inputs and targets, with static shapes, from an `Example`.

Masks become small grids over their objects' boxes, because a hundred full-size masks of
an image of 800x1333 pixels would take a hundred megabytes.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from movseg_jax import masks
from movseg_jax.config import DataConfig, ModelConfig
from movseg_jax.data import transforms
from movseg_jax.data.example import Example, Size
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import encode_flow
from movseg_jax.model.inputs import preprocess, resized_size, stack
from movseg_jax.types import Batch, Inputs, Objects

# The number of cells on each side of a mask's grid. A target has 28x28 cells over a
# RoI. A RoI with an IoU of 0.5 or more with the object's box is at least half as wide
# and high as the box, so a cell of the target covers at least 2x2 cells of this grid.
MASK_SIDE = 112
# The side of a cell of the ignored regions' grid, input pixels. The smallest anchors
# have sides of 23 and 45 pixels.
IGNORED_STRIDE = 8


def augment(
    example: Example,
    bucket: Size,
    other: Example | None,
    data: DataConfig,
    model: ModelConfig,
    rng: np.random.Generator,
) -> tuple[Inputs, Objects]:
    """Augments an example and makes the model's inputs and targets of it.

    Args:
        example: The example, as its source gives it.
        bucket: The height and width of the result.
        other: The example from which objects are pasted; None for no pasting.
        data: The settings of the augmentation.
        model: The model's settings: the size of its inputs, and its streams.
        rng: The random generator.
    """
    change = data.augment
    if other is not None:
        example = transforms.paste(example, other, rng)
    size, _ = resized_size(example.image.shape[:2], model)
    if change.scale != (1.0, 1.0):
        size = transforms.jitter_size(size, change.scale, rng)
    example = transforms.resize(example, size)
    if rng.random() < change.flip:
        example = transforms.flip(example)
    # The flow is encoded before cropping, because its encoding is relative to the size
    # of the frame.
    motion = _encode(example, model)
    if any(n > most for n, most in zip(size, bucket, strict=True)):
        window = transforms.random_window(size, bucket, rng)
        example = transforms.crop(example, window)
        motion = None if motion is None else motion[window]
    example = transforms.jitter_colour(
        example,
        rng,
        brightness=change.brightness,
        contrast=change.contrast,
        saturation=change.saturation,
        hue=change.hue,
    )
    return to_training(example, model, bucket, data.max_objects, motion=motion)


def to_training(
    example: Example,
    model: ModelConfig,
    pad_to: Size,
    max_objects: int,
    *,
    motion: Float32[np.ndarray, "h w 3"] | None = None,
) -> tuple[Inputs, Objects]:
    """Returns the model's inputs and the objects, both without batch axis.

    The image is normalised, the flow is encoded, and both are padded with zeros at the
    bottom and right. An object's mask is cut out at its box and resampled to
    `MASK_SIDE` squared; each value is the exact share of its cell that the mask covers.
    Empty masks are left out. If there are more than `max_objects`, the largest are
    kept, in their order, and the others become regions to ignore.

    Args:
        example: The example in the size that the model sees, so `Inputs.scale` is 1.
        model: The model's settings: its streams, their inputs, and its classes; if
            there is just one class, every object has class 0.
        pad_to: The height and width of the inputs.
        max_objects: The number of rows of `Objects`.
        motion: The encoded flow; None encodes the example's flow.

    Raises:
        InputError: The example does not fit, the model lacks one of its classes, or the
            model needs flow and the example has none or has flow that is not finite.
    """
    size = example.image.shape[:2]
    if any(n > most for n, most in zip(size, pad_to, strict=True)):
        raise InputError(
            f"{example.name}: {size[1]}x{size[0]} pixels do not fit into {pad_to[1]}x"
            f"{pad_to[0]}; crop the example, or choose a larger bucket "
            "(DataConfig.buckets)."
        )
    if motion is None:
        motion = _encode(example, model)
    inputs = preprocess(example.image, motion, model, pad_to=pad_to, resize=False)
    return inputs, _to_objects(example, model, pad_to, max_objects)


def batch(examples: Sequence[tuple[Inputs, Objects]]) -> Batch:
    """Stacks results of `to_training` that are padded to the same size."""
    inputs, objects = zip(*examples, strict=True)
    return Batch(stack(inputs), Objects(*map(np.stack, zip(*objects, strict=True))))


def crop_mask(
    mask: Bool[np.ndarray, "h w"], box: Float32[np.ndarray, "4"]
) -> UInt8[np.ndarray, "m m"]:
    """Returns the share of each cell of a grid over the box that the mask covers.

    A share of 1 is 255. The box has integer sides and a positive area, and lies within
    the mask.
    """
    x0, y0, x1, y1 = map(int, box)
    inside = mask[y0:y1, x0:x1].view(np.uint8)
    # An entry is the sum of all pixels above and to the left. A pixel is covered
    # evenly, so the sum is bilinear between pixels, and interpolating it is exact.
    sums = cv2.integral(inside, sdepth=cv2.CV_64F)
    sums = _interpolate(_interpolate(sums).T).T
    covered = np.diff(np.diff(sums, axis=0), axis=1)
    cell = inside.size / MASK_SIDE**2
    return np.round(covered * (255 / cell)).astype(np.uint8)


def _interpolate(rows):
    """Interpolates MASK_SIDE + 1 rows, evenly spaced from the first to the last."""
    at = np.linspace(0, len(rows) - 1, MASK_SIDE + 1)
    before = np.minimum(at.astype(int), len(rows) - 2)
    part = (at - before)[:, None]
    return rows[before] * (1 - part) + rows[before + 1] * part


def _to_objects(example, model, pad_to, max_objects):
    """Makes the padded `Objects` of an example."""
    if model.classes > 1 and (example.classes >= model.classes).any():
        raise InputError(
            f"{example.name}: an object has class {example.classes.max()}, but the "
            f"model has {model.classes} (ModelConfig.classes), counted from 0."
        )
    areas = np.count_nonzero(example.masks, axis=(1, 2))
    (rows,) = np.nonzero((areas > 0) & ~example.ignore)
    largest = np.argsort(-areas[rows], kind="stable")
    ignored = np.concatenate(
        [np.flatnonzero(example.ignore), rows[largest[max_objects:]]]
    )
    rows = np.sort(rows[largest[:max_objects]])
    n = len(rows)
    objects = Objects(
        boxes=np.zeros((max_objects, 4), np.float32),
        masks=np.zeros((max_objects, MASK_SIDE, MASK_SIDE), np.uint8),
        classes=np.zeros(max_objects, np.int32),
        valid=np.arange(max_objects) < n,
        ignored=_coverage(example.masks[ignored].any(axis=0), pad_to),
    )
    for to, row in enumerate(rows):
        objects.boxes[to] = masks.tight_box(example.masks[row])
        objects.masks[to] = crop_mask(example.masks[row], objects.boxes[to])
    if model.classes > 1:
        objects.classes[:n] = example.classes[rows]
    return objects


def _coverage(mask, size):
    """Returns the share, 0 to 255, of each cell over `size` that the mask covers."""
    height, width = (n // IGNORED_STRIDE for n in size)
    padded = np.zeros(size, np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    cells = padded.reshape(height, IGNORED_STRIDE, width, IGNORED_STRIDE)
    return np.round(cells.mean(axis=(1, 3)) * 255).astype(np.uint8)


def _encode(example, model):
    """Encodes the example's flow, or returns None for a model without it."""
    if model.motion is None:
        return None
    if example.flow is None:
        raise InputError(
            f"{example.name} has no flow, which the model's motion stream needs; leave "
            "such examples out: data.selection.with_flow(source)."
        )
    if not np.isfinite(example.flow).all():
        raise InputError(f"{example.name}: the flow is not finite everywhere.")
    return encode_flow(example.flow, model.flow_encoding)
