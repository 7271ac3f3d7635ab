"""Draws optical flow in the colours of the Middlebury benchmark, for people."""

import math

import numpy as np
from jaxtyping import Float32, UInt8

# The number of colours between neighbouring corners of the wheel, which are red,
# yellow, green, cyan, blue and magenta.
STEPS = (15, 6, 4, 11, 13, 6)


def flow_picture(
    flow: Float32[np.ndarray, "h w 2"], max_magnitude: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws flow: the hue is the direction, and slower pixels are paler.

    The colours are those of Baker et al., "A Database and Evaluation Methodology for
    Optical Flow" (IJCV 2011), as in their `colorcode.cpp`.

    Args:
        flow: The flow; pixels that are not finite or beyond 1e9 ("unknown") are black.
        max_magnitude: The magnitude that gets the full colour, pixels per frame; faster
            pixels are darkened. None is the largest one in this flow, with which
            pictures of different frames are not comparable.
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
    """Returns the 55 colours of the wheel, from red through yellow."""
    corners = 255 * np.array(
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    )
    colours = []
    for start, end, steps in zip(corners, corners[1:], STEPS, strict=False):
        # As in their C code, both differences are truncated before they are added.
        way = np.arange(steps)[:, None] * 255 // steps
        colours.append(start + np.sign(end - start) * way)
    return np.concatenate(colours).astype(np.uint8)
