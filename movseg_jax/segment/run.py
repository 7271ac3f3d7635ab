"""A video segmented into a folder: `movseg segment`.

First objects are detected in all frames, which takes nearly all the time; they are
recorded in the folder's `.movseg`, from which a run that was stopped resumes. Then
detections are linked and everything is written, `run.json` last: once that is there,
the run is finished. The results do not depend on whether the run was stopped, except
for `run.json`, which holds the times.
"""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.flow.colour_wheel import flow_picture
from movseg_jax.formats.conversion import write_tracks
from movseg_jax.formats.survey import check_name, survey
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.page import chosen_frames, report_writer
from movseg_jax.results import TrackedFrame
from movseg_jax.segment.detecting import detect_frames
from movseg_jax.segment.flow_source import FlowSource, SizedEstimator, chosen_flow
from movseg_jax.segment.hints import why_no_tracks
from movseg_jax.segment.interruption import ReadableFrames, recorded
from movseg_jax.segment.record import Column, Record
from movseg_jax.segment.run_folder import (
    ALWAYS,
    FORMAT,
    OVERLAY,
    REPORT,
    RUN,
    RunFolder,
)
from movseg_jax.segment.section import Section, find_section
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.atomic import locked, write_file
from movseg_jax.system.paths import IMAGE_SUFFIXES, list_images
from movseg_jax.system.pipeline import Timing, stopwatch
from movseg_jax.system.process import give_back_memory, installed_version
from movseg_jax.system.progress import Progress, Stopped, phase
from movseg_jax.system.stopping import StopRequest
from movseg_jax.track.links import TrackedFrames
from movseg_jax.track.moving import link_moving
from movseg_jax.video.cuts import LOOKBACK
from movseg_jax.video.overlay import overlay_writer, paired
from movseg_jax.video.reading import (
    VideoInfo,
    fingerprint,
    probe,
    read_frames,
    source_paths,
)
from movseg_jax.video.writing import VideoWriter

RECORD = "detections.sqlite"  # In the folder's `.movseg`.
FLOW_PICTURE_SIDE = 320  # Longer side, pixels.


class Summary(NamedTuple):
    """The outcome of a run.

    Attributes:
        finished: False if it was asked to stop, and can be started again.
        frames: Number of frames that objects were detected in.
        tracks: Number of tracks; 0 if the run is not finished.
        timing: Seconds by part.
        damage: The video's damage; "" if there is none, or if that was allowed.
        already: Whether everything was there before.
        hint: The reason why there are no tracks; "" if there are any, or if `already`.
    """

    finished: bool
    frames: int
    tracks: int
    timing: Timing
    damage: str = ""
    already: bool = False
    hint: str = ""


def segment_to_folder(
    source: str | Path,
    out: str | Path,
    detector: TrainedDetector,
    config: SegmentConfig | None = None,
    *,
    overwrite: bool = False,
    allow_truncated: bool = False,
    progress: Progress | None = None,
    flow: FlowSource | None = None,
    copy_of: str | None = None,
) -> Summary:
    """Segments a video, or resumes that, and writes all results to a folder.

    Args:
        source: A video that `read_frames` reads. A camera is read until a signal comes.
        out: The folder; it is made if it is missing.
        detector: A detector from `load_detector`.
        config: The settings; the defaults if None.
        overwrite: Whether to replace what another run left there.
        allow_truncated: Whether the frames of a damaged video that can be read are
            enough. Its damage is then in run.json only.
        progress: A function that is called with the number of frames done, that of all
            frames if it is known, and the phase: "detect", "track", or what is written.
        flow: The result of `chosen_flow`; it is called if this is None.
        copy_of: The name of what the video is a copy of, see `fingerprint`.

    Raises:
        InputError: The video cannot be read, or the folder cannot be used for it.
    """
    began = time.perf_counter()
    source, config = str(source), config or SegmentConfig()
    # All that can be wrong with the arguments is found before anything is written.
    info = probe(source, white=config.white)
    for name in info.names or ():
        check_name(name, source)
    section = find_section(source, config.start, config.end, config.max_frames)
    flow = flow or chosen_flow(config, detector.config)
    video = fingerprint(source, copy_of)
    about = {"video": video, **describe_settings(detector, config, flow)}
    folder = RunFolder(Path(out))
    folder.refuse_foreign(about, overwrite=overwrite)
    with StopRequest() as stop, locked(Path(out)):
        before = folder.claim(about, overwrite=overwrite)
        if before is not None:
            return _finished_before(before, allow_truncated)
        job = _Job(
            source=source,
            info=info,
            section=section,
            folder=folder,
            detector=detector,
            config=config,
            flow=flow,
            about=about,
            stop=stop,
            progress=progress or (lambda done, total, phase: None),
        )
        summary = job.run(began)
    return summary._replace(damage="") if allow_truncated else summary


