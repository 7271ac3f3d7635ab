"""What is said about each track: from one pass over the frames, in little memory."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from movseg_jax.tracks import Sighting, TrackedFrame


class Point(NamedTuple):
    """A track in one of the frames that are shown.

    Attributes:
        place: Of the frame among those shown.
        score: 0 to 1.
        motion: Pixels a frame; NaN if it is not known.
        moving: Whether it was seen to move.
    """

    place: int
    score: float
    motion: float
    moving: bool


@dataclasses.dataclass
class TrackSummary:
    """One track over the whole video.

    Attributes:
        id: Its number.
        first: The first frame it is in.
        last: The last one.
        frames: How many it is in.
        moving_frames: In how many of them it was seen to move.
        points: Where it is in the frames that are shown.
    """

    id: int
    first: int
    last: int = 0
    frames: int = 0
    moving_frames: int = 0
    points: list[Point] = dataclasses.field(default_factory=list)
    _score: float = 0.0
    _motion: float = 0.0
    _motions: int = 0

    @property
    def score(self) -> float:
        """Mean over its frames."""
        return self._score / self.frames

    @property
    def motion(self) -> float:
        """Mean over the frames in which it is known, pixels a frame; else NaN."""
        return self._motion / self._motions if self._motions else math.nan

    @property
    def moving(self) -> float:
        """Share of its frames in which it was seen to move."""
        return self.moving_frames / self.frames

    def add(self, index: int, place: int | None, sighting: Sighting) -> None:
        """Adds a frame, with its place among those shown, if it is one of them."""
        self.last = index
        self.frames += 1
        self.moving_frames += sighting.moving
        self._score += sighting.score
        if math.isfinite(sighting.motion):
            self._motion += sighting.motion
            self._motions += 1
        if place is not None:
            self.points.append(
                Point(place, sighting.score, sighting.motion, sighting.moving)
            )


def summarise(
    tracks: Iterable[TrackedFrame], chosen: Sequence[int]
) -> list[TrackSummary]:
    """The tracks by id.

    Args:
        tracks: All frames.
        chosen: Numbers of those that are shown, increasing.
    """
    places = {index: place for place, index in enumerate(chosen)}
    found: dict[int, TrackSummary] = {}
    for index, frame in enumerate(tracks):
        for sighting in frame.sightings:
            track = found.setdefault(sighting.id, TrackSummary(sighting.id, index))
            track.add(index, places.get(index), sighting)
    return [found[id] for id in sorted(found)]
