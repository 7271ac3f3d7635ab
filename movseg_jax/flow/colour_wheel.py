"""Optical flow as a picture for people, in the colours of the Middlebury benchmark."""

import math

import numpy as np
from jaxtyping import Float32, UInt8

# Colours between two corners of the wheel: red, yellow, green, cyan, blue, magenta.
STEPS = (15, 6, 4, 11, 13, 6)


def flow_picture(
    flow: Float32[np.ndarray, "h w 2"], max_magnitude: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The hue is the direction, and the paler a pixel, the slower.

    As in Baker et al., "A Database and Evaluation Methodology for Optical Flow" (IJCV
    2011), by their `colorcode.cpp`.

    Args:
        flow: Pixels that are not finite, or beyond 1e9 ("unknown"), become black.
        max_magnitude: Pixels per frame that get the full colour; faster ones are
            darkened. None is the greatest of this flow, which makes pictures of
            different frames incomparable.
    """
    known = np.all(np.abs(flow) <= 1e9, axis=-1, keepdims=True)
    x, y = np.moveaxis(np.where(known, flow, 0).astype(np.float64), -1, 0)
    radius = np.hypot(x, y)
    full = radius.max(initial=0) if max_magnitude is None else max_magnitude
    radius = (radius / (full if full > 0 else 1))[..., None]
    wheel = colour_wheel() / 255
    place = (np.arctan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    first = place.astype(np.int64)
    part = (place - first)[..., None]
    colour = (1 - part) * wheel[first] + part * wheel[(first + 1) % len(wheel)]
    colour = np.where(radius <= 1, 1 - radius * (1 - colour), colour * 0.75)
    return (255 * colour * known).astype(np.uint8)


def colour_wheel() -> UInt8[np.ndarray, "55 3"]:
    """The 55 colours of the wheel, from red over yellow."""
    corners = 255 * np.array(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    )
    colours = []
    for start, end, steps in zip(corners, corners[1:], STEPS, strict=False):
        # As in C, what rises and what falls are both cut off before the difference.
        way = np.arange(steps)[:, None] * 255 // steps
        colours.append(start + np.sign(end - start) * way)
    return np.concatenate(colours).astype(np.uint8)
