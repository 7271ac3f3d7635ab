"""A video segmented into a folder: `movseg segment`.

First all frames are read and detected in, which takes nearly all the time; what is
found is recorded in the folder's `.movseg`, from which a run that was stopped goes on.
Then detections are linked and everything is written, `run.json` last. What is written
does not depend on whether the run was stopped, but for `run.json`, which has the times.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.flow.colour_wheel import flow_picture
from movseg_jax.formats.conversion import write_tracks
from movseg_jax.formats.survey import check_name
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.page import chosen_frames, write_report
from movseg_jax.results import TrackedFrame
from movseg_jax.segment.detecting import (
    FlowSource,
    Timing,
    detect_frames,
    open_flow,
    stopwatch,
)
from movseg_jax.segment.interruption import (
    LEAST_INTERVAL,
    Stopped,
    Watched,
    recorded,
    until_damage,
)
from movseg_jax.segment.record import Column, Record
from movseg_jax.segment.run_folder import (
    ALWAYS,
    FORMAT,
    OVERLAY,
    REPORT,
    RUN,
    RunFolder,
)
from movseg_jax.segment.settings import FPS_RANGE, Settings, link_moving
from movseg_jax.system.atomic import locked, write_file
from movseg_jax.system.paths import IMAGE_SUFFIXES, list_images
from movseg_jax.system.stopping import StopRequest
from movseg_jax.track.links import TrackedFrames
from movseg_jax.video.cuts import LOOKBACK
from movseg_jax.video.overlay import write_overlay
from movseg_jax.video.reading import VideoInfo, fingerprint, probe, read_frames
from movseg_jax.video.writing import VideoWriter

FLOW_PICTURE_SIDE = 320  # Longer side, pixels.

Progress = Callable[[int, int | None], object]


class Summary(NamedTuple):
    """How a run ended.

    Attributes:
        finished: False if it was asked to stop, and can be started again.
        frames: That were detected in.
        tracks: Number of tracks; 0 if it is not finished.
        timing: Seconds by part.
        damage: What is wrong with the video; "" if nothing is, or if that was allowed.
        already: Whether everything was there before.
    """

    finished: bool
    frames: int
    tracks: int
    timing: Timing
    damage: str = ""
    already: bool = False


def segment_to_folder(
    source: str,
    out: Path,
    detector: TrainedDetector,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    allow_truncated: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Segments a video, or goes on with it, and writes all results to a folder.

    Args:
        source: What `read_frames` takes; frames of a camera are read until a signal
            comes.
        out: The folder; made if it is missing.
        detector: From `load_detector`.
        settings: Of the run.
        overwrite: Replace what another run left there.
        allow_truncated: Whether the frames of a damaged video that can be read are
            enough. What is wrong with it is then in run.json only.
        progress: Called with the number of frames done, and of all if it is known.

    Raises:
        InputError: The video cannot be read, or the folder has other results or cannot
            be written to.
    """
    settings = settings or Settings()
    began, timing = time.perf_counter(), {}
    info = probe(source, white=settings.white)
    about = _about(source, detector, settings)
    for name in info.names or ():
        check_name(name, source)
    flow = open_flow(settings.flow)
    folder = RunFolder(out)
    folder.refuse_foreign(about, overwrite=overwrite)
    with StopRequest() as stop, locked(out):
        before = folder.claim(about, overwrite=overwrite)
        if before is not None:
            damage = "" if allow_truncated else str(before.get("damage", ""))
            counts = (before.get("frames", 0), before.get("tracks", 0))
            return Summary(True, *counts, timing, damage, already=True)
        job = _Job(source, info, folder, detector, settings, flow, about, timing, stop)
        path = folder.work / "detections.jsonl"
        with Record(path, about, multiple=settings.batch_size) as record:
            try:
                damage = job.detect(record, progress or (lambda done, total: None))
                count = job.write(job.link(record))
            except Stopped:
                return Summary(False, len(record), 0, timing)
            frames = len(record)
        timing["total"] = time.perf_counter() - began
        seconds = {part: round(value, 3) for part, value in timing.items()}
        outcome = {"frames": frames, "tracks": count, "damage": damage}
        folder.finish(about, **outcome, seconds=seconds)
    return Summary(True, frames, count, timing, "" if allow_truncated else damage)


def _about(source, detector, settings) -> dict[str, Any]:
    """What decides about the results, as JSON has it."""
    return json.loads(
        json.dumps(
            {
                "video": fingerprint(source),
                "weights": {"name": detector.name, "sha256": detector.digest},
                "model": dataclasses.asdict(detector.config),
                "settings": dataclasses.asdict(settings),
                "versions": {
                    RUN: FORMAT,
                    "movseg_jax": _own_version(),
                    "jax": jax.__version__,
                    "opencv": cv2.__version__,
                },
                "device": jax.devices()[0].device_kind,
            }
        )
    )


