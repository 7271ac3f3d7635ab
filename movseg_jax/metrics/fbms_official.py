"""The official measure of FBMS-59 (Ochs, Malik, Brox, PAMI 2014): `MoSegEval_PR.cpp`.

Every labelled point of the video is in a region of the truth, the background being one,
and in a cluster, the label of its track. Regions and clusters are matched so that the
sum of F over the pairs is largest. Precision and recall are means over the regions that
are visible; the recall of a region is of those of its pixels that have a track.

Clusters that are matched to no region cost nothing. A region that is matched to none,
because there are fewer clusters than regions, has precision 1 and recall 0; one that is
left with a cluster it does not overlap has 0 and 0. As clusters are counted by the
largest label, labels that no track has are such clusters: that is the one way in which
this measure depends on the ids of tracks, and only where there are more regions than
tracks. Which of them has which id makes no difference.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, Measure, SequenceScore
from movseg_jax.metrics.fbms import mean
from movseg_jax.metrics.point_tracks import PointTracks
from movseg_jax.metrics.segments import Segments, fit, match

_LEVELS = 255  # Of the weights, which are images of 8 bits.
_VISIBLE = 1e-4  # Pixels, at least, of a region that counts.
_STEPS = 10_000  # Of F, where it decides about the matching.
_LENGTHS = (10, 50, 200)  # Frames, of the parts of videos that are evaluated.


class OfficialParts(NamedTuple):
    """What the official measure knows of a sequence.

    Attributes:
        precision: Mean over the visible regions; NaN if there are none.
        recall: The same.
        density: Share of a region's pixels that have a track, the same.
        extracted: Objects that were found.
        visible: Objects that are there.
    """

    precision: float
    recall: float
    density: float
    extracted: int
    visible: int


def official(threshold: float = 0.75) -> Measure:
    """The official measure of tracks that say of every pixel what it is in.

    That is how "Towards Segmenting Anything That Moves" and later work use it: in a
    labelled frame each pixel is a point with the label of its track, 0 if it has none.

    Over a data set "precision", "recall" and "density" are means over the sequences,
    "f_measure" is the harmonic mean of these two means, "extracted" and "visible" the
    numbers of objects found and of all. An object is found if its F is above the
    threshold. One is taken off in every sequence for the background, also where its own
    F is below. Numbers are NaN where the original prints NaN: all of a sequence whose
    pixels all have weight 0; F if precision and recall are 0.

    The original adds up weights and divides in 32 bits, which is exact as long as all
    weights are 1; here sums are exact.

    Args:
        threshold: Of F, 0 to 1. The data set's instructions say 0.75, the program's own
            default is 0.9.

    Raises:
        InputError: The threshold is out of range.
    """
    _check_threshold(threshold)

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        segments, clusters = Segments(), 0
        for frame in frames:
            regions, weights = _truth(frame)
            segments.add(frame.name, regions, frame.found, weights)
            clusters = max(clusters, int(frame.found.max()) + 1)
        return _score(segments, clusters, threshold)

    return Measure(sequence, _dataset)


def official_points(
    tracks: PointTracks, frame_count: int, threshold: float = 0.75
) -> Measure:
    """The official measure of the point trajectories of one sequence.

    The tracks say how much of the video is evaluated: its first 10, 50 or 200 frames or
    all. A labelled frame counts if its number, from 0, is not above that; so the frame
    right behind counts too. Points outside of the frame do not count. Several points on
    a pixel all count, in density as well, which may be above 1.

    Args:
        tracks: Of the sequence, for whose frames this measure's `sequence` asks; the
            tracks of these `ComparedFrame`s are not looked at.
        frame_count: Of the video.
        threshold: As in `official`.

    Raises:
        InputError: The threshold is out of range, or the tracks are of another number
            of frames.
    """
    _check_threshold(threshold)
    if tracks.frame_count not in (*_LENGTHS, frame_count):
        raise InputError(
            f"{tracks.source}: is of {tracks.frame_count} frames, expected "
            f"{', '.join(map(str, _LENGTHS))} or all {frame_count} of the video."
        )

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        segments = Segments()
        for frame in frames:
            if frame.index > tracks.frame_count:
                break
            regions, weights = _truth(frame)
            points, labels = tracks.at(frame.index, frame.tracks.size)
            segments.add(frame.name, regions, labels, weights, points)
        return _score(segments, int(tracks.labels.max(initial=-1)) + 1, threshold)

    return Measure(sequence, _dataset)


def _dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
    parts: list[OfficialParts] = [score.parts for score in scores]
    precision = mean([p.precision for p in parts])
    recall = mean([p.recall for p in parts])
    total = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f_measure": 2 * precision * recall / total if total else math.nan,
        "density": mean([p.density for p in parts]),
        "extracted": float(sum(p.extracted for p in parts)),
        "visible": float(sum(p.visible for p in parts)),
    }


def _truth(
    frame: ComparedFrame,
) -> tuple[Int32[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """The regions, and how much each pixel counts, in 255ths.

    So weights of 8 bits are whole numbers, and sums of them exact.
    """
    # A colour that FBMS does not list is background.
    regions = np.maximum(frame.truth, 0)
    if frame.weights is None:
        return regions, np.full(regions.shape, float(_LEVELS))
    levels = frame.weights.astype(np.float64) * _LEVELS
    whole = np.rint(levels)
    of_8_bits = (whole / _LEVELS).astype(np.float32) == frame.weights
    return regions, np.where(of_8_bits, whole, levels)


def _score(segments: Segments, clusters: int, threshold: float) -> SequenceScore:
    """The score of a sequence.

    Args:
        segments: Its regions against its clusters.
        clusters: Their number, empty ones included.
        threshold: Of F.
    """
    overlap, sizes = segments.overlap(), segments.sizes()
    occupied, points = overlap.sum(axis=1), overlap.sum(axis=0)
    seen = sizes >= _VISIBLE * _LEVELS
    count = int(np.count_nonzero(seen))
    fits = fit(overlap, occupied, points)
    # F decides in whole steps. Of matchings that are equal so, the one of the largest
    # sum of F; the original leaves that to its search.
    both = occupied[:, None] + points[None, :]
    steps = np.floor(2 * _STEPS * overlap / np.where(both > 0, both, 1))
    matched = match((steps + fits.f_measure / (count + 1)) * seen[:, None])
    pairs = np.flatnonzero(matched >= 0)
    precision, recall, f_measure = (v[pairs, matched[pairs]] for v in fits)
    alone = max(count - clusters, 0)  # Regions without cluster.
    density = occupied[seen] / sizes[seen]
    parts = OfficialParts(
        precision=_over(float(precision.sum()) + alone, count),
        recall=_over(float(recall.sum()), count),
        density=_over(float(density.sum()), count),
        extracted=max(int(np.count_nonzero(f_measure > threshold)) - 1, 0),
        visible=max(count - 1, 0),
    )
    scores = segments.frame_scores(
        matched, objects=seen, penalised=np.zeros(overlap.shape[1], bool)
    )
    return SequenceScore(parts, scores)


def _over(total: float, count: int) -> float:
    return total / count if count else math.nan


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}, expected an F of 0 to 1.")
