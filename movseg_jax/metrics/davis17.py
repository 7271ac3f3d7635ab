"""J and F of every object, as the DAVIS 2017 unsupervised challenge has it.

Every object is assigned at most one track of its sequence, so that the mean of J and F
is best, and is scored by that track alone (Caelles et al., 2019; `davis2017-evaluation`
is their code). All frames count, also the first and the last one. Void pixels are
neither found nor true.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from movseg_jax.errors import InputError
from movseg_jax.metrics.compared import ComparedFrame, Measure, SequenceScore
from movseg_jax.metrics.davis import (
    Boundary,
    Statistics,
    boundary_agreement,
    boundary_of,
    mean,
    mean_statistics,
    statistics_of,
)


class ObjectScore(NamedTuple):
    """How well the best track fits an object of a sequence."""

    j: Statistics
    f: Statistics


class _Frame(NamedTuple):
    """What is kept of a frame; ids that are not there are absent.

    Attributes:
        name: Of the frame.
        objects: Of each id, whether the object has an outline.
        tracks: The same of the tracks.
        scores: J and F of (track, object).
    """

    name: str
    objects: dict[int, bool]
    tracks: dict[int, bool]
    scores: dict[tuple[int, int], tuple[float, float]]


def davis17_unsupervised(max_tracks: int = 20) -> Measure:
    """J and F with assigned tracks, as the DAVIS 2017 unsupervised challenge has them.

    Its `dataset` gives "J&F-mean", and "J-mean", "J-recall", "J-decay" and the same of
    F, each the mean over the objects of all sequences. A frame's score is the mean over
    its sequence's objects of J and F. Objects are all ids of the truth, tracks all that
    are visible anywhere in the sequence; ids need not be in a row. Where neither the
    object nor its track is visible, J and F are 1.

    Args:
        max_tracks: The challenge's limit. As there, more are an error: which would
            count is the method's decision.
    """
    if max_tracks < 1:
        raise InputError(f"max_tracks is {max_tracks}, expected at least 1.")

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        return _score_sequence(frames, max_tracks)

    def dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
        objects: list[ObjectScore] = [part for score in scores for part in score.parts]
        numbers = mean_statistics("J", [each.j for each in objects])
        numbers |= mean_statistics("F", [each.f for each in objects])
        return {"J&F-mean": (numbers["J-mean"] + numbers["F-mean"]) / 2, **numbers}

    return Measure(sequence, dataset)


def _score_sequence(frames, max_tracks) -> SequenceScore:
    kept: list[_Frame] = []
    visible: set[int] = set()
    for frame in frames:
        visible.update(_ids(frame.found))
        if len(visible) > max_tracks:
            raise InputError(
                f"Up to frame {frame.name}, {len(visible)} tracks are visible, but the "
                f"DAVIS 2017 unsupervised protocol allows {max_tracks} a sequence "
                "(max_tracks): keep the best ones only."
            )
        kept.append(_compare(frame))
    objects = sorted({i for frame in kept for i in frame.objects})
    if not objects:
        return SequenceScore((), {})
    j, f = _all_scores(kept, sorted(visible), objects)
    # Means as DAVIS' code has them: sums in another order may decide ties otherwise.
    quality = (j.mean(axis=2) + f.mean(axis=2)) / 2
    tracks, assigned = linear_sum_assignment(-quality)
    j, f = j[tracks, assigned], f[tracks, assigned]
    parts = tuple(
        ObjectScore(statistics_of(js.tolist()), statistics_of(fs.tolist()))
        for js, fs in zip(j, f, strict=True)
    )
    both = ((j + f) / 2).T.tolist()
    scores = {
        frame.name: mean(values) for frame, values in zip(kept, both, strict=True)
    }
    return SequenceScore(parts, scores)


def _compare(frame: ComparedFrame) -> _Frame:
    """J and F of every track that is there with every object that is there."""
    found, truth = frame.found, frame.truth
    if frame.void is not None:
        found, truth = (np.where(frame.void, 0, ids) for ids in (found, truth))
    tracks, objects = (
        {i: _area_and_boundary(ids == i) for i in _ids(ids)} for ids in (found, truth)
    )
    scores = {}
    for o, (area, outline) in objects.items():
        ids, counts = np.unique(found[truth == o], return_counts=True)
        overlaps = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        for t, (track_area, track) in tracks.items():
            overlap = overlaps.get(t, 0)
            j = overlap / (track_area + area - overlap)
            scores[t, o] = j, boundary_agreement(track, outline)
    return _Frame(frame.name, _outlined(objects), _outlined(tracks), scores)


def _all_scores(frames: list[_Frame], tracks: list[int], objects: list[int]):
    """J and F [tracks, objects, frames]; there are at least as many tracks as objects.

    The tracks that there were too few of are never visible.
    """
    rows = [*tracks, *[-1] * (len(objects) - len(tracks))]
    j = np.zeros((len(rows), len(objects), len(frames)))
    f = np.zeros_like(j)
    for k, frame in enumerate(frames):
        for row, track in enumerate(rows):
            for column, o in enumerate(objects):
                if (track, o) in frame.scores:
                    j[row, column, k], f[row, column, k] = frame.scores[track, o]
                    continue
                there = track in frame.tracks or o in frame.objects
                # Nothing has no outline, as has what fills the frame.
                outlined = frame.tracks.get(track) or frame.objects.get(o)
                j[row, column, k] = not there
                f[row, column, k] = not outlined
    return j, f


def _area_and_boundary(mask) -> tuple[int, Boundary]:
    return int(np.count_nonzero(mask)), boundary_of(mask)


def _outlined(regions: dict[int, tuple[int, Boundary]]) -> dict[int, bool]:
    return {i: len(outline.pixels) > 0 for i, (_, outline) in regions.items()}


def _ids(ids: np.ndarray) -> list[int]:
    values = np.unique(ids)
    return values[values > 0].tolist()
