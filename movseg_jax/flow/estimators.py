"""Estimates optical flow: of two frames by OpenCV, of a stream by any estimator.

An estimator is a function of a frame and the next one, uint8 RGB of one size, that
returns the displacement of the first frame's pixels.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import resize_flow

FlowEstimator = Callable[
    [UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]],
    Float32[np.ndarray, "h w 2"],
]

# Smaller frames are padded, because OpenCV's DIS raises, returns NaN or crashes on
# frames narrower than 16 pixels.
LEAST_SIDE = 32


def get_estimator(name: str = "dis", working_side: int | None = None) -> FlowEstimator:
    """Returns an estimator by its name; it is deterministic and can be pickled.

    Args:
        name: The algorithm: "dis" (Kroeger et al., "Fast Optical Flow using Dense
            Inverse Search", ECCV 2016, the preset "medium"), "dis_fast" (the preset
            "fast", whose finest scale is a quarter of the frame instead of half of it)
            or "farneback" (Farneback, "Two-Frame Motion Estimation Based on Polynomial
            Expansion", SCIA 2003).
        working_side: The longer side to which larger frames are reduced; their flow is
            enlarged again. This is faster and finds larger displacements.

    Raises:
        InputError: There is no such estimator, or the side is not positive.
    """
    if name not in ALGORITHMS:
        raise InputError(
            f"there is no estimator {name!r}; expected one of {', '.join(ALGORITHMS)}."
        )
    if working_side is not None and working_side < 1:
        raise InputError(f"the working side is {working_side}, expected at least 1.")
    return OpenCVEstimator(name, working_side)


@dataclasses.dataclass(frozen=True)
class OpenCVEstimator:
    """An estimator of OpenCV, as `get_estimator` makes it; its `repr` identifies it.

    Frames with a side below 32 pixels are extended by their border pixels, so any size
    works. A frame of one colour, such as a single pixel, has no motion.
    """

    name: str = "dis"
    working_side: int | None = None

    def __call__(self, frame: np.ndarray, next_frame: np.ndarray) -> np.ndarray:
        """Returns the flow from `frame` to `next_frame`, float32 [h, w, 2].

        Raises:
            InputError: They are not RGB frames of one size.
        """
        check_frames(frame, next_frame)
        pair = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (frame, next_frame)]
        pair = [reduce_frame(grey, self.working_side) for grey in pair]
        down, right = (max(0, LEAST_SIDE - side) for side in pair[0].shape)
        padded = [
            cv2.copyMakeBorder(grey, 0, down, 0, right, cv2.BORDER_REPLICATE)
            for grey in pair
        ]
        flow = ALGORITHMS[self.name](*padded)
        return resize_flow(
            flow[: pair[0].shape[0], : pair[0].shape[1]], frame.shape[:2]
        )


def estimate_flows(
    frames: Iterable[np.ndarray], estimator: FlowEstimator
) -> Iterator[Float32[np.ndarray, "h w 2"] | None]:
    """Yields the flow from each uint8 RGB frame to the next, and None for the last.

    Two frames are in memory at a time.

    Raises:
        InputError: A frame has another size than the one before; the message numbers
            frames from 0.
    """
    previous = None
    for index, frame in enumerate(frames):
        if previous is not None:
            try:
                yield estimator(previous, frame)
            except InputError as error:
                raise InputError(f"frames {index - 1} and {index}: {error}") from None
        previous = frame
    if previous is not None:
        yield None


def reduce_frame(
    frame: UInt8[np.ndarray, "h w *c"], working_side: int | None
) -> UInt8[np.ndarray, "_ _ *c"]:
    """Returns the frame, reduced if its longer side is more than `working_side`."""
    height, width = frame.shape[:2]
    reduction = (working_side or max(height, width)) / max(height, width)
    if reduction >= 1:
        return frame
    size = [max(1, round(side * reduction)) for side in (width, height)]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def check_frames(frame: np.ndarray, next_frame: np.ndarray) -> None:
    """Raises InputError unless both are nonempty uint8 RGB frames of one size."""
    for rgb in (frame, next_frame):
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
            raise InputError(
                f"a frame is {rgb.dtype}{list(rgb.shape)}, expected uint8 RGB "
                "[height, width, 3], not empty."
            )
    if frame.shape != next_frame.shape:
        raise InputError(
            f"a frame has {frame.shape[1]}x{frame.shape[0]} pixels (width x height) "
            f"and the next {next_frame.shape[1]}x{next_frame.shape[0]}; expected one "
            "size throughout a video."
        )


def checked_flow(
    flow: np.ndarray, size: tuple[int, int] | None = None, *, finite: bool = True
) -> Float32[np.ndarray, "h w 2"]:
    """Returns flow of whatever origin as float32 [h, w, 2], after checking it.

    Args:
        flow: The flow, integers or floats.
        size: The height and width that it must have, if known.
        finite: Whether all numbers must be finite.

    Raises:
        InputError: It has another shape or is empty, or its numbers are of another
            kind.
    """
    flow = np.asarray(flow)
    valid = flow.ndim == 3 and flow.shape[2] == 2 and flow.size > 0
    valid = valid and flow.dtype.kind in "fiu" and size in (None, flow.shape[:2])
    if valid:
        with np.errstate(over="ignore"):  # Overflow gives infinity.
            flow = flow.astype(np.float32, copy=False)
    if not valid or (finite and not np.isfinite(flow).all()):
        height, width = size or ("height", "width")
        raise InputError(
            f"the flow is {flow.dtype}{list(flow.shape)}, expected "
            f"{'finite ' if finite else ''}numbers [{height}, {width}, 2], not empty."
        )
    return flow


def _dis(grey, next_grey, preset=cv2.DISOPTICAL_FLOW_PRESET_MEDIUM):
    estimator = cv2.DISOpticalFlow.create(preset)
    # Starting from zero flow gives a different result than starting from None.
    return estimator.calc(grey, next_grey, None)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _dis_fast(grey, next_grey):
    return _dis(grey, next_grey, cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _farneback(grey, next_grey):
    return cv2.calcOpticalFlowFarneback(
        grey,
        next_grey,
        np.zeros((*grey.shape, 2), np.float32),
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )


ALGORITHMS = {"dis": _dis, "dis_fast": _dis_fast, "farneback": _farneback}
