"""Linking objects of successive frames to tracks: Dave et al. (2019), section 3.4.

A track is started by a moving detection and continued by whatever overlaps with it
most, also by detections of the static branch: objects are followed after they stop.
The forward pass, `Linker`, sees one frame at a time and knows only tracks that may
still continue. The backward pass, `link_back`, then gives tracks what was detected
before they started and within their gaps; it reads the detections from the end.

Where the paper and the authors' code differ, `TrackConfig.as_released` is the code. By
default two things are better than both: duplicates and parts of an object are one
object (`objects`), and masks are compared where the flow between the frames takes them.
No track continues across a cut.

Tracks of one frame are numbered as the frame lists their detections. Among equal ranks,
older tracks and earlier detections are first.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.masks import Rle
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.track.links import Links, by_track, check_count, check_lengths, ranked
from movseg_jax.track.objects import Expected, FoundObject, find_objects
from movseg_jax.track.translation import carry

# Masks that overlap so much where flow takes them are assigned first. Flow is wrong at
# times, above all of small and fast things; so the other pairs may overlap where flow
# takes them, or where they were.
CLEAR_IOU = 0.3


class _Track(NamedTuple):
    """A track as matching sees it: its nearest detection."""

    id: int
    time: int  # The frame of the detection.
    detection: Detection
    rank: tuple[bool, float]
    frames: int = 1  # In which the track has been seen.


class Linker:
    """The forward pass: links detections as their frames come.

    Memory and time do not depend on the number of frames before: it holds tracks whose
    last detection is at most `max_gap` frames ago, with that detection.
    """

    def __init__(self, config: TrackConfig | None = None):
        self._config = config or TrackConfig()
        self._active: dict[int, _Track] = {}  # By id, ascending.
        self._time = 0  # Number of the next frame.
        self._started = 0  # Tracks so far.

    def add(self, frame: FrameDetections) -> tuple[int, ...]:
        """Links the next frame's detections to the frames before.

        Returns:
            Ids of the tracks, as in `Links`.

        Raises:
            InputError: The masks differ in size.
        """
        ids = [0] * (len(frame.moving) + len(frame.static))
        oldest = math.inf if frame.cut else self._time - self._config.max_gap
        active = {i: t for i, t in self._active.items() if t.time >= oldest}
        places = {i: self._place(track) for i, track in active.items()}
        expected = [Expected(places[i], t.frames) for i, t in active.items()]
        objects = find_objects(frame, self._config, expected)
        iou_along_flow = functools.partial(_iou_ahead, places=places)
        pairs = _match(
            active.values(), objects, self._time, self._config, iou_along_flow
        )
        for track, found in pairs:
            ids[found.candidate.number] = track.id
        for (number, detection, rank), parts in objects:
            may_start, _ = rank
            if may_start and not ids[number]:
                self._started += 1
                ids[number] = self._started
            if track_id := ids[number]:
                frames = active[track_id].frames + 1 if track_id in active else 1
                active[track_id] = _Track(track_id, self._time, detection, rank, frames)
                for part in parts:
                    ids[part] = track_id
        self._active = active
        self._time += 1
        return tuple(ids)

    def _place(self, track: _Track) -> Rle:
        """Where a track is expected in the next frame."""
        mask, shift = track.detection.mask, track.detection.shift
        if not self._config.follow_flow:
            return mask
        return carry(mask, shift, self._time - track.time)


def link(frames: Sequence[FrameDetections], config: TrackConfig | None = None) -> Links:
    """Links the detections of a video: forwards and, if so configured, backwards.

    Args:
        frames: The detections, read once from the front, then once from the end. They
            may be read from disk: one frame is held at a time, and the last detection
            of each active track.
        config: The settings; the defaults if None.

    Raises:
        InputError: The masks of frames close to each other differ in size.
    """
    config = config or TrackConfig()
    linker = Linker(config)
    links = Links.from_frames(linker.add(frame) for frame in frames)
    return link_back(frames, links, config) if config.bidirectional else links


def link_back(
    frames: Sequence[FrameDetections], links: Links, config: TrackConfig | None = None
) -> Links:
    """The backward pass: adds to tracks what the forward pass left unlinked.

    Tracks grow to before their start, and their gaps are filled; none is started.

    Args:
        frames: The detections, as for `link`; read once, from the end.
        links: Links of the forward pass: `Links.from_frames` of what `Linker` returned.
        config: The settings of the forward pass; the defaults if None.

    Raises:
        InputError: The links are not those of the frames, or masks differ in size.
    """
    config = config or TrackConfig()
    check_lengths(frames, links=links)
    linked = links.ids.copy()
    active: dict[int, _Track] = {}  # With their next detection.
    for time in reversed(range(len(links))):
        ids = linked[links.starts[time] : links.starts[time + 1]]  # A view.
        # The authors ask for tracks whose first detection is less than `max_gap` frames
        # ahead. Within a track no gap is longer, so that this is the same.
        active = {i: t for i, t in active.items() if t.time < time + config.max_gap}
        if not active and not ids.any():
            continue
        frame = frames[time]
        check_count(frame, ids, time)
        waiting = [active[i] for i in sorted(active.keys() - set(ids.tolist()))]
        if waiting and not ids.all():
            objects = find_objects(frame, config, linked=np.flatnonzero(ids).tolist())
            free = [found for found in objects if not ids[found.candidate.number]]
            iou_along_flow = functools.partial(_iou_back, time=time)
            for track, found in _match(waiting, free, time, config, iou_along_flow):
                ids[[found.candidate.number, *found.parts]] = track.id
        for track_id, found in by_track(ranked(frame, config), ids).items():
            _, detection, rank = max(found, key=lambda candidate: candidate.rank)
            active[track_id] = _Track(track_id, time, detection, rank)
        if frame.cut:
            active = {}
    return Links(linked, links.starts)


def _match(
    tracks, objects, time, config, iou_along_flow
) -> list[tuple[_Track, FoundObject]]:
    """Pairs tracks, given by id, with objects of a frame, given as it lists them.

    Tracks whose nearest detection is equally far away are assigned at once, those with
    the nearest first. The least IoU is applied after the assignment: a pair that is
    rejected may have taken a track or an object that would have matched another one,
    and neither is tried again (as in the authors' code).
    """
    # Imported here, as it takes a second that only linking needs.
    from scipy.optimize import linear_sum_assignment

    # Sorting is stable, in reverse too: equal ranks keep their order.
    tracks = sorted(tracks, key=lambda track: track.rank, reverse=True)
    objects = sorted(objects, key=lambda found: found.candidate.rank, reverse=True)
    by_age = config.matching == "by_age"
    ages = [abs(t.time - time) if by_age else 0 for t in tracks]
    pairs = []
    for age in sorted(set(ages)):
        group = [t for t, a in zip(tracks, ages, strict=True) if a == age]
        still = masks.iou([t.detection.mask for t in group], _shapes(objects))
        stages = [(still, config.min_iou)]
        if config.follow_flow:
            followed = iou_along_flow(group, objects)
            stages = [
                (followed, max(CLEAR_IOU, config.min_iou)),
                (np.maximum(followed, still), config.min_iou),
            ]
        rows, columns = np.arange(len(group)), np.arange(len(objects))
        for overlaps, least in stages:
            i, j = linear_sum_assignment(overlaps[np.ix_(rows, columns)], maximize=True)
            i, j = rows[i], columns[j]
            enough = overlaps[i, j] > least
            i, j = i[enough], j[enough]
            pairs += [(group[r], objects[c]) for r, c in zip(i, j, strict=True)]
            rows, columns = np.setdiff1d(rows, i), np.setdiff1d(columns, j)
        objects = [objects[c] for c in columns]
    return pairs


def _iou_ahead(tracks, objects, places) -> Float64[np.ndarray, "tracks objects"]:
    """IoU of objects with tracks where these are expected."""
    return masks.iou([places[track.id] for track in tracks], _shapes(objects))


def _iou_back(tracks, objects, time) -> Float64[np.ndarray, "tracks objects"]:
    """IoU of later detections of tracks with objects, these moved by their flow."""
    ahead = np.array([t.time - time for t in tracks], int)
    overlaps = np.zeros((len(tracks), len(objects)))
    detections = [o.candidate.detection for o in objects]
    for frames in np.unique(ahead).tolist():
        rows = np.flatnonzero(ahead == frames)
        moved = [carry(d.mask, d.shift, frames) for d in detections]
        overlaps[rows] = masks.iou([tracks[r].detection.mask for r in rows], moved)
    return overlaps


def _shapes(objects: Sequence[FoundObject]) -> list[Rle]:
    return [found.candidate.detection.mask for found in objects]
