"""Resamples the output of a mask head into a frame.

Boxes are `[x0, y0, x1, y1]` in continuous pixels of the frame: the pixel in column 0
covers x in [0, 1), and its centre is at 0.5.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32

from movseg_jax.masks.rle import Rle, Size, checked_size, encode_columns, unexpected

ConventionName = Literal["continuous", "torchvision", "detectron2", "detectron"]


def paste(
    mask_logits: Float32[np.ndarray, "s s"],
    box: Float32[np.ndarray, "4"],
    frame_size: Size,
    *,
    convention: ConventionName = "continuous",
) -> Bool[np.ndarray, "h w"]:
    """Resamples a mask head's output over a box; True where its probability > 0.5.

    The probabilities are interpolated bilinearly at the centres of the frame's pixels
    and are 0 outside the box, which may leave the frame. A box without area (padding)
    and anything that is not a number give an empty mask.

    Args:
        mask_logits: The logits of the mask within the box.
        box: The box in pixels of the frame.
        frame_size: The height and width of the result.
        convention: A key of `config.CONVENTIONS`. "continuous" uses the box unchanged,
            as "detectron2" does in its `paste_masks_in_image`. The others enlarge the
            box by one cell on each side and round it to integers: "torchvision" in its
            `paste_masks_in_image`, and "detectron" in its `segm_results`, which uses
            inclusive coordinates, `[x0, y0, x1 - 1, y1 - 1]`.

    Raises:
        InputError: The frame has no pixels or too many, or there is no such convention.
    """
    frame_size = checked_size(frame_size, "frame_size")
    mask = np.zeros(frame_size, bool)
    window, pixels = _paste_window(mask_logits, box, frame_size, convention)
    mask[window] = pixels
    return mask


def paste_rles(
    mask_logits: Float32[np.ndarray, "n s s"],
    boxes: Float32[np.ndarray, "n 4"],
    frame_size: Size,
    *,
    convention: ConventionName = "continuous",
) -> list[Rle]:
    """Pastes and run-length encodes each mask, with one dense mask at a time."""
    frame_size = checked_size(frame_size, "frame_size")
    rles = []
    for logits, box in zip(mask_logits, boxes, strict=True):
        (rows, columns), pixels = _paste_window(logits, box, frame_size, convention)
        strip = np.zeros((frame_size[0], pixels.shape[1]), bool, order="F")
        strip[rows] = pixels
        rles.append(encode_columns(strip, columns.start, frame_size))
    return rles


def _paste_window(logits, box, frame_size, convention):
    """Returns the window of pixels whose centres are in the box, and the mask there."""
    if convention not in get_args(ConventionName):
        expected = f"one of {', '.join(get_args(ConventionName))}"
        raise unexpected("convention", convention, expected, "paste")
    size = logits.shape[0]
    has_area = np.isfinite(box).all() and (box[2:] > box[:2]).all()
    if not has_area or np.isnan(logits).any():
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    # The limit is wider than any frame, and keeps the arithmetic from overflowing.
    box = _equivalent_box(np.clip(box, -1e9, 1e9), size, convention)
    # Bilinear sampling on a grid is separable, so two matrix products compute it.
    rows, row_weights = _sampling_matrix(box[1], box[3], frame_size[0], size)
    columns, column_weights = _sampling_matrix(box[0], box[2], frame_size[1], size)
    probabilities = 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))
    return (rows, columns), row_weights @ probabilities @ column_weights.T > 0.5


def _equivalent_box(box, size, convention):
    """Returns the box with which "continuous" gives the result of the convention.

    Rounding an enlarged box and resizing the mask, with a border of zeros, to it equals
    sampling the mask without border over the part of the box within the border.
    """
    if convention in ("continuous", "detectron2"):
        return box.astype(np.float64)
    # The originals compute in float32, and rounding needs exactly equal numbers.
    last = np.float32(1 if convention == "detectron" else 0)
    start, end = box[:2], box[2:] - last
    half = (end - start) * np.float32(0.5) * np.float32((size + 2) / size)
    centre = (end + start) * np.float32(0.5)
    start = np.trunc(centre - half).astype(np.float64)
    end = np.trunc(centre + half).astype(np.float64) + 1
    border = (end - start) / (size + 2)
    return np.concatenate([start + border, end - border])


def _sampling_matrix(start, end, pixels, size):
    """Returns the pixels whose centres are in a span, and the cells' weights there."""
    first = int(np.clip(np.ceil(start - 0.5), 0, pixels))
    stop = int(np.clip(np.ceil(end - 0.5), first, pixels))
    # Rounding may leave nothing of a box smaller than a pixel.
    cells_per_pixel = size / (end - start) if end > start else 0.0
    points = (np.arange(first, stop) + 0.5 - start) * cells_per_pixel - 0.5
    distance = np.abs(points[:, None] - np.arange(size)[None, :])
    return slice(first, stop), np.maximum(1 - distance, 0)
