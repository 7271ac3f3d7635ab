"""What segmenting a video gives: which object is where, frame by frame.

Everything that writes or draws results takes a sequence of `TrackedFrame`s and goes
through it from the front, one frame at a time. A list will do; `segment_video` hands
out sequences that read from disk, so that long videos fit into memory.
"""

from typing import NamedTuple

from movseg_jax.masks import Rle


class Detection(NamedTuple):
    """One object that was found in one frame.

    Attributes:
        mask: Of the size of the frame.
        score: 0 to 1.
        motion: Its median speed relative to the scene, in pixels a frame; 0 if it moves
            as what surrounds it. NaN where flow is unknown, as in the last frame.
    """

    mask: Rle
    score: float
    motion: float = float("nan")


class FrameDetections(NamedTuple):
    """What the detector found in one frame, on the host.

    Attributes:
        moving: Of the model's own heads.
        static: Of the static branch, which also finds what stands still.
    """

    moving: tuple[Detection, ...]
    static: tuple[Detection, ...] = ()


class Sighting(NamedTuple):
    """A track in one frame.

    Attributes:
        id: Of the track, from 1.
        mask: Of the size of the frame.
        score: Of the detection, 0 to 1.
        moving: Whether it was seen to move; False if only the static branch found it.
        motion: As `Detection.motion`.
    """

    id: int
    mask: Rle
    score: float
    moving: bool
    motion: float


class TrackedFrame(NamedTuple):
    """The tracks in one frame.

    Attributes:
        name: Of the frame, without suffix: its file's, or its number as "00012".
        size: Height and width in pixels.
        time: Seconds after the start of the video; None if that is not known.
        sightings: In the order to paint them: where two overlap, the later is visible.
    """

    name: str
    size: tuple[int, int]
    time: float | None
    sightings: tuple[Sighting, ...]
