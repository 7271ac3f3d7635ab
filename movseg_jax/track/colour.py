"""The colours of an object, as a short histogram that is stored with a detection."""

import numpy as np
from jaxtyping import UInt8

from movseg_jax.masks import Crop

LEVELS = 4  # Of red, green and blue each.
BINS = LEVELS**3
SAMPLES = 2000  # Pixels of an object that are looked at, about.


def colour_histogram(frame: UInt8[np.ndarray, "h w 3"], mask: Crop) -> bytes:
    """Returns the share of each of 64 colours among an object's pixels, as bytes.

    The shares are scaled so that they add up to about 255; the result of an empty mask
    is empty.
    """
    pixels = np.flatnonzero(mask.pixels)
    if not len(pixels):
        return b""
    pixels = pixels[:: max(1, len(pixels) // SAMPLES)]
    y, x = np.unravel_index(pixels, mask.pixels.shape)
    colours = frame[mask.window][y, x]
    red, green, blue = (colours // (256 // LEVELS)).T.astype(int)
    counts = np.bincount((red * LEVELS + green) * LEVELS + blue, minlength=BINS)
    return np.round(255 * counts / len(pixels)).astype(np.uint8).tobytes()


def colour_similarity(a: bytes, b: bytes) -> float:
    """The share of colours that two histograms have in common, 0 to 1.

    It is 0 if either histogram is unknown.
    """
    if not a or not b:
        return 0.0
    one, other = (np.frombuffer(x, np.uint8).astype(float) for x in (a, b))
    return float(np.minimum(one / one.sum(), other / other.sum()).sum())
