"""Resamples the output of a mask head into a frame.

Most objects cover a small part of a frame, so masks of detections are `Crop`s: work on
them takes a tenth of the time that work on masks of the whole frame takes.

Boxes are `[x0, y0, x1, y1]` in continuous pixels of the frame: the pixel in column 0
covers x in [0, 1), and its centre is at 0.5.
"""

from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from movseg_jax.masks.rle import Rle, Size, checked_size, encode_columns, unexpected

ConventionName = Literal["continuous", "torchvision", "detectron2", "detectron"]


class Crop(NamedTuple):
    """The smallest part of a mask that has all its pixels.

    Attributes:
        top: The row of the frame at which it starts.
        left: The column of the frame at which it starts.
        pixels: bool [h, w], the mask in it; [0, 0] for an empty mask.
    """

    top: int
    left: int
    pixels: Bool[np.ndarray, "h w"]

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the frame that it covers."""
        height, width = self.pixels.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]

    def every(self, stride: int) -> "Crop":
        """Returns the crop on a grid, which has each `stride`-th row and column.

        Its rows and columns are those of the grid. It may be larger than necessary, and
        has no pixels if the object lies between the grid's points.
        """
        top, left = -(-self.top // stride), -(-self.left // stride)
        first = np.s_[
            top * stride - self.top :: stride, left * stride - self.left :: stride
        ]
        return Crop(top, left, self.pixels[first])

    def padded(self, margin: int, size: Size) -> "Crop":
        """Returns the crop with a margin around it, as far as the frame has pixels.

        Args:
            margin: The width of the margin.
            size: The height and width of the frame.
        """
        height, width = self.pixels.shape
        top, left = max(self.top - margin, 0), max(self.left - margin, 0)
        bottom = min(self.top + height + margin, size[0])
        right = min(self.left + width + margin, size[1])
        pixels = np.zeros((bottom - top, right - left), bool)
        y, x = self.top - top, self.left - left
        pixels[y : y + height, x : x + width] = self.pixels
        return Crop(top, left, pixels)


def crop(mask: Bool[np.ndarray, "h w"], top: int = 0, left: int = 0) -> Crop:
    """Crops a mask of a frame, or of a window of it that starts at (top, left)."""
    x, y, width, height = (
        cv2.boundingRect(mask.view(np.uint8)) if mask.size else (0,) * 4
    )
    return Crop(top + y, left + x, mask[y : y + height, x : x + width])


def encode_crop(cropped: Crop, size: Size) -> Rle:
    """Encodes the mask of a frame of `size` from its crop."""
    rows, columns = cropped.window
    strip = np.zeros((size[0], cropped.pixels.shape[1]), bool, order="F")
    strip[rows] = cropped.pixels
    return encode_columns(strip, columns.start, size)


def paste(
    mask_logits: Float32[np.ndarray, "s s"],
    box: Float32[np.ndarray, "4"],
    frame_size: Size,
    *,
    convention: str = "continuous",
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


def paste_crops(
    mask_logits: Float32[np.ndarray, "n s s"],
    boxes: Float32[np.ndarray, "n 4"],
    frame_size: Size,
    *,
    convention: str = "continuous",
) -> list[Crop]:
    """Does as `paste` for several masks, and returns their crops."""
    frame_size = checked_size(frame_size, "frame_size")
    crops = []
    for logits, box in zip(mask_logits, boxes, strict=True):
        (rows, columns), pixels = _paste_window(logits, box, frame_size, convention)
        crops.append(crop(pixels, rows.start, columns.start))
    return crops


def paste_rles(
    mask_logits: Float32[np.ndarray, "n s s"],
    boxes: Float32[np.ndarray, "n 4"],
    frame_size: Size,
    *,
    convention: str = "continuous",
) -> list[Rle]:
    """Does as `paste` for several masks, and encodes them."""
    frame_size = checked_size(frame_size, "frame_size")
    crops = paste_crops(mask_logits, boxes, frame_size, convention=convention)
    return [encode_crop(cropped, frame_size) for cropped in crops]


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
    rows, row, down = _sampled_cells(box[1], box[3], frame_size[0], size)
    columns, column, right = _sampled_cells(box[0], box[2], frame_size[1], size)
    probabilities = np.zeros((size + 2, size + 2))  # With a border.
    probabilities[1:-1, 1:-1] = 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))
    # Bilinear sampling on a grid is separable: rows first. Matrix products would do,
    # but those of NumPy take many times as long while other threads use all cores.
    down, right = down[:, None], right[None, :]
    lines = probabilities[row] * (1 - down) + probabilities[row + 1] * down
    # `take` picks columns in a third of the time that indexing needs.
    before, after = lines.take(column, axis=1), lines.take(column + 1, axis=1)
    return (rows, columns), before * (1 - right) + after * right > 0.5


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


def _sampled_cells(start, end, pixels, size):
    """Finds the pixels whose centres are in a span, and between which cells they are.

    Returns:
        The pixels; the number of the cell at or before each, where cell 0 is the border
        and 1 the first of `size`; and its distance to that cell, in cells.
    """
    first = int(np.clip(np.ceil(start - 0.5), 0, pixels))
    stop = int(np.clip(np.ceil(end - 0.5), first, pixels))
    # Rounding may leave nothing of a box smaller than a pixel.
    cells_per_pixel = size / (end - start) if end > start else 0.0
    points = (np.arange(first, stop) + 0.5 - start) * cells_per_pixel + 0.5
    cells = np.clip(np.floor(points).astype(int), 0, size)
    return slice(first, stop), cells, np.clip(points - cells, 0, 1)
