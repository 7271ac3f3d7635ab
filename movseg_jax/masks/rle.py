"""Run-length encoded masks, their boxes, and how much they overlap.

A mask is a boolean array `[h, w]`; a size is `(height, width)`. Boxes are
`[x0, y0, x1, y1]` in pixels of the frame, continuous: the pixel in column 0 covers
x in [0, 1), and its centre is at 0.5.

Masks of whole videos are held as `Rle`s, COCO's compressed run lengths. pycocotools
computes with them, but trusts its input: run lengths that do not add up, or polygons
far outside the frame, hang it, crash it or read foreign memory. So an `Rle` cannot be
made without passing the checks here, and pycocotools sees nothing else.
"""

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from pycocotools import mask as coco

from movseg_jax.errors import InputError

Size = tuple[int, int]  # (height, width) in pixels.

# Twice an 8K frame. pycocotools reserves four bytes for each pixel to merge masks and
# does not notice when there is no memory left.
MAX_PIXELS = 2**26
# pycocotools walks polygons in steps of a fifth of a pixel, stores every step, and
# merges polygons in time quadratic in their number.
MAX_OUTLINE = 1_000_000  # Pixels, over all polygons of an object.
MAX_POLYGONS = 1_000  # Of an object.
MAX_COORDINATE = 1_000_000  # Of a polygon, in pixels.


# Boxes --------------------------------------------------------------------------


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "4"]:
    """The smallest box around a mask's pixels; [0, 0, 0, 0] if there are none."""
    (rows,) = np.nonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(4, np.float32)
    (columns,) = np.nonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return np.array(box, np.float32)


def tight_boxes(masks: Bool[np.ndarray, "n h w"]) -> Float32[np.ndarray, "n 4"]:
    """`tight_box` of every mask."""
    boxes = [tight_box(mask) for mask in masks]
    return np.array(boxes, np.float32).reshape(-1, 4)


# Run-length encoding ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run lengths, column by column.

    An `Rle` is always valid, and equal masks have equal `Rle`s. Make one with `encode`,
    `from_json` or, from what COCO calls compressed counts, the constructor.

    Attributes:
        size: Height and width in pixels.
        counts: Lengths of the runs, off and on in turn, in COCO's ASCII.

    Raises:
        InputError: The counts are malformed or do not cover the size.
    """

    size: Size
    counts: bytes

    def __post_init__(self):
        checked = from_json({"size": self.size, "counts": self.counts}, source="Rle")
        object.__setattr__(self, "size", checked.size)
        object.__setattr__(self, "counts", checked.counts)


def encode(mask: Bool[np.ndarray, "h w"]) -> Rle:
    """Encodes a mask.

    Raises:
        InputError: It has no pixels or more than `MAX_PIXELS`.
    """
    size = checked_size(mask.shape, "mask")
    return encode_columns(mask.astype(bool, copy=False), 0, size)


def decode(rle: Rle) -> Bool[np.ndarray, "h w"]:
    """The mask that `encode` encoded."""
    # Not by pycocotools, whose `decode` warns with NumPy 2.
    runs = _read_ascii(rle.counts, "Rle")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(mask.reshape(rle.size[::-1]).T)


def to_runs(rle: Rle) -> Int64[np.ndarray, " n"]:
    """The lengths of a mask's runs, off and on in turn, column by column."""
    return _read_ascii(rle.counts, "Rle")


def area(rle: Rle) -> int:
    """Number of the mask's pixels."""
    return int(coco.area(_to_coco(rle)))


def iou(
    a: Sequence[Rle], b: Sequence[Rle], *, crowd: Sequence[bool] | None = None
) -> Float64[np.ndarray, "n m"]:
    """Intersection over union of every mask in `a` with every one in `b`.

    An empty mask has IoU 0 with every mask, itself included.

    Args:
        a: Masks.
        b: Masks.
        crowd: Which of `b` are regions of any number of objects, if any: overlap with
            them is the intersection over the area of `a`'s mask, as COCO has it.

    Raises:
        InputError: The masks differ in size.
    """
    _check_sizes_agree([*a, *b])
    if not a or not b:
        return np.zeros((len(a), len(b)))
    flags = [0] * len(b) if crowd is None else [int(c) for c in crowd]
    return np.asarray(coco.iou([*map(_to_coco, a)], [*map(_to_coco, b)], flags))


