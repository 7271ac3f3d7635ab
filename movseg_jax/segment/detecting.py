"""From frames to detections: flow, the detector, masks; each at work on other frames.

Reading and flow run in threads that are a few frames ahead, the device computes a batch
while the masks of the one before are pasted. What comes out does not depend on that.
"""

import contextlib
import functools
import itertools
import math
import os
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import numpy as np
from jaxtyping import Float32

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.flow.estimators import ALGORITHMS, FlowEstimator, get_estimator
from movseg_jax.flow.folder import FlowFolder
from movseg_jax.flow.object_motion import object_shifts, object_speeds
from movseg_jax.model.inputs import make_inputs, resized_size, stack
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.system.devices import start_devices
from movseg_jax.system.prefetch import ahead
from movseg_jax.track.colour import colour_histogram
from movseg_jax.types import Detections, Inputs
from movseg_jax.video.cuts import ShotFrame, mark_cuts
from movseg_jax.video.reading import Frame

KEPT_SCORE = 0.7  # Detections with more are kept: the tracker's threshold.
# Flow of larger frames is computed at this longer side, unless the model sees more.
FLOW_SIDE = 854
OPENCV_THREADS = "OPENCV_FOR_THREADS_NUM"  # A variable that OpenCV reads.

Flow = Float32[np.ndarray, "h w 2"] | None
FlowSource = FlowEstimator | FlowFolder | Path | str
Timing = dict[str, float]  # Seconds by part.


class Detected(NamedTuple):
    """A frame and what was found in it.

    Attributes:
        frame: The frame as it was read.
        flow: Flow to the next frame; None in the last frame of a shot.
        detections: The detections, with their motion where there is flow.
    """

    frame: Frame
    flow: Flow
    detections: FrameDetections


def detect_frames(
    frames: Iterable[Frame],
    detector: TrainedDetector,
    *,
    flow: FlowSource = "dis",
    batch_size: int = 1,
    min_score: float = KEPT_SCORE,
    find_cuts: bool = True,
    start: int = 0,
    timing: Timing | None = None,
) -> Generator[Detected, None, None]:
    """Detects objects in the frames of a video, one after the other.

    The last frame of a shot has no flow. There, only the static branch finds anything
    (as in Dave et al. (2019): `infer_simple.py` of their code).

    Args:
        frames: Of one size; two batches and a few more are in memory.
        detector: From `load_detector`.
        flow: "dis", "dis_fast" or "farneback"; a folder of flow files, named as the
            frames; or a function of two frames, such as an `OpenCVEstimator`.
        batch_size: Frames that the device gets at once.
        min_score: Detections with more are returned.
        find_cuts: Look for cuts, so that no flow is computed across them.
        start: Frames with a lower index are looked at to find cuts only. For the result
            of the whole video, `video.cuts.LOOKBACK` of them are needed.
        timing: Seconds that each part took are added here, by its name.

    Raises:
        InputError: Frames differ in size; flow of one is missing or damaged; there is
            no such estimator or folder; or a batch has no frames.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` is {batch_size}, expected 1 or more.")
    flow = open_flow(flow)
    timing = {} if timing is None else timing
    shots = ahead(_shots(_timed(frames, timing), find_cuts, start))
    source = ahead(_with_flow(shots, flow, detector, timing))
    batches = ahead(_prepared(source, detector, batch_size), 1)
    finish = functools.partial(
        _finished, detector=detector, min_score=min_score, timing=timing
    )
    running = None  # The batch that the device works on, and what will come of it.
    try:
        for batch, inputs in batches:
            with stopwatch(timing, "detector" if running else "compile"):
                outputs = detector(inputs, min_score)
            if running:
                yield from finish(*running)
            running = batch, outputs
        if running:
            yield from finish(*running)
    finally:
        batches.close()


def _timed(frames, timing) -> Iterator[Frame]:
    """The frames, while what it takes to read them is measured."""
    frames = iter(frames)
    while True:
        with stopwatch(timing, "decode"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _shots(frames, find_cuts, start) -> Iterator[ShotFrame]:
    """The frames from the first that is asked for, and whether each is a cut."""
    if find_cuts:
        marked = mark_cuts(frames)
    else:
        marked = (ShotFrame(frame, False) for frame in frames)
    with contextlib.closing(frames):
        yield from (shot for shot in marked if shot.frame.index >= start)


class stopwatch:
    """Adds the seconds that a block takes to a part's."""

    def __init__(self, timing: Timing, part: str):
        self._timing, self._part = timing, part

    def __enter__(self):
        self._began = time.perf_counter()

    def __exit__(self, *exception):
        seconds = time.perf_counter() - self._began
        self._timing[self._part] = self._timing.get(self._part, 0.0) + seconds


def share_processor() -> None:
    """Keeps OpenCV to one thread where JAX computes on the CPU, unless the user has.

    Flow is computed while the detector runs, on the same cores: OpenCV's threads, which
    spin while they wait, would take them from it (docs/performance.md). A setting of
    the process, so the command line makes it and importing the package does not.

    Raises:
        InputError: JAX has no device.
    """
    start_devices()
    if jax.default_backend() == "cpu" and OPENCV_THREADS not in os.environ:
        cv2.setNumThreads(1)


