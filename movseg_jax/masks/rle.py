"""Run-length encoded masks, their boxes and their overlaps.

A mask is a boolean array `[h, w]`; a size is `(height, width)`. Boxes are
`[x0, y0, x1, y1]` in continuous pixels of the frame: the pixel in column 0 covers
x in [0, 1), and its centre is at 0.5.

The masks of videos are stored as `Rle`s, COCO's compressed run lengths. pycocotools
computes with them, but it trusts its input: run lengths with a wrong sum, or polygons
far outside the frame, make it hang, crash or read foreign memory. So every `Rle` passes
the checks here, and pycocotools gets nothing else.
"""

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pycocotools import mask as coco

from movseg_jax.errors import InputError

Size = tuple[int, int]  # (height, width) in pixels.

# Twice the pixels of an 8K frame. To merge masks, pycocotools allocates four bytes per
# pixel and does not notice if there is no memory left.
MAX_PIXELS = 2**26
# pycocotools follows polygons in steps of a fifth of a pixel, stores every step, and
# merges polygons in quadratic time.
MAX_OUTLINE = 1_000_000  # The longest outline of all polygons of an object, pixels.
MAX_POLYGONS = 1_000  # The most polygons of an object.
MAX_COORDINATE = 1_000_000  # The largest coordinate of a polygon, pixels.


# Boxes --------------------------------------------------------------------------


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "4"]:
    """Returns the smallest box around a mask's pixels; [0, 0, 0, 0] if it is empty."""
    (rows,) = np.nonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(4, np.float32)
    (columns,) = np.nonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return np.array(box, np.float32)