def containment(a: Sequence[Rle], b: Sequence[Rle]) -> Float64[np.ndarray, "n m"]:
    """The share of each mask in `a` inside each in `b`, as `iou` has its arguments."""
    return iou(a, b, crowd=[True] * len(b))


def union(rles: Sequence[Rle]) -> Rle:
    """The pixels that are in any of the masks.

    Raises:
        InputError: There are no masks, or they differ in size.
    """
    if not rles:
        raise InputError("The union of no masks has no size; hand in at least one.")
    _check_sizes_agree(rles)
    return trusted(rles[0].size, coco.merge([*map(_to_coco, rles)])["counts"])


def to_json(rle: Rle) -> dict[str, Any]:
    """The mask as COCO's JSON has it: {"size": [h, w], "counts": "..."}."""
    return {"size": list(rle.size), "counts": rle.counts.decode("ascii")}


def from_json(segmentation: Any, frame_size: Size | None = None, *, source: str) -> Rle:
    """Reads a "segmentation" of COCO's JSON, whatever it holds.

    Args:
        segmentation: {"size": [h, w], "counts": ...} with counts as compressed text
            or as a list of run lengths, or a list of polygons [x, y, x, y, ...].
        frame_size: What an RLE's size must be, if given. Polygons need it.
        source: Names file and annotation in messages.

    Raises:
        InputError: It is malformed, of another size, or too large to be handled.
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


def _to_coco(rle: Rle) -> Any:  # Its stubs know a dict of their own only.
    return {"size": list(rle.size), "counts": rle.counts}


def encode_columns(strip, first, size):
    """Encodes a mask whose pixels are in some adjacent columns, `strip`."""
    flat = np.concatenate([[False], strip.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + first * size[0]
    runs = np.diff(edges, prepend=0, append=size[0] * size[1])
    return from_runs(runs if runs[-1] else runs[:-1], size)


def from_runs(runs: Int64[np.ndarray, " n"], size: Size) -> Rle:
    """Encodes run lengths, which must be valid and, but for the first, not 0.

    Args:
        runs: Lengths of the runs, off and on in turn, column by column.
        size: Height and width in pixels.
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
    rles = coco.frPyObjects(outlines, *frame_size)
    return trusted(frame_size, coco.merge(rles)["counts"])


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
    """A list of numbers as an array; without numbers if it is anything else."""
    try:
        array = np.asarray(numbers) if isinstance(numbers, list) else None
    except ValueError:  # Lists of different lengths in a list.
        array = None
    return np.empty(0, bool) if array is None or array.ndim != 1 else array


def _read_list(counts, source) -> Int64[np.ndarray, " n"]:
    """Run lengths from a list of integers."""
    runs = _to_array(counts)
    if runs.dtype != np.int64:
        raise unexpected("counts", counts, "text or a list of integers", source)
    return runs


def _read_ascii(counts, source) -> Int64[np.ndarray, " n"]:
    """Run lengths from COCO's ASCII, as `rleFrString` of pycocotools reads it.

    A character holds 5 bits of a number, lowest first, and whether there are more; the
    numbers are signed, and from the fourth on they are differences to the last but one.
    """
    try:
        text = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError:
        text = b""
    chunks = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((chunks & 32) == 0) + 1
    starts = np.concatenate([[0], ends[:-1]])
    # Seven characters hold 35 bits: more than any number of pixels needs.
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
    place = np.arange(len(chunks)) - np.repeat(starts, ends - starts)
    numbers = np.add.reduceat((chunks & 31) << (5 * place), starts)
    negative = (chunks[ends - 1] & 16) != 0
    numbers[negative] -= 1 << (5 * (ends - starts)[negative])
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _checked_runs(runs, size, source):
    """Run lengths that cover the size, without runs of length 0 but the first.

    pycocotools computes a wrong IoU where it meets a run of length 0 elsewhere.
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
    """The size as a tuple of two Python ints."""
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
    """The error for a value that is not what was expected."""
    shown = reprlib.repr(value)  # Short, however long or deep the value is.
    return InputError(f"{source}: {what} is {shown}, expected {expected}.")
