"""Tracks as a video that is transparent where nothing moves."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from movseg_jax.config import DEFAULT_FPS
from movseg_jax.formats.pictures import OpenFrames, with_images
from movseg_jax.formats.survey import Survey, union
from movseg_jax.results import TrackedFrame
from movseg_jax.video.writing import VideoWriter


def write_alpha(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    frames: OpenFrames,
    fps: int | float | Fraction | None = None,
) -> None:
    """Writes the video with alpha 255 where a moving object is, 0 elsewhere.

    Colours are those of the video everywhere, so that edges do not bleed.

    Args:
        tracks: The tracked frames.
        out: The file: "NAME.webm", VP9 for browsers, or "NAME.mov", ProRes 4444 for
            editors.
        surveyed: The survey of the tracks.
        frames: A function that opens the video the tracks belong to.
        fps: Frames per second. If None, the tracks' times are when frames are shown; if
            not all of them are known, it is `DEFAULT_FPS`.

    Raises:
        InputError: `VideoWriter` refuses the file, or the frames are not those of the
            tracks.
    """
    if fps is None and not surveyed.timed:
        fps = DEFAULT_FPS
    with VideoWriter(out, surveyed.size, fps, alpha=True) as video:
        for frame, image in with_images(tracks, frames, out):
            alpha = union(frame, surveyed.movers).astype(np.uint8) * 255
            time = frame.time if fps is None else None
            video.write(np.dstack([image, alpha]), time)
