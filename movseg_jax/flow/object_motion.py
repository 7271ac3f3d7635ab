"""Measures the speed of objects relative to the scene.

With a travelling camera, stationary objects near it also move relative to the camera's
homography (parallax). Unlike moving objects, they move with the things on which or in
front of which they stand. So an object whose surroundings share its motion is not taken
for a moving one. Dave et al. (2019) do not measure motion.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from movseg_jax.flow.global_motion import camera_motion, homography_flow, median
from movseg_jax.masks import Crop, crop

# The approximate number of points on the longer side of the grid for measuring motion.
GRID_SIDE = 427
# The distances of the surroundings' ring from an object, in points. The flow of nearer
# points is blurred across the object's edges.
RING = (2, 8)
LEAST_POINTS = 30  # A ring with fewer points does not tell the surroundings' motion.
SAMPLES = 500  # The number of an object's points to which its motion is fitted.
ROUNDS = 5  # The number of fits, each with better weights.
# Shares of a ring that move with an object. With a stationary one, a quarter or more
# does; a moving one may drag the flow in nearly half of its ring along.
KNOWN_SHARE, LIKELY_SHARE = 0.25, 0.45
# An object moves with a point if their motions differ by less than this share of the
# camera's own speed, which is limited to a range in steps of the grid: flow is not more
# exact than a quarter of a step, and before a fast camera moving objects seem to drag
# their surroundings along, because estimated flow is smooth.
TOLERANCE = 0.25
LEAST_SPEED = 1
MOST_SPEED = 2
RESTING = 0.1  # Pixels per frame; noise moves a stationary camera by as much.

Mask = Bool[np.ndarray, "h w"]


class Speed(NamedTuple):
    """The speed of an object relative to the scene, in pixels per frame.

    Attributes:
        known: The speed; NaN if more than a quarter of its surroundings move with it.
        likely: The speed; NaN if nearly half of its surroundings do.
    """

    known: float
    likely: float


def object_speeds(
    flow: Float32[np.ndarray, "h w 2"],
    objects: Sequence[Crop],
    others: Sequence[Crop] = (),
    camera: Float64[np.ndarray, "3 3"] | None = None,
) -> list[Speed]:
    """Returns the speed of each object relative to the scene.

    The speed is the median distance between the flow and the camera's flow. It is NaN
    (unknown) for an empty mask, and for an object with which many of its surroundings
    move: both may be a stationary part of the scene near the camera, or move together.
    A thing that stands on the floor moves with about a third of its surroundings. So
    does a boat that drags the estimated flow of the water along.

    Args:
        flow: The flow to the next frame, in pixels, finite.
        objects: The masks of the objects.
        others: Masks whose pixels do not count as surroundings because they move, too.
            An object's own pixels make no difference.
        camera: The camera's homography; None estimates it.
    """
    if not objects:
        return []  # This saves estimating the camera's motion, which is slow.
    stride = _stride(flow)
    camera = camera_motion(flow) if camera is None else camera
    by_camera = homography_flow(camera, flow.shape[:2], stride)
    speed = float(median(np.hypot(by_camera[..., 0], by_camera[..., 1]).ravel()))
    tolerance = 0.0
    if speed > RESTING:  # Without camera motion there is no parallax.
        steps = np.clip(speed / stride, LEAST_SPEED, MOST_SPEED)
        tolerance = TOLERANCE * stride * float(steps)
    residual = flow[::stride, ::stride] - by_camera
    moving = np.zeros(residual.shape[:2], bool)
    for other in others:
        on_grid = other.every(stride)
        moving[on_grid.window] |= on_grid.pixels
    windows = [_window(mask.every(stride), moving, residual) for mask in objects]
    speeds = [_speed(_vectors(window.flow, window.mask)) for window in windows]
    for i, mask in enumerate(objects):
        if math.isnan(speeds[i]) and mask.pixels.any():
            # The object lies between the grid's points.
            there = homography_flow(camera, flow.shape[:2])[mask.window]
            speeds[i] = _speed(_vectors(flow[mask.window] - there, mask.pixels))
    found = [Speed(speed, speed) for speed in speeds]
    for i, share in _shares(windows, tolerance) if tolerance else ():
        if share > KNOWN_SHARE:
            found[i] = found[i]._replace(known=math.nan)
        if share > LIKELY_SHARE:
            found[i] = found[i]._replace(likely=math.nan)
    return found


def object_shifts(
    flow: Float32[np.ndarray, "h w 2"], objects: Sequence[Crop]
) -> list[tuple[float, float]]:
    """Returns the median flow (x, y) of each object; NaN for an empty mask.

    Args:
        flow: The flow to the next frame, in pixels, finite.
        objects: The masks of the objects.
    """
    stride = _stride(flow)
    grid = flow[::stride, ::stride]
    shifts = []
    for mask in objects:
        on_grid = mask.every(stride)
        vectors = _vectors(grid[on_grid.window], on_grid.pixels)
        if not vectors.size:  # The object lies between the grid's points.
            vectors = _vectors(flow[mask.window], mask.pixels)
        x, y = map(median, vectors) if vectors.size else (math.nan, math.nan)
        shifts.append((float(x), float(y)))
    return shifts


def _vectors(
    flow: Float32[np.ndarray, "h w 2"], where: Mask
) -> Float32[np.ndarray, "2 n"]:
    """Returns the x and y of the flow at some pixels."""
    # NumPy takes six times as long to pick vectors as to pick numbers.
    return np.stack([flow[..., 0][where], flow[..., 1][where]])


def _stride(flow) -> int:
    """Returns the distance between the grid's points, in pixels."""
    return max(1, round(max(flow.shape[:2]) / GRID_SIDE))


