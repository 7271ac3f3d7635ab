"""Where optical flow comes from, as one function of two frames."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from movseg_jax.config import NETWORKS, ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.estimators import (
    ALGORITHMS,
    FlowEstimator,
    checked_flow,
    get_estimator,
)
from movseg_jax.model.inputs import resized_size
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.video.reading import Frame

# The flow of larger frames is computed at this longer side, unless the model sees more.
# DIS takes a third of the time it takes at 854 pixels, and finds larger displacements;
# whoever takes a network wants exact flow more than speed.
FLOW_SIDE, NETWORK_SIDE = 480, 854

# The name of an algorithm, a folder of flow files, or a function of two images.
FlowSource = Callable[..., Any] | Path | str
# A function of a frame and the next one; pixels to the next frame.
FlowBetween = Callable[[Frame, Frame], Float32[np.ndarray, "h w 2"]]


def chosen_flow(config: SegmentConfig, model: ModelConfig) -> FlowSource:
    """Returns the source of flow that the settings name; loads a network's weights.

    Args:
        config: The settings.
        model: The model that sees the flow, as in `open_flow`.

    Raises:
        InputError: There is no such estimator or folder; the settings name a network
            without its weights, or weights without a network; or the weights cannot be
            read.
    """
    # Imported here, as `segment_video` with one's own flow needs no network.
    from movseg_jax.flow.networks import load_if_network

    network = load_if_network(config.flow, config.flow_weights, config.flow_updates)
    if network is None:
        open_flow(config.flow, model)  # Finds now what would fail later.
        return config.flow
    return SizedEstimator(network.at_side, model, NETWORK_SIDE, name=repr(network))


def open_flow(flow: FlowSource, model: ModelConfig) -> FlowBetween:
    """Returns the function that gives the flow from a frame to the next.

    Args:
        flow: "dis", "dis_fast" or "farneback"; a folder of flow files; or a function of
            two images, such as an `OpenCVEstimator`, or a `FlowFolder`. `chosen_flow`
            makes such a function of a network.
        model: The model that sees the flow; an estimator sees at least as much detail.

    Raises:
        InputError: There is no such estimator or folder.
    """
    if isinstance(flow, str) and flow in ALGORITHMS:
        make = functools.partial(get_estimator, flow)
        return _estimated_by(SizedEstimator(make, model, FLOW_SIDE, name=flow))
    # Imported here, as flow files are rarely used.
    from movseg_jax.flow.folder import FlowFolder

    if isinstance(flow, str | Path):
        if not Path(flow).is_dir():
            known = ", ".join((*ALGORITHMS, *NETWORKS))
            raise InputError(
                f"flow {str(flow)!r}: there is no such folder; expected one of "
                f"{known}, or a folder of flow files."
            )
        flow = FlowFolder(Path(flow))
    if isinstance(flow, FlowFolder):
        return _read_from(flow)
    return _estimated_by(flow)


class SizedEstimator:
    """An estimator that is made anew when the size of the frames changes."""

    def __init__(
        self,
        make: Callable[[int | None], FlowEstimator],
        model: ModelConfig,
        least_side: int,
        *,
        name: str,
    ):
        """Prepares an estimator.

        Args:
            make: A function that makes it for a working side, or None for the frame's.
            model: The model that sees the flow.
            least_side: The longer side that larger frames are reduced to, unless the
                model sees more.
            name: A text that identifies the estimator and its settings.
        """
        self.name = name
        self._make, self._model, self._least = make, model, least_side
        self._size: tuple[int, int] | None = None
        self._estimator: FlowEstimator

    def __call__(self, frame, next_frame):
        """Returns the flow from `frame` to `next_frame`, float32 [h, w, 2]."""
        size = frame.shape[:2]
        if size != self._size:
            seen, _ = resized_size(size, self._model)
            side = max(self._least, *seen)
            self._estimator = self._make(side if side < max(size) else None)
            self._size = size
        return self._estimator(frame, next_frame)


def _read_from(folder) -> FlowBetween:
    def read(frame: Frame, next_frame: Frame) -> np.ndarray:
        del next_frame
        return folder(frame.name, frame_size=frame.image.shape[:2])

    return read


def _estimated_by(estimate: FlowEstimator) -> FlowBetween:
    """Checks what an estimator returns, which may be the user's."""

    def flow_between(frame: Frame, next_frame: Frame) -> np.ndarray:
        try:
            flow = estimate(frame.image, next_frame.image)
            return checked_flow(flow, frame.image.shape[:2])
        except InputError as error:
            which = f"frames {frame.name!r} and {next_frame.name!r}"
            raise InputError(f"{which}: {error}") from None

    return flow_between
