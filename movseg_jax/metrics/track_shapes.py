"""Measures faults of tracks that show without a ground truth.

The masks are those from before one was painted over another, in which two tracks of one
thing overlap, and a part lies in the complete thing. In a file that has one track per
pixel nothing can overlap, so the first two numbers mean nothing there.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool

from movseg_jax import masks
from movseg_jax.masks import Rle
from movseg_jax.results import TrackedFrame

SAME = 0.5  # IoU above which two tracks are taken for one thing.
INSIDE = 0.7  # Share of a track's pixels above which it lies in another track.


class ShapeParts(NamedTuple):
    """The sums over a sequence, from which the numbers are computed.

    Attributes:
        frames: Number of frames.
        overlapping: Number of frames in which two tracks have an IoU above `SAME`.
        contained: Number of frames in which more than `INSIDE` of a track's pixels lie
            in another track.
        holes: Share of holes in the filled masks of each track, in pixels.
        lifetime: Number of frames from a track's first to its last, over all tracks.
        missing: Number of these frames in which the track is absent.
    """

    frames: int
    overlapping: int
    contained: int
    holes: tuple[float, ...]
    lifetime: int
    missing: int


class TrackShapes:
    """Collects a sequence frame by frame."""

    def __init__(self):
        self._frames = self._overlapping = self._contained = 0
        self._holes: Counter[int] = Counter()
        self._filled: Counter[int] = Counter()
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._seen: Counter[int] = Counter()

    def add(self, frame: TrackedFrame) -> None:
        """Adds the next frame."""
        found = complete_masks(frame)
        self._overlapping += has_overlap([*found.values()])
        self._contained += has_containment([*found.values()])
        dense = {i: masks.decode(mask) for i, mask in found.items()}
        anywhere = np.zeros(frame.size, bool)
        for mask in dense.values():
            anywhere |= mask
        for i, mask in dense.items():
            self._first.setdefault(i, self._frames)
            self._last[i] = self._frames
            self._seen[i] += 1
            holes = int(np.count_nonzero(enclosed(mask) & ~anywhere))
            self._holes[i] += holes
            self._filled[i] += holes + int(np.count_nonzero(mask))
        self._frames += 1

    def parts(self) -> ShapeParts:
        """The sums over the frames that were added."""
        lifetime = sum(self._last[i] - first + 1 for i, first in self._first.items())
        return ShapeParts(
            frames=self._frames,
            overlapping=self._overlapping,
            contained=self._contained,
            holes=tuple(self._holes[i] / self._filled[i] for i in self._first),
            lifetime=lifetime,
            missing=lifetime - self._seen.total(),
        )


def measure_shapes(tracked: Iterable[TrackedFrame]) -> ShapeParts:
    """Returns the sums of a video's tracks, for `shape_numbers`."""
    shapes = TrackShapes()
    for frame in tracked:
        shapes.add(frame)
    return shapes.parts()


def shape_numbers(sequences: Sequence[ShapeParts]) -> dict[str, float]:
    """The numbers of all sequences together; NaN where there is nothing to measure.

    - "overlapping", "contained": share of all frames in which two tracks have an IoU
      above `SAME`, or more than `INSIDE` of a track's pixels lie in another track.
    - "holes": mean over all tracks of the number of pixels that a track encloses, but
      no track covers, divided by the number of pixels of the filled track.
    - "gaps": share of the frames from a track's first to its last, over all tracks, in
      which it is absent.
    """
    frames = sum(part.frames for part in sequences)
    lifetime = sum(part.lifetime for part in sequences)
    holes = [hole for part in sequences for hole in part.holes]
    return {
        "overlapping": _share(sum(part.overlapping for part in sequences), frames),
        "contained": _share(sum(part.contained for part in sequences), frames),
        "holes": _share(math.fsum(holes), len(holes)),
        "gaps": _share(sum(part.missing for part in sequences), lifetime),
    }


def _share(part: int | float, whole: int) -> float:
    return part / whole if whole else math.nan


def complete_masks(frame: TrackedFrame) -> dict[int, Rle]:
    """The complete mask of each track in a frame, also where other tracks cover it."""
    found: dict[int, Rle] = {}
    for sighting in frame.sightings:
        if masks.area(sighting.mask):
            before = found.get(sighting.id, sighting.mask)
            found[sighting.id] = masks.union([before, sighting.mask])
    return found


def has_overlap(tracks: Sequence[Rle]) -> bool:
    """Whether two of a frame's masks have an IoU above `SAME`."""
    overlaps = masks.iou(tracks, tracks)
    np.fill_diagonal(overlaps, 0)
    return bool((overlaps > SAME).any())


def has_containment(tracks: Sequence[Rle]) -> bool:
    """Whether more than `INSIDE` of a mask's pixels lie in another mask of a frame."""
    shares = masks.containment(tracks, tracks)
    np.fill_diagonal(shares, 0)
    return bool((shares > INSIDE).any())


def enclosed(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels outside of the mask from which no path leads to the frame's edge.

    A path goes from a pixel to its four neighbours and does not cross the mask.
    """
    x0, y0, x1, y1 = masks.tight_box(mask).astype(int).tolist()
    result = np.zeros(mask.shape, bool)
    if x1 > x0:
        # A margin of one pixel joins everything that is outside of the mask's box.
        outside = np.pad(mask[y0:y1, x0:x1], 1).astype(np.uint8)
        cv2.floodFill(outside, None, (0, 0), 1)
        result[y0:y1, x0:x1] = outside[1:-1, 1:-1] == 0
    return result
