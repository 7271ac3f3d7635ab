"""Measures whether one thing is one track, as a user of tracks sees it.

J of the union of all tracks hides that one thing is several tracks. So this adds J and
F of the best single track of each object, the number of tracks on each object, the
identity metrics of `identities`, and the faults of tracks in `track_shapes`.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric, mean
from movseg_jax.metrics.davis import boundary_accuracy, region_similarity
from movseg_jax.metrics.davis17 import (
    FramePairs,
    compare_regions,
    ids_by_first_pixel,
    region_of,
    score_pair,
)
from movseg_jax.metrics.detections import pair_counts, pair_ious
from movseg_jax.metrics.identities import (
    Identities,
    IdentityParts,
    identity_numbers,
)
from movseg_jax.metrics.track_shapes import (
    ShapeParts,
    TrackShapes,
    complete_masks,
    shape_numbers,
)
from movseg_jax.results import TrackedFrame

ON_OBJECT = 0.5  # Share of a track's pixels above which it is a track on an object.


class TrueFrame(NamedTuple):
    """The ground truth of a frame.

    Attributes:
        masks: Masks of the objects; where two overlap, the later is visible.
        ids: Ids of the objects, from 1, the same throughout a video.
        ignore: Pixels that are neither right nor wrong; None if all count.
    """

    masks: Bool[np.ndarray, "n h w"]
    ids: Int[np.ndarray, " n"]
    ignore: Bool[np.ndarray, "h w"] | None = None


class TrackingPart(NamedTuple):
    """The data that `Tracking` keeps of a sequence.

    Attributes:
        best: J and F of the best single track of each object.
        union: J and F of all tracks together; NaN without frames.
        tracks_on: Number of tracks on each object.
        tracks: Number of tracks, without those that lie in void pixels.
        identities: Counts for HOTA, IDF1 and identity switches.
        shapes: Overlaps, holes and gaps of the tracks.
        exclusive: Whether the file of the tracks cannot hold tracks that overlap.
    """

    best: tuple[tuple[float, float], ...]
    union: tuple[float, float]
    tracks_on: tuple[int, ...]
    tracks: int
    identities: IdentityParts
    shapes: ShapeParts
    exclusive: bool


@dataclasses.dataclass(frozen=True)
class Tracking(TrackMetric):
    """Measures whether one thing is one track.

    The numbers are the following. Void pixels are cut out of tracks and objects, and
    the mask of a track is complete, as it was before other tracks were painted over it,
    unless something else is said.

    - "best_j", "best_f": mean over all objects of J and F of the track whose J with the
      object is best. J and F are means over all frames, 1 where neither is visible, as
      in `davis17`. But objects do not compete for tracks, and having no track is a
      choice, too.
    - "union_j", "union_f": mean over sequences of J and F of all tracks together.
    - "tracks_per_object": mean over all objects of the number of tracks that have more
      than `ON_OBJECT` of their pixels, over all frames, in the object. Here void pixels
      count. A track that has most of its pixels there is left out of this number and
      the two following.
    - "tracks_per_video": mean over sequences of the number of tracks.
    - "stray_tracks": mean over sequences of the number of tracks that are on no object.
    - "hota", "det_a", "ass_a", "idf1", "idp", "idr", "id_switches": see `identities`;
      the similarity is the IoU of visible masks.
    - "overlapping", "contained", "holes", "gaps": see `shape_numbers`; void pixels
      count. The first two leave out sequences that are `exclusive`, and are absent if
      all are.

    The score of a frame is J of the union.

    Attributes:
        exclusive: Whether the tracks that are added come from a file that cannot hold
            tracks that overlap.
    """

    exclusive: bool = False

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        pairs: list[FramePairs] = []
        unions: list[tuple[float, float]] = []
        places: Counter[tuple[int, int]] = Counter()
        identities = Identities()
        shapes = TrackShapes()
        for frame in frames:
            pair, place = _compare_complete(frame)
            pairs.append(pair)
            places.update(place)
            unions.append(_score_union(frame))
            _add_identities(identities, frame)
            shapes.add(frame.tracks)
        best = _best_tracks(pairs)
        owners = _owners(places)
        on = Counter(owners.values())
        part = TrackingPart(
            best=tuple(best.values()),
            union=(mean(j for j, _ in unions), mean(f for _, f in unions)),
            tracks_on=tuple(on[o] for o in best),
            tracks=sum(owner != _VOID for owner in owners.values()),
            identities=identities.parts(),
            shapes=shapes.parts(),
            exclusive=self.exclusive,
        )
        names = [pair.name for pair in pairs]
        scores = {name: j for name, (j, _) in zip(names, unions, strict=True)}
        return State((part,), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers of all sequences."""
        parts: tuple[TrackingPart, ...] = state.parts
        numbers = {}
        for i, letter in enumerate("jf"):
            numbers[f"best_{letter}"] = mean(pair[i] for p in parts for pair in p.best)
            numbers[f"union_{letter}"] = mean(part.union[i] for part in parts)
        numbers["tracks_per_object"] = mean(n for part in parts for n in part.tracks_on)
        numbers["tracks_per_video"] = mean(part.tracks for part in parts)
        numbers["stray_tracks"] = mean(p.tracks - sum(p.tracks_on) for p in parts)
        numbers |= identity_numbers([part.identities for part in parts])
        numbers |= shape_numbers([part.shapes for part in parts])
        # In exclusive files nothing can overlap, so these two would flatter them.
        not_exclusive = [part.shapes for part in parts if not part.exclusive]
        for name in ("overlapping", "contained"):
            del numbers[name]
            if not_exclusive:
                numbers[name] = shape_numbers(not_exclusive)[name]
        return numbers


