"""Measures of tracks whose truth is known in a few frames: of FBMS-59, and later ones.

- `fbms_official.official`: of the data set's authors (Ochs, Malik, Brox, 2014).
- `proposed`: of Dave, Tokmakov and Ramanan ("Towards Segmenting Anything That Moves",
  2019), which also counts what is found where no object is.
- `three_d`: of Bideau and others (2018), for their labels of what moves in 3D.

Here a track is what is visible of it in the frames of the truth. All numbers are 0 to
1, where the originals print percent, or counts. Where several ways to match tracks and
objects are equally good, one is chosen by where the first pixels are, never by ids.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, Measure, SequenceScore
from movseg_jax.metrics.segments import Segments, fit, harmonic_mean, match

_FOUND = 0.75  # F from which on `three_d` takes an object for found.


class ProposedParts(NamedTuple):
    """What `proposed` knows of a sequence, in pixels over all frames.

    Attributes:
        correct: Of tracks on the objects that they are matched to.
        found: Of all tracks.
        true: Of all objects.
    """

    correct: int
    found: int
    true: int


class ThreeDParts(NamedTuple):
    """What `three_d` knows of a sequence.

    Attributes:
        precision: Mean over the regions of the truth.
        recall: The same.
        f_measure: The same.
        extracted: Regions with an F of at least 0.75.
        regions: Of the truth, background included.
        tracks: Found, background included.
    """

    precision: float
    recall: float
    f_measure: float
    extracted: int
    regions: int
    tracks: int


# The paper's own -------------------------------------------------------------------


def proposed(background: int | Literal["infer"] = 0) -> Measure:
    """The measure that "Towards Segmenting Anything That Moves" proposes (section 4).

    Tracks and objects are matched so that the sum of F over the pairs is largest, where
    precision, recall and F of a pair are those of all their pixels over all frames. Of
    a sequence, precision is the share of all tracks' pixels, recall of all objects',
    that are of a matched pair. Over a data set all three are means over its sequences:
    F is the mean F, not the F of the means.

    The authors' code stops with an error where the truth has no background or nothing
    of the background is found; here these are sequences like all others. As there,
    precision is 0 if nothing is found, recall is 0 if there are no objects, and F is 0
    if both are 0. Void pixels are background, weights do not count.

    Args:
        background: What of the tracks is background: 0, the pixels without a track; or
            another id, and then those without a track are a track of their own; or
            "infer", the largest of both kinds, as for methods that do not say.

    Raises:
        InputError: `background` is none of these.
    """
    valid = isinstance(background, int) and background >= 0
    if not valid and background != "infer":
        raise InputError(
            f'background is {background!r}, expected "infer" or a track\'s id, 0 for '
            "pixels without a track."
        )

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        segments = _count(frames)
        overlap = segments.overlap()
        tracks = segments.tracks != _background(segments.tracks, overlap, background)
        objects = segments.regions != 0
        values = fit(overlap, overlap.sum(axis=1), overlap.sum(axis=0)).f_measure
        matched = match(values * objects[:, None] * tracks[None, :])
        pairs = np.flatnonzero(matched >= 0)
        parts = ProposedParts(
            correct=int(overlap[pairs, matched[pairs]].sum()),
            found=int(overlap[:, tracks].sum()),
            true=int(overlap[objects].sum()),
        )
        scores = segments.frame_scores(matched, objects=objects, penalised=tracks)
        return SequenceScore(parts, scores)

    return Measure(sequence, _proposed_dataset)


def _background(tracks, overlap, background: int | Literal["infer"]) -> int:
    """The id of what counts as background."""
    if background != "infer" or not len(tracks):
        return 0 if background == "infer" else background
    sizes = overlap.sum(axis=0)
    # Of equally large ones that without a track, or the first seen.
    best = max(range(len(tracks)), key=lambda i: (sizes[i], tracks[i] == 0, -i))
    return int(tracks[best])


def _proposed_dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
    rows = []
    for score in scores:
        correct, found, true = score.parts
        precision = correct / found if found else 0.0
        recall = correct / true if true else 0.0
        rows.append((precision, recall, harmonic_mean(precision, recall)))
    names = ("precision", "recall", "f_measure")
    return {
        name: mean(column)
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


# Of 3D motion ----------------------------------------------------------------------


def three_d() -> Measure:
    """The measure of the 3D-motion labels of FBMS (Bideau et al., CVPR 2018).

    The background is a region like the objects, and what has no track is a track. They
    are matched so that the sum of F over the pairs is largest; precision, recall and F
    of a sequence are sums over the pairs, divided by the number of regions of the
    truth. Over a data set they are means over its sequences, "extracted" is the number
    of regions with an F of at least 0.75, backgrounds included, and "delta_objects" the
    mean of how much the number of tracks is off, |tracks - regions|. Void pixels are
    background, weights do not count.
    """

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        segments = _count(frames)
        overlap = segments.overlap()
        fits = fit(overlap, overlap.sum(axis=1), overlap.sum(axis=0))
        matched = match(fits.f_measure)
        pairs = np.flatnonzero(matched >= 0)
        count = len(segments.regions)
        precision, recall, f_measure = (v[pairs, matched[pairs]] for v in fits)
        parts = ThreeDParts(
            precision=float(precision.sum()) / count if count else math.nan,
            recall=float(recall.sum()) / count if count else math.nan,
            f_measure=float(f_measure.sum()) / count if count else math.nan,
            extracted=int(np.count_nonzero(f_measure >= _FOUND)),
            regions=count,
            tracks=len(segments.tracks),
        )
        everything = np.ones(count, bool)
        nothing = np.zeros(len(segments.tracks), bool)
        scores = segments.frame_scores(matched, objects=everything, penalised=nothing)
        return SequenceScore(parts, scores)

    return Measure(sequence, _three_d_dataset)


def _three_d_dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
    parts: list[ThreeDParts] = [score.parts for score in scores]
    return {
        "precision": mean([p.precision for p in parts]),
        "recall": mean([p.recall for p in parts]),
        "f_measure": mean([p.f_measure for p in parts]),
        "delta_objects": mean([float(abs(p.tracks - p.regions)) for p in parts]),
        "extracted": float(sum(p.extracted for p in parts)),
        "regions": float(sum(p.regions for p in parts)),
    }


def mean(values: Sequence[float]) -> float:
    """The mean, the same in whatever order the values are; NaN if there are none."""
    return math.fsum(values) / len(values) if values else math.nan


def _count(frames: Iterable[ComparedFrame]) -> Segments:
    segments = Segments()
    for frame in frames:
        # A colour that FBMS does not list is background.
        segments.add(frame.name, np.maximum(frame.truth, 0), frame.found)
    return segments
