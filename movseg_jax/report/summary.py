"""Computes the numbers of each track in one pass over the frames."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from movseg_jax.results import Sighting, TrackedFrame


class Point(NamedTuple):
    """A track in one of the frames that are shown.

    Attributes:
        place: Number of the frame among those shown.
        score: The detector's confidence, 0 to 1.
        motion: Speed relative to the scene, in pixels a frame; NaN if it is not known.
        moving: False if it is known to stand still.
    """

    place: int
    score: float
    motion: float
    moving: bool


@dataclasses.dataclass
class TrackSummary:
    """The numbers of a track over the whole video.

    Attributes:
        id: Number of the track.
        first: Number of its first frame.
        last: Number of its last frame.
        frames: Number of frames in which it is.
        moving_frames: Number of them in which it was seen to move.
        known_frames: Number of them in which it is known whether it moves.
        points: Values in the frames that are shown.
    """

    id: int
    first: int
    last: int = 0
    frames: int = 0
    moving_frames: int = 0
    known_frames: int = 0
    points: list[Point] = dataclasses.field(default_factory=list)
    _score: float = 0.0
    _motion: float = 0.0
    _motions: int = 0

    @property
    def score(self) -> float:
        """The mean score over its frames."""
        return self._score / self.frames

    @property
    def motion(self) -> float:
        """The mean speed in pixels a frame, where it is known; else NaN."""
        return self._motion / self._motions if self._motions else math.nan

    @property
    def moving(self) -> float:
        """The share of frames in which it was seen to move, where that is known."""
        return self.moving_frames / max(self.known_frames, 1)

    def add(self, index: int, place: int | None, sighting: Sighting) -> None:
        """Adds a frame, with its number among those shown if it is one of them."""
        self.last = index
        self.frames += 1
        self.moving_frames += sighting.moving
        self.known_frames += sighting.moving or sighting.stands_still
        self._score += sighting.score
        if math.isfinite(sighting.motion):
            self._motion += sighting.motion
            self._motions += 1
        if place is not None:
            moving = not sighting.stands_still
            self.points.append(Point(place, sighting.score, sighting.motion, moving))


class VideoSummary(NamedTuple):
    """The tracks and shots of a video.

    Attributes:
        tracks: Tracks, sorted by id.
        cuts: Numbers of the frames with which a new shot starts.
    """

    tracks: list[TrackSummary]
    cuts: list[int]


def summarise(tracks: Iterable[TrackedFrame], chosen: Sequence[int]) -> VideoSummary:
    """Summarises a video in one pass.

    Args:
        tracks: Tracks of all frames.
        chosen: Numbers of the frames that are shown, increasing.
    """
    places = {index: place for place, index in enumerate(chosen)}
    found: dict[int, TrackSummary] = {}
    cuts = []
    for index, frame in enumerate(tracks):
        if frame.cut:
            cuts.append(index)
        for sighting in frame.sightings:
            track = found.setdefault(sighting.id, TrackSummary(sighting.id, index))
            track.add(index, places.get(index), sighting)
    return VideoSummary([found[id] for id in sorted(found)], cuts)
