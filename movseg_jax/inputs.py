"""From a frame and its flow to the detector's inputs, as in training."""

import numpy as np

from movseg_jax.config import ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import encode_flow, resize_flow
from movseg_jax.preprocessing import preprocess, resized_size
from movseg_jax.types import Inputs


def make_inputs(
    frame: np.ndarray,
    flow: np.ndarray | None,
    config: ModelConfig,
    *,
    pad_to: tuple[int, int] | None = None,
) -> Inputs:
    """Encodes the flow and prepares both; the result has no batch axis.

    Flow is resized before it is encoded, since angles on both sides of the turn have no
    mean. The authors of the paper resized what was encoded; so does this for the
    convention "detectron", which their weights need.

    Args:
        frame: uint8 [h, w, 3], RGB.
        flow: float32 [h, w, 2], pixels to the next frame; not looked at if the model
            has no motion stream.
        config: Of the model.
        pad_to: As in `preprocessing.preprocess`.

    Raises:
        InputError: As `preprocess`; or the flow has another size than the frame, or is
            not finite.
    """
    motion = None
    if config.motion is not None and flow is not None:
        if flow.shape[:2] != frame.shape[:2] or not np.isfinite(flow).all():
            raise InputError(
                f"The flow is {flow.dtype} {list(flow.shape)}, its frame "
                f"{list(frame.shape)}; expected one size, and finite numbers."
            )
        if config.convention != "detectron":
            flow = resize_flow(flow, resized_size(frame.shape[:2], config)[0])
        motion = encode_flow(flow, config.flow_encoding)
    return preprocess(frame, motion, config, pad_to=pad_to)