def tight_boxes(masks: Bool[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n 4"]:
    """Returns the `tight_box` of every mask."""
    boxes = [tight_box(mask) for mask in masks]
    return np.array(boxes, np.float32).reshape(-1, 4)


# Run-length encoding ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run lengths, column by column.

    An `Rle` is always valid, and equal masks have equal `Rle`s. `encode` and
    `from_json` make one, and the constructor takes COCO's compressed counts.

    Attributes:
        size: The height and width in pixels.
        counts: The lengths of alternating runs, the first one off, in COCO's ASCII.

    Raises:
        InputError: The counts are malformed or do not cover the size.
    """

    size: Size
    counts: bytes

    def __post_init__(self):
        checked = from_json({"size": self.size, "counts": self.counts}, source="Rle")
        object.__setattr__(self, "size", checked.size)
        object.__setattr__(self, "counts", checked.counts)

    def __repr__(self) -> str:
        height, width = self.size
        return f"Rle({width}x{height}, {area(self)} pixels)"


def encode(mask: Bool[np.ndarray, "h w"]) -> Rle:
    """Encodes a mask.

    Raises:
        InputError: The mask has no pixels or more than `MAX_PIXELS`.
    """
    size = checked_size(mask.shape, "mask")
    return encode_columns(mask.astype(bool, copy=False), 0, size)


def decode(rle: Rle) -> Bool[np.ndarray, "h w"]:
    """Decodes a mask."""
    # pycocotools' own `decode` warns with NumPy 2.
    runs = to_runs(rle)
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(rle.size[::-1])
    # NumPy takes nine times as long to put the transpose in order.
    return cv2.transpose(mask.view(np.uint8)).view(bool)


def decode_window(rle: Rle, window: tuple[slice, slice]) -> Bool[np.ndarray, "h w"]:
    """Decodes only some rows and columns of a mask, which must be in the frame."""
    rows, columns = window
    height = rle.size[0]
    first, last = columns.start * height, columns.stop * height
    runs = np.diff(np.clip(to_runs(rle).cumsum(), first, last), prepend=first)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(-1, height)[:, rows].T)


def to_runs(rle: Rle) -> Int64[np.ndarray, " n"]:
    """Returns the lengths of alternating runs, the first one off, column by column."""
    # The text of an `Rle` is valid, and checking it takes as long as reading it.
    return _join_chunks(*_split_ascii(rle.counts))


def area(rle: Rle) -> int:
    """Returns the number of a mask's pixels."""
    return int(coco.area(_to_coco(rle)))


def areas(rles: Sequence[Rle]) -> Int64[np.ndarray, " n"]:
    """Returns the number of pixels of every mask."""
    encoded: Any = [*map(_to_coco, rles)]  # Its stubs expect a single mask.
    return np.asarray(coco.area(encoded), np.int64)


def boxes(rles: Sequence[Rle]) -> Int64[np.ndarray, "n 4"]:
    """Returns the `tight_box` of every mask, without decoding it."""
    encoded: Any = [*map(_to_coco, rles)]  # Its stubs expect a single mask.
    found = np.asarray(coco.toBbox(encoded), np.int64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found


def iou(
    a: Sequence[Rle], b: Sequence[Rle], *, crowd: Sequence[bool] | None = None
) -> Float64[np.ndarray, "n m"]:
    """Returns the intersection over union of every mask in `a` with every one in `b`.

    An empty mask has IoU 0 with every mask, itself included.

    Args:
        a: The masks of the rows.
        b: The masks of the columns.
        crowd: Whether each mask of `b` is a crowd, with which the overlap is the
            intersection over the area of `a`'s mask, as in COCO; None if none is.

    Raises:
        InputError: The masks differ in size.
    """
    _check_sizes_agree([*a, *b])
    if not a or not b:
        return np.zeros((len(a), len(b)))
    flags = [0] * len(b) if crowd is None else [int(c) for c in crowd]
    return np.asarray(coco.iou([*map(_to_coco, a)], [*map(_to_coco, b)], flags))


def containment(a: Sequence[Rle], b: Sequence[Rle]) -> Float64[np.ndarray, "n m"]:
    """Returns the share of each mask in `a` that is inside each mask in `b`."""
    return iou(a, b, crowd=[True] * len(b))


def near(a: Rle, b: Rle, distance: int) -> bool:
    """Returns whether a pixel of one mask is at most so far from one of the other.

    Args:
        a: A mask.
        b: Another one of the same size.
        distance: The largest distance of the two pixels, in pixels.

    Raises:
        InputError: The masks differ in size.
    """
    if iou([a], [b])[0, 0] > 0:
        return True
    # Such pixels are in the boxes of both masks with this margin.
    both = boxes([a, b])
    height, width = a.size
    left, top = np.maximum(both[:, :2].max(axis=0) - distance, 0).tolist()
    right, bottom = (both[:, 2:].min(axis=0) + distance).tolist()
    window = np.s_[top : min(bottom, height), left : min(right, width)]
    if top >= bottom or left >= right:
        return False
    one, other = (decode_window(rle, window) for rle in (a, b))
    if not other.any():
        return False
    away = cv2.distanceTransform(
        (~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    # A distance is a root, which may be rounded up.
    return bool((away[one] <= distance + 1e-4).any())


def union(rles: Sequence[Rle]) -> Rle:
    """Returns the union of masks.

    Raises:
        InputError: There are no masks, or they differ in size.
    """
    if not rles:
        raise InputError("The union of no masks has no size; hand in at least one.")
    _check_sizes_agree(rles)
    merged: Any = coco.merge([*map(_to_coco, rles)])  # Its stubs allow a str.
    return trusted(rles[0].size, merged["counts"])


def to_json(rle: Rle) -> dict[str, Any]:
    """Returns the mask in COCO's JSON: {"size": [h, w], "counts": "..."}."""
    return {"size": list(rle.size), "counts": rle.counts.decode("ascii")}


def from_json(segmentation: Any, frame_size: Size | None = None, *, source: str) -> Rle:
    """Reads a "segmentation" in COCO's JSON, in any of its forms.

    Args:
        segmentation: The mask: {"size": [h, w], "counts": ...} with counts as
            compressed text or as a list of run lengths, or a list of polygons
            [x, y, x, y, ...].
        frame_size: The size that an RLE must have, if given. Polygons need it.
        source: The name of the file and annotation in messages.

    Raises:
        InputError: The mask is malformed, of another size, or too large.
    """
    if frame_size is not None:
        frame_size = checked_size(frame_size, source)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, frame_size, source)
    keys = segmentation.keys() if isinstance(segmentation, Mapping) else set()
    if not keys >= {"size", "counts"}:
        expected = 'polygons or an RLE, {"size": [height, width], "counts": ...}'
        raise unexpected("the segmentation", segmentation, expected, source)
    size, counts = checked_size(segmentation["size"], source), segmentation["counts"]
    if frame_size not in (None, size):
        raise InputError(
            f"{source}: the RLE is of {size[0]}x{size[1]} pixels (height x width), "
            f"but its frame of {frame_size[0]}x{frame_size[1]}."
        )
    read = _read_ascii if isinstance(counts, str | bytes) else _read_list
    return from_runs(_checked_runs(read(counts, source), size, source), size)


def trusted(size: Size, counts: bytes) -> Rle:
    """Returns an `Rle` without checking it.

    Checking takes a hundred times as long as this. It is for counts that pycocotools
    has just made, or that an `Rle` had before.
    """
    rle = object.__new__(Rle)
    object.__setattr__(rle, "size", size)
    object.__setattr__(rle, "counts", counts)
    return rle


def _to_coco(rle: Rle) -> Any:  # pycocotools' stubs have a type of their own.
    return {"size": list(rle.size), "counts": rle.counts}


def encode_columns(strip, first, size):
    """Encodes a mask whose pixels are all in adjacent columns, `strip`."""
    flat = np.concatenate([[False], strip.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + first * size[0]
    runs = np.diff(edges, prepend=0, append=size[0] * size[1])
    return from_runs(runs if runs[-1] else runs[:-1], size)


def from_runs(runs: Int64[np.ndarray, " n"], size: Size) -> Rle:
    """Encodes run lengths, which must be valid; only the first may be 0.

    Args:
        runs: The lengths of alternating runs, the first one off, column by column.
        size: The height and width in pixels.
    """
    uncompressed: Any = {"size": list(size), "counts": runs}
    return trusted(size, coco.frPyObjects(uncompressed, *size)["counts"])


def _from_polygons(polygons, frame_size, source):
    if frame_size is None:
        raise InputError(
            f"{source}: the segmentation is polygons, which need a frame's size; hand "
            "in `frame_size`, or use an RLE."
        )
    if not 0 < len(polygons) <= MAX_POLYGONS:
        raise InputError(
            f"{source}: the segmentation has {len(polygons)} polygons, expected 1 to "
            f"{MAX_POLYGONS} (masks.MAX_POLYGONS)."
        )
    polygons = [_read_polygon(p, i, source) for i, p in enumerate(polygons)]
    outline = sum(np.abs(p - np.roll(p, 1, axis=0)).max(axis=1).sum() for p in polygons)
    if outline > MAX_OUTLINE:
        raise InputError(
            f"{source}: the polygons' outline is {outline:.3g} pixels long, expected "
            f"at most {MAX_OUTLINE} (masks.MAX_OUTLINE)."
        )
    outlines: Any = [p.ravel().tolist() for p in polygons]
    merged: Any = coco.merge(coco.frPyObjects(outlines, *frame_size))
    return trusted(frame_size, merged["counts"])


def _read_polygon(polygon, index, source):
    numbers = _to_array(polygon)
    valid = numbers.dtype.kind in "if" and len(numbers) >= 6 and len(numbers) % 2 == 0
    points = numbers.astype(np.float64) if valid else numbers
    if not valid or not (np.abs(points) <= MAX_COORDINATE).all():  # Nor is NaN.
        expected = (
            f"[x, y, x, y, ...] of at least 3 points, coordinates within "
            f"±{MAX_COORDINATE} pixels (masks.MAX_COORDINATE)"
        )
        raise unexpected(f"polygon {index}", polygon, expected, source)
    return points.reshape(-1, 2)


def _to_array(numbers):
    """Returns a list of numbers as an array; it is empty if the list is malformed."""
    try:
        array = np.asarray(numbers) if isinstance(numbers, list) else None
    except ValueError:  # The list holds lists of different lengths.
        array = None
    return np.empty(0, bool) if array is None or array.ndim != 1 else array


def _read_list(counts, source) -> Int64[np.ndarray, " n"]:
    """Returns run lengths from a list of integers."""
    runs = _to_array(counts)
    if runs.dtype != np.int64:
        raise unexpected("counts", counts, "text or a list of integers", source)
    return runs


def _read_ascii(counts, source) -> Int64[np.ndarray, " n"]:
    """Returns run lengths from COCO's ASCII, as `rleFrString` of pycocotools does.

    A character holds 5 bits of a number, the lowest first, and a bit that says whether
    more follow. Numbers are signed, and from the fourth on each is the difference to
    the number two places before.
    """
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError:
        text = b""
    chunks, starts, ends = _split_ascii(text)
    # Seven characters hold 35 bits, which suffice for any number of pixels.
    if (
        not len(chunks)
        or chunks.min() < 0
        or chunks.max() > 63
        or not len(ends)
        or ends[-1] != len(chunks)
        or (ends - starts).max() > 7
    ):
        expected = "COCO's compressed text, not cut off"
        raise unexpected("counts", counts, expected, source)
    return _join_chunks(chunks, starts, ends)


def _split_ascii(text):
    """Returns the characters as numbers, and where the parts of each number are."""
    chunks = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((chunks & 32) == 0) + 1
    starts = np.concatenate([[0], ends[:-1]])
    return chunks, starts, ends


def _join_chunks(chunks, starts, ends) -> Int64[np.ndarray, " n"]:
    lengths = ends - starts
    place = np.arange(len(chunks)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((chunks & 31) << (5 * place), starts)
    negative = (chunks[ends - 1] & 16) != 0
    numbers[negative] -= 1 << (5 * lengths[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _checked_runs(runs, size, source):
    """Returns run lengths that cover the size; only the first may be 0.

    Other runs of length 0 would make pycocotools compute a wrong IoU.
    """
    pixels = size[0] * size[1]
    valid = len(runs) > 0 and 0 <= runs.min() and runs.max() <= pixels
    if not valid or runs.sum() != pixels:
        expected = f"no negative ones, and a sum of {size[0]}x{size[1]} pixels"
        raise unexpected("the list of run lengths", runs.tolist(), expected, source)
    if runs[1:].all():
        return runs
    on = (np.arange(len(runs)) % 2 == 1)[runs > 0]
    runs = runs[runs > 0]
    first = np.flatnonzero(np.diff(on, prepend=not on[0]))
    runs = np.add.reduceat(runs, first)
    return np.concatenate([[0], runs]) if on[0] else runs


def _check_sizes_agree(rles):
    sizes = sorted({rle.size for rle in rles})
    if len(sizes) > 1:
        raise InputError(
            f"Masks of different sizes cannot be compared: {sizes} (height, width)."
        )


def checked_size(size, source) -> Size:
    """Returns a size as a tuple of two Python ints, after checking it."""
    valid = isinstance(size, Sequence) and len(size) == 2
    valid = valid and all(isinstance(n, int | np.integer) and n > 0 for n in size)
    if not valid or int(size[0]) * int(size[1]) > MAX_PIXELS:
        expected = (
            "[height, width], at least 1x1 and at most "
            f"{MAX_PIXELS} pixels (masks.MAX_PIXELS)"
        )
        raise unexpected("the size", size, expected, source)
    return int(size[0]), int(size[1])


def unexpected(what, value, expected, source):
    """Returns the error for an unexpected value."""
    shown = reprlib.repr(value)  # This is short even if the value is long or deep.
    return InputError(f"{source}: {what} is {shown}, expected {expected}.")
