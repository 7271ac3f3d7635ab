"""The work for the visitors of the page: segments their clips and draws the tracks.

Every visitor has a folder, which holds all that is kept of them: the clip, its results,
pictures and downloads. This module knows nothing of the page itself.
"""

import contextlib
import dataclasses
import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from movseg_jax import demo, images, masks
from movseg_jax.errors import InputError
from movseg_jax.flow.colour_wheel import flow_picture
from movseg_jax.flow.estimators import get_estimator
from movseg_jax.formats import FORMATS, Format, result_name
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.formats.survey import survey
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.html import counted
from movseg_jax.report.summary import TrackSummary, summarise
from movseg_jax.results import TrackedFrame
from movseg_jax.segment.run import Summary, segment_to_folder
from movseg_jax.segment.run_folder import OVERLAY
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.segment.tracks import Tracks
from movseg_jax.system.atomic import LOCK, make_folder, write_file
from movseg_jax.system.progress import Progress, Stopped
from movseg_jax.track.editing import edit_tracks
from movseg_jax.video.overlay import draw_tracks
from movseg_jax.video.reading import VideoInfo, probe, read_frames
from movseg_jax.video.writing import VideoWriter

MOST_FPS = 60  # Frames per second of clip that are segmented, whatever a file claims.
EXAMPLE, EXAMPLE_FPS = "example.mp4", 12
EVERYTHING = "everything"  # The download that is not one of FORMATS.
PATIENCE = 1.0  # Seconds in which a run should stop.
MOST_UPLOADS = 20  # Files of the largest size that uploads may take up together.
MARGIN = 0.25  # Of a track's picture around the track, as a share of its box.


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of what the page accepts and keeps.

    Attributes:
        max_seconds: Length of the part of a clip that is segmented.
        max_mb: Largest size of a file, in megabytes.
        keep_minutes: Time after which a clip that nobody uses is deleted.

    Raises:
        InputError: A value is not positive.
    """

    max_seconds: float = 30.0
    max_mb: float = 100.0
    keep_minutes: float = 60.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value < math.inf:
                raise InputError(f"`{name}` is {value:g}, expected more than 0.")


class Pictures(NamedTuple):
    """Pictures of a clip that was segmented.

    Attributes:
        tracks: A picture of each track and its caption, sorted by id.
        flow: The optical flow in the middle of the clip; None if there is one frame.
    """

    tracks: list[tuple[Path, str]]
    flow: Path | None


class Visit:
    """A visitor's clip and what was found in it.

    Attributes:
        folder: The folder of everything that is kept of the visitor.
        tracks: The tracks of the clip; empty before it is segmented.
        used: Moment of the last use, by `time.monotonic`.
    """

    def __init__(self, folder: Path, limits: Limits):
        """Makes the folder, which nobody else may read."""
        folder.mkdir(mode=0o700)
        self.folder, self._limits = folder, limits
        self._run = 0  # Counts requests to stop, so that a run knows its own.
        self._work = threading.Lock()
        self._video: Path | None = None
        self._upload: Path | None = None
        self.tracks: Sequence[TrackedFrame] = ()
        self.used = time.monotonic()

    def take(self, upload: Path) -> Path:
        """Takes an uploaded file in the place of an earlier clip.

        The uploaded file itself is removed with the clip: a browser may be showing it.
        gradio stores equal files once, so the last visit that has it removes it.

        Raises:
            InputError: It is not a file.
        """
        if not upload.is_file():
            raise InputError(f"{upload.name}: is not a file.")
        self._video = self._make_room(upload) / upload.name
        self._upload = upload
        os.link(upload, self._video)
        return self._video

    def take_example(self) -> Path:
        """Renders the clip of `movseg demo` in the place of an earlier clip."""
        self._video = self._make_room() / EXAMPLE
        source = demo.scene()
        with VideoWriter(self._video, demo.SCENE.size, EXAMPLE_FPS) as writer:
            for index in range(len(source)):
                writer.write(source[index].image)
        return self._video

    def describe(self) -> str:
        """Returns what is known of the clip before it is segmented.

        Raises:
            InputError: There is no clip, or it is not a video that can be read.
        """
        info = self._probed()
        height, width = info.size
        frames = "" if info.frame_count is None else f"{info.frame_count} frames of "
        return (
            f"{self._clip().name}: {frames}{width}x{height} pixels, "
            f"{info.rate():.4g} per second."
        )

    def segment(self, detector: TrainedDetector, progress: Progress) -> str:
        """Segments the clip; returns what to say about it.

        Args:
            detector: The detector.
            progress: A function that is told of the progress.

        Raises:
            InputError: There is no clip, or it is not a video that can be read.
            Stopped: `stop` was called.
        """
        video, run = self._clip(), self._run
        info = self._probed()
        fps = min(info.rate(), MOST_FPS)
        config = SegmentConfig(max_frames=math.ceil(self._limits.max_seconds * fps))

        def watched(done: int, total: int | None, phase: str) -> None:
            self.used = time.monotonic()
            if run != self._run:
                raise Stopped
            progress(done, total, phase)

        with self._work:
            results = self._cleared("results")
            try:
                summary = segment_to_folder(
                    video, results, detector, config, progress=watched
                )
                found = read_tracks(results)
            except Exception:
                if run != self._run:  # Its files may have been removed.
                    raise Stopped from None
                raise
            if run != self._run:
                raise Stopped
            self.tracks = found
        return _report(summary, info, config)

    def stop(self) -> None:
        """Stops the run that is at work, after its current frame."""
        self._run += 1

    def summaries(self) -> list[TrackSummary]:
        """Returns the numbers of each track, sorted by id."""
        return summarise(self.tracks, []).tracks

    def overlay(self, shown: Collection[int], progress: Progress) -> Path:
        """Returns the clip with some of its tracks drawn; nothing is detected again.

        Raises:
            InputError: The clip is not there any more.
        """
        video = self._clip()
        if len(shown) == len(self.summaries()):
            return self.folder / "results" / OVERLAY
        folder = self.folder / "overlay"
        make_folder(folder)
        before = [*folder.iterdir()]
        # The browser must not take it for the one before, so the name is a new one.
        out = folder / f"{secrets.token_hex(4)}.mp4"
        tracks = Tracks(edit_tracks(self.tracks, keep=shown), video)
        tracks.to_video(out, progress=progress)
        for old in before:
            old.unlink()
        return out

    def pictures(self) -> Pictures:
        """Draws each track in the frame that shows most of it, and the optical flow."""
        folder = self._cleared("pictures")
        largest: dict[int, tuple[int, int]] = {}  # The area, and minus the frame.
        for index, frame in enumerate(self.tracks):
            for sighting in frame.sightings:
                found = (masks.area(sighting.mask), -index)
                largest[sighting.id] = max(found, largest.get(sighting.id, found))
        middle = (len(self.tracks) - 1) // 2
        before, flow = None, None
        for index, image in enumerate(self._frames()):
            for sighting in self.tracks[index].sightings:
                if largest[sighting.id][1] == -index:
                    picture = draw_tracks(image, [sighting])[_around(sighting.mask)]
                    write_file(
                        folder / f"{sighting.id}.jpg", images.encode_jpeg(picture)
                    )
            if before is not None and index == middle + 1:
                flow = folder / "flow.jpg"
                picture = flow_picture(get_estimator()(before, image))
                write_file(flow, images.encode_jpeg(picture))
            before = image
        found = [
            (folder / f"{track.id}.jpg", _caption(track)) for track in self.summaries()
        ]
        return Pictures(found, flow)

    def export(self, what: Format | str, shown: Collection[int]) -> Path:
        """Writes a file to download; folders are zipped.

        Args:
            what: A format of tracks, or EVERYTHING for the folder that `movseg segment`
                writes, with all tracks.
            shown: The tracks to write.

        Raises:
            InputError: The tracks do not fit into the format, or the clip is not there
                any more.
        """
        video, folder = self._clip(), self._cleared("download")
        stem = f"{video.stem}_{what}"
        if what == EVERYTHING:
            return _zipped(self.folder / "results", folder / stem)
        form: Format = what  # pyright: ignore[reportAssignmentType]
        tracks = edit_tracks(self.tracks, keep=shown)
        surveyed = survey(tracks, video)
        out = folder / result_name(form)
        write_tracks(
            tracks,
            out,
            to=form,
            surveyed=surveyed,
            frames=self._frames,
            fps=None if surveyed.timed else probe(video).rate(),
        )
        if out.is_dir():
            return _zipped(out, folder / stem)
        return out.rename(folder / f"{stem}{FORMATS[form].suffix}")

    def close(self) -> None:
        """Stops what is at work, and removes the folder."""
        self._make_room()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_room(self, coming: Path | None = None) -> Path:
        """Stops what is at work, and removes all files; returns a folder for a clip.

        The upload that is `coming` stays: it may be that of the clip that is removed.
        """
        self.stop()
        # A run ends with its current frame. What takes longer, such as compiling, is
        # not waited for: without its files, such a run fails.
        waited = self._work.acquire(timeout=PATIENCE)
        upload, self._upload = self._upload, None
        self._video, self.tracks = None, ()
        for path in self.folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        if upload not in (None, coming):
            # Each visit that has the upload has a link to it.
            with contextlib.suppress(FileNotFoundError):
                if upload.stat().st_nlink == 1:
                    upload.unlink()
        if waited:
            self._work.release()
        return self._cleared("clip")

    def _cleared(self, name: str) -> Path:
        """Returns an empty folder of that name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        return folder

    def _clip(self) -> Path:
        self.used = time.monotonic()
        if self._video is None or not self._video.is_file():
            raise InputError("There is no clip; upload one.")
        return self._video

    def _probed(self) -> VideoInfo:
        info = probe(self._clip())
        if info.kind != "file":
            raise InputError(f"{self._clip()}: is an image; expected a video.")
        return info

    def _frames(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The frames that were segmented, again."""
        count = len(self.tracks)
        frames = read_frames(self._clip(), max_frames=count, allow_truncated=True)
        return (frame.image for frame in frames)


class Visits:
    """The visitors of the page, each with a folder in one that is private."""

    def __init__(self, root: Path, limits: Limits):
        """Takes the folder for everything, and the limits of each visit."""
        self.root, self.limits = root, limits
        self._visits: dict[str | None, Visit] = {}
        self._lock = threading.Lock()

    def of(self, session: str | None) -> Visit:
        """Returns the visit of a session, a new one if there is none."""
        with self._lock:
            if session not in self._visits:
                # Whoever knows the folder can read it, so its name cannot be guessed.
                folder = self.root / secrets.token_hex(16)
                self._visits[session] = Visit(folder, self.limits)
            return self._visits[session]

    def leave(self, session: str | None) -> None:
        """Ends the visit of a session, and deletes all that is kept of it."""
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit is not None:
            visit.close()

    def close_old(self) -> None:
        """Ends visits that were not used for long, and deletes stray uploads."""
        oldest = 60 * self.limits.keep_minutes
        now = time.monotonic()
        with self._lock:
            visits = dict(self._visits)
        for session, visit in visits.items():
            if now - visit.used > oldest:
                self.leave(session)
        for path in self._uploads():
            with contextlib.suppress(OSError):  # A visitor has just removed it.
                if time.time() - path.stat().st_mtime <= oldest:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def has_room(self) -> bool:
        """Whether there is room for another upload beside those that are kept."""
        total = 0
        for path in self._uploads():
            with contextlib.suppress(OSError):  # A visitor has just removed it.
                for file in (path, *path.rglob("*")):
                    total += file.stat().st_size if file.is_file() else 0
        return total <= 2**20 * self.limits.max_mb * (MOST_UPLOADS - 1)

    def _uploads(self) -> set[Path]:
        """The uploads, which gradio keeps beside the folders of the visits."""
        with self._lock:
            kept = {visit.folder for visit in self._visits.values()}
        return {*self.root.iterdir()} - kept - {self.root / LOCK}

    def close(self) -> None:
        """Ends all visits, and deletes the folder."""
        with self._lock:
            sessions = [*self._visits]
        for session in sessions:
            self.leave(session)
        shutil.rmtree(self.root, ignore_errors=True)


def _report(summary: Summary, info: VideoInfo, config: SegmentConfig) -> str:
    """Returns the outcome in words, in which hints name parameters as errors do."""
    found = counted(summary.tracks, "track") if summary.tracks else "No tracks"
    notes = [f"{found} in {counted(summary.frames, 'frame')}."]
    if summary.frames == config.max_frames != info.frame_count:
        notes.append("The rest of the clip was left out, as it is too long.")
    if summary.damage:
        notes.append(summary.damage)
    if summary.hint:
        notes.append(f"{summary.hint} This is an option of movseg segment.")
    return " ".join(notes)


def _around(mask: masks.Rle) -> tuple[slice, slice]:
    """The rows and columns of a mask and some of what is around it."""
    height, width = mask.size
    x0, y0, x1, y1 = masks.tight_box(masks.decode(mask)).tolist()
    margin = MARGIN * max(x1 - x0, y1 - y0) + 8
    rows, columns = (
        slice(max(0, int(low - margin)), min(side, math.ceil(high + margin)))
        for low, high, side in ((y0, y1, height), (x0, x1, width))
    )
    return rows, columns


def _caption(track: TrackSummary) -> str:
    parts = [f"Track {track.id}", f"frames {track.first}\N{EN DASH}{track.last}"]
    if math.isfinite(track.motion):
        parts.append(f"{track.motion:.1f} px/frame")
    return ", ".join(parts)


def _zipped(folder: Path, out: Path) -> Path:
    """Zips a folder; the name of the file ends in .zip."""
    return Path(shutil.make_archive(str(out), "zip", folder))
