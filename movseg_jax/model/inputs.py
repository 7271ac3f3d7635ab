"""Makes the detector's inputs from a frame and its flow.

Flow is resized and encoded, the frame is resized and normalised, then both are padded.

NumPy and OpenCV on the host. `Inputs` keeps the frame's size, so that the detector
returns its boxes in pixels of the frame.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from movseg_jax.config import ModelConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import encode_flow, resize_flow
from movseg_jax.flow.global_motion import resized_homography
from movseg_jax.types import Inputs

DIVISOR = 32  # Heights and widths are padded to multiples of this, in pixels ...
# ... or of this, if the padding is ignored: results are the same with less to compute.
IGNORED_DIVISOR = 16


def resized_size(
    frame_size: tuple[int, int], config: ModelConfig
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Height and width a frame is resized to, and the scales (y, x) of coordinates.

    The shorter side becomes `config.short_side`, or less so that the longer one stays
    within `config.long_side`. The convention's `resize` says how fractions of pixels
    are treated: "round" and "floor" the size, and scales are what each side really
    grew; "factor" rounds the size but keeps one common factor for coordinates and
    sampling, as OpenCV's `fx`, `fy` and Detectron do.
    """
    rule = config.arithmetic.resize
    factor = config.short_side / min(frame_size)
    # torchvision compares before it rounds.
    long = factor * max(frame_size)
    if (long if rule == "floor" else round(long)) > config.long_side:
        factor = config.long_side / max(frame_size)
    whole = int if rule == "floor" else round
    height, width = (max(1, whole(n * factor)) for n in frame_size)
    if rule == "factor":
        return (height, width), (factor, factor)
    return (height, width), (height / frame_size[0], width / frame_size[1])


def padded_size(size: tuple[int, int], config: ModelConfig) -> tuple[int, int]:
    """Height and width after padding: the next multiples of 32, or of 16.

    The original implementations pad to multiples of 32. If the convention ignores the
    padding, no result depends on it, and multiples of 16 leave less to compute.
    """
    divisor = _divisor(config)
    height, width = (-(-n // divisor) * divisor for n in size)
    return height, width


def _divisor(config):
    return IGNORED_DIVISOR if config.arithmetic.ignore_padding else DIVISOR


def preprocess(
    frame: np.ndarray,
    motion: np.ndarray | None,
    config: ModelConfig,
    *,
    pad_to: tuple[int, int] | None = None,
    resize: bool = True,
) -> Inputs:
    """Prepares one frame; the result has no batch axis, see `stack`.

    Args:
        frame: uint8 [h, w, 3], RGB.
        motion: float32 [h, w, 3], the encoded flow, or [h', w', 3] if it has the size
            the frame is resized to; None if the model has no motion stream. See
            `make_inputs`, which encodes.
        config: The model's config.
        pad_to: Height and width after padding, multiples of the same number as those
            of `padded_size`, which are the default.
        resize: Whether to resize the frame to the size that the model wants. Training
            does not, since its augmentations decide the size.

    Raises:
        InputError: The frame is empty or not RGB, sizes differ, or the frame does not
            fit into `pad_to`.
    """
    _check_frame(frame)
    if "motion" in config.streams and motion is None:
        raise InputError("The model has a motion stream: it needs the encoded flow.")
    frame_size = frame.shape[:2]
    size, scale = frame_size, (1.0, 1.0)
    if resize:
        size, scale = resized_size(frame_size, config)
    if motion is not None and not np.isfinite(motion).all():
        raise InputError("The encoded flow is not finite everywhere.")
    if motion is not None and motion.shape not in (frame.shape, (*size, 3)):
        raise InputError(
            f"The encoded flow has shape {list(motion.shape)}, its frame "
            f"{list(frame.shape)}; they must be equal."
        )
    padded = pad_to or padded_size(size, config)
    _check_padded_size(frame_size, size, padded, _divisor(config))

    def fit(image):
        image = image.astype(np.float32, copy=False)
        fits = image.shape[:2] == size
        return image if fits else _resize(image, size, scale, config)

    image = None
    if "appearance" in config.streams:
        # Resized first, because that leaves less to normalise.
        image = _pad(normalise(fit(frame), config), padded)
    if motion is not None:
        motion = _pad(fit(motion), padded) if "motion" in config.streams else None
    return Inputs(
        image=image,
        motion=motion,
        size=np.array(size, np.float32),
        frame_size=np.array(frame_size, np.float32),
        scale=np.array(scale, np.float32),
    )


def _check_frame(frame):
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise InputError(
            f"A frame is uint8 [height, width, 3] in RGB; got {frame.dtype} "
            f"{list(frame.shape)}."
        )
    if 0 in frame.shape:
        raise InputError(f"A frame has no pixels: its shape is {list(frame.shape)}.")


def _check_padded_size(frame_size, size, padded, divisor):
    if any(p < n or p % divisor for p, n in zip(padded, size, strict=True)):
        raise InputError(
            f"A frame of {frame_size[1]}x{frame_size[0]} pixels becomes {size[1]}x"
            f"{size[0]}, which does not fit into {padded[1]}x{padded[0]}, or those are "
            f"no multiples of {divisor}."
        )


def normalise(
    frame: Float32[np.ndarray, "h w 3"], config: ModelConfig
) -> Float32[np.ndarray, "h w 3"]:
    """Returns an RGB frame in the channels' order, mean and scale of the convention."""
    arithmetic = config.arithmetic
    if arithmetic.channel_order == "bgr":
        frame = frame[..., ::-1]
    # A row at a time: NumPy takes ten times as long over a last axis of three.
    mean, std = (
        np.tile(np.array(x, np.float32), frame.shape[1])
        for x in (arithmetic.mean, arithmetic.std)
    )
    rows = frame.reshape(len(frame), -1)
    return ((rows - mean) / std).reshape(frame.shape)


def stack(inputs: Sequence[Inputs]) -> Inputs:
    """A batch of frames that were padded to the same size."""
    return Inputs(
        *(
            None if parts[0] is None else np.stack(parts)
            for parts in zip(*inputs, strict=True)
        )
    )


def _resize(image, size, scale, config):
    vanishing = any(n * s < 1 for n, s in zip(image.shape, scale, strict=False))
    if config.arithmetic.resize == "factor" and not vanishing:
        # OpenCV then samples at the factor, not at the ratio of the rounded sizes.
        return cv2.resize(image, None, fx=scale[1], fy=scale[0])
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _pad(image, padded):
    missing = [(0, p - n) for p, n in zip(padded, image.shape, strict=False)]
    return np.pad(image, [*missing, (0, 0)])


def make_inputs(
    frame: np.ndarray,
    flow: np.ndarray | None,
    config: ModelConfig,
    *,
    camera: Float64[np.ndarray, "3 3"] | None = None,
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
        config: The model's config.
        camera: The homography by which the camera moves the frame's pixels, which some
            encodings need; None estimates it.
        pad_to: Height and width after padding: see `preprocess`.

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
            size = resized_size(frame.shape[:2], config)[0]
            flow = resize_flow(flow, size)
            if camera is not None:
                camera = resized_homography(camera, frame.shape[:2], size)
        motion = encode_flow(flow, config.flow_encoding, camera)
    return preprocess(frame, motion, config, pad_to=pad_to)
