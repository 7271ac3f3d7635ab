"""Measures where the time of segmenting goes, beside the least possible time.

Each part of segmenting is measured alone, then the whole job, then the whole job at
other sizes of the frame and with other numbers of detections. Times are of this machine
and of the moment; processor time, of all threads together, changes less with other work
than time by the clock.
"""

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from movseg_jax import demo, images, masks
from movseg_jax.config import ModelConfig, Precision, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.estimators import get_estimator
from movseg_jax.flow.global_motion import camera_motion
from movseg_jax.model.detector import STREAM_INPUTS, Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.results import FrameDetections, Sighting, TrackedFrame
from movseg_jax.segment.flow_source import FLOW_SIDE, SizedEstimator
from movseg_jax.segment.outputs import KEPT_SCORE, to_detections
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.workers import count_workers
from movseg_jax.video.overlay import draw_tracks
from movseg_jax.video.reading import read_frames

CHOSEN = 4  # The number of frames in which the parts are measured.


class Machine(NamedTuple):
    """The speed that a device reaches at most.

    Attributes:
        device: Name of the device.
        flops: Operations per second of a product of float32 matrices.
        bandwidth: Bytes per second that are read and written.
    """

    device: str
    flops: float
    bandwidth: float

    def least_ms(self, flops: float, moved: float) -> float:
        """Returns the milliseconds that operations and moved bytes take at least."""
        return 1000 * max(flops / self.flops, moved / self.bandwidth)


class Part(NamedTuple):
    """Times of a part of segmenting, in milliseconds per frame.

    Attributes:
        name: Name of the part.
        processor: Time of all threads together.
        wall: Time by the clock.
        least: The least possible time by the clock, from the part's operations and the
            bytes that it reads and writes; None if the operations are not known.
    """

    name: str
    processor: float
    wall: float
    least: float | None = None


class Job(NamedTuple):
    """Times of the whole job, in milliseconds per frame, without compiling.

    Attributes:
        name: Name of what was segmented.
        processor: Time of all threads together.
        wall: Time by the clock.
        parts: Time by the clock of each part. Parts overlap.
    """

    name: str
    processor: float
    wall: float
    parts: Mapping[str, float]


class Measurements(NamedTuple):
    """The times of segmenting on a machine.

    Attributes:
        machine: Speed of the machine.
        size: Height and width of the video, in pixels.
        parts: The parts, each alone.
        jobs: The whole job: on the video itself, on frames of other sizes, and with
            other numbers of detections.
    """

    machine: Machine
    size: tuple[int, int]
    parts: list[Part]
    jobs: list[Job]

    def to_json(self) -> dict[str, Any]:
        """Returns the measurements as JSON."""
        return {
            "machine": self.machine._asdict(),
            "size": list(self.size),
            "parts": [part._asdict() for part in self.parts],
            "jobs": [job._asdict() for job in self.jobs],
        }

    def to_text(self) -> str:
        """Returns the measurements as two tables."""
        machine, (height, width) = self.machine, self.size
        lines = [
            f"{machine.device}: {machine.flops / 1e9:.0f} GFLOP/s in a product of "
            f"matrices, {machine.bandwidth / 1e9:.0f} GB/s in a copy.",
            "",
            f"{f'a frame of {width}x{height}, each part alone':44}"
            f"{'processor ms':>14}{'wall ms':>10}{'least ms':>10}",
        ]
        for part in self.parts:
            least = "" if part.least is None else f"{part.least:.1f}"
            lines.append(
                f"  {part.name:42}{part.processor:14.1f}{part.wall:10.1f}{least:>10}"
            )
        lines += [
            "",
            f"{'the whole job, without compiling':44}"
            f"{'processor ms':>14}{'wall ms':>10}{'frames/s':>10}",
        ]
        for job in self.jobs:
            rate = 1000 / job.wall
            lines.append(
                f"  {job.name:42}{job.processor:14.1f}{job.wall:10.1f}{rate:10.1f}"
            )
        together = ", ".join(f"{k} {v:.0f}" for k, v in self.jobs[0].parts.items())
        lines += ["", f"Parts of the first job, which overlap, in wall ms: {together}."]
        return "\n".join(lines)