class _Window(NamedTuple):
    """An object and its surroundings on the grid.

    Attributes:
        mask: The mask of the object.
        others: The pixels that do not count as surroundings; see `object_speeds`.
        flow: The flow without the camera's.
    """

    mask: Mask
    others: Mask
    flow: Float32[np.ndarray, "h w 2"]


def _window(mask: Crop, others, residual) -> _Window:
    mask = crop(mask.pixels, mask.top, mask.left)  # It may have become smaller.
    wide = mask.padded(RING[1], others.shape)
    return _Window(wide.pixels, others[wide.window], residual[wide.window])


def _speed(vectors: Float32[np.ndarray, "2 n"]) -> float:
    return float(median(np.hypot(*vectors))) if vectors.size else math.nan


def _shares(windows: list[_Window], tolerance: float) -> Iterator[tuple[int, float]]:
    """Yields the numbers of objects and the shares of their rings that move with them.

    An affine motion is fitted to an object, extrapolated to its surroundings, and
    compared with their flow.
    """
    rings = {i: ring for i, w in enumerate(windows) if (ring := _ring(w)) is not None}
    if not rings:
        return
    chosen = [windows[i] for i in rings]
    points = np.stack([_sampled(window.mask) for window in chosen])  # [n, s, 2].
    vectors = [w.flow[*p.T] for w, p in zip(chosen, points, strict=True)]
    middles = points.mean(axis=1)
    sizes = np.array([max(window.mask.shape) for window in chosen], float)
    terms = _terms((points - middles[:, None]) / sizes[:, None, None])
    motions = _affine_motions(terms, np.stack(vectors).astype(np.float64))
    for (i, ring), window, middle, size, motion in zip(
        rings.items(), chosen, middles, sizes, motions, strict=True
    ):
        continued = _terms((np.argwhere(ring) - middle) / size) @ motion
        apart = np.hypot(*(_vectors(window.flow, ring) - continued.T))
        yield i, np.count_nonzero(apart < tolerance) / len(apart)


def _ring(window: _Window) -> Mask | None:
    """Returns an object's surroundings, or None if there are too few points."""
    ring = _dilated(window.mask, RING[1]) & ~_dilated(window.mask, RING[0])
    free = ring & ~window.others
    # With fewer free points, the object is among others only.
    if np.count_nonzero(free) >= LEAST_POINTS:
        ring = free
    return ring if np.count_nonzero(ring) >= LEAST_POINTS else None


def _dilated(mask, by) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def _sampled(mask) -> Int[np.ndarray, "s 2"]:
    """Samples points of an object, away from its edges if there are enough."""
    core = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8)).view(bool)
    places = np.flatnonzero(core if np.count_nonzero(core) >= LEAST_POINTS else mask)
    chosen = places[np.linspace(0, len(places) - 1, SAMPLES).round().astype(int)]
    return np.stack(np.unravel_index(chosen, mask.shape), axis=1)


def _terms(points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
    return np.concatenate([np.ones_like(points[..., :1]), points], axis=-1)


def _affine_motions(
    terms: Float[np.ndarray, "n s 3"], vectors: Float[np.ndarray, "n s 2"]
) -> Float[np.ndarray, "n 3 2"]:
    """Fits affine motions by reweighted least squares (Cauchy's weights)."""
    # Points on a line leave a part of the motion open; the ridge keeps it small.
    ridge = 1e-6 * SAMPLES * np.diag([0, 1, 1])[None]
    weighted = terms
    motions = np.zeros((len(terms), 3, 2))
    for _ in range(ROUNDS):
        transposed = weighted.swapaxes(1, 2)
        motions = np.linalg.solve(transposed @ terms + ridge, transposed @ vectors)
        error = np.linalg.norm(vectors - terms @ motions, axis=2)
        spread = np.maximum(np.median(error, axis=1, keepdims=True), 0.05)
        weighted = terms / (1 + (error / spread) ** 2)[:, :, None]
    return motions
