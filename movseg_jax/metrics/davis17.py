"""J and F of every object, as the DAVIS 2017 unsupervised challenge has it.

Every object is assigned at most one track of its sequence, so that the mean of J and F
is best, and is scored by that track alone (Caelles et al., 2019; `davis2017-evaluation`
is their code). All frames count, also the first and the last one. Void pixels are
neither found nor true.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32
from scipy.optimize import linear_sum_assignment

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, Measure, SequenceScore
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


class Region(NamedTuple):
    """A track or an object in a frame.

    Attributes:
        area: Number of its pixels, at least 1.
        outline: Its outline, which may be empty if it leaves the frame on all sides.
    """

    area: int
    outline: Boundary


class FramePairs(NamedTuple):
    """How well every track fits every object in a frame.

    Attributes:
        name: Name of the frame.
        objects: Ids of the objects that are there, and whether each has an outline.
        tracks: The same of the tracks.
        scores: J and F of each (track, object).
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
    object nor its track is visible, J and F are 1. Of assignments that are as good, the
    challenge's code takes one by ids, and this one by the objects' first pixels.

    Args:
        max_tracks: The challenge's limit. As there, more are an error: which would
            count is the method's decision.
    """
    if max_tracks < 1:
        raise InputError(f"`max_tracks` is {max_tracks}, expected at least 1.")

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        return _score_sequence(frames, max_tracks)

    def dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
        objects: list[ObjectScore] = [part for score in scores for part in score.parts]
        numbers = mean_statistics("J", [each.j for each in objects])
        numbers |= mean_statistics("F", [each.f for each in objects])
        return {"J&F-mean": (numbers["J-mean"] + numbers["F-mean"]) / 2, **numbers}

    return Measure(sequence, dataset)


def _score_sequence(frames, max_tracks) -> SequenceScore:
    kept: list[FramePairs] = []
    visible: dict[int, None] = {}  # In the order of their first pixels.
    for frame in frames:
        visible.update(dict.fromkeys(ids_by_first_pixel(frame.found)))
        if len(visible) > max_tracks:
            raise InputError(
                f"Up to frame {frame.name}, {len(visible)} tracks are visible, but the "
                f"DAVIS 2017 unsupervised protocol allows {max_tracks} a sequence "
                "(`max_tracks`): keep the best ones only."
            )
        kept.append(_compare(frame))
    objects = [*dict.fromkeys(i for frame in kept for i in frame.objects)]
    if not objects:
        return SequenceScore((), {})
    # Tracks that there are too few of are never visible.
    tracks = [*visible, *[-1] * (len(objects) - len(visible))]
    rows, columns = linear_sum_assignment(-_quality(kept, tracks, objects))
    parts, means = [], [[] for _ in kept]
    for row, column in zip(rows, columns, strict=True):
        pairs = [score_pair(frame, tracks[row], objects[column]) for frame in kept]
        js, fs = zip(*pairs, strict=True)
        parts.append(ObjectScore(statistics_of(js), statistics_of(fs)))
        for values, pair in zip(means, pairs, strict=True):
            values.append(sum(pair) / 2)
    scores = {
        frame.name: mean(values) for frame, values in zip(kept, means, strict=True)
    }
    return SequenceScore(tuple(parts), scores)


def _quality(
    frames: Sequence[FramePairs], tracks: Sequence[int], objects: Sequence[int]
) -> Float64[np.ndarray, "t o"]:
    """The sum of J and F over all frames, of every track with every object.

    Looks at what is visible only, so that many short tracks take no more time than a
    few long ones.
    """
    row = {track: i for i, track in enumerate(tracks)}
    column = {o: i for i, o in enumerate(objects)}
    alone = [np.zeros(len(tracks)), np.zeros(len(objects))]
    together = np.zeros((len(tracks), len(objects)))
    for frame in frames:
        visible = ((row, frame.tracks, alone[0]), (column, frame.objects, alone[1]))
        for place, regions, sums in visible:
            for i, outlined in regions.items():
                sums[place[i]] += sum(_score_alone(outlined)) - 2
        for (track, o), pair in frame.scores.items():
            both = sum(_score_alone(frame.tracks[track]))
            both += sum(_score_alone(frame.objects[o]))
            together[row[track], column[o]] += sum(pair) + 2 - both
    # J and F are 1 where neither is visible.
    return 2 * len(frames) + alone[0][:, None] + alone[1] + together


def score_pair(frame: FramePairs, track: int, o: int) -> tuple[float, float]:
    """J and F of a track with an object, either of which may not be visible."""
    if (track, o) in frame.scores:
        return frame.scores[track, o]
    outlined = frame.tracks.get(track, frame.objects.get(o))
    return (1.0, 1.0) if outlined is None else _score_alone(outlined)


def _score_alone(outlined: bool) -> tuple[float, float]:
    """J and F of what is compared with nothing, which has no outline."""
    return 0.0, float(not outlined)


def _compare(frame: ComparedFrame) -> FramePairs:
    """J and F of every visible track with every visible object, without void pixels."""
    found, truth = frame.found, frame.truth
    if frame.void is not None:
        found, truth = (np.where(frame.void, 0, ids) for ids in (found, truth))
    tracks, objects = (
        {i: region_of(ids == i) for i in ids_by_first_pixel(ids)}
        for ids in (found, truth)
    )
    overlaps = {}
    for o in objects:
        ids, counts = np.unique(found[truth == o], return_counts=True)
        for track, count in zip(ids.tolist(), counts.tolist(), strict=True):
            overlaps[track, o] = count
    return compare_regions(frame.name, tracks, objects, overlaps)


def compare_regions(
    name: str,
    tracks: Mapping[int, Region],
    objects: Mapping[int, Region],
    overlaps: Mapping[tuple[int, int], int],
) -> FramePairs:
    """J and F of every track with every object.

    Args:
        name: Name of the frame.
        tracks: Tracks that are there, by their ids.
        objects: Objects that are there, by their ids.
        overlaps: Number of pixels that are in (track, object), where there are any.
    """
    scores = {}
    for o, (area, outline) in objects.items():
        for t, (track_area, track) in tracks.items():
            overlap = overlaps.get((t, o), 0)
            j = overlap / (track_area + area - overlap)
            scores[t, o] = j, boundary_agreement(track, outline)
    return FramePairs(name, _outlined(objects), _outlined(tracks), scores)


def region_of(mask: Bool[np.ndarray, "h w"]) -> Region:
    """The area and the outline of a mask."""
    return Region(int(np.count_nonzero(mask)), boundary_of(mask))


def _outlined(regions: Mapping[int, Region]) -> dict[int, bool]:
    return {i: len(region.outline.pixels) > 0 for i, region in regions.items()}


def ids_by_first_pixel(ids: Int32[np.ndarray, "h w"]) -> list[int]:
    """The ids that are there, but 0, in the order of their first pixels.

    In this order no ids decide between assignments that are equally good.
    """
    flat = ids.ravel()
    # Sorting where ids change is ten times as fast as sorting all pixels.
    starts = np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]])
    values, first = np.unique(starts, return_index=True)
    return [i for i in values[np.argsort(first)].tolist() if i > 0]
