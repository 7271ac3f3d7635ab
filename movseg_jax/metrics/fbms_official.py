"""The official metric of FBMS-59 (Ochs, Malik, Brox, PAMI 2014): `MoSegEval_PR.cpp`.

Every labelled point of the video is in a region of the truth, the background being one,
and in a cluster, which is the label of its track. Regions and clusters are matched such
that the sum of F over the pairs is largest. Precision and recall are means over the
regions that are visible; recall counts only those pixels of a region that have a track.

Clusters that are matched to no region cost nothing. A region that is matched to none,
because there are fewer clusters than regions, has precision 1 and recall 0. A region
that is left with a cluster it does not overlap has 0 and 0.

The original counts clusters by the largest label of a track file, so that labels which
no track has are empty clusters. They matter if there are more regions than tracks.
`OfficialPoints` does the same, as the labels of such a file may mean that. `Official`
counts the tracks that are visible, as their ids are names: a tracker that drops a track
need not number the others anew.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric
from movseg_jax.metrics.fbms import mean_of_all
from movseg_jax.metrics.point_tracks import PointTracks
from movseg_jax.metrics.segments import Segments, fit, match

_LEVELS = 255  # Levels of the weights, which are images of 8 bits.
_VISIBLE = 1e-4  # Least number of pixels of a region that counts.
_STEPS = 10_000  # Steps of F, where it decides about the matching.
_LENGTHS = (10, 50, 200)  # Numbers of frames of the parts of videos that are evaluated.


class OfficialPart(NamedTuple):
    """The data that the official metric keeps of a sequence.

    Attributes:
        precision: Mean precision over the visible regions; NaN if there are none.
        recall: Mean recall over the visible regions.
        density: Mean share of a visible region's pixels that have a track.
        extracted: Number of objects that were found.
        visible: Number of objects in the truth.
    """

    precision: float
    recall: float
    density: float
    extracted: int
    visible: int


@dataclasses.dataclass(frozen=True)
class Official(TrackMetric):
    """The official metric of tracks that have a label at every pixel.

    "Towards Segmenting Anything That Moves" and later work use it like that: each pixel
    of a labelled frame is a point with the label of its track, 0 if it has none. The
    numbers are those of the original for labels without gaps, whatever the ids are.

    Over a data set "precision", "recall" and "density" are means over the sequences,
    "f_measure" is the harmonic mean of the first two means, and "extracted" and
    "visible" are the numbers of objects found and of all objects. An object is found if
    its F is above the threshold. In every sequence one is subtracted for the
    background, even if its own F is below. Numbers are NaN where the original prints
    NaN: all of a sequence whose pixels all have weight 0; F if precision and recall are
    0.

    The original adds up weights and divides in 32 bits, which is exact as long as all
    weights are 1; here sums are exact.

    Attributes:
        threshold: Threshold of F, 0 to 1. The data set's instructions say 0.75, but the
            program's own default is 0.9.

    Raises:
        InputError: The threshold is out of range.
    """

    threshold: float = 0.75

    def __post_init__(self):
        """Checks the threshold."""
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}, expected an F of 0 to 1.")

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        segments = Segments()
        for frame in frames:
            regions, weights = _truth(frame)
            segments.add(frame.name, regions, frame.found, weights)
        # The background is a cluster, even if tracks cover all of it.
        clusters = len({0, *segments.tracks.tolist()})
        return _score(segments, clusters, self.threshold)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers of all sequences."""
        parts: tuple[OfficialPart, ...] = state.parts
        precision = mean_of_all([p.precision for p in parts])
        recall = mean_of_all([p.recall for p in parts])
        total = precision + recall
        return {
            "precision": precision,
            "recall": recall,
            "f_measure": 2 * precision * recall / total if total else math.nan,
            "density": mean_of_all([p.density for p in parts]),
            "extracted": float(sum(p.extracted for p in parts)),
            "visible": float(sum(p.visible for p in parts)),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialPoints(Official):
    """The official metric of the point trajectories of one sequence.

    The trajectories say how much of the video is evaluated: its first 10, 50 or 200
    frames, or all. A labelled frame counts if its number, from 0, is not above that, so
    the frame right behind counts, too. Points outside of the frame do not count. If
    several points are on a pixel, all of them count, also in density, which may then be
    above 1.

    Attributes:
        points: Trajectories of the sequence that is added; the tracks of its
            `ComparedFrame`s do not matter.
        frame_count: Number of the video's frames.

    Raises:
        InputError: The threshold is out of range, or the trajectories are of another
            number of frames.
    """

    points: PointTracks
    frame_count: int

    def __post_init__(self):
        """Checks the numbers of frames."""
        super().__post_init__()
        if self.points.frame_count not in (*_LENGTHS, self.frame_count):
            raise InputError(
                f"{self.points.source}: is of {self.points.frame_count} frames, "
                f"expected {', '.join(map(str, _LENGTHS))} or all {self.frame_count} "
                "of the video."
            )

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of the sequence."""
        segments = Segments()
        for frame in frames:
            if frame.index > self.points.frame_count:
                break
            regions, weights = _truth(frame)
            places, labels = self.points.at(frame.index, frame.tracks.size)
            segments.add(frame.name, regions, labels, weights, places)
        clusters = int(self.points.labels.max(initial=-1)) + 1
        return _score(segments, clusters, self.threshold)


def _truth(
    frame: ComparedFrame,
) -> tuple[Int32[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """The regions, and the weight of each pixel in 255ths.

    Weights of 8 bits are thus whole numbers, whose sums are exact.
    """
    # Colours that FBMS does not list are background.
    regions = np.maximum(frame.truth, 0)
    if frame.weights is None:
        return regions, np.full(regions.shape, float(_LEVELS))
    levels = frame.weights.astype(np.float64) * _LEVELS
    whole = np.rint(levels)
    of_8_bits = (whole / _LEVELS).astype(np.float32) == frame.weights
    return regions, np.where(of_8_bits, whole, levels)


def _score(segments: Segments, clusters: int, threshold: float) -> State:
    """The state of a sequence.

    Args:
        segments: Regions of the sequence against its clusters.
        clusters: Number of clusters, empty ones included.
        threshold: Threshold of F.
    """
    overlap, sizes = segments.overlap(), segments.sizes()
    occupied, points = overlap.sum(axis=1), overlap.sum(axis=0)
    seen = sizes >= _VISIBLE * _LEVELS
    count = int(np.count_nonzero(seen))
    fits = fit(overlap, occupied, points)
    # F decides in whole steps. Among matchings that are equal in steps, the largest sum
    # of F decides; the original leaves that to its search.
    both = occupied[:, None] + points[None, :]
    steps = np.floor(2 * _STEPS * overlap / np.where(both > 0, both, 1))
    matched = match((steps + fits.f_measure / (count + 1)) * seen[:, None])
    pairs = np.flatnonzero(matched >= 0)
    precision, recall, f_measure = (v[pairs, matched[pairs]] for v in fits)
    alone = max(count - clusters, 0)  # Regions without cluster.
    density = occupied[seen] / sizes[seen]
    part = OfficialPart(
        precision=_over(float(precision.sum()) + alone, count),
        recall=_over(float(recall.sum()), count),
        density=_over(float(density.sum()), count),
        extracted=max(int(np.count_nonzero(f_measure > threshold)) - 1, 0),
        visible=max(count - 1, 0),
    )
    scores = segments.frame_scores(
        matched, objects=seen, penalised=np.zeros(overlap.shape[1], bool)
    )
    return State((part,), scores)


def _over(total: float, count: int) -> float:
    return total / count if count else math.nan
