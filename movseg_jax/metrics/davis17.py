"""J and F of every object, as the DAVIS 2017 unsupervised challenge has them.

Every object is assigned at most one track of its sequence, such that the mean of J and
F is best, and is scored by that track alone (Caelles et al., 2019, whose code is
`davis2017-evaluation`). All frames count, also the first and the last one. Void pixels
belong to neither tracks nor objects.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32
from scipy.optimize import linear_sum_assignment

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric, mean
from movseg_jax.metrics.davis import (
    Boundary,
    Statistics,
    boundary_agreement,
    boundary_of,
    mean_statistics,
    statistics_of,
)


class Region(NamedTuple):
    """A track or an object in a frame.

    Attributes:
        area: Number of pixels, at least 1.
        outline: Outline; it may be empty if the region leaves the frame on all sides.
    """

    area: int
    outline: Boundary


class FramePairs(NamedTuple):
    """J and F of every track with every object in a frame.

    Attributes:
        name: Name of the frame.
        objects: Whether each object that is visible has an outline, by its id.
        tracks: Whether each track that is visible has an outline, by its id.
        scores: J and F by (track, object).
    """

    name: str
    objects: dict[int, bool]
    tracks: dict[int, bool]
    scores: dict[tuple[int, int], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Davis17Unsupervised(TrackMetric):
    """J and F with assigned tracks, as the DAVIS 2017 unsupervised challenge has them.

    The numbers are "J&F-mean", "J-mean", "J-recall", "J-decay" and the same of F. Each
    is the mean over the objects of all sequences. A frame's score is the mean of J and
    F over the objects of the sequence. Ids of the truth are objects, and every id that
    is visible in any frame is a track; ids may have gaps. Where neither the object
    nor its track is visible, J and F are 1. Among equally good assignments the
    challenge's code decides by ids; here the objects' first pixels decide.

    Attributes:
        max_tracks: Limit of the tracks in a sequence. More are an error, as in the
            challenge, because the method must choose which ones count.
        late_objects: Whether every id of the truth is an object. The challenge's code
            only knows ids up to the largest one in the first frame; others are neither
            objects nor void there.

    Raises:
        InputError: The limit is below 1; or, by `add`, there are more tracks.
    """

    max_tracks: int = 20
    late_objects: bool = False

    def __post_init__(self):
        """Checks the limit."""
        if self.max_tracks < 1:
            raise InputError(f"`max_tracks` is {self.max_tracks}, expected at least 1.")

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence, whose part has a score for each object."""
        pairs, tracks = self._compare_frames(frames)
        objects = [*dict.fromkeys(i for frame in pairs for i in frame.objects)]
        if not objects:
            return State(((),), {})
        # If there are fewer tracks than objects, tracks that are never visible fill up.
        tracks += [-1] * (len(objects) - len(tracks))
        rows, columns = linear_sum_assignment(-_quality(pairs, tracks, objects))
        scores: list[tuple[Statistics, Statistics]] = []
        by_frame: list[list[float]] = [[] for _ in pairs]
        for row, column in zip(rows, columns, strict=True):
            own = [score_pair(frame, tracks[row], objects[column]) for frame in pairs]
            js, fs = zip(*own, strict=True)
            scores.append((statistics_of(js), statistics_of(fs)))
            for values, (j, f) in zip(by_frame, own, strict=True):
                values.append((j + f) / 2)
        means = {
            frame.name: mean(values)
            for frame, values in zip(pairs, by_frame, strict=True)
        }
        return State((tuple(scores),), means)

    def _compare_frames(
        self, frames: Iterable[ComparedFrame]
    ) -> tuple[list[FramePairs], list[int]]:
        """All frames, and the tracks in the order of their first pixels."""
        pairs: list[FramePairs] = []
        visible: dict[int, None] = {}
        last = 0  # The largest id in the first frame.
        for frame in frames:
            visible.update(dict.fromkeys(ids_by_first_pixel(frame.found)))
            if len(visible) > self.max_tracks:
                raise InputError(
                    f"Up to frame {frame.name}, {len(visible)} tracks are visible, but "
                    f"the DAVIS 2017 unsupervised protocol allows {self.max_tracks} a "
                    "sequence (`max_tracks`): keep the best ones only."
                )
            truth, found = frame.without_void()
            if not self.late_objects:
                last = last if pairs else int(truth.max(initial=0))
                truth = np.where(truth <= last, truth, 0)
            pairs.append(_compare(frame.name, truth, found))
        return pairs, [*visible]

    def compute(self, state: State) -> dict[str, float]:
        """Returns the means over the objects of all sequences."""
        objects = [score for part in state.parts for score in part]
        numbers = mean_statistics("J", [j for j, _ in objects])
        numbers |= mean_statistics("F", [f for _, f in objects])
        return {"J&F-mean": (numbers["J-mean"] + numbers["F-mean"]) / 2, **numbers}


def _quality(
    frames: Sequence[FramePairs], tracks: Sequence[int], objects: Sequence[int]
) -> Float64[np.ndarray, "t o"]:
    """The sum of J and F over all frames, for every track with every object.

    It visits only what is visible in each frame, so that many short tracks take no more
    time than a few long ones.
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
    """J and F of a track with an object, each visible or not."""
    if (track, o) in frame.scores:
        return frame.scores[track, o]
    outlined = frame.tracks.get(track, frame.objects.get(o))
    return (1.0, 1.0) if outlined is None else _score_alone(outlined)


def _score_alone(outlined: bool) -> tuple[float, float]:
    """J and F of a region that is compared with an empty one."""
    return 0.0, float(not outlined)


def _compare(
    name: str, truth: Int32[np.ndarray, "h w"], found: Int32[np.ndarray, "h w"]
) -> FramePairs:
    """J and F of every visible track with every visible object."""
    tracks, objects = (
        {i: region_of(ids == i) for i in ids_by_first_pixel(ids)}
        for ids in (found, truth)
    )
    overlaps = {}
    for o in objects:
        ids, counts = np.unique(found[truth == o], return_counts=True)
        for track, count in zip(ids.tolist(), counts.tolist(), strict=True):
            overlaps[track, o] = count
    return compare_regions(name, tracks, objects, overlaps)


def compare_regions(
    name: str,
    tracks: Mapping[int, Region],
    objects: Mapping[int, Region],
    overlaps: Mapping[tuple[int, int], int],
) -> FramePairs:
    """J and F of every track with every object.

    Args:
        name: Name of the frame.
        tracks: Visible tracks by their ids.
        objects: Visible objects by their ids.
        overlaps: Number of pixels that (track, object) share, if it is not 0.
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
    """The ids in an image, except 0, in the order of their first pixels.

    With this order, ids do not decide between equally good assignments.
    """
    flat = ids.ravel()
    # Sorting where ids change is ten times as fast as sorting all pixels.
    starts = np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]])
    values, first = np.unique(starts, return_index=True)
    return [i for i in values[np.argsort(first)].tolist() if i > 0]
