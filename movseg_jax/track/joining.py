"""Joining tracks that are the same thing.

A detector may find a complete person in one frame and only the legs in the next, so
that the legs are a track of their own for some frames. Such a part comes out of the
mask of its whole, touches it all the time and goes back into it; an object that is
thrown, let go or set down does not. An object that is hidden or out of the picture for
some seconds becomes a new track when it comes back: it is joined if it comes back at
the same place with the same colours. So is one that passes behind a pole and is, for a
moment, a track on each side of it. Dave et al. (2019) do none of this.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from movseg_jax import masks
from movseg_jax.masks import Rle
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.track.colour import colour_similarity
from movseg_jax.track.links import Links, by_track, check_lengths
from movseg_jax.track.translation import carry

# Before its first frame and after its last one, a part lies inside its whole: at least
# INSIDE of its mask, within REACH frames.
REACH = 3
INSIDE = 0.6
# A part touches its whole if some of their pixels are at most GAP of the frame's longer
# side apart. It must do so in the share TOUCHING of the frames in which both are seen,
# or CLINGING if one of its ends is outside of the whole. SAMPLES of these frames are
# read.
GAP = 0.02
TOUCHING = 0.7
CLINGING = 0.9
SAMPLES = 16
# A track continues another one that ended at most PAUSE frames before at the same
# place: with an IoU of SAME_PLACE, or with SAME_PART of one inside the other. The
# similarity of their colours must be SAME_COLOURS.
PAUSE = 60
SAME_PLACE = 0.1
SAME_PART = 0.5
SAME_COLOURS = 0.6
# A thing that passes behind a pole is seen on both sides of it for a moment, as two
# tracks. The old one is last seen (or last seen moving) at most so many frames before
# or after the new one is first seen (or first seen moving).
HANDOVER = 5
ENDS = 5  # Frames at the end of a track whose colours are compared.
HELD = 64  # Frames held in memory, as they may come from disk.


def join_tracks(frames: Sequence[FrameDetections], links: Links) -> Links:
    """Gives parts the track of their whole, and tracks that continue another its id.

    Args:
        frames: The detections that were linked. Some frames of each track are read, in
            any order, and all frames once if tracks overlap in time.
        links: Links from `link`.

    Raises:
        InputError: There are not as many links as frames.
    """
    check_lengths(frames, links=links)
    tracks = _Tracks(frames, links)
    _join_parts(tracks)
    _join_successors(tracks)
    return tracks.links()


class _Tracks:
    """The tracks of a video, which may be joined."""

    def __init__(self, frames: Sequence[FrameDetections], links: Links):
        self._frame = functools.lru_cache(HELD)(frames.__getitem__)
        self._frames, self._links = frames, links
        self._new_id = np.arange(links.ids.max(initial=0) + 1, dtype=np.int32)
        # The frame of each detection.
        self._time = np.repeat(np.arange(len(links)), np.diff(links.starts))
        # By id, the frames in which a track is seen, ascending.
        self.times: dict[int, Int64[np.ndarray, " n"]] = {
            id: np.unique(self._time[links.ids == id])
            for id in np.unique(links.ids).tolist()
            if id
        }

    @functools.cached_property
    def moving_times(self) -> dict[int, Int64[np.ndarray, " n"]]:
        """The frames in which each track is seen moving, by its id.

        This reads all frames.
        """
        time = self._time
        number = np.arange(len(time)) - self._links.starts[time]
        moving = np.array([len(frame.moving) for frame in self._frames])
        ids = np.where(number < moving[time], self._new_id[self._links.ids], 0)
        return {id: np.unique(time[ids == id]) for id in self.times}

    def detections(self, id: int, time: int) -> list[Detection]:
        """A track's detections in a frame, the highest score first."""
        frame = self._frame(time)
        ids = self._new_id[list(self._links[time])]
        found = by_track((*frame.moving, *frame.static), ids)[id]
        return sorted(found, key=lambda d: d.score, reverse=True)

    def mask(self, id: int, time: int, ahead: int = 0) -> Rle:
        """A track's mask in a frame, where its flow takes it some frames ahead."""
        found = self.detections(id, time)
        mask = masks.union([d.mask for d in found])
        return carry(mask, found[0].shift, ahead)

    def has_cut(self, first: int, last: int) -> bool:
        """Whether a shot starts after the first frame, and not after the last one."""
        return any(self._frame(t).cut for t in range(first + 1, last + 1))

    def join(self, id: int, into: int) -> None:
        """Makes a track part of another one."""
        self._new_id[self._new_id == id] = into
        self.times[into] = np.union1d(self.times[into], self.times.pop(id))

    def links(self) -> Links:
        """The links with the tracks as they are joined now."""
        return Links(self._new_id[self._links.ids], self._links.starts)


def _join_parts(tracks: _Tracks) -> None:
    """Joins parts, short tracks first: a part of a part ends up in the whole."""
    for part in sorted(tracks.times, key=lambda id: len(tracks.times[id])):
        wholes = sorted(
            tracks.times.keys() - {part}, key=lambda id: (-len(tracks.times[id]), id)
        )
        for whole in wholes:
            if _is_part(tracks, part, whole):
                tracks.join(part, whole)
                break


