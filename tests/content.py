"""Everything that results hold, in a form that can be compared."""

import math

from movseg_jax.masks import Rle


def content(value):
    """Returns nested lists of all values, in which NaN equals NaN.

    Tuples, sequences of frames and the like become lists.
    """
    if isinstance(value, Rle):
        return [value.size, value.counts]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        return value
    return [content(part) for part in value]
