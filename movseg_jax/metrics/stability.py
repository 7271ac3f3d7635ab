"""Measures T, the change of a mask's outline between frames (Perazzi et al., 2016).

The longest outline of each of two masks is described point by point with shape
contexts (Belongie et al., 2002), which are histograms of the other points' positions.
The points are matched in order at the least cost, and T is the mean cost of the matched
pairs. 0 is perfectly stable. Position does not matter, rotation does.

The "matlab" variant gives the numbers that DAVIS published for the truth of its 30
training sequences: all 2019 pairs of frames agree to 6e-4, all but 14 to 1e-4, each
sequence's T to 5e-5. The rest are ties: paths of equal cost, and points that rounding
errors put on one or the other side of an angle between two bins.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.spatial.distance import cdist

from movseg_jax.errors import InputError
from movseg_jax.metrics.contours import longest_contour

Variant = Literal["python", "matlab"]
Contexts = Float64[np.ndarray, "_ 60"]  # The context of every point, of sum 1.

# The costs of two outlines are a matrix, which exists three times in memory.
MAX_POINTS = 8192

_SPACING = 3  # Largest distance of neighbouring points of an outline, in pixels.
_ANGLES = 12
# Radii of a shape context's rings, relative to the mean distance of two points.
_RADII = np.logspace(np.log10(1 / 8), np.log10(2), 5)
_EPSILON = 2.2204e-16
_BLOCK = 64  # Number of points at a time, so that matrices stay in the cache.


def describe(mask: np.ndarray, variant: Variant = "python") -> Contexts | None:
    """Computes the shape contexts of a mask's outline; None if it has none.

    Args:
        mask: Mask in one frame.
        variant: Code whose numbers are reproduced: DAVIS' Python or Matlab code. They
            differ in the choice among equally long outlines, in the precision of points
            between corners, and in the bin of an angle exactly between two bins. For
            most masks the difference is small or zero.

    Raises:
        InputError: It is not a mask, its outline has more points than `MAX_POINTS`, or
            the variant does not exist.
    """
    check_variant(variant)
    if mask.dtype != bool or mask.ndim != 2:
        raise InputError(
            f"`mask` is {mask.dtype} {list(mask.shape)}, expected bool [h, w]."
        )
    corners = longest_contour(mask, last_of_equals=variant == "python")
    if corners is None:
        return None
    if variant == "python":
        points = _resample(corners.astype(np.float32))[:, ::-1]
    else:
        points = _resample(corners.astype(np.float64))
    if len(points) > MAX_POINTS:
        raise InputError(
            f"The outline of a mask of {mask.shape[0]}x{mask.shape[1]} pixels (height "
            f"x width) has {len(points)} points, T can be measured for {MAX_POINTS} "
            "(stability.MAX_POINTS): look at the mask, or measure without T."
        )
    return _shape_contexts(points.astype(np.float64))


def check_variant(variant: str) -> None:
    """Raises an `InputError` if the variant does not exist."""
    if variant not in get_args(Variant):
        raise InputError(
            f"stability is {variant!r}, expected one of {', '.join(get_args(Variant))}."
        )


def instability(before: Contexts, after: Contexts) -> float:
    """Computes T of two outlines: 0 if they are the same, at most 1."""
    costs = _costs(before, after)
    # The first path starts where the outlines start; the second after the best match.
    path = _cheapest_path(costs)
    on_path = costs[path[:-1, 0], path[:-1, 1]]
    shift = path[np.argmin(on_path)] + 1
    path = _cheapest_path(np.roll(costs, -shift, axis=(0, 1)))
    pairs = (path + shift) % costs.shape
    for side in (0, 1):
        pairs = _cheapest_of_each(pairs, costs, side)
    return float(np.mean(costs[pairs[:, 0], pairs[:, 1]]))


# Shape contexts --------------------------------------------------------------------


def _resample(corners: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """Adds points between corners that are far apart.

    Points are summed up from the corner before, in the precision of the corners, as the
    bin of a point's angle may depend on it.
    """
    steps = np.diff(corners, axis=0)
    lengths = np.sqrt((steps**2).sum(axis=1))
    counts = np.maximum(np.ceil(lengths / _SPACING), 1).astype(int)
    steps /= counts[:, None].astype(corners.dtype)
    runs = [
        np.add.accumulate(np.concatenate([corner[None], np.tile(step, (count - 1, 1))]))
        for corner, step, count in zip(corners[:-1], steps, counts, strict=True)
    ]
    return np.concatenate([*runs, corners[-1:]])


def _shape_contexts(points: Float64[np.ndarray, "n 2"]) -> Contexts:
    """Counts the points in each angle and ring around every point.

    The point itself counts, but points beyond the last ring do not. Angles are measured
    from the first coordinate.
    """
    mean_distance = cdist(points, points).mean()
    bins = _ANGLES * len(_RADII)
    counts = np.zeros((len(points), bins))
    for i in range(0, len(points), _BLOCK):
        block = points[i : i + _BLOCK]
        distances = cdist(block, points) / mean_distance
        # The innermost ring has the highest number; 0 means beyond all rings.
        ring = sum((distances < radius).astype(np.int64) for radius in _RADII)
        first, second = points.T[:, None, :] - block.T[:, :, None]
        angles = np.arctan2(second, first) + 2 * np.pi
        # One rounding error below the full turn is the full turn.
        angles[angles >= np.nextafter(2 * np.pi, 0)] -= 2 * np.pi
        sector = np.floor(np.maximum(angles, 0) / (2 * np.pi / _ANGLES))
        cell = sector.astype(np.int64) * len(_RADII) + ring - 1
        cell += np.arange(len(block))[:, None] * bins
        in_block = np.bincount(cell[ring > 0], minlength=len(block) * bins)
        counts[i : i + _BLOCK] = in_block.reshape(len(block), bins)
    return counts / (counts.sum(axis=1, keepdims=True) + _EPSILON)


def _costs(a: Float64[np.ndarray, "n k"], b: Float64[np.ndarray, "m k"]):
    """The chi-squared distances of histograms, float64 [n, m]."""
    costs = np.zeros((len(a), len(b)))
    used = np.flatnonzero(a.any(axis=0) | b.any(axis=0))
    columns = np.ascontiguousarray(b.T[used])
    for i in range(0, len(a), _BLOCK):
        block = costs[i : i + _BLOCK]
        for row, column in zip(a[i : i + _BLOCK].T[used], columns, strict=True):
            row = row[:, None]
            difference = row - column
            difference *= difference
            total = row + column
            total += _EPSILON
            difference /= total
            block += difference
    costs *= 0.5
    return costs


# Matching --------------------------------------------------------------------------


def _cheapest_path(costs: Float64[np.ndarray, "n m"]) -> Int64[np.ndarray, "l 2"]:
    """The cheapest path from corner to corner, from its end to its start.

    Steps lead to the next row, column or both; the start costs nothing. Among equally
    cheap ways to a node, the step of both is preferred, then that of the row; in the
    original the heap of Dijkstra's algorithm decides.
    """
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)  # It has a border above and to the left.
    total[1, 1] = 0
    flat_costs, flat = costs.ravel(), total.ravel()
    # Nodes of an antidiagonal do not depend on each other, so they are computed at
    # once; one row down and one column back is a constant step in memory.
    for k in range(1, n + m - 1):
        low, high = max(0, k - m + 1), min(k, n - 1)
        here = slice(
            (low + 1) * (m + 1) + k - low + 1, (high + 1) * (m + 1) + k - high + 2, m
        )
        up, left = (slice(here.start - s, here.stop - s, m) for s in (m + 1, 1))
        both = slice(here.start - m - 2, here.stop - m - 2, m)
        best = np.minimum(flat[up], flat[left])
        np.minimum(best, flat[both], out=best)
        best += flat_costs[low * m + k - low : high * m + k - high + 1 : m - 1]
        flat[here] = best
    y, x = n, m
    path = [(y, x)]
    while (y, x) != (1, 1):
        before = ((y - 1, x - 1), (y - 1, x), (y, x - 1))
        y, x = min(before, key=total.__getitem__)
        path.append((y, x))
    return np.array(path) - 1


def _cheapest_of_each(pairs, costs, side) -> Int64[np.ndarray, "l 2"]:
    """The cheapest pair of each point of a side, the first among equals."""
    order = np.lexsort([costs[pairs[:, 0], pairs[:, 1]], pairs[:, side]])
    _, first = np.unique(pairs[order, side], return_index=True)
    return pairs[order[first]]
