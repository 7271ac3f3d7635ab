"""Results of segmenting a video: which object is where, frame by frame.

Everything that writes or draws results takes a sequence of `TrackedFrame`s and goes
through it from the front, one frame at a time. A list will do; `segment_video` hands
out sequences that read from disk, so that long videos fit into memory.
"""

import abc
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar, overload

import numpy as np
from jaxtyping import Bool

from movseg_jax.masks import Rle, decode, union

Item = TypeVar("Item", covariant=True)


class FrameSequence(Sequence[Item]):
    """A sequence with an item for each frame, which is made when it is asked for."""

    @abc.abstractmethod
    def make(self, index: int) -> Item:
        """Makes the item of a frame.

        Args:
            index: The number of the frame, from 0.
        """

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return [self.make(number) for number in range(len(self))[index]]
        return self.make(range(len(self))[index])  # An IndexError where a list has one.


class Detection(NamedTuple):
    """An object that was found in a frame.

    Attributes:
        mask: The object's pixels, at the size of the frame.
        score: The detector's confidence, 0 to 1.
        motion: Median speed relative to the scene, in pixels a frame. NaN if it is not
            known: in a shot's last frame, which has no flow, and of a moving object
            whose surroundings move as it does, since they may be the scene or not.
        shift: Median flow of the object's pixels, (x, y) in pixels to the next frame;
            NaN if it is not known.
        colour: Colours of the object's pixels, see `track.colour`; empty if unknown.
        likely_motion: The speed, as in `motion`, but also known if up to nearly half of
            the surroundings move as the object does.
    """

    mask: Rle
    score: float
    motion: float = float("nan")
    shift: tuple[float, float] = (float("nan"), float("nan"))
    colour: bytes = b""
    likely_motion: float = float("nan")

    def __repr__(self) -> str:
        return f"Detection({self.mask}, score {self.score:.2f}, {_speed(self.motion)})"


class FrameDetections(NamedTuple):
    """Detections in one frame, on the host.

    Attributes:
        moving: Detections of the model's own heads.
        static: Detections of the static branch, which also finds what stands still.
        cut: True if a new shot starts with this frame.
    """

    moving: tuple[Detection, ...]
    static: tuple[Detection, ...] = ()
    cut: bool = False

    def __repr__(self) -> str:
        moving, static = len(self.moving), len(self.static)
        return f"FrameDetections({moving} moving, {static} static)"


class Sighting(NamedTuple):
    """A track in one frame.

    Attributes:
        id: The track's number, from 1.
        mask: The object's pixels, at the size of the frame.
        score: The detector's confidence, 0 to 1.
        moving: True if it was seen to move, False if only the static branch found it.
        motion: Motion of the object, see `Detection`.
    """

    id: int
    mask: Rle
    score: float
    moving: bool
    motion: float

    def __repr__(self) -> str:
        return (
            f"Sighting(id {self.id}, {self.mask}, score {self.score:.2f}, "
            f"{_speed(self.motion)})"
        )

    @property
    def pixels(self) -> Bool[np.ndarray, "h w"]:
        """The mask as an array.

        It is decoded each time, which takes about a millisecond for a frame of
        1280x720, so that a video's masks need little memory.
        """
        return decode(self.mask)

    @property
    def stands_still(self) -> bool:
        """Whether it is known not to move; False where nothing is known of motion."""
        return not self.moving and math.isfinite(self.motion)


def joined(pieces: Sequence[Sighting]) -> Sighting:
    """Returns the sightings of one track in one frame as one sighting.

    It has all their pixels, the highest score and motion, and moves if one of them
    does. The motion of pieces that are known is used if that of others is not.

    Args:
        pieces: The sightings, at least one, all with the same number.

    Raises:
        InputError: Their masks differ in size.
    """
    if len(pieces) == 1:
        return pieces[0]
    motions = [piece.motion for piece in pieces if not math.isnan(piece.motion)]
    return Sighting(
        pieces[0].id,
        union([piece.mask for piece in pieces]),
        max(piece.score for piece in pieces),
        any(piece.moving for piece in pieces),
        max(motions, default=math.nan),
    )


class TrackedFrame(NamedTuple):
    """The tracks in one frame.

    Attributes:
        name: The frame's file name without suffix, or its number as "00012".
        size: Height and width in pixels.
        time: Seconds after the start of the video; None if that is not known.
        sightings: The tracks in the order to paint them: the later one is visible where
            two overlap.
        cut: True if a new shot starts with this frame.
        number: The frame's number in the video, from 0, if only a part of the video was
            segmented; None if all of it was, or if that is not known.
    """

    name: str
    size: tuple[int, int]
    time: float | None
    sightings: tuple[Sighting, ...]
    cut: bool = False
    number: int | None = None

    def __repr__(self) -> str:
        height, width = self.size
        ids = ", ".join(str(sighting.id) for sighting in self.sightings[:20])
        more = ", ..." if len(self.sightings) > 20 else ""
        return f"TrackedFrame({self.name!r}, {width}x{height}, tracks [{ids}{more}])"


def _speed(motion: float) -> str:
    return f"{motion:.1f} px/frame" if math.isfinite(motion) else "motion unknown"
