"""Frames and sequences that end early: where a video is damaged, or when asked to."""

import math
from collections.abc import Iterator, Sequence

from movseg_jax.errors import InputError
from movseg_jax.masks import Size
from movseg_jax.system.stopping import StopRequest
from movseg_jax.video.reading import Frame
from movseg_jax.video.writing import VideoWriter

LEAST_INTERVAL = 1e-4  # Seconds between frames of a video that is written.


class Stopped(Exception):
    """The run was asked to stop."""


class Watched(Sequence):
    """A sequence of which iterating raises `Stopped` after a request to stop."""

    def __init__(self, items: Sequence, stop: StopRequest):
        self._items, self._stop = items, stop

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]

    def __iter__(self):
        for index in range(len(self)):
            if self._stop.requested:
                raise Stopped
            yield self._items[index]


def until_damage(
    frames: Iterator[Frame],
    damage: list[str],
    *,
    size: Size,
    any_before: bool,
) -> Iterator[Frame]:
    """Gives the frames before an error, and adds its message to a list.

    A damaged video's error follows all frames that can be read.

    Args:
        frames: Of the video.
        damage: The list.
        size: Of the video; other frames are an error.
        any_before: Whether earlier frames were read already; otherwise an error
            before any frame is raised.
    """
    count = 0
    try:
        for frame in frames:
            # `frames` compare with the first they read, which is another one if
            # the run goes on.
            if frame.image.shape[:2] != size:
                height, width = frame.image.shape[:2]
                raise InputError(
                    f"frame {frame.name!r} has {width}x{height} pixels, those "
                    f"before {size[1]}x{size[0]}; a video's frames must have one "
                    "size."
                )
            count += 1
            yield frame
    except InputError as error:
        if not count and not any_before:
            raise
        damage.append(str(error))


def recorded(
    frames: Iterator[Frame], writer: VideoWriter, stop: StopRequest
) -> Iterator[Frame]:
    """The frames of a camera until a signal comes, which are also written."""
    shown = -math.inf
    for frame in frames:
        shown = max(frame.time or 0.0, shown + LEAST_INTERVAL)
        writer.write(frame.image, shown)
        yield frame
        if stop.requested:
            return