def open_flow(flow: FlowSource) -> FlowEstimator | FlowFolder | str:
    """The folder that `flow` names; what is no folder's name stays as it is.

    Raises:
        InputError: It names no estimator and no folder of flow files.
    """
    if isinstance(flow, Path):
        flow = str(flow)
    elif not isinstance(flow, str) or flow in ALGORITHMS:
        return flow
    if not Path(flow).is_dir():
        known = ", ".join(ALGORITHMS)
        raise InputError(
            f"flow {flow!r}: there is no such folder; expected one of {known}, or "
            "a folder of flow files."
        )
    return FlowFolder(Path(flow))


def _with_flow(shots, flow, detector, timing) -> Iterator[tuple[ShotFrame, Flow]]:
    """Each frame with its flow to the next one of its shot."""
    waiting = None
    with contextlib.closing(shots):  # Now, as its thread may write a camera's frames.
        for shot in shots:
            if isinstance(flow, str):
                flow = _estimator(flow, shot.frame.image.shape[:2], detector.config)
            if waiting is not None:
                found = None
                if not shot.cut:
                    with stopwatch(timing, "flow"):
                        found = _flow_between(waiting.frame, shot.frame, flow)
                yield waiting, found
            waiting = shot
        if waiting is not None:
            yield waiting, None


def _estimator(name, size, config) -> FlowEstimator:
    """An estimator that sees no less than the model does."""
    seen, _ = resized_size(size, config)
    side = max(FLOW_SIDE, *seen)
    return get_estimator(name, side if side < max(size) else None)


def _flow_between(frame, next_frame, estimator) -> Flow:
    size = frame.image.shape[:2]
    if isinstance(estimator, FlowFolder):
        return estimator(frame.name, frame_size=size)
    which = f"frames {frame.name!r} and {next_frame.name!r}"
    try:
        flow = estimator(frame.image, next_frame.image)
    except InputError as error:
        raise InputError(f"{which}: {error}") from None
    if flow.shape != (*size, 2) or not np.isfinite(flow).all():
        raise InputError(
            f"{which}: their flow is {flow.dtype} {list(flow.shape)}, expected finite "
            f"numbers {[*size, 2]}."
        )
    return flow.astype(np.float32, copy=False)


def _prepared(
    frames: Generator[tuple[ShotFrame, Flow], None, None], detector, batch_size
) -> Iterator[tuple[list[tuple[ShotFrame, Flow]], Inputs]]:
    """Batches of inputs, the last filled up with copies of its last frame."""
    needs_flow = detector.config.motion is not None
    with contextlib.closing(frames):
        for batch in _batched(frames, batch_size):
            inputs = []
            for (frame, _), flow in batch:
                if needs_flow and flow is None:
                    # What the heads that see motion find here is not looked at.
                    flow = np.zeros((*frame.image.shape[:2], 2), np.float32)
                inputs.append(make_inputs(frame.image, flow, detector.config))
            inputs += inputs[-1:] * (batch_size - len(inputs))
            yield batch, stack(inputs)


def _batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _finished(batch, outputs, detector, min_score, timing) -> Iterator[Detected]:
    with stopwatch(timing, "detector"):  # Waits for the device.
        outputs = jax.device_get(outputs)
    for row, ((frame, cut), flow) in enumerate(batch):
        with stopwatch(timing, "paste"):
            moving, static = _to_host(outputs, row, frame, flow, detector, min_score)
            detections = FrameDetections(tuple(moving), tuple(static), cut)
        yield Detected(frame, flow, detections)


def _to_host(
    outputs, row, frame, flow, detector, min_score
) -> tuple[list[Detection], list[Detection]]:
    """The moving and the static detections of a frame."""
    config, size = detector.config, frame.image.shape[:2]

    def convert(found: Detections | None) -> list[Detection]:
        if found is None:
            return []
        boxes, scores, _, logits, valid = (part[row] for part in found)
        kept = valid & (scores > min_score)
        rles = masks.paste_rles(
            logits[kept], boxes[kept], size, convention=config.convention
        )
        return [
            Detection(rle, float(score))
            for rle, score in zip(rles, scores[kept], strict=True)
            if masks.area(rle)
        ]

    blind = config.motion is not None and flow is None
    moving = [] if blind else convert(outputs.moving)
    static = convert(outputs.static)
    found = _described([*moving, *static], len(moving), frame.image, flow)
    return found[: len(moving)], found[len(moving) :]


def _described(found, moving_count, image, flow) -> list[Detection]:
    """The detections with what linking and users need to know of frame and flow."""
    shapes = [masks.decode(detection.mask) for detection in found]
    colours = [colour_histogram(image, shape) for shape in shapes]
    if flow is None:
        unknown = (math.nan, math.nan)
        speeds, shifts = [math.nan] * len(found), [unknown] * len(found)
    else:
        # Objects that move by themselves are no part of others' surroundings.
        movers = [d.mask for d in found[:moving_count] if d.score > KEPT_SCORE]
        others = masks.decode(masks.union(movers)) if movers else None
        speeds = object_speeds(flow, shapes, others)
        # An object whose surroundings move alike has an unknown speed. If only the
        # static branch finds it, it is taken to stand still.
        speeds[moving_count:] = np.nan_to_num(speeds[moving_count:]).tolist()
        shifts = object_shifts(flow, shapes)
    return [
        detection._replace(motion=motion, shift=shift, colour=colour)
        for detection, motion, shift, colour in zip(
            found, speeds, shifts, colours, strict=True
        )
    ]