def measure_tracks(
    truth: Iterable[TrueFrame], tracked: Iterable[TrackedFrame]
) -> State:
    """Returns the `Tracking` state of a video's tracks.

    Args:
        truth: Truth of each frame, in order.
        tracked: Tracks in the same frames.

    Raises:
        InputError: There are not as many frames of one as of the other, or a frame is
            of another size than its truth.
    """
    return Tracking().add(_compared(truth, tracked))


def _compared(
    truth: Iterable[TrueFrame], tracked: Iterable[TrackedFrame]
) -> Iterator[ComparedFrame]:
    for i, (true, frame) in enumerate(itertools.zip_longest(truth, tracked)):
        if true is None or frame is None:
            more, fewer = "truth", "tracked"
            if true is None:
                more, fewer = fewer, more
            raise InputError(
                f"`{more}` has more frames than `{fewer}`, which has {i}; expected the "
                "same frames in both."
            )
        ids = np.zeros(true.masks.shape[1:], np.int32)
        if ids.shape != frame.size:
            raise InputError(
                f"Frame {frame.name} is of size {frame.size}, but its truth of "
                f"{ids.shape} (height, width); masks are never resized."
            )
        for mask, identity in zip(true.masks, true.ids, strict=True):
            ids[mask] = identity
        yield ComparedFrame(frame.name, i, ids, frame, true.ignore)


def _score_union(frame: ComparedFrame) -> tuple[float, float]:
    """J and F of all tracks together."""
    truth, found = (ids > 0 for ids in frame.without_void())
    return region_similarity(found, truth), boundary_accuracy(found, truth)


def _add_identities(identities: Identities, frame: ComparedFrame) -> None:
    """Adds the visible parts of objects and tracks."""
    truth, found = frame.without_void()
    objects = ids_by_first_pixel(truth)
    tracks = ids_by_first_pixel(found)
    ious = pair_ious(pair_counts(truth, found, None))
    similarity = np.array([[ious.get((o, t), 0.0) for t in tracks] for o in objects])
    identities.add(objects, tracks, similarity.reshape(len(objects), len(tracks)))


# Objects that tracks are on --------------------------------------------------------

_VOID = -1  # The id of void pixels among those of objects.


def _compare_complete(
    frame: ComparedFrame,
) -> tuple[FramePairs, Counter[tuple[int, int]]]:
    """Compares complete tracks with objects.

    Returns:
        The J and F of every track with every object; and the number of pixels of each
        track in each object, in no object (0), and in `_VOID`.
    """
    truth = frame.truth
    if frame.void is not None:
        truth = np.where(frame.void, np.int32(_VOID), truth)
    places: Counter[tuple[int, int]] = Counter()
    tracks = {}
    for track, rle in complete_masks(frame.tracks).items():
        mask = masks.decode(rle)
        values, sizes = np.unique(truth[mask], return_counts=True)
        for value, size in zip(values.tolist(), sizes.tolist(), strict=True):
            places[track, value] = size
        mask &= truth != _VOID
        if mask.any():
            tracks[track] = region_of(mask)
    objects = {i: region_of(truth == i) for i in ids_by_first_pixel(truth)}
    return compare_regions(frame.name, tracks, objects, places), places


def _owners(places: Counter[tuple[int, int]]) -> dict[int, int]:
    """The object that has more than `ON_OBJECT` of each track; 0 if there is none."""
    areas: Counter[int] = Counter()
    for (track, _), count in places.items():
        areas[track] += count
    owners = dict.fromkeys(areas, 0)
    for (track, value), count in places.items():
        if count > ON_OBJECT * areas[track]:
            owners[track] = value
    return owners


def _best_tracks(frames: Sequence[FramePairs]) -> dict[int, tuple[float, float]]:
    """J and F of each object's best track, by the object, over all frames."""
    candidates: dict[int, set[int]] = {}
    for frame in frames:
        for o in frame.objects:
            candidates.setdefault(o, {_NO_TRACK})
        for (track, o), (j, _) in frame.scores.items():
            if j:  # A track that never overlaps is not better than none.
                candidates[o].add(track)
    return {
        o: max(_mean_scores(frames, track, o) for track in tracks)
        for o, tracks in candidates.items()
    }


_NO_TRACK = 0  # An id that no track has.


def _mean_scores(
    frames: Sequence[FramePairs], track: int, o: int
) -> tuple[float, float]:
    scores = [score_pair(frame, track, o) for frame in frames]
    return mean(j for j, _ in scores), mean(f for _, f in scores)
