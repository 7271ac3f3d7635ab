"""Encodes optical flow as the three input channels of the motion stream."""

import math
from typing import get_args

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from movseg_jax.config import FlowEncoding
from movseg_jax.errors import InputError
from movseg_jax.flow.global_motion import residual_flow

WAYS = get_args(FlowEncoding)
RELATIVE = ("relative", "residual", "vectors")  # Those that need the camera's motion.
# The unit of "vectors" is the diagonal over this: a pixel of a frame of 240x432.
UNITS = 500


def encode_flow(
    flow: Float32[np.ndarray, "h w 2"],
    way: str = "direct",
    camera: Float64[np.ndarray, "3 3"] | None = None,
) -> Float32[np.ndarray, "h w 3"]:
    """Returns a flow field as the motion stream sees it.

    The channels are (0, magnitude, angle), but for "vectors". The magnitude is clipped
    at the image's diagonal and scaled to [0, 6]; the angle runs from 0 (left) over
    127.5 (right) to 255 (left again). These are the ranges of the authors' code
    (segment-any-moving_detectron, `lib/utils/flow.py`).

    With "vectors", the channels are the length of the flow, and the x and y of the flow
    relative to the camera. A pixel more or less is hardly visible beside an angle of
    255, and angles of what rests are noise; here, all channels are of one scale, and
    what moves with the camera is near 0. Each value is the inverse hyperbolic sine of
    the motion in units of 1/500 of the diagonal, so that fast motion does not hide slow
    motion.

    Args:
        flow: The finite flow in the frame's own size. To resize, resize the result, as
            the authors did, or the flow with `resize_flow`.
        way: The encoding. "direct" is as described above; "paper" goes through 8 bits,
            as the authors' PNGs did; "relative" is "direct" applied to the flow
            relative to the camera; "residual" is "direct" with the magnitude of the
            relative flow in channel 0, on the same scale as the other magnitude;
            "vectors" is as described above.
        camera: The camera's homography for "relative", "residual" and "vectors"; None
            estimates it.

    Raises:
        InputError: There is no such encoding.
    """
    if way not in WAYS:
        raise InputError(
            f"there is no way {way!r} to encode flow; expected one of "
            f"{', '.join(WAYS)}."
        )
    if way == "paper":
        return _decode(*to_picture(flow))
    if way == "vectors":
        return _vectors(flow, residual_flow(flow, camera))
    if way == "relative":
        flow = residual_flow(flow, camera)
    magnitude = _magnitude(flow)
    angle = np.arctan2(flow[..., 1], flow[..., 0]) + np.float32(math.pi)
    first = np.zeros_like(magnitude)
    if way == "residual":
        first = _magnitude(residual_flow(flow, camera))
    encoded = np.stack([first, magnitude, angle * (255 / (2 * math.pi))], axis=-1)
    return encoded.astype(np.float32)


def _vectors(flow, relative):
    # Plane by plane: NumPy takes several times as long to join along a short last axis.
    motion = np.empty((*flow.shape[:2], 3), np.float32)
    motion[..., 0] = np.hypot(flow[..., 0], flow[..., 1])
    motion[..., 1] = relative[..., 0]
    motion[..., 2] = relative[..., 1]
    unit = math.hypot(*flow.shape[:2]) / UNITS
    return np.arcsinh(motion / np.float32(unit))


def _magnitude(flow):
    diagonal = math.hypot(*flow.shape[:2])
    length = np.hypot(flow[..., 0], flow[..., 1])
    return np.minimum(length, diagonal) * (6 / diagonal)


def to_picture(
    flow: Float32[np.ndarray, "h w 2"],
) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
    """Returns the authors' RGB picture (angle, magnitude, 0) and its text file.

    The text has the magnitudes for which the bytes 0 and 255 stand. Every byte equals
    that of segment-any-moving, `flow/convert_flo_png.py`, which computes in float32 and
    truncates. If all magnitudes are equal, theirs divides by zero; here the byte is 0.
    """
    x, y = flow[..., 0], flow[..., 1]
    magnitude = np.sqrt(x**2 + y**2)
    angle = np.arctan2(y, x)
    least, greatest = magnitude.min(), magnitude.max()
    span = greatest - least if greatest > least else np.float32(1)
    picture = np.zeros((*flow.shape[:2], 3), np.uint8)
    picture[..., 0] = 255 * (angle + np.pi) / (2 * np.pi)
    picture[..., 1] = 255 * (magnitude - least) / span
    return picture, f"{least!s} {greatest!s}"


def from_picture(
    picture: UInt8[np.ndarray, "h w 3"], least: float, greatest: float
) -> Float32[np.ndarray, "h w 2"]:
    """Returns the flow of a picture of `to_picture`, with the precision of 8 bits.

    A byte becomes the middle of the values that it stands for, so `to_picture` returns
    the same byte. The largest magnitude is exact, and the smallest becomes a little
    larger, so that it still has an angle. If several pixels have the largest magnitude,
    rounding makes them differ, and `to_picture` returns 254 for some of them.
    """
    byte = picture[..., 1].astype(np.float64)
    middle = np.where(byte == 0, 1e-4, byte + 0.5)
    middle = np.where(byte >= byte.max(initial=1), 255, middle)
    magnitude = least + middle / 255 * (greatest - least)
    turn = np.minimum(picture[..., 0] + 0.5, 255) / 255
    angle = turn * (2 * math.pi) - math.pi
    vectors = [magnitude * np.cos(angle), magnitude * np.sin(angle)]
    return np.stack(vectors, axis=-1).astype(np.float32)


def _decode(picture, text):
    """Encodes a picture as the authors' loader does (segment-any-moving_detectron)."""
    least, greatest = (float(number) for number in text.split())
    diagonal = math.hypot(*picture.shape[:2])
    encoded = np.zeros(picture.shape, np.float32)
    magnitude = picture[..., 1] / 255 * (greatest - least) + least
    encoded[..., 1] = np.minimum(magnitude, diagonal) / (diagonal / 6)
    encoded[..., 2] = picture[..., 0]
    return encoded


def flip_flow(flow: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
    """Returns the flow of the mirrored frames; mirroring must precede encoding."""
    flipped = flow[:, ::-1].copy()
    # Negating would turn 0 into -0, and so change a stationary pixel's angle.
    flipped[..., 0] = 0 - flipped[..., 0]
    return flipped


def resize_flow(
    flow: Float32[np.ndarray, "h w 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "height width 2"]:
    """Returns the flow of frames resized to (height, width), in the new pixels."""
    height, width = flow.shape[:2]
    if (height, width) == size:
        return flow
    resized = cv2.resize(flow, size[::-1], interpolation=cv2.INTER_LINEAR)
    resized[..., 0] *= np.float32(size[1] / width)
    resized[..., 1] *= np.float32(size[0] / height)
    return resized
