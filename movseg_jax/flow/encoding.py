"""Optical flow as the three channels that the motion stream takes."""

import math

import numpy as np
from jaxtyping import Float32


def encode_flow(flow: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 3"]:
    """Channels (0, magnitude, angle) of a flow field.

    The magnitude is clipped at the image's diagonal and scaled to [0, 6]; the angle
    runs from 0 (left) over 127.5 (right) to 255 (left again). These are the ranges of
    the authors' code (segment-any-moving_detectron, `lib/utils/flow.py`) without its
    way through 8-bit PNGs, which also needs flow of unequal magnitudes.
    """
    height, width = flow.shape[:2]
    x, y = np.moveaxis(flow, -1, 0)
    diagonal = math.hypot(height, width)
    magnitude = np.minimum(np.hypot(x, y), diagonal) * (6 / diagonal)
    angle = (np.arctan2(y, x) + np.float32(math.pi)) * (255 / (2 * math.pi))
    encoded = np.stack([np.zeros_like(x), magnitude, angle], axis=-1)
    return encoded.astype(np.float32)