def _own_version() -> str:
    try:
        return importlib.metadata.version("movseg_jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@dataclasses.dataclass
class _Job:
    """One run's parts, in their order.

    All raise `Stopped` if the run is asked to stop; but for a camera, whose recording
    ends then, and is finished.
    """

    source: str
    info: VideoInfo
    folder: RunFolder
    detector: TrainedDetector
    settings: Settings
    flow: FlowSource
    about: dict[str, Any]
    timing: Timing
    stop: StopRequest

    def detect(self, record: Record, report: Progress) -> str:
        """Detects in all frames that are not recorded yet.

        Returns:
            What is wrong with the video; "" if nothing is.
        """
        limits = (self.info.frame_count, self.settings.max_frames)
        total = min((n for n in limits if n is not None), default=None)
        report(len(record), total)
        chosen = set() if total is None else set(chosen_frames(total))
        with self._reading(record) as (frames, damage):
            found = detect_frames(
                frames,
                self.detector,
                flow=self.flow,
                batch_size=self.settings.batch_size,
                min_score=self.settings.track.continue_score,
                find_cuts=self.settings.find_cuts,
                start=len(record),
                timing=self.timing,
            )
            with contextlib.closing(found):
                for frame, flow, detections in found:
                    if flow is not None and frame.index in chosen:
                        self._save_flow(frame.index, flow)
                    record.append(frame, detections)
                    report(len(record), total)
                    if self.stop.requested and self.info.kind != "camera":
                        raise Stopped
        if not len(record):
            raise InputError(f"{self.source}: has no frames.")
        return damage[0] if damage else ""

    @contextlib.contextmanager
    def _reading(self, record):
        """Frames from before the first that is missing, and a list for what is wrong.

        Whether a frame is a cut depends on those before it, so they are read again.
        """
        start, limit = max(0, len(record) - LOOKBACK), self.settings.max_frames
        frames = read_frames(
            self.source,
            start=start,
            max_frames=None if limit is None else max(0, limit - start),
            white=self.settings.white,
        )
        damage: list[str] = []
        checked = until_damage(
            frames, damage, size=self.info.size, any_before=len(record) > 0
        )
        if self.info.kind != "camera":
            yield checked, damage
            return
        # A camera cannot be read again, to draw over its frames.
        with VideoWriter(self._camera_file(), self.info.size, None, crf=12) as writer:
            yield recorded(checked, writer, self.stop), damage

    def _watched(self, items: Sequence) -> Sequence:
        return items if self.info.kind == "camera" else Watched(items, self.stop)

    def _camera_file(self) -> Path:
        return self.folder.work / "camera.mp4"

    def _save_flow(self, index, flow):
        """Keeps a small picture of the flow for the report."""
        folder = self.folder.work / "flow"
        folder.mkdir(exist_ok=True)
        picture = flow_picture(flow)
        factor = min(1.0, FLOW_PICTURE_SIDE / max(picture.shape[:2]))
        size = [max(1, round(n * factor)) for n in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        write_file(folder / f"{index}.jpg", images.encode_jpeg(picture))

    def link(self, record: Record) -> Sequence[TrackedFrame]:
        """The tracks, read from disk frame by frame."""
        settings, watched = self.settings, self._watched(record)
        track = settings.track
        with stopwatch(self.timing, "track"):
            links = link_moving(
                watched,
                self.detector.config,
                track,
                settings.min_motion,
                settings.min_frames,
            )
        tracks = TrackedFrames(
            record,
            links,
            names=Column(record, "name"),
            times=Column(record, "time"),
            size=record.frame(0).size,
            config=track,
        )
        return self._watched(tracks)

    def write(self, tracks: Sequence[TrackedFrame]) -> int:
        """Writes all results but run.json; returns the number of tracks."""
        about, fps, count = self.about, *self._survey(tracks)
        frames = functools.partial(self._images, len(tracks))
        for form in dict.fromkeys((*ALWAYS, *self.settings.save)):
            with stopwatch(self.timing, f"write {form}"):
                write_tracks(
                    tracks,
                    self.folder.result(form),
                    to=form,
                    frames=frames,
                    fps=fps,
                    image_suffix=_image_suffix(self.source),
                    provenance=about,
                )
        with stopwatch(self.timing, "write overlay"):
            write_overlay(
                frames(), tracks, self.folder.path / OVERLAY, fps, why=self.settings.why
            )
        with stopwatch(self.timing, "write report"):
            write_report(
                self.folder.path / REPORT,
                tracks,
                frames(),
                _FlowPictures(self.folder.work / "flow"),
                # A name may have bytes that are no text.
                title=Path(self.source).name.encode(errors="replace").decode(),
                settings=about,
                fps=float(fps or self._rate()),
            )
        return count

    def _survey(self, tracks) -> tuple[float | None, int]:
        """Frames per second, None for the frames' own times; and number of tracks.

        Times that cannot be those of a video that is written are not used.
        """
        timed, last, ids = True, -LEAST_INTERVAL, set()
        for frame in tracks:
            ids.update(sighting.id for sighting in frame.sightings)
            time = math.nan if frame.time is None else frame.time
            timed = timed and last + LEAST_INTERVAL <= time < 1e9
            last = time
        return None if timed else self._rate(), len(ids)

    def _rate(self) -> float:
        """Frames per second, on average."""
        least, most = FPS_RANGE
        rate = float(self.info.fps or 0)
        return rate if least <= rate <= most else self.settings.fps

    def _images(self, count: int) -> Iterator[np.ndarray]:
        """The first frames of the video again."""
        camera = self.info.kind == "camera"
        source = str(self._camera_file()) if camera else self.source
        height, width = self.info.size  # The camera's file has even sides.
        frames = read_frames(
            source,
            max_frames=count,
            allow_truncated=True,
            white=self.settings.white,
        )
        for frame in frames:
            yield frame.image[:height, :width]


def _image_suffix(source: str) -> str:
    """That of images; results of other videos are named as if frames were JPEGs."""
    path = Path(source)
    first = list_images(path)[0] if path.is_dir() else path
    known = first.suffix.lower() in IMAGE_SUFFIXES
    return first.suffix if known else ".jpg"


class _FlowPictures(Mapping[int, np.ndarray]):
    """Pictures by number of the frame."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __getitem__(self, index: int) -> np.ndarray:
        path = self._folder / f"{index}.jpg"
        if not path.is_file():
            raise KeyError(index)
        return images.read_rgb(path)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(int(path.stem) for path in self._folder.glob("*.jpg")))

    def __len__(self) -> int:
        return sum(1 for _ in self)
