"""Linking detections to tracks by overlap, after Dave et al. (2019), section 3.4.

A track is started by a moving detection and continued by whatever overlaps with it
most, also by detections of the static branch: objects are followed after they stop.
The forward pass, `Linker`, sees one frame at a time and knows only tracks that may
still continue. The backward pass, `link_back`, then gives tracks what was detected
before they started and within their gaps; it reads the detections from the end.

Where the paper and the authors' code differ, the defaults of `TrackConfig` are the
code's. The code adds 1.001 to the scores of moving detections that may start a track,
which has them matched first and painted last. That is an order of detections here,
`_rank`; scores stay what they are.

Tracks are numbered from 1 as they are started, those of one frame as the frame lists
its detections. Among equal ranks, older tracks and earlier detections are first: they
are matched first and painted below the others.
"""

import dataclasses
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Int32, Int64
from scipy.optimize import linear_sum_assignment

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.masks import Size
from movseg_jax.tracks import Detection, FrameDetections, Sighting, TrackedFrame


@dataclasses.dataclass(frozen=True, eq=False)
class Links:
    """Which track each detection of a video belongs to, in four bytes a detection.

    `links[i]` are the tracks' ids of frame i: of its moving, then of its static
    detections, in the order of its `FrameDetections`; 0 is no track.

    Attributes:
        ids: Of all frames, one after the other.
        starts: Where in `ids` each frame starts, and where the last one ends.
    """

    ids: Int32[np.ndarray, " detections"]
    starts: Int64[np.ndarray, " frames_and_1"]

    @classmethod
    def from_frames(cls, frames: Iterable[Sequence[int]]) -> "Links":
        """Collects what `Linker.add` returned, frame by frame."""
        ids, starts = array("i"), array("q", [0])
        for frame in frames:
            ids.extend(frame)
            starts.append(len(ids))
        return cls(np.array(ids, np.int32), np.array(starts, np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> tuple[int, ...]:
        index = range(len(self))[index]
        return tuple(self.ids[self.starts[index] : self.starts[index + 1]].tolist())


class _Candidate(NamedTuple):
    """A detection that may be linked."""

    number: int  # Among the moving, then the static detections of its frame.
    detection: Detection
    rank: tuple[bool, float]


class _Track(NamedTuple):
    """What matching needs to know of a track: its nearest detection."""

    id: int
    time: int  # The frame of the detection.
    detection: Detection
    rank: tuple[bool, float]


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
        candidates = _candidates(frame, self._config)
        oldest = self._time - self._config.max_gap
        active = {i: t for i, t in self._active.items() if t.time >= oldest}
        pairs = _match(active.values(), candidates, self._time, self._config)
        for track, candidate in pairs:
            ids[candidate.number] = track.id
        for number, detection, rank in candidates:
            may_start, _ = rank
            if may_start and not ids[number]:
                self._started += 1
                ids[number] = self._started
            if track_id := ids[number]:
                active[track_id] = _Track(track_id, self._time, detection, rank)
        self._active = active
        self._time += 1
        return tuple(ids)


def link(frames: Sequence[FrameDetections], config: TrackConfig | None = None) -> Links:
    """Links the detections of a video: forwards and, if so configured, backwards.

    Args:
        frames: Read once from the front, then once from the end. They may be read from
            disk: one frame is held at a time, and the last one of each active track.
        config: The authors' settings if None.

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
        frames: As of `link`; read once, from the end.
        links: Of the forward pass: `Links.from_frames` of what `Linker` returned.
        config: That linked; the authors' settings if None.

    Raises:
        InputError: The links are not those of the frames, or masks differ in size.
    """
    config = config or TrackConfig()
    _check_lengths(frames, links=links)
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
        _check_count(frame, ids, time)
        waiting = [active[i] for i in sorted(active.keys() - set(ids.tolist()))]
        if waiting and not ids.all():
            free = [c for c in _candidates(frame, config) if not ids[c.number]]
            for track, candidate in _match(waiting, free, time, config):
                ids[candidate.number] = track.id
        for number, detection, rank in _ranked(frame, config):
            if track_id := int(ids[number]):
                active[track_id] = _Track(track_id, time, detection, rank)
    return Links(linked, links.starts)


def drop_resting(
    frames: Sequence[FrameDetections],
    links: Links,
    min_motion: float,
    min_frames: int = 1,
    config: TrackConfig | None = None,
) -> Links:
    """Leaves out tracks that are not seen to move in enough frames.

    A track is seen to move where its detection might have started it: the moving heads
    are sure of it, and it is fast enough. One frame is little evidence: what stands
    close to a travelling camera, or resembles what mostly moves, is taken for moving
    now and then. The authors' code has no such rule.

    The other tracks keep their ids, so that results with different thresholds can be
    compared and agree with what `Linker` returned.

    Args:
        frames: That were linked; read once, from the front.
        links: Of `link`.
        min_motion: `motion` of a detection that counts is more than this, in pixels a
            frame; unknown motion is not. With 0 any motion will do, also unknown.
        min_frames: Detections that must count; in a video with no more frames than
            that, one fewer than it has frames, as the last has no flow.
        config: That linked; the authors' settings if None.

    Raises:
        InputError: A threshold is negative, or the links are not of the frames.
    """
    config = config or TrackConfig()
    for name, value in (("min_motion", min_motion), ("min_frames", min_frames)):
        if not value >= 0:
            raise InputError(f"{name} is {value}, expected 0 or more.")
    _check_lengths(frames, links=links)
    counts = np.zeros(links.ids.max(initial=0) + 1, int)
    for time, frame in enumerate(frames):
        ids = links[time]
        _check_count(frame, ids, time)
        for number, detection, (may_start, _) in _ranked(frame, config):
            fast = min_motion == 0 or detection.motion > min_motion
            counts[ids[number]] += may_start and fast
    needed = min(min_frames, max(len(links) - 1, 1))
    return Links(np.where(counts[links.ids] >= needed, links.ids, 0), links.starts)


def to_tracked_frame(
    frame: FrameDetections,
    ids: Sequence[int],
    *,
    name: str,
    size: Size,
    time: float | None = None,
    config: TrackConfig | None = None,
) -> TrackedFrame:
    """What is seen of the tracks in one frame, in the order to paint it.

    Moving detections that may start a track are painted over all others, then those
    with higher scores. Among exactly equal ones, newer tracks are painted over older
    ones, as the authors' code does by a stable sort of its list of tracks.

    Args:
        frame: That was linked.
        ids: Of its tracks, from `Linker.add` or `Links`.
        name: Of the result, as the following.
        size: Of the frame.
        time: In seconds, if it is known.
        config: That linked; the authors' settings if None.
    """
    config = config or TrackConfig()
    _check_count(frame, ids, name)
    sightings = []
    for number, detection, rank in _ranked(frame, config):
        if ids[number]:
            moving = number < len(frame.moving)
            mask, score, motion = detection
            sighting = Sighting(int(ids[number]), mask, score, moving, motion)
            sightings.append(((*rank, sighting.id), sighting))
    sightings.sort(key=lambda entry: entry[0])
    return TrackedFrame(name, size, time, tuple(s for _, s in sightings))


class TrackedFrames(Sequence[TrackedFrame]):
    """A linked video's `TrackedFrame`s, each made when it is asked for."""

    def __init__(
        self,
        frames: Sequence[FrameDetections],
        links: Links,
        *,
        names: Sequence[str],
        size: Size,
        times: Sequence[float | None] | None = None,
        config: TrackConfig | None = None,
    ):
        """As `to_tracked_frame`, of all frames; `times` is None if none is known.

        Raises:
            InputError: There are not as many links, names or times as frames.
        """
        _check_lengths(frames, links=links, names=names)
        if times is not None:
            _check_lengths(frames, times=times)
        self._frames, self._links, self._config = frames, links, config
        self._names, self._size, self._times = names, size, times

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> TrackedFrame: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrackedFrame]: ...
    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        return to_tracked_frame(
            self._frames[index],
            self._links[index],
            name=self._names[index],
            size=self._size,
            time=None if self._times is None else self._times[index],
            config=self._config,
        )


# Matching ------------------------------------------------------------------------


def _listed(frame):
    return (*frame.moving, *frame.static)


def _ranked(frame, config) -> list[_Candidate]:
    """All detections. The higher ranked are matched first and painted last."""
    starting = [d.score > config.start_score for d in frame.moving]
    starting += [False] * len(frame.static)
    return [
        _Candidate(number, detection, (may_start, detection.score))
        for number, (detection, may_start) in enumerate(
            zip(_listed(frame), starting, strict=True)
        )
    ]


def _candidates(frame, config) -> list[_Candidate]:
    """Detections that score enough, without the static ones that moving ones cover."""
    scoring = [
        c for c in _ranked(frame, config) if c.detection.score > config.continue_score
    ]
    moving = [c for c in scoring if c.number < len(frame.moving)]
    static = scoring[len(moving) :]
    overlap = _iou(static, moving).max(axis=1, initial=0)
    # An overlap of 0 is none, also where any overlap is too much.
    covered = (overlap >= config.static_overlap) & (overlap > 0)
    return moving + [c for c, no in zip(static, covered, strict=True) if not no]


def _match(tracks, candidates, time, config) -> list[tuple[_Track, _Candidate]]:
    """Pairs tracks, given by id, with detections of a frame, given as it lists them.

    Tracks whose nearest detection is equally far away are assigned at once, those with
    the nearest first. Pairs that overlap too little are left out only then, so they
    may have kept either one from a partner, and a track is not tried twice.
    """
    # Sorting is stable, in reverse too: equal ranks keep their order.
    tracks = sorted(tracks, key=lambda track: track.rank, reverse=True)
    candidates = sorted(candidates, key=lambda c: c.rank, reverse=True)
    by_age = config.matching == "by_age"
    ages = np.array([abs(t.time - time) if by_age else 0 for t in tracks], int)
    overlaps, free = _iou(tracks, candidates), np.arange(len(candidates))
    pairs = []
    for age in np.unique(ages):
        if not len(free):
            break
        group = np.flatnonzero(ages == age)
        rows, columns = linear_sum_assignment(
            overlaps[np.ix_(group, free)], maximize=True
        )
        rows, columns = group[rows], free[columns]
        overlapping = overlaps[rows, columns] > config.min_iou
        rows, columns = rows[overlapping].tolist(), columns[overlapping].tolist()
        pairs += [
            (tracks[r], candidates[c]) for r, c in zip(rows, columns, strict=True)
        ]
        free = free[~np.isin(free, columns)]
    return pairs


def _iou(a, b):
    """IoU of every mask in `a` with every one in `b`: tracks or candidates."""
    return masks.iou([x.detection.mask for x in a], [x.detection.mask for x in b])


# Checks --------------------------------------------------------------------------


def _check_lengths(frames, **others):
    for name, other in others.items():
        if len(other) != len(frames):
            raise InputError(
                f"There are {len(frames)} frames of detections, but {name} of "
                f"{len(other)}; hand in {name} of the same video."
            )


def _check_count(frame, ids, which):
    count = len(frame.moving) + len(frame.static)
    if len(ids) != count:
        raise InputError(
            f"Frame {which} has {count} detections, but links of {len(ids)}; hand in "
            "the detections that were linked."
        )
