"""Where a new shot starts: hard cuts, and fades through a blank picture.

Frames are compared at a small size by the mean difference of their hue, saturation and
brightness: the measure and the threshold of PySceneDetect's `ContentDetector`. A flash
or a few damaged frames are no cut, since the picture from before comes back. Dissolves,
in which one shot turns into another over many frames, are not found.
"""

import collections
from collections.abc import Generator, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax.video.reading import Frame

SIDE = 256  # Longer side at which frames are compared, in pixels.
LEAST_CHANGE = 27.0  # Mean difference of a cut, on a scale of 255.
# A cut changes the picture this many times more than the step before it did: all steps
# are large while a camera is swung around.
LEAST_RATIO = 2.0
FLASH = 3  # Frames that a flash lasts at most.
# A blank picture is about as dark or as bright as can be everywhere: its brightness has
# a mean below or above these, and a standard deviation below the last.
DARK, BRIGHT, UNIFORM = 12.0, 243.0, 6.0
FADING = 3.0  # Times as far from blank is the picture before a fade's end, at most.

Small = UInt8[np.ndarray, "h w 3"]  # Hue, saturation and brightness of a small picture.


class ShotFrame(NamedTuple):
    """A frame of a video, and how it follows the one before.

    Attributes:
        frame: The frame.
        cut: True if a new shot starts with this frame. A video's first frame is no cut.
    """

    frame: Frame
    cut: bool


def mark_cuts(frames: Iterable[Frame]) -> Generator[ShotFrame, None, None]:
    """Says of each frame of a video whether a new shot starts with it.

    Up to `FLASH` more frames are read before one that looks like a cut is passed on,
    since they tell a cut from a flash; all others are passed on at once.
    """
    pictures = _Pictures(frames)
    last: Small | None = None  # The latest picture that is neither blank nor a flash.
    usual, after_blank = 0.0, False
    while (following := pictures.next()) is not None:
        frame, small = following
        if last is None:
            last = small
            yield ShotFrame(frame, False)
            continue
        if _blankness(small) < 1:
            after_blank = True
            yield ShotFrame(frame, False)
            continue
        change = _change(last, small)
        if after_blank:
            # A picture that had faded out is over, even if the next one is alike.
            cut = change >= LEAST_CHANGE or _blankness(last) < FADING
        else:
            cut = change >= max(LEAST_CHANGE, LEAST_RATIO * usual)
            if cut and any(_change(last, p) < LEAST_CHANGE for p in pictures.ahead()):
                yield ShotFrame(frame, False)
                continue
        last, after_blank = small, False
        usual = 0.0 if cut else change
        yield ShotFrame(frame, cut)


class _Pictures:
    """Frames with their small pictures, of which a few can be seen ahead."""

    def __init__(self, frames: Iterable[Frame]):
        self._frames = iter(frames)
        self._waiting: collections.deque[tuple[Frame, Small]] = collections.deque()

    def next(self) -> tuple[Frame, Small] | None:
        """The next frame; None at the end."""
        return self._waiting.popleft() if self._waiting else self._read()

    def ahead(self) -> list[Small]:
        """The pictures of the next `FLASH` frames, as far as there are any."""
        while len(self._waiting) < FLASH and (read := self._read()) is not None:
            self._waiting.append(read)
        return [small for _, small in self._waiting]

    def _read(self):
        frame = next(self._frames, None)
        return None if frame is None else (frame, _small(frame.image))


def _small(image: UInt8[np.ndarray, "h w 3"]) -> Small:
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2HSV)


def _change(before: Small, after: Small) -> float:
    return float(cv2.absdiff(before, after).mean())


def _blankness(small: Small) -> float:
    """How far a picture is from blank; it is blank below 1."""
    mean, deviation = small[..., 2].mean(), small[..., 2].std()
    distance = min(mean / DARK, (255 - mean) / (255 - BRIGHT))
    return float(max(distance, deviation / UNIFORM))
