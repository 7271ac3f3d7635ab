"""The tracks of a video for scripts and notebooks: `Tracks`.

Modules that draw and write are imported when they are used, so that segmenting loads
little.
"""

import base64
import functools
import html
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from PIL import Image

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.results import TrackedFrame
from movseg_jax.system.progress import Progress, phase, shown_progress
from movseg_jax.video.reading import Frame, read_frames

Video = str | Path | int | Sequence[Frame] | None

PREVIEW_SIDE = 320  # Longer side of the pictures in a contact sheet, in pixels.
MOST_PREVIEWS = 12  # Number of small frames that are kept.
SHEET = (2, 3)  # Rows and columns of a contact sheet.


class Previews:
    """Small frames that are kept of a video, evenly spaced, whatever its length."""

    def __init__(self):
        self._every = 1
        self._kept: list[tuple[int, np.ndarray]] = []

    def add(self, index: int, image: np.ndarray) -> None:
        """Adds the next frame of the video."""
        if index % self._every:
            return
        factor = min(1.0, PREVIEW_SIDE / max(image.shape[:2]))
        size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self._kept.append((index, small))
        if len(self._kept) > MOST_PREVIEWS:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def choose(self, count: int) -> list[tuple[int, np.ndarray]]:
        """Returns up to so many frames, evenly spaced, with their numbers."""
        count = min(count, len(self._kept))
        places = np.linspace(0, len(self._kept) - 1, count).round().astype(int)
        return [self._kept[place] for place in places]


class Tracks(Sequence[TrackedFrame]):
    """The tracks of a video: a `TrackedFrame` for each of its frames.

    In a notebook it shows itself as a contact sheet. Frames are read from the video
    again when they are needed, so memory does not hold them.

    Attributes:
        video: The video; None if it cannot be read again, such as a camera.
    """

    def __init__(
        self,
        frames: Sequence[TrackedFrame],
        video: Video = None,
        *,
        first: int | None = None,
        white: int | None = None,
        previews: Previews | None = None,
    ):
        """Puts tracks and their video together.

        Args:
            frames: The tracks of all frames, such as those of `read_tracks`.
            video: The video that `read_frames` reads, or its frames; None if it cannot
                be read again.
            first: The index in the video of the first frame that has tracks. Default:
                its `number`, or 0 if that is not known.
            white: The value of white, see `read_frames`.
            previews: Small frames for the contact sheet.
        """
        self._frames, self._first, self._white = frames, first, white
        self.video = video
        self._previews = previews

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> TrackedFrame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TrackedFrame]: ...
    def __getitem__(self, index: int | slice):
        return self._frames[index]

    @functools.cached_property
    def counts(self) -> dict[int, int]:
        """The numbers of the tracks, ascending, and in how many frames each is."""
        counts: dict[int, int] = {}
        for frame in self:
            for sighting in frame.sightings:
                counts[sighting.id] = counts.get(sighting.id, 0) + 1
        return dict(sorted(counts.items()))

    def __repr__(self) -> str:
        from movseg_jax.report.html import counted

        height, width = self[0].size if len(self) else (0, 0)
        found = list(self.counts.items())
        listed = [f"{id}: {counted(count, 'frame')}" for id, count in found[:10]]
        if len(found) > 10:
            listed.append("...")
        return (
            f"Tracks({counted(len(found), 'track')} in {counted(len(self), 'frame')} "
            f"of {width}x{height}{'; ' if found else ''}{', '.join(listed)})"
        )

    def _repr_html_(self) -> str:
        """The contact sheet: frames with their tracks, evenly spaced."""
        from movseg_jax.video.overlay import draw_tracks, resize_tracks

        text = f"<p>{html.escape(repr(self))}</p>"
        rows, columns = SHEET
        chosen = self._previews.choose(rows * columns) if self._previews else []
        for index, small in chosen:
            tracked = resize_tracks(self[index], small.shape[:2])
            picture = images.encode_jpeg(draw_tracks(small, tracked))
            data = base64.b64encode(picture).decode()
            text += (
                f'<img src="data:image/jpeg;base64,{data}" alt="Frame {index}" '
                f'title="Frame {index}" style="display: inline-block; margin: 2px">'
            )
        return text

    def show(self, index: int, *, why: bool = False) -> Image.Image:
        """Draws the tracks of a frame: a picture that notebooks show.

        It can be shown in a window (`.show()`), written (`.save("frame.png")`), or made
        an array (`np.asarray`). A video file is decoded up to the frame, which takes
        longer the later it is.

        Args:
            index: The number of the frame; negative numbers count from the end.
            why: Whether labels tell the motion, see `draw_tracks`.

        Raises:
            InputError: There is no such frame, or the video cannot be read again.
        """
        from movseg_jax.video.overlay import draw_tracks

        if not -len(self) <= index < len(self):
            raise InputError(
                f"frame {index}: expected {-len(self)} to {len(self) - 1}, as there "
                f"are {len(self)} frames."
            )
        index = range(len(self))[index]
        frame = next(self._read(index, 1), None)
        if frame is None:
            raise InputError(
                f"{self.video}: has no frame {index} any more; expected the video that "
                "was segmented."
            )
        return Image.fromarray(draw_tracks(frame, self[index], why=why))

    def to_video(
        self,
        path: str | Path,
        *,
        fps: int | float | Fraction | None = None,
        why: bool = False,
        progress: bool | Progress = False,
    ) -> None:
        """Writes the video with its tracks drawn, as H.264.

        Args:
            path: The file, "NAME.mp4".
            fps: Frames per second. Default: each frame is shown at its own time, or 25
                frames per second if times are unknown.
            why: Whether labels tell the motion, see `draw_tracks`.
            progress: Whether to show a progress bar; or a function, as in
                `segment_video`.

        Raises:
            InputError: The video cannot be read again, or the file cannot be written.
        """
        from movseg_jax.formats.survey import survey
        from movseg_jax.video.overlay import write_overlay

        if fps is None and not survey(self, Path(path)).timed:
            fps = 25
        with shown_progress(progress, "frame") as show:
            with phase("write overlay", self, show) as read:
                write_overlay(self._read(0, len(self)), read, path, fps, why=why)

    def _read(self, start: int, count: int) -> Iterator[Frame]:
        """Reads frames of the video again."""
        if self.video is None:
            raise InputError(
                "The video of these tracks cannot be read again. Draw frames that you "
                "have kept: `movseg_jax.draw_tracks(frame, tracks[i])`."
            )
        if isinstance(self.video, Sequence) and not isinstance(self.video, str):
            yield from self.video[start : start + count]
            return
        first = self._first
        if first is None and len(self):
            first = self[0].number
        frames = read_frames(
            self.video,
            start=(first or 0) + start,
            max_frames=count,
            allow_truncated=True,
            white=self._white,
        )
        for index, frame in enumerate(frames, start):
            if first is None and index == start:
                self._note_other_number(frame, self[index])
            yield frame

    def _note_other_number(self, frame: Frame, tracked: TrackedFrame) -> None:
        """Notes that tracks may be of another frame, going by the names of both."""
        from movseg_jax.system.notes import note

        names = frame.name, tracked.name
        if all(map(str.isdecimal, names)) and int(names[0]) != int(names[1]):
            note(
                f"{self.video}: the tracks of frame {tracked.name} are drawn on frame "
                f"{frame.name}, since it is not known where in the video they start; "
                "`first` of `Tracks` says so."
            )
