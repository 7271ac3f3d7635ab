"""What is wrong with tracks that can be seen without a truth.

Masks are whole here, as they were before one was painted over another: two tracks of
one thing overlap, and a part lies in its whole. A file whose pixels each have one track
cannot tell, so there the first two numbers mean nothing.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool

from movseg_jax import masks
from movseg_jax.masks import Rle
from movseg_jax.tracks import TrackedFrame

SAME = 0.5  # IoU above which two tracks are taken for one thing.
INSIDE = 0.7  # Share of a track's pixels above which it lies in another track.


class ShapeParts(NamedTuple):
    """What is kept of a sequence.

    Attributes:
        frames: Number of frames.
        overlapping: Number of frames in which two tracks have an IoU above `SAME`.
        contained: Number of frames in which more than `INSIDE` of a track's pixels lie
            in another track.
        holes: For each track, the pixels of its holes over those of its filled masks.
        lifetime: Number of frames from a track's first to its last, over all tracks.
        missing: Number of these in which the track is not there.
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
        sightings = [s for s in frame.sightings if masks.area(s.mask)]
        found = [sighting.mask for sighting in sightings]
        self._overlapping += has_overlap(found)
        self._contained += has_containment(found)
        dense = [masks.decode(mask) for mask in found]
        anywhere = np.any(dense, axis=0) if dense else np.zeros(frame.size, bool)
        for sighting, mask in zip(sightings, dense, strict=True):
            self._first.setdefault(sighting.id, self._frames)
            self._last[sighting.id] = self._frames
            self._seen[sighting.id] += 1
            holes = int(np.count_nonzero(enclosed(mask) & ~anywhere))
            self._holes[sighting.id] += holes
            self._filled[sighting.id] += holes + int(np.count_nonzero(mask))
        self._frames += 1

    def parts(self) -> ShapeParts:
        """What the frames that were added give."""
        lifetime = sum(self._last[i] - first + 1 for i, first in self._first.items())
        return ShapeParts(
            frames=self._frames,
            overlapping=self._overlapping,
            contained=self._contained,
            holes=tuple(self._holes[i] / self._filled[i] for i in self._first),
            lifetime=lifetime,
            missing=lifetime - self._seen.total(),
        )


def has_overlap(tracks: Sequence[Rle]) -> bool:
    """Whether two of a frame's masks have an IoU above `SAME`."""
    overlaps = masks.iou(tracks, tracks)
    np.fill_diagonal(overlaps, 0)
    return bool((overlaps > SAME).any())


def has_containment(tracks: Sequence[Rle]) -> bool:
    """Whether more than `INSIDE` of a mask's pixels lie in another mask of a frame."""
    shares = masks.iou(tracks, tracks, crowd=[True] * len(tracks))
    np.fill_diagonal(shares, 0)
    return bool((shares > INSIDE).any())


def enclosed(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that are not in the mask, but cannot be left without crossing it.

    Steps are to the four neighbours, and all that reaches the frame's edge is outside.
    """
    x0, y0, x1, y1 = masks.tight_box(mask).astype(int).tolist()
    result = np.zeros(mask.shape, bool)
    if x1 > x0:
        # A margin of one pixel joins all that is outside of the mask's box.
        outside = np.pad(mask[y0:y1, x0:x1], 1).astype(np.uint8)
        cv2.floodFill(outside, None, (0, 0), 1)
        result[y0:y1, x0:x1] = outside[1:-1, 1:-1] == 0
    return result
