"""Detecting objects in frames: a pipeline whose stages work at the same time.

    read frames, find cuts      thread
    flow to the next frame      thread
    batches of inputs           thread
    the detector                device
    masks, motion, colours      this thread

Most of the time is spent outside of Python, in FFmpeg, OpenCV and XLA, which release
the interpreter's lock; so threads are enough to keep all cores and the device busy.
While the device computes a batch, this thread finishes the one before. The results do
not depend on any of this.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float64

from movseg_jax.config import ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import RELATIVE
from movseg_jax.flow.global_motion import camera_motion
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.results import FrameDetections
from movseg_jax.segment.flow_source import FlowBetween, FlowSource, open_flow
from movseg_jax.segment.outputs import KEPT_SCORE, Flow, to_detections
from movseg_jax.system.pipeline import Timing, ahead, stopwatch, timed
from movseg_jax.types import Inputs, Outputs
from movseg_jax.video.cuts import ShotFrame, mark_cuts
from movseg_jax.video.reading import Frame


@runtime_checkable
class FrameDetector(Protocol):
    """The part of a `TrainedDetector` that detecting needs.

    With it, this module does not import the network, which `load_detector` does.
    """

    @property
    def config(self) -> ModelConfig:
        """The config of the model."""
        ...

    def __call__(self, inputs: Inputs, min_score: float = 0.0) -> Outputs:
        """Detects in a batch; may return before the outputs are computed."""
        ...


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


class FlowFrame(NamedTuple):
    """A frame with its flow.

    Attributes:
        frame: The frame.
        cut: Whether a new shot starts with it.
        flow: Flow to the next frame of its shot; None if it is the last.
        camera: The camera's homography in this flow, if the model needs it.
    """

    frame: Frame
    cut: bool
    flow: Flow
    camera: Float64[np.ndarray, "3 3"] | None = None


class FrameOutputs(NamedTuple):
    """The detector's outputs for a frame.

    Attributes:
        frame: The frame with its flow.
        outputs: Outputs for the frame's batch, on the host.
        row: Number of the frame in the batch.
    """

    frame: FlowFrame
    outputs: Outputs
    row: int


def detect_frames(
    frames: Iterable[Frame],
    detector: FrameDetector,
    *,
    flow: FlowSource = "dis",
    batch_size: int = 1,
    min_score: float = KEPT_SCORE,
    find_cuts: bool = True,
    refine_masks: bool = True,
    start: int = 0,
    timing: Timing | None = None,
) -> Generator[Detected, None, None]:
    """Detects objects in the frames of a video, one after the other.

    The last frame of a shot has no flow. There, only the static branch finds anything
    (as in Dave et al. (2019): `infer_simple.py` of their code).

    Args:
        frames: Frames of one size; two batches and a few more are in memory.
        detector: A detector from `load_detector`.
        flow: "dis", "dis_fast" or "farneback"; a folder of flow files, named as the
            frames; or a function of two images, such as an `OpenCVEstimator`.
        batch_size: Number of frames that the device processes at once.
        min_score: Detections with more than this score are returned.
        find_cuts: Whether to look for cuts, so that no flow is computed across them.
        refine_masks: Whether to move the masks' outlines to edges of the image; see
            `masks.refine`.
        start: Index of the first frame to detect in. Frames before it are only used to
            find cuts: for the result of the complete video, `video.cuts.LOOKBACK` of
            them are needed.
        timing: Seconds by part, to which the seconds of each part are added.

    Raises:
        InputError: Frames differ in size; flow of one is missing or damaged; there is
            no such estimator or folder; or a batch has no frames.
    """
    flow_between = open_flow(flow, detector.config)
    timing = {} if timing is None else timing
    shots = ahead(_shots(timed(frames, timing, "decode"), find_cuts, start))
    with_flow = ahead(_with_flow(shots, flow_between, detector.config, timing))
    found = run_detector(
        with_flow, detector, batch_size=batch_size, min_score=min_score, timing=timing
    )
    with contextlib.closing(found):
        for (frame, cut, to_next, camera), outputs, row in found:
            with stopwatch(timing, "paste"):
                detections = to_detections(
                    outputs,
                    row,
                    frame.image,
                    to_next,
                    camera=camera,
                    model=detector.config,
                    min_score=min_score,
                    cut=cut,
                    refine_masks=refine_masks,
                )
            yield Detected(frame, to_next, detections)


def run_detector(
    frames: Generator[FlowFrame, None, None],
    detector: FrameDetector,
    *,
    batch_size: int = 1,
    min_score: float = KEPT_SCORE,
    timing: Timing | None = None,
) -> Generator[FrameOutputs, None, None]:
    """Runs the detector on frames of one size, batch by batch.

    JAX returns before the outputs are computed, so the device works on a batch while
    the caller looks at the one before. An accelerator has the next batch in its queue
    meanwhile. A CPU has not: its programs get their temporary memory when they are
    queued, so that two would take twice the memory.

    Args:
        frames: The frames; they are closed with the result.
        detector: A detector from `load_detector`.
        batch_size: Number of frames that the device processes at once.
        min_score: Detections with more than this score have masks.
        timing: Seconds by part, to which the seconds of each part are added.

    Raises:
        InputError: Frames differ in size, or a batch has no frames.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` is {batch_size}, expected 1 or more.")
    timing = {} if timing is None else timing
    has_queue = jax.default_backend() != "cpu"

    def finish(batch: list[FlowFrame], outputs: Outputs) -> Iterator[FrameOutputs]:
        with stopwatch(timing, "detector"):
            outputs = jax.device_get(outputs)  # Waits for the device.
        for row, frame in enumerate(batch):
            yield FrameOutputs(frame, outputs, row)

    # Batches are large, so only one is made ahead. Closing the last stage ends its
    # thread and closes the stage before, and so on.
    running = None  # The batch that the device computes, and its future outputs.
    batches = ahead(_batches(frames, detector.config, batch_size), 1)
    with contextlib.closing(batches):
        for batch, inputs in batches:
            if running is not None and not has_queue:
                with stopwatch(timing, "detector"):
                    jax.block_until_ready(running[1])
            # The first call compiles.
            with stopwatch(timing, "detector" if running else "compile"):
                outputs = detector(inputs, min_score)
            if running is not None:
                yield from finish(*running)
            running = batch, outputs
        if running is not None:
            yield from finish(*running)


def _shots(
    frames: Generator[Frame, None, None], find_cuts: bool, start: int
) -> Iterator[ShotFrame]:
    """The frames from index `start`, and whether each is a cut."""
    with contextlib.closing(frames):
        checked = _of_one_size(frames)
        if find_cuts:
            marked = mark_cuts(checked)
        else:
            marked = (ShotFrame(frame, False) for frame in checked)
        for shot in marked:
            if shot.frame.index >= start:
                yield shot


def _of_one_size(frames: Iterable[Frame]) -> Iterator[Frame]:
    first = None
    for frame in frames:
        first = frame if first is None else first
        if frame.image.shape != first.image.shape:
            heights_and_widths = (f.image.shape for f in (first, frame))
            sizes = " and ".join(f"{w}x{h}" for h, w, _ in heights_and_widths)
            raise InputError(
                f"Frames {first.name} and {frame.name} have different sizes, {sizes}; "
                "a video has one."
            )
        yield frame


def _with_flow(
    shots: Generator[ShotFrame, None, None],
    flow_between: FlowBetween,
    model: ModelConfig,
    timing: Timing,
) -> Iterator[FlowFrame]:
    """The frames with their flow, each when the next one is there."""
    # If the model needs the camera's motion, it is estimated once, for objects, too.
    relative = model.motion is not None and model.flow_encoding in RELATIVE
    before: ShotFrame | None = None
    # Closed here and now: the thread that reads may still write a camera's frames.
    with contextlib.closing(shots):
        for shot in shots:
            if before is not None:
                flow = camera = None
                if not shot.cut:
                    with stopwatch(timing, "flow"):
                        flow = flow_between(before.frame, shot.frame)
                        camera = camera_motion(flow) if relative else None
                yield FlowFrame(*before, flow, camera)
            before = shot
        if before is not None:
            yield FlowFrame(*before, None)


def _batches(
    frames: Generator[FlowFrame, None, None], model: ModelConfig, batch_size: int
) -> Iterator[tuple[list[FlowFrame], Inputs]]:
    """Batches of inputs; the last is filled up with copies of its last frame.

    So all batches have one shape, and the detector is compiled once.
    """
    with contextlib.closing(frames):
        while batch := list(itertools.islice(frames, batch_size)):
            inputs = []
            for frame, _, flow, camera in batch:
                if flow is None and model.motion is not None:
                    # What the heads that see motion find here is left out later.
                    flow = np.zeros((*frame.image.shape[:2], 2), np.float32)
                inputs.append(make_inputs(frame.image, flow, model, camera=camera))
            inputs += inputs[-1:] * (batch_size - len(inputs))
            yield batch, stack(inputs)