def _finished_before(run: Mapping[str, Any], allow_truncated: bool) -> Summary:
    damage = "" if allow_truncated else str(run.get("damage", ""))
    counts = (run.get("frames", 0), run.get("tracks", 0))
    return Summary(True, *counts, {}, damage, already=True)


def describe_settings(
    detector: TrainedDetector, config: SegmentConfig, flow: FlowSource
) -> dict[str, Any]:
    """Returns what decides about the results of any video, as JSON values.

    Args:
        detector: The detector.
        config: The settings.
        flow: The source of flow that the settings name, from `chosen_flow`.
    """
    about = {
        "weights": {"name": detector.name, "sha256": detector.digest},
        "model": dataclasses.asdict(detector.config),
        "settings": dataclasses.asdict(config),
        "versions": {
            RUN: FORMAT,
            "movseg_jax": installed_version() or "not installed",
            "jax": jax.__version__,
            "opencv": cv2.__version__,
        },
        "device": jax.devices()[0].device_kind,
    }
    if detector.precision not in (None, detector.config.arithmetic.precision):
        about["precision"] = detector.precision
    if isinstance(flow, SizedEstimator):
        about["flow_network"] = flow.name  # It has the hash of the network's weights.
    return json.loads(json.dumps(about))  # Tuples are lists, as in the file.


