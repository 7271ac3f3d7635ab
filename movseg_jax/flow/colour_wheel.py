"""Draws optical flow in the colours of the Middlebury benchmark, for people."""

import functools
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
    # One channel at a time, in float32: a report draws the flow of hundreds of frames.
    x, y = (np.ascontiguousarray(flow[..., i], np.float32) for i in range(2))
    known = (np.abs(x) <= 1e9) & (np.abs(y) <= 1e9)
    x, y = np.where(known, x, 0), np.where(known, y, 0)
    radius = np.hypot(x, y)
    full = radius.max(initial=0) if max_magnitude is None else max_magnitude
    radius /= np.float32(full if full > 0 else 1)
    wheel = _closed_wheel()
    place = (np.arctan2(-y, -x) / np.float32(math.pi) + 1) / 2 * (len(wheel) - 2)
    before = np.floor(place)
    first, part = before.astype(np.intp), place - before
    picture = np.empty((*x.shape, 3), np.uint8)
    for channel, colours in enumerate(wheel.T):
        colour = np.take(colours, first)
        colour += part * (np.take(colours, first + 1) - colour)
        faded = np.where(radius <= 1, 1 - radius * (1 - colour), colour * 0.75)
        picture[..., channel] = 255 * faded * known
    return picture


@functools.cache
def _closed_wheel() -> Float32[np.ndarray, "56 3"]:
    """The colours in [0, 1]; the first one follows the last one."""
    wheel = colour_wheel().astype(np.float32) / 255
    return np.concatenate([wheel, wheel[:1]])


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