def _is_part(tracks: _Tracks, part: int, whole: int) -> bool:
    times, others = tracks.times[part], tracks.times[whole]
    together = np.intersect1d(times, others)
    if not len(together):
        return False
    # Whether it is inside may be unknown at one end, if the shot starts or ends there
    # or the whole is not seen. It must be inside at the other.
    ends = (
        _is_inside(tracks, part, whole, int(times[0]), -1),
        _is_inside(tracks, part, whole, int(times[-1]), 1),
    )
    if True not in ends:
        return False
    least = TOUCHING
    if False in ends:
        # It was outside of the whole before it appeared, or after it was gone. So it is
        # only a part if it is beside the whole nearly all the time.
        least = CLINGING
        if len(together) < CLINGING * len(times):
            return False
    chosen = together[np.linspace(0, len(together) - 1, SAMPLES).astype(int)]
    chosen = np.unique(chosen).tolist()
    touching = [_touch(tracks.mask(part, t), tracks.mask(whole, t)) for t in chosen]
    return bool(np.mean(touching) >= least)


def _is_inside(tracks, part, whole, time, step) -> bool | None:
    """Whether a part is inside its whole, after or before a frame; None if unknown."""
    for distance in range(1, REACH + 1):
        other = time + step * distance
        position = np.searchsorted(tracks.times[whole], other)
        if position == len(tracks.times[whole]):
            return None
        if tracks.times[whole][position] != other:
            continue
        if tracks.has_cut(min(time, other), max(time, other)):
            return None
        if step > 0:
            inner, outer = tracks.mask(part, time, distance), tracks.mask(whole, other)
        else:
            inner, outer = tracks.mask(part, time), tracks.mask(whole, other, distance)
        return bool(masks.containment([inner], [outer])[0, 0] > INSIDE)
    return None


def _touch(a: Rle, b: Rle) -> bool:
    return masks.near(a, b, max(1, round(GAP * max(a.size))))


def _join_successors(tracks: _Tracks) -> None:
    """Joins tracks across pauses and behind poles, the most similar ones first.

    A track has at most one predecessor and one successor.
    """
    pairs = []
    for before, times in tracks.times.items():
        for after, others in tracks.times.items():
            if 0 < others[0] - times[-1] <= PAUSE:
                similarity = _continuation(tracks, before, after, times, others)
            elif before != after and times[0] <= others[-1] and others[0] <= times[-1]:
                similarity = _handover(tracks, before, after)
            else:
                continue
            if similarity > SAME_COLOURS:
                pairs.append((similarity, before, after))
    renamed: dict[int, int] = {}
    continued, continuing = set(), set()
    for _, before, after in sorted(pairs, key=lambda p: (-p[0], p[1:])):
        if before in continued or after in continuing:
            continue
        continued.add(before)
        continuing.add(after)
        while before in renamed:
            before = renamed[before]
        renamed[after] = before
        tracks.join(after, before)


def _handover(tracks: _Tracks, before: int, after: int) -> float:
    """The similarity of two tracks' colours; 0 if the second takes nothing over.

    Frames with both do not count, as each may be a part of the thing there. A resting
    detection may show the place where the thing has been, so the tracks are also
    compared by the frames in which they move.
    """
    found = [0.0]
    for seen in (tracks.times, tracks.moving_times):
        times, others = seen[before], seen[after]
        first_alone = np.setdiff1d(times, others)
        second_alone = np.setdiff1d(others, times)
        if not len(first_alone) or not len(second_alone):
            continue
        follows = first_alone[-1] < second_alone[0]
        if follows and -HANDOVER < others[0] - times[-1] <= HANDOVER:
            similarity = _continuation(tracks, before, after, first_alone, second_alone)
            found.append(similarity)
    return max(found)


def _continuation(
    tracks: _Tracks,
    before: int,
    after: int,
    times: Int64[np.ndarray, " n"],
    others: Int64[np.ndarray, " m"],
) -> float:
    """The similarity of two tracks' colours; 0 if they are at different places.

    `times` are frames of the first track, and `others` later ones of the second.
    """
    last, first = int(times[-1]), int(others[0])
    a = [tracks.mask(before, last), tracks.mask(before, last, first - last)]
    b = [tracks.mask(after, first)]
    near = (
        masks.iou(a, b).max() > SAME_PLACE
        or masks.containment(a, b).max() > SAME_PART
        or masks.containment(b, a).max() > SAME_PART
    )
    if not near or tracks.has_cut(last, first):
        return 0.0
    similarities = [
        colour_similarity(d.colour, e.colour)
        for t in times[-ENDS:].tolist()
        for u in others[:ENDS].tolist()
        for d in tracks.detections(before, t)[:1]
        for e in tracks.detections(after, u)[:1]
    ]
    return float(np.median(similarities))