def run_bench(
    detector: TrainedDetector,
    video: str | None = None,
    *,
    frames: int,
    repeats: int,
    sides: Sequence[int],
    detections: Sequence[int],
    say: Callable[[str], None] = lambda what: None,
) -> Measurements:
    """Measures the parts of segmenting alone, and the whole job.

    Args:
        detector: The detector, from `load_detector`.
        video: A video that `read_frames` reads; None renders a scene.
        frames: Number of frames of the whole job; shorter videos are repeated.
        repeats: Number of measurements of each part, of which the least counts.
        sides: Longer sides of the frames of further jobs, in pixels.
        detections: Mean numbers of detections in a frame of further jobs.
        say: Is told what is measured next.

    Raises:
        InputError: The video cannot be read or has a single frame.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if video is None:
            say("render a scene")
            demo.render(folder / "scene")
            video = str(folder / "scene" / demo.FRAMES)
        shown = [frame.image for frame in read_frames(video, max_frames=frames)]
        if len(shown) < 2:
            raise InputError(f"{video}: has one frame; the flow needs two.")
        say("the machine")
        machine = measure_machine()
        say("each part")
        prepared = _prepare(shown, detector)
        parts = list(_parts(prepared, detector, machine, repeats))
        shown = (shown * -(-frames // len(shown)))[:frames]
        height, width = size = shown[0].shape[:2]
        jobs = []

        def measure(name: str, side: int, config: SegmentConfig | None = None) -> None:
            say(name)
            source = folder / str(side)
            _write(source, shown, side)
            jobs.append(measure_job(name, source, folder / "result", detector, config))

        measure(f"{width}x{height}, as it is", max(size))
        for side in sides:
            across, down = _scaled(size, side)
            measure(f"{across}x{down}", side)
        for count, score in _scores(prepared, detector, detections):
            config = SegmentConfig(track=_with_least_score(score))
            measure(f"{width}x{height}, {count} detections", max(size), config)
        return Measurements(machine, size, parts, jobs)


def measure_machine() -> Machine:
    """Measures a product of matrices, and a copy of 128 MiB."""
    long = jnp.ones(2**25, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    _, copying = least_time(lambda: copy(long), 5)
    device = jax.devices()[0]
    name = f"{jax.local_device_count()} x {device.device_kind}"
    if device.platform == "cpu":
        name = f"{count_workers(0)} cores of the processor"
    return Machine(name, peak_flops(precision="highest"), 2 * long.nbytes / copying)


def peak_flops(
    dtype: DTypeLike = jnp.float32, precision: Precision = "default"
) -> float:
    """Measures operations per second of a large matrix product on one device."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(functools.partial(jnp.dot, precision=precision))
    _, seconds = least_time(lambda: product(matrix, matrix), 5)
    return 2 * side**3 / seconds


