"""The metrics of DAVIS 2016 (Perazzi et al., 2016): J, F and T.

J is the overlap of the regions, F the agreement of their outlines, and T the
instability of an outline in time (see `stability`). Everything that moves is one
region: all tracks together are compared with all objects together.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int64

from movseg_jax.errors import InputError
from movseg_jax.masks import tight_box
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric, mean
from movseg_jax.metrics.stability import (
    Variant,
    check_variant,
    describe,
    instability,
)

# The sequences of DAVIS 2016 for which T means something: the others have occlusions or
# move too fast (`db_seqs` of DAVIS' code). The first ten are the validation set's.
STABLE_SEQUENCES = frozenset(
    "blackswan camel car-roundabout car-shadow cows drift-straight kite-surf "
    "paragliding-launch scooter-black soapbox "
    "bear boat bus car-turn dance-jump drift-turn elephant flamingo hike hockey "
    "kite-walk mallard-water motocross-bumps rhino stroller surf train".split()
)
_T_SCALE = 5  # "to put it in a similar range as the other measures".


class Statistics(NamedTuple):
    """The statistics that DAVIS reports of J or F over the frames of a sequence.

    Attributes:
        mean: Mean over all frames.
        recall: Share of the frames that are better than 0.5.
        decay: Mean of the first quarter less that of the last quarter.
    """

    mean: float
    recall: float
    decay: float


class Davis16Part(NamedTuple):
    """The data that `Davis16` keeps of a sequence.

    Attributes:
        j: Statistics of the regions' overlap.
        f: Statistics of the outlines' agreement.
        t: Mean T; NaN if it was not measured or no two masks have outlines.
    """

    j: Statistics
    f: Statistics
    t: float


@dataclasses.dataclass(frozen=True)
class Davis16(TrackMetric):
    """J, F and T as the DAVIS 2016 benchmark reports them.

    The first and the last frame that have a truth do not count, unless there are no
    others. The numbers are "J-mean", "J-recall", "J-decay", the same of F, and
    "T-mean". Each is the mean over sequences; T is the mean over those in which it was
    measured. A frame's score is the mean of its J and F.

    T is meant for `STABLE_SEQUENCES` only. So add those to `Davis16("python")` and the
    others to `Davis16(None)`, and compute all numbers by the former.

    Attributes:
        stability: Variant of T: that of DAVIS' Python code, over the frames that count,
            or that of its Matlab code, which starts from the truth of the first frame.
            With None, T is neither measured nor reported.

    Raises:
        InputError: The variant does not exist; or, by `add`, there are no frames.
    """

    stability: Variant | None = "python"

    def __post_init__(self):
        """Checks the variant."""
        if self.stability is not None:
            check_variant(self.stability)

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        scores: dict[str, float] = {}
        js: list[float] = []
        fs: list[float] = []
        ts: list[float] = []
        outline = None
        # Pairs of neighbours leave out the last frame.
        for i, (frame, _) in enumerate(itertools.pairwise(_at_least_3(frames))):
            truth, found = _foregrounds(frame)
            if i == 0:
                is_matlab = self.stability == "matlab"
                outline = describe(truth, "matlab") if is_matlab else None
                continue
            js.append(region_similarity(found, truth))
            fs.append(boundary_accuracy(found, truth))
            scores[frame.name] = (js[-1] + fs[-1]) / 2
            if self.stability is not None:
                before, outline = outline, describe(found, self.stability)
                if before is not None and outline is not None:
                    ts.append(_T_SCALE * instability(before, outline))
        if not js:
            raise InputError("The sequence has no frames with a truth, expected some.")
        part = Davis16Part(statistics_of(js), statistics_of(fs), mean(ts))
        return State((part,), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the means over sequences."""
        parts: tuple[Davis16Part, ...] = state.parts
        numbers = mean_statistics("J", [part.j for part in parts])
        numbers |= mean_statistics("F", [part.f for part in parts])
        if self.stability is not None:
            numbers["T-mean"] = mean(part.t for part in parts)
        return numbers


def _at_least_3(frames: Iterable[ComparedFrame]) -> Iterator[ComparedFrame]:
    """Repeats the first and the last of one or two frames, so that all count."""
    frames = iter(frames)
    begin = [*itertools.islice(frames, 3)]
    if len(begin) < 3:
        begin = [*begin[:1], *begin, *begin[-1:]]
    while begin:
        yield begin.pop(0)  # Frames are large: none is kept.
    yield from frames


def _foregrounds(frame: ComparedFrame):
    """The union of all objects and that of all tracks, bool [h, w] each."""
    truth = frame.truth > 0
    if frame.void is not None:
        truth &= ~frame.void
    return truth, frame.found > 0


# Metrics of a frame ----------------------------------------------------------------


def boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels unlike their right, lower or lower right neighbour, as DAVIS has it.

    The last row and column are repeated, so an object has no boundary where it leaves
    the frame (Perazzi et al., 2016; `seg2bmap` of their code).
    """
    below = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, lower, diagonal = below[:-1, 1:], below[1:, :-1], below[1:, 1:]
    return (mask != right) | (mask != lower) | (mask != diagonal)


def region_similarity(found: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks, bool [h, w]; 1 if both are empty.

    Raises:
        InputError: One is not a mask, or they differ in size.
    """
    _check(found, truth)
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """F: how well the outlines of two masks, bool [h, w], agree.

    F is the harmonic mean of the shares of each outline that are near the other one:
    within a disk of 0.008 of the image's diagonal, rounded up. It is 1 if neither mask
    has an outline, and 0 if only one has (`f_boundary.py` of DAVIS' code).

    Raises:
        InputError: One is not a mask, or they differ in size.
    """
    _check(found, truth)
    return boundary_agreement(boundary_of(found), boundary_of(truth))


class Boundary(NamedTuple):
    """The outline of a mask, and the pixels near it.

    Attributes:
        pixels: Pixels of the outline, [n, (row, column)].
        near: Pixels within the tolerance, in a crop of the frame; there are none
            outside of the crop.
        origin: Row and column of the frame at which the crop starts.
    """

    pixels: Int64[np.ndarray, "n 2"]
    near: Bool[np.ndarray, "h w"]
    origin: tuple[int, int]


def boundary_of(mask: Bool[np.ndarray, "h w"]) -> Boundary:
    """The outline of a mask, to be compared with others by `boundary_agreement`."""
    x0, y0, x1, y1 = tight_box(mask).astype(int).tolist()
    # Pixels that differ from a neighbour are in the box, or above it or to its left;
    # below and to its right, the crop must continue as the mask does.
    top, left = max(y0 - 1, 0), max(x0 - 1, 0)
    outline = boundary(mask[top : y1 + 1, left : x1 + 1])
    radius = math.ceil(0.008 * math.hypot(*mask.shape))
    span = np.arange(-radius, radius + 1)
    disk = (span[:, None] ** 2 + span**2 <= radius**2).astype(np.uint8)
    near = cv2.dilate(np.pad(outline, radius).view(np.uint8), disk).view(bool)
    pixels = np.add(np.argwhere(outline), (top, left))
    return Boundary(pixels, near, (top - radius, left - radius))


def boundary_agreement(a: Boundary, b: Boundary) -> float:
    """`boundary_accuracy` of two masks of one size, whichever is the truth."""
    n, m = len(a.pixels), len(b.pixels)
    if not n or not m:
        return float(n == m)
    a_near_b, b_near_a = _count_near(a, b), _count_near(b, a)
    # The harmonic mean of a_near_b / n and b_near_a / m, rounded once.
    both = a_near_b * m + b_near_a * n
    return 2 * a_near_b * b_near_a / both if both else 0.0


def _count_near(a: Boundary, b: Boundary) -> int:
    """The number of pixels of one outline that are near the other one."""
    rows, columns = (a.pixels - b.origin).T
    height, width = b.near.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return int(np.count_nonzero(b.near[rows[inside], columns[inside]]))


def _check(found, truth):
    for name, mask in (("found", found), ("truth", truth)):
        if mask.dtype != bool or mask.ndim != 2:
            raise InputError(
                f"`{name}` is {mask.dtype} {list(mask.shape)}, expected a mask, bool "
                "[h, w]; compare an image of ids with the object's id first."
            )
    if found.shape != truth.shape:
        raise InputError(
            f"`found` is of {found.shape[0]}x{found.shape[1]} pixels (height x width), "
            f"but `truth` of {truth.shape[0]}x{truth.shape[1]}; resize neither, but "
            "find the mask at the size of the frame."
        )


# Statistics ------------------------------------------------------------------------


def statistics_of(values: Sequence[float]) -> Statistics:
    """Mean, recall and decay over one or more frames, as DAVIS' code has them.

    For the decay the frames are cut into quarters, which share the frames at which
    they meet. The original keeps the numbers of those frames in 8 bits, which goes
    wrong above 257 frames; that is not imitated.
    """
    cuts = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first = values[cuts[0] : cuts[1] + 1]
    last = values[cuts[3] : cuts[4] + 1]
    recall = sum(value > 0.5 for value in values) / len(values)
    return Statistics(mean(values), recall, mean(first) - mean(last))


def mean_statistics(name: str, statistics: Sequence[Statistics]) -> dict[str, float]:
    """The means over sequences or objects, "J-mean" for the name "J"."""
    return {
        f"{name}-{field}": mean(getattr(each, field) for each in statistics)
        for field in Statistics._fields
    }
