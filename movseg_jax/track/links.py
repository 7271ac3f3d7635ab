"""Links between detections and tracks, and the tracked frames that follow from them.

Tracks are numbered from 1 as they are started.
"""

import dataclasses
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int32, Int64

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.masks import Size
from movseg_jax.results import (
    Detection,
    FrameDetections,
    FrameSequence,
    Sighting,
    TrackedFrame,
)

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, eq=False)
class Links:
    """The track of each detection of a video, in four bytes per detection.

    `links[i]` are the tracks' ids of frame i: of its moving, then of its static
    detections, in the order of its `FrameDetections`; 0 means that a detection belongs
    to no track.

    Attributes:
        ids: The ids of all frames, one frame after the other.
        starts: Where in `ids` each frame starts, and where the last one ends.
    """

    ids: Int32[np.ndarray, " detections"]
    starts: Int64[np.ndarray, " frames_and_1"]

    def __repr__(self) -> str:
        return f"Links({len(self.ids)} detections in {len(self)} frames)"

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


class Candidate(NamedTuple):
    """A detection that may be linked.

    Attributes:
        number: The place among the moving, then the static detections of its frame.
        detection: The detection itself.
        rank: Whether it may start a track, and its score. The authors' code adds 1.001
            to the scores of detections that may, with the same effect: they are matched
            first and painted last.
    """

    number: int
    detection: Detection
    rank: tuple[bool, float]


def ranked(frame: FrameDetections, config: TrackConfig) -> list[Candidate]:
    """All detections of a frame as candidates, in the order of `Links`."""
    starting = [d.score > config.start_score for d in frame.moving]
    starting += [False] * len(frame.static)
    detections = (*frame.moving, *frame.static)
    return [
        Candidate(number, detection, (may_start, detection.score))
        for number, (detection, may_start) in enumerate(
            zip(detections, starting, strict=True)
        )
    ]


def by_track(
    items: Iterable[Item], ids: Sequence[int] | Int32[np.ndarray, " n"]
) -> dict[int, list[Item]]:
    """Groups what belongs to a frame's detections by their tracks.

    Args:
        items: An item for each detection of the frame, in the order of `Links`.
        ids: The id of each detection's track; those with 0 are left out.
    """
    groups: dict[int, list[Item]] = {}
    for item, id in zip(items, ids, strict=True):
        if id:
            groups.setdefault(int(id), []).append(item)
    return groups


def to_tracked_frame(
    frame: FrameDetections,
    ids: Sequence[int],
    *,
    name: str,
    size: Size,
    time: float | None = None,
    config: TrackConfig | None = None,
) -> TrackedFrame:
    """The tracks in one frame, in the order to paint them.

    Moving detections that may start a track are painted over all others, then those
    with higher scores. Among equal ones, newer tracks are painted over older ones, as
    the authors' code does by a stable sort of its list of tracks. Where several
    detections belong to a track, its mask is their union, and the rest is that of the
    highest ranked one.

    Args:
        frame: The detections that were linked.
        ids: Ids of their tracks, from `Linker.add` or `Links`.
        name: Name of the result, as for the following.
        size: Height and width of the frame.
        time: Seconds after the start of the video, if known.
        config: The settings that they were linked with; the defaults if None.
    """
    config = config or TrackConfig()
    check_count(frame, ids, name)
    sightings = []
    for id, found in by_track(ranked(frame, config), ids).items():
        number, best, rank = max(found, key=lambda candidate: candidate.rank)
        shown = [candidate.detection.mask for candidate in found]
        mask = masks.union(shown) if len(shown) > 1 else best.mask
        moving = number < len(frame.moving)
        sighting = Sighting(id, mask, best.score, moving, best.motion)
        sightings.append(((*rank, id), sighting))
    sightings.sort(key=lambda entry: entry[0])
    return TrackedFrame(name, size, time, tuple(s for _, s in sightings), frame.cut)


class TrackedFrames(FrameSequence[TrackedFrame]):
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
        first: int | None = None,
    ):
        """Takes what `to_tracked_frame` takes, of all frames.

        If the frames are only a part of the video, `first` is the number of their first
        one.

        Raises:
            InputError: There are not as many links, names or times as frames.
        """
        check_lengths(frames, links=links, names=names)
        if times is not None:
            check_lengths(frames, times=times)
        self._frames, self._links, self._config = frames, links, config
        self._names, self._size, self._times = names, size, times
        self._first = first

    def __repr__(self) -> str:
        height, width = self._size
        return f"TrackedFrames({len(self)} frames of {width}x{height})"

    def __len__(self) -> int:
        return len(self._frames)

    def make(self, index: int) -> TrackedFrame:
        """Returns the tracks of a frame."""
        frame = to_tracked_frame(
            self._frames[index],
            self._links[index],
            name=self._names[index],
            size=self._size,
            time=None if self._times is None else self._times[index],
            config=self._config,
        )
        if self._first is None:
            return frame
        return frame._replace(number=self._first + index)


def check_lengths(frames: Sequence, **others: Sequence | Links) -> None:
    """Refuses links, names or times that are not as many as the frames."""
    for name, other in others.items():
        if len(other) != len(frames):
            raise InputError(
                f"There are {len(frames)} frames of detections, but {name} of "
                f"{len(other)}; hand in {name} of the same video."
            )


def check_count(
    frame: FrameDetections,
    ids: Sequence[int] | Int32[np.ndarray, " n"],
    which: int | str,
) -> None:
    """Refuses links of a frame that has not as many detections."""
    count = len(frame.moving) + len(frame.static)
    if len(ids) != count:
        raise InputError(
            f"Frame {which} has {count} detections, but links of {len(ids)}; hand in "
            "the detections that were linked."
        )