def least_time(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Returns the least processor and wall time of a call, in seconds."""
    jax.block_until_ready(call())  # Compiles, fills caches.
    times = []
    for _ in range(repeats):
        began = time.process_time(), time.perf_counter()
        jax.block_until_ready(call())
        times.append(np.subtract((time.process_time(), time.perf_counter()), began))
    processor, wall = np.min(times, axis=0).tolist()
    return processor, wall


class _Prepared(NamedTuple):
    """A frame with what the parts make of it, so that each part has its input."""

    image: np.ndarray
    next_image: np.ndarray
    flow: np.ndarray
    camera: np.ndarray
    inputs: Any
    outputs: Any


def _prepare(shown: Sequence[np.ndarray], detector: TrainedDetector) -> list[_Prepared]:
    """Prepares a few of the frames; the last one has no next one."""
    config = detector.config
    estimate = _estimator(config)
    frames = []
    for i in np.linspace(0, len(shown) - 2, min(CHOSEN, len(shown) - 1)).astype(int):
        image, next_image = shown[i], shown[i + 1]
        flow = estimate(image, next_image)
        camera = camera_motion(flow)
        inputs = stack([make_inputs(image, flow, config, camera=camera)])
        outputs = jax.device_get(detector(inputs, KEPT_SCORE))
        frames.append(_Prepared(image, next_image, flow, camera, inputs, outputs))
    return frames


def _estimator(config: ModelConfig) -> SizedEstimator:
    """Returns the estimator of flow that `movseg segment` uses by default."""
    make = functools.partial(get_estimator, "dis")
    return SizedEstimator(make, config, FLOW_SIDE, name="dis")


def _parts(
    frames: Sequence[_Prepared],
    detector: TrainedDetector,
    machine: Machine,
    repeats: int,
) -> Iterator[Part]:
    """Measures each part alone."""
    config, estimate = detector.config, _estimator(detector.config)

    def measure(name: str, call: Callable[[_Prepared], Any], least=None) -> Part:
        times = [least_time(lambda f=f: call(f), repeats) for f in frames]
        processor, wall = 1000 * np.mean(times, axis=0)
        return Part(name, processor, wall, least)

    def bytes_only(*arrays: Any) -> float:
        return machine.least_ms(0.0, float(sum(x.nbytes for x in arrays)))

    first = frames[0]
    yield measure("flow (DIS)", lambda f: estimate(f.image, f.next_image))
    yield measure("motion of the camera", lambda f: camera_motion(f.flow))
    seen = [x for x in (first.inputs.image, first.inputs.motion) if x is not None]
    yield measure(
        "inputs: encode, resize, normalise",
        lambda f: make_inputs(f.image, f.flow, config, camera=f.camera),
        bytes_only(first.image, first.flow, *seen),
    )
    for name, call, features in _detector_parts(detector):
        compiled = jax.jit(call).lower(*features(first.inputs)).compile()
        cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
        moved = 0.0
        if memory is not None:
            moved += memory.argument_size_in_bytes + memory.output_size_in_bytes
        least = machine.least_ms(cost.get("flops", 0.0), moved)
        prepared = {id(f): jax.device_put(features(f.inputs)) for f in frames}
        yield measure(name, lambda f, c=compiled, p=prepared: c(*p[id(f)]), least)
    yield measure("detector, complete", lambda f: detector(f.inputs, KEPT_SCORE))

    def describe(frame: _Prepared) -> FrameDetections:
        return to_detections(
            frame.outputs, 0, frame.image, frame.flow, camera=frame.camera,
            model=config, min_score=KEPT_SCORE, cut=False, refine_masks=True,
        )  # fmt: skip

    yield measure("masks, motion and colours of detections", describe)
    yield measure("draw the overlay", _draw(describe, frames))


def _draw(describe, frames: Sequence[_Prepared]) -> Callable[[_Prepared], np.ndarray]:
    tracked = {}
    for frame in frames:
        found = describe(frame).moving
        sightings = [
            Sighting(i, d.mask, 1.0, True, 1.0) for i, d in enumerate(found, 1)
        ]
        size = frame.image.shape[:2]
        tracked[id(frame)] = TrackedFrame("0", size, None, tuple(sightings))
    return lambda frame: draw_tracks(frame.image, tracked[id(frame)])


def _detector_parts(detector: TrainedDetector) -> Iterator[tuple[str, Any, Any]]:
    """Yields each part of the detector as its name, a function and its arguments."""
    config, params = detector.config, {"params": detector.params}
    model = Detector(config, precision=detector.precision)

    def apply(method: Callable) -> Callable:
        return lambda *arguments: model.apply(*arguments, method=method)

    features_of = jax.jit(apply(lambda m, inputs: m.features(inputs)))
    for stream in config.streams:
        image = STREAM_INPUTS[stream]
        yield (
            f"detector: {stream} backbone and pyramid",
            apply(lambda m, x, s=stream, i=image: getattr(m, s)(getattr(x, i), x.size)),
            lambda inputs: (params, inputs),
        )

    def heads(moving: bool) -> Callable:
        def run(module, features, inputs):
            head = module if moving else module.static
            pyramid = features[config.rpn_features if moving else "appearance"]
            proposals = module.propose(head.rpn(pyramid), pyramid, inputs)
            boxes = features[config.box_features if moving else "appearance"]
            found = module.classify(head.box_head, boxes, proposals.boxes, inputs)
            return module.select(*found, proposals, inputs)

        return apply(run)

    def with_features(inputs):
        return params, features_of(params, inputs), inputs

    yield "detector: proposals and boxes, moving", heads(True), with_features
    if config.static_branch:
        yield "detector: proposals and boxes, static", heads(False), with_features
    chosen = jax.jit(heads(True))

    def masks_of_ten(module, features, selected, inputs):
        pyramid = features[config.mask_features]
        rois, classes = selected.rois[:, :10], selected.classes[:, :10]
        return module.mask_logits(pyramid, rois, classes, inputs)

    def with_boxes(inputs):
        features = features_of(params, inputs)
        return params, features, chosen(params, features, inputs), inputs

    yield "detector: ten masks", apply(masks_of_ten), with_boxes


def _scaled(size: masks.Size, side: int) -> tuple[int, int]:
    """Returns width and height for a longer side."""
    height, width = (max(1, round(n * side / max(size))) for n in size)
    return width, height


def _write(folder: Path, shown: Sequence[np.ndarray], side: int) -> None:
    """Writes the frames as images of another size, unless they are there."""
    if folder.is_dir():
        return
    folder.mkdir()
    for i, image in enumerate(shown):
        scaled = cv2.resize(image, _scaled(image.shape[:2], side))
        (folder / f"{i:05d}.jpg").write_bytes(images.encode_jpeg(scaled))


def measure_job(
    name: str,
    source: Path,
    out: Path,
    detector: TrainedDetector,
    config: SegmentConfig | None,
) -> Job:
    """Measures segmenting a folder of frames, in the second of two runs.

    Args:
        name: The name for the result.
        source: A folder of frames.
        out: A folder for the results; an earlier result is replaced.
        detector: The detector.
        config: The settings; the defaults if None.
    """
    frames = len(list(source.iterdir()))
    config = config or SegmentConfig()
    # Compiles.
    warm = dataclasses.replace(config, max_frames=2 * config.batch_size)
    segment_to_folder(source, out, detector, warm, overwrite=True)
    began = time.process_time(), time.perf_counter()
    done = segment_to_folder(source, out, detector, config, overwrite=True)
    processor, wall = np.subtract((time.process_time(), time.perf_counter()), began)
    each = 1000 / frames
    parts = {part: seconds * each for part, seconds in done.timing.items()}
    del parts["total"]
    return Job(name, processor * each, wall * each, parts)


def _scores(
    frames: Sequence[_Prepared], detector: TrainedDetector, counts: Sequence[int]
) -> Iterator[tuple[int, float]]:
    """Yields numbers of detections per frame, and the scores that leave as many."""
    if not counts:
        return
    scores = []
    for frame in frames:
        for found in jax.device_get(detector(frame.inputs)):
            if found is not None:
                scores += found.scores[found.valid].tolist()
    scores.sort(reverse=True)
    for count in counts:
        if scores:
            yield count, scores[min(count * len(frames), len(scores)) - 1]


def _with_least_score(score: float) -> TrackConfig:
    """Returns the default settings of the tracker, but for its least scores."""
    track = TrackConfig()
    start = max(track.start_score, score)
    return dataclasses.replace(track, continue_score=score, start_score=start)
