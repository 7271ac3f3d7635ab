"""Frames that end early: where a video is damaged, or when a camera is stopped."""

import math
from collections.abc import Iterator

from movseg_jax.errors import InputError
from movseg_jax.masks import Size
from movseg_jax.system.stopping import StopRequest
from movseg_jax.video.reading import Frame
from movseg_jax.video.writing import LEAST_INTERVAL, VideoWriter


class ReadableFrames(Iterator[Frame]):
    """The frames of a video before the first that cannot be read.

    Attributes:
        damage: The error that ended the video; "" if there was none so far.
    """

    def __init__(self, frames: Iterator[Frame], size: Size, *, any_before: bool):
        """Wraps the frames.

        Args:
            frames: The frames; an error follows all frames that can be read.
            size: The video's size; frames of another size are an error.
            any_before: Whether earlier frames were read already. Otherwise an error
                before the first frame is raised: then nothing can be segmented.
        """
        self._frames, self._size = frames, size
        self._any = any_before
        self.damage = ""

    def __next__(self) -> Frame:
        try:
            frame = next(self._frames)
            self._check_size(frame)
        except InputError as error:
            if not self._any:
                raise
            self.damage = error.message  # The caller says what to do.
            raise StopIteration from None
        self._any = True
        return frame

    def _check_size(self, frame: Frame) -> None:
        """Refuses another size, which the reader does not see if it starts there."""
        if frame.image.shape[:2] != self._size:
            height, width = frame.image.shape[:2]
            raise InputError(
                f"frame {frame.name!r} has {width}x{height} pixels, those before "
                f"{self._size[1]}x{self._size[0]}; a video's frames must have one size."
            )


def recorded(
    frames: Iterator[Frame], writer: VideoWriter, stop: StopRequest
) -> Iterator[Frame]:
    """The frames of a camera until a signal comes; they are also written to a file."""
    shown = -math.inf
    for frame in frames:
        shown = max(frame.time or 0.0, shown + LEAST_INTERVAL)
        writer.write(frame.image, shown)
        yield frame
        if stop.requested:
            return