@dataclasses.dataclass
class _Job:
    """The parts of one run, in their order.

    All but `run` raise `Stopped` if the run is asked to stop, except for a camera: then
    its recording ends, and the run is finished.
    """

    source: str
    info: VideoInfo
    section: Section
    folder: RunFolder
    detector: TrainedDetector
    config: SegmentConfig
    flow: FlowSource
    about: dict[str, Any]
    stop: StopRequest
    progress: Progress
    timing: Timing = dataclasses.field(default_factory=dict)

    def run(self, began: float) -> Summary:
        """Runs all parts; `began` is the `time.perf_counter` of the run's start."""
        path = self.folder.work / RECORD
        with Record(path, self.about, multiple=self.config.batch_size) as record:
            try:
                damage = self.detect(record)
                whole = not damage and self.section == Section()
                first = None if whole else self.section.first
                count = self.write(self.link(record, first))
            except Stopped:
                return Summary(False, len(record), 0, self.timing)
            frames = len(record)
            hint = "" if count else self.why_no_tracks(record)
        self.timing["total"] = time.perf_counter() - began
        self.finish(frames=frames, tracks=count, damage=damage)
        return Summary(True, frames, count, self.timing, damage, hint=hint)

    @property
    def is_camera(self) -> bool:
        """Whether the video is a camera, which cannot be read again."""
        return self.info.kind == "camera"

    def detect(self, record: Record) -> str:
        """Detects objects in all frames that are not recorded yet.

        Returns:
            The damage of the video; "" if there is none.
        """
        first, total = self.section
        if self.info.frame_count is not None:
            left = max(0, self.info.frame_count - first)
            total = left if total is None else min(total, left)
        self.progress(len(record), total, "detect")
        chosen = set() if total is None else set(chosen_frames(total))
        done = len(record)
        with self._read(done) as (frames, readable):
            found = detect_frames(
                frames,
                self.detector,
                flow=self.flow,
                batch_size=self.config.batch_size,
                min_score=self.config.track.continue_score,
                find_cuts=self.config.find_cuts,
                refine_masks=self.config.refine_masks,
                start=first + done,
                timing=self.timing,
            )
            # Closed before the reader is: the threads of `found` use it.
            with contextlib.closing(found):
                for frame, flow, detections in found:
                    # The picture first: what is recorded is not detected in again.
                    number = frame.index - first
                    if flow is not None and number in chosen:
                        self._save_flow(number, flow)
                    record.append(frame, detections)
                    self.progress(len(record), total, "detect")
                    if len(record) == done + 1:
                        give_back_memory()  # Compiling has freed much.
                    if self.stop.requested and not self.is_camera:
                        raise Stopped
        give_back_memory()  # The detector is done.
        if not len(record):
            part = f" from frame {first} on" if first else ""
            raise InputError(f"{self.source}: has no frames{part}.")
        return readable.damage

    @contextlib.contextmanager
    def _read(self, done: int) -> Iterator[tuple[Iterator, ReadableFrames]]:
        """The frames to detect in, and the reader that knows of damage.

        Whether a frame is a cut depends on the frames before it, so some of those that
        are done are read again.
        """
        again = min(done, LOOKBACK)
        first, count = self.section
        frames = read_frames(
            self.source,
            start=first + done - again,
            max_frames=None if count is None else max(0, count - done + again),
            white=self.config.white,
        )
        with contextlib.closing(frames):
            readable = ReadableFrames(frames, self.info.size, any_before=done > 0)
            if not self.is_camera:
                yield readable, readable
                return
            # The overlay is drawn over the recording. It is compressed little.
            file = self._camera_file()
            with VideoWriter(file, self.info.size, None, crf=12) as writer:
                yield recorded(readable, writer, self.stop), readable

    @contextlib.contextmanager
    def _phase(self, name: str, items: Sequence, passes: int = 1) -> Iterator[Sequence]:
        """Measures and reports a phase that reads items, see `progress.phase`."""

        def stop() -> bool:
            return self.stop.requested and not self.is_camera

        with (
            stopwatch(self.timing, name),
            phase(name, items, self.progress, passes=passes, stop=stop) as read,
        ):
            yield read

    def _camera_file(self) -> Path:
        return self.folder.work / "camera.mp4"

    def _save_flow(self, index: int, flow: np.ndarray) -> None:
        """Keeps a small picture of the flow for the report."""
        folder = self.folder.work / "flow"
        folder.mkdir(exist_ok=True)
        factor = min(1.0, FLOW_PICTURE_SIDE / max(flow.shape[:2]))
        size = [max(1, round(n * factor)) for n in flow.shape[1::-1]]
        # Reduced before it is drawn, as drawing the flow of each frame of a video in
        # full takes as long as estimating it.
        picture = flow_picture(cv2.resize(flow, size, interpolation=cv2.INTER_AREA))
        write_file(folder / f"{index}.jpg", images.encode_jpeg(picture))

    @property
    def _thresholds(self) -> dict[str, Any]:
        """The thresholds of `link_moving` below which tracks are left out."""
        least = self.config.least_motion(self.detector.config)
        return {"min_motion": least, "min_frames": self.config.min_frames}

    def why_no_tracks(self, record: Record) -> str:
        """Returns the threshold that the detections missed, as a sentence."""
        return why_no_tracks(record, self.config.track, **self._thresholds)

    def link(self, record: Record, first: int | None) -> Sequence[TrackedFrame]:
        """Links detections to tracks, read from disk; `first` as in `TrackedFrames`."""
        config = self.config
        with self._phase("track", record, passes=3) as detections:
            links = link_moving(
                detections,
                config.track,
                **self._thresholds,
            )
        return TrackedFrames(
            record,
            links,
            names=Column(record, "name"),
            times=Column(record, "time"),
            size=record.frame(0).size,
            config=config.track,
            first=first,
        )

    def write(self, tracks: Sequence[TrackedFrame]) -> int:
        """Writes all results but run.json; returns the number of tracks."""
        with self._phase("check", tracks) as read:
            surveyed = survey(read, self.folder.path)
        # None: frames are shown at their own times.
        rate = self.info.rate(self.config.fps)
        fps = None if surveyed.timed else rate
        frames = functools.partial(self._images, len(tracks))
        for form in dict.fromkeys((*ALWAYS, *self.config.save)):
            with self._phase(f"write {form}", tracks) as read:
                write_tracks(
                    read,
                    self.folder.result(form),
                    to=form,
                    frames=frames,
                    fps=fps,
                    image_suffix=_image_suffix(self.source),
                    provenance=self.about,
                    surveyed=surveyed,
                )
        # Both in one pass, as decoding takes about as long as drawing.
        with self._phase("write overlay and report", tracks, passes=2) as read:
            report = report_writer(
                self.folder.path / REPORT,
                read,
                _FlowPictures(self.folder.work / "flow"),
                title=_title(self.source),
                settings=self.about,
                fps=rate,
                licence=self.detector.licence,
            )
            overlay = self.folder.path / OVERLAY
            drawn = overlay_writer(tracks, overlay, fps, why=self.config.why)
            with drawn as draw, report as show:
                for image, tracked in paired(frames(), read, source=self.source):
                    draw(image, tracked)
                    show(image, tracked)
        return len(surveyed.ids)

    def finish(self, **outcome: Any) -> None:
        """Writes run.json, so that the run is finished."""
        seconds = {part: round(value, 3) for part, value in self.timing.items()}
        outcome["licence_of_weights"] = self.detector.licence
        self.folder.finish(self.about, **outcome, seconds=seconds)

    def _images(self, count: int) -> Iterator[np.ndarray]:
        """The frames that were segmented, again."""
        height, width = self.info.size  # The camera's file has even sides.
        frames = read_frames(
            str(self._camera_file()) if self.is_camera else self.source,
            start=self.section.first,
            max_frames=count,
            allow_truncated=True,
            white=self.config.white,
        )
        for frame in frames:
            yield frame.image[:height, :width]


def _title(source: str) -> str:
    """The name of the video; that of a folder also if the path to it is ".".

    A name may have bytes that are not text.
    """
    if not source_paths(source):
        return f"Camera {source}"
    return Path(source).resolve().name.encode(errors="replace").decode()


def _image_suffix(source: str) -> str:
    """The suffix of the images, or ".jpg", which others expect of a video's frames."""
    folder = Path(source)
    files = list_images(folder) if folder.is_dir() else source_paths(source)
    suffix = files[0].suffix if files else ""  # A camera has no files.
    return suffix if suffix.lower() in IMAGE_SUFFIXES else ".jpg"


class _FlowPictures(Mapping[int, np.ndarray]):
    """The pictures of flow by the index of their frame."""

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
