"""Tracks as a video that is transparent where nothing moves."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.formats.pictures import OpenFrames, with_images
from movseg_jax.formats.survey import survey, union
from movseg_jax.results import TrackedFrame
from movseg_jax.video.writing import VideoWriter


def write_alpha(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    frames: OpenFrames,
    fps: int | float | Fraction | None = None,
) -> None:
    """Writes the video with alpha 255 where a track is that moves, 0 elsewhere.

    Colours are those of the video everywhere, so that edges do not bleed.

    Args:
        tracks: To write.
        out: "NAME.webm", VP9 for browsers, or "NAME.mov", ProRes 4444 for editors.
        frames: Opens the video that the tracks are of.
        fps: Frames per second. If None, the tracks' times are when frames are shown.

    Raises:
        InputError: As `survey.survey` or `VideoWriter`; neither fps nor times are
            known; or the frames are not those of the tracks.
    """
    found = survey(tracks, out)
    with VideoWriter(out, found.size, fps, alpha=True) as video:
        for frame, image in with_images(tracks, frames, out):
            if fps is None and frame.time is None:
                raise InputError(
                    f"{out}: frame {frame.name} has no time; expected the frames per "
                    "second, `fps`."
                )
            alpha = union(frame, found.movers).astype(np.uint8) * 255
            time = frame.time if fps is None else None
            video.write(np.dstack([image, alpha]), time)
