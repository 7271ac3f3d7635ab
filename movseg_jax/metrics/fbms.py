"""Metrics of tracks whose truth is known in a few frames, as in FBMS-59.

- `fbms_official.Official`: by the data set's authors (Ochs, Malik, Brox, 2014).
- `Proposed`: by Dave, Tokmakov and Ramanan ("Towards Segmenting Anything That Moves",
  2019), which also counts what is found where no object is.
- `ThreeD`: by Bideau and others (2018), for their labels of what moves in 3D.

Here a track is its visible part in the frames of the truth. Numbers are 0 to 1, where
the originals print percent, or counts. Among equally good matchings of tracks and
objects, the places of their first pixels decide, never ids.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric
from movseg_jax.metrics.segments import Segments, fit, harmonic_mean, match

_FOUND = 0.75  # F from which on `ThreeD` takes an object for found.


class ProposedPart(NamedTuple):
    """The data that `Proposed` keeps of a sequence, in pixels over all frames.

    Attributes:
        correct: Number of pixels of tracks on the objects that they are matched to.
        found: Number of pixels of all tracks.
        true: Number of pixels of all objects.
    """

    correct: int
    found: int
    true: int


class ThreeDPart(NamedTuple):
    """The data that `ThreeD` keeps of a sequence.

    Attributes:
        precision: Mean precision over the regions of the truth.
        recall: Mean recall over the regions of the truth.
        f_measure: Mean F over the regions of the truth.
        extracted: Number of regions with an F of at least 0.75.
        regions: Number of regions of the truth, background included.
        tracks: Number of tracks, background included.
    """

    precision: float
    recall: float
    f_measure: float
    extracted: int
    regions: int
    tracks: int


# The paper's own metric ------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Proposed(TrackMetric):
    """The metric that "Towards Segmenting Anything That Moves" proposes (section 4).

    Tracks and objects are matched such that the sum of F over the pairs is largest. The
    precision, recall and F of a pair are those of all its pixels over all frames. The
    precision of a sequence is the share of all tracks' pixels, and its recall the share
    of all objects' pixels, that are shared by a matched pair. Over a data set all three
    are means over its sequences: F is the mean F, not the F of the means.

    The authors' code stops with an error if the truth has no background or if nothing
    of the background is found; here these are sequences like all others. As there,
    precision is 0 if nothing is found, recall is 0 if there are no objects, and F is 0
    if both are 0. Void pixels are background, and weights do not count.

    Attributes:
        background: Background of the prediction. 0 means the pixels without a track;
            another id means that track, and the pixels without a track are a track of
            their own; "infer" means the largest of both kinds, for methods that do not
            say.

    Raises:
        InputError: `background` is none of these.
    """

    background: int | Literal["infer"] = 0

    def __post_init__(self):
        """Checks the background."""
        valid = isinstance(self.background, int) and self.background >= 0
        if not valid and self.background != "infer":
            raise InputError(
                f'background is {self.background!r}, expected "infer" or a track\'s '
                "id, 0 for pixels without a track."
            )

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        segments = _count(frames)
        overlap = segments.overlap()
        background = _background(segments.tracks, overlap, self.background)
        tracks = segments.tracks != background
        objects = segments.regions != 0
        values = fit(overlap, overlap.sum(axis=1), overlap.sum(axis=0)).f_measure
        matched = match(values * objects[:, None] * tracks[None, :])
        pairs = np.flatnonzero(matched >= 0)
        part = ProposedPart(
            correct=int(overlap[pairs, matched[pairs]].sum()),
            found=int(overlap[:, tracks].sum()),
            true=int(overlap[objects].sum()),
        )
        scores = segments.frame_scores(matched, objects=objects, penalised=tracks)
        return State((part,), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the means over sequences."""
        rows = []
        for correct, found, true in state.parts:
            precision = correct / found if found else 0.0
            recall = correct / true if true else 0.0
            rows.append((precision, recall, harmonic_mean(precision, recall)))
        names = ("precision", "recall", "f_measure")
        columns = zip(*rows, strict=True)
        return {name: mean_of_all(v) for name, v in zip(names, columns, strict=True)}


def _background(tracks, overlap, background: int | Literal["infer"]) -> int:
    """The id of what counts as background."""
    if background != "infer" or not len(tracks):
        return 0 if background == "infer" else background
    sizes = overlap.sum(axis=0)
    # Among equally large ones, pixels without a track come first, then the first seen.
    best = max(range(len(tracks)), key=lambda i: (sizes[i], tracks[i] == 0, -i))
    return int(tracks[best])


# 3D motion -------------------------------------------------------------------------


class ThreeD(TrackMetric):
    """The metric of the 3D-motion labels of FBMS (Bideau et al., CVPR 2018).

    The background is a region like the objects, and the pixels without a track are a
    track. Regions and tracks are matched such that the sum of F over the pairs is
    largest. Precision, recall and F of a sequence are sums over the pairs, divided by
    the number of regions of the truth; over a data set they are means over its
    sequences. "extracted" is the number of regions with an F of at least 0.75,
    backgrounds included, and "delta_objects" is the mean of |tracks - regions|. Void
    pixels are background, and weights do not count.
    """

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        segments = _count(frames)
        overlap = segments.overlap()
        fits = fit(overlap, overlap.sum(axis=1), overlap.sum(axis=0))
        matched = match(fits.f_measure)
        pairs = np.flatnonzero(matched >= 0)
        count = len(segments.regions)
        precision, recall, f_measure = (v[pairs, matched[pairs]] for v in fits)
        part = ThreeDPart(
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
        return State((part,), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers of all sequences."""
        parts: tuple[ThreeDPart, ...] = state.parts
        return {
            "precision": mean_of_all([p.precision for p in parts]),
            "recall": mean_of_all([p.recall for p in parts]),
            "f_measure": mean_of_all([p.f_measure for p in parts]),
            "delta_objects": mean_of_all(
                [float(abs(p.tracks - p.regions)) for p in parts]
            ),
            "extracted": float(sum(p.extracted for p in parts)),
            "regions": float(sum(p.regions for p in parts)),
        }


def mean_of_all(values: Sequence[float]) -> float:
    """The exact mean; NaN without values and, unlike `base.mean`, if one is NaN."""
    return math.fsum(values) / len(values) if values else math.nan


def _count(frames: Iterable[ComparedFrame]) -> Segments:
    segments = Segments()
    for frame in frames:
        # Colours that FBMS does not list are background.
        segments.add(frame.name, np.maximum(frame.truth, 0), frame.found)
    return segments
