"""Where a new shot starts: hard cuts, and fades through a blank picture.

Frames are compared at a small size by the mean difference of their hue, saturation and
brightness: the measure and the threshold of PySceneDetect's `ContentDetector`. A flash
or a few damaged frames are no cut, since the picture from before comes back. Dissolves,
in which one shot turns into another over many frames, are not found.
"""

import collections
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax.video.reading import Frame

SIDE = 256  # Longer side at which frames are compared, in pixels.
LEAST_CHANGE = 27.0  # Mean difference of a cut, on a scale of 255.
# A cut changes the picture this many times more than the two steps before it did: all
# steps are large while a camera is swung around.
LEAST_RATIO = 2.0
FLASH = 3  # Frames that a flash lasts at most.
# A blank picture is about as dark or as bright as can be everywhere: its brightness has
# a mean below or above these, and a standard deviation below the last.
DARK, BRIGHT, UNIFORM = 12.0, 243.0, 6.0
FADING = 3.0  # Times as far from blank is the picture before a fade's end, at most.
BLANK = 12  # Blank frames after which a new shot starts, whatever it shows.
# Whether a frame is a cut depends on so many frames before it, and on `FLASH` after it.
LOOKBACK = BLANK + 1

# Hue, saturation and brightness of a small picture.
Small = UInt8[np.ndarray, "rows columns 3"]


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

    Reading may start anywhere: from the frame `LOOKBACK` after the first one on, the
    result is that of reading the whole video. Up to `FLASH` more frames are read before
    one that looks like a cut is passed on; all others are passed on at once.
    """
    pictures = _Pictures(frames)
    past: collections.deque[Small] = collections.deque(maxlen=LOOKBACK)  # Latest first.
    while (following := pictures.next()) is not None:
        frame, small = following
        yield ShotFrame(frame, bool(past) and _is_cut(past, small, pictures))
        past.appendleft(small)


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


def _is_cut(past: Sequence[Small], small: Small, pictures: _Pictures) -> bool:
    if _blankness(small) < 1:
        return False
    if _blankness(past[0]) < 1:
        return _is_other_shot(past, small)
    change = _change(past[0], small)
    if change < LEAST_CHANGE:
        return False
    if len(past) > 2:
        usual = min(_change(past[1], past[0]), _change(past[2], past[1]))
        if change < LEAST_RATIO * usual:
            return False
    # At the start, within and at the end of a flash, some picture shortly before is
    # like some picture shortly after.
    after = [small, *pictures.ahead()]
    return not any(
        _change(past[i], after[j]) < LEAST_CHANGE
        for i in range(min(FLASH + 1, len(past)))
        for j in range(min(FLASH + 1 - i, len(after)))
    )


def _is_other_shot(past: Sequence[Small], small: Small) -> bool:
    """Whether the picture after blank ones is of another shot than those before."""
    before = next((p for p in past if _blankness(p) >= 1), None)
    if before is None:
        # A video that starts blank has its first shot still.
        return len(past) == LOOKBACK
    # A picture that had faded out is over, even if the next one is alike.
    return _change(before, small) >= LEAST_CHANGE or _blankness(before) < FADING


def _small(image: UInt8[np.ndarray, "h w 3"]) -> Small:
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2HSV)


def _change(before: Small, after: Small) -> float:
    return float(cv2.absdiff(before, after).mean())


def _blankness(small: Small) -> float:
    """The distance of a picture from a blank one; below 1 it is blank."""
    mean, deviation = small[..., 2].mean(), small[..., 2].std()
    distance = min(mean / DARK, (255 - mean) / (255 - BRIGHT))
    return float(max(distance, deviation / UNIFORM))
