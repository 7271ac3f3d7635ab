"""Optical flow as the three channels that the motion stream takes."""

import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from movseg_jax.errors import InputError
from movseg_jax.flow.global_motion import residual_flow

WAYS = ("direct", "paper", "relative", "residual")


def encode_flow(
    flow: Float32[np.ndarray, "h w 2"],
    way: str = "direct",
    camera: Float64[np.ndarray, "3 3"] | None = None,
) -> Float32[np.ndarray, "h w 3"]:
    """Channels (0, magnitude, angle) of a flow field.

    The magnitude is clipped at the image's diagonal and scaled to [0, 6]; the angle
    runs from 0 (left) over 127.5 (right) to 255 (left again). These are the ranges of
    the authors' code (segment-any-moving_detectron, `lib/utils/flow.py`).

    Args:
        flow: Finite, of the frame's own size: resize what this returns, as the authors
            did, or the flow before it.
        way: "direct" is that; "paper" goes through 8 bits, as the authors' PNGs did;
            "relative" is "direct" of the flow relative to the camera; "residual" is
            "direct" with the magnitude of the relative flow in channel 0, on the scale
            of the other magnitude.
        camera: The camera's homography, for these two; estimated where it is None.

    Raises:
        InputError: There is no such way.
    """
    if way not in WAYS:
        raise InputError(
            f"there is no way {way!r} to encode flow; expected one of "
            f"{', '.join(WAYS)}."
        )
    if way == "paper":
        return _decode(*to_picture(flow))
    if way == "relative":
        flow = residual_flow(flow, camera)
    magnitude = _magnitude(flow)
    angle = np.arctan2(flow[..., 1], flow[..., 0]) + np.float32(math.pi)
    first = np.zeros_like(magnitude)
    if way == "residual":
        first = _magnitude(residual_flow(flow, camera))
    encoded = np.stack([first, magnitude, angle * (255 / (2 * math.pi))], axis=-1)
    return encoded.astype(np.float32)


def _magnitude(flow):
    diagonal = math.hypot(*flow.shape[:2])
    length = np.hypot(flow[..., 0], flow[..., 1])
    return np.minimum(length, diagonal) * (6 / diagonal)


def to_picture(
    flow: Float32[np.ndarray, "h w 2"],
) -> tuple[UInt8[np.ndarray, "h w 3"], str]:
    """The authors' RGB picture (angle, magnitude, 0) and the text that goes with it.

    The text has the magnitudes that the bytes 0 and 255 stand for. Every byte is that
    of segment-any-moving, `flow/convert_flo_png.py`, in float32 and cut off as there;
    where theirs divides by zero, in flow of a single magnitude, the byte is 0.
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
    """The flow of `to_picture`, as far as 8 bits tell.

    A byte stands for the middle of its values, so that `to_picture` returns the same
    bytes, but the greatest magnitude for itself, and the least for a little more,
    where it still has an angle. Where several pixels have the greatest magnitude,
    rounding tells them apart, and `to_picture` gives 254 to some of them.
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
    """What the authors' loader makes of a picture: segment-any-moving_detectron."""
    least, greatest = (float(number) for number in text.split())
    diagonal = math.hypot(*picture.shape[:2])
    encoded = np.zeros(picture.shape, np.float32)
    magnitude = picture[..., 1] / 255 * (greatest - least) + least
    encoded[..., 1] = np.minimum(magnitude, diagonal) / (diagonal / 6)
    encoded[..., 2] = picture[..., 0]
    return encoded


def flip_flow(flow: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
    """The flow of the frames mirrored left to right; to be called before encoding."""
    flipped = flow[:, ::-1].copy()
    # Not -x: it makes 0 to -0, and so a resting pixel's angle to one of the left.
    flipped[..., 0] = 0 - flipped[..., 0]
    return flipped


def resize_flow(
    flow: Float32[np.ndarray, "h w 2"], size: tuple[int, int]
) -> Float32[np.ndarray, "height width 2"]:
    """The flow between the frames resized to (height, width), in their pixels."""
    height, width = flow.shape[:2]
    if (height, width) == size:
        return flow
    resized = cv2.resize(flow, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized * np.array([size[1] / width, size[0] / height], np.float32)
