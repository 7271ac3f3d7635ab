"""How fast objects move relative to the scene: to the camera, and to what is near them.

A homography is no good model of a scene with depth before a camera that travels: what
is close to it moves relative to the homography, though it rests. But what rests stands
upon or before something that moves as it does, while around what moves by itself flow
is discontinuous on all sides. So the flow of an object is compared with what surrounds
it, too. Dave et al. (2019) do not measure motion.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from movseg_jax.flow.global_motion import camera_motion, homography_flow

GRID_SIDE = 427  # Motion is measured on a grid with about so many points a longer side.
RING = (2, 8)  # Points from an object. The flow of those closer is smeared over edges.
LEAST_POINTS = 30  # Of a ring; with fewer nothing is known of the surroundings.
SAMPLES = 500  # Points of an object that its own motion is fitted to ...
ROUNDS = 5  # ... as often, with better weights each time.
SHARE = 0.25  # Of the ring that moves with an object which rests upon it.
# An object moves with a point if their motion differs by less than a quarter of the
# camera's own, which is taken to be one or two steps of the grid at least and at most:
# flow is no more exact than a quarter of a step, and what moves by itself before a fast
# camera still seems to drag along what is near, as estimated flow is smooth.
TOLERANCE, LEAST_SPEED, MOST_SPEED = 0.25, 1, 2
RESTING = 0.1  # Pixels a frame; noise moves the camera as much.

Mask = Bool[np.ndarray, "h w"]


def object_speeds(
    flow: Float32[np.ndarray, "h w 2"],
    objects: Sequence[Mask],
    others: Mask | None = None,
) -> list[float]:
    """How fast each object moves relative to the scene, in pixels a frame.

    It is the median of the flow's distance from the camera's. It is NaN, unknown, where
    a quarter of an object's surroundings move with it, which may be a part of the scene
    that is close to the camera, or move by themselves; and for an empty mask.

    Args:
        flow: To the next frame, in pixels, finite.
        objects: Masks.
        others: Pixels that are no part of the surroundings, as they move, too; an
            object's own do not matter.
    """
    if not objects:
        return []  # Without looking for the camera's motion, which takes the time.
    stride = _stride(flow)
    grid = np.s_[::stride, ::stride]
    camera = homography_flow(camera_motion(flow), flow.shape[:2], stride)
    speed = float(np.median(np.hypot(camera[..., 0], camera[..., 1])))
    tolerance = 0.0
    if speed > RESTING:  # Else what is close moves no more than what is far.
        steps = np.clip(speed / stride, LEAST_SPEED, MOST_SPEED)
        tolerance = TOLERANCE * stride * float(steps)
    residual = flow[grid] - camera
    if others is None:
        others = np.zeros(flow.shape[:2], bool)
    windows = [_window(mask[grid], others[grid], residual) for mask in objects]
    speeds = [_speed(window) for window in windows]
    if tolerance:
        for i in _carried(windows, tolerance):
            speeds[i] = math.nan
    return speeds


def object_shifts(
    flow: Float32[np.ndarray, "h w 2"], objects: Sequence[Mask]
) -> list[tuple[float, float]]:
    """The median flow of each object's pixels, (x, y); NaN for an empty mask.

    Args:
        flow: Flow to the next frame, in pixels, finite.
        objects: Masks of the objects.
    """
    stride = _stride(flow)
    grid = np.s_[::stride, ::stride]
    shifts = []
    for mask in objects:
        vectors = flow[grid][mask[grid]]
        if not len(vectors):  # An object that falls between the grid's points.
            vectors = flow[mask]
        x, y = np.median(vectors, axis=0) if len(vectors) else (math.nan, math.nan)
        shifts.append((float(x), float(y)))
    return shifts


def _stride(flow) -> int:
    """The distance between the grid's points, in pixels."""
    return max(1, round(max(flow.shape[:2]) / GRID_SIDE))


class _Window(NamedTuple):
    """An object and what is close enough to matter, on the grid.

    Attributes:
        mask: Of the object.
        others: See `object_speeds`.
        flow: Without the camera's.
    """

    mask: Mask
    others: Mask
    flow: Float32[np.ndarray, "h w 2"]


def _window(mask, others, residual) -> _Window:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    top, left = max(y - RING[1], 0), max(x - RING[1], 0)
    near = np.s_[top : y + height + RING[1], left : x + width + RING[1]]
    return _Window(mask[near], others[near], residual[near])


def _speed(window: _Window) -> float:
    vectors = window.flow[window.mask]
    return float(np.median(np.hypot(*vectors.T))) if len(vectors) else math.nan


def _carried(windows: list[_Window], tolerance: float) -> Iterator[int]:
    """Which objects move as a share of what surrounds them does.

    What an object's own motion would be where its surroundings are is compared with
    how they do move.
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
        apart = np.hypot(*(window.flow[ring] - continued).T)
        if np.quantile(apart, SHARE) < tolerance:
            yield i


def _ring(window: _Window) -> Mask | None:
    """What surrounds an object, if that is enough to say how it moves."""
    ring = _dilated(window.mask, RING[1]) & ~_dilated(window.mask, RING[0])
    free = ring & ~window.others
    if free.sum() >= LEAST_POINTS:  # Else it is all among others.
        ring = free
    return ring if ring.sum() >= LEAST_POINTS else None


def _dilated(mask, by) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def _sampled(mask) -> Int[np.ndarray, "s 2"]:
    """Points of an object, away from its edges, where mask and flow are wrong."""
    core = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8)).view(bool)
    points = np.argwhere(core if core.sum() >= LEAST_POINTS else mask)
    return points[np.linspace(0, len(points) - 1, SAMPLES).round().astype(int)]


def _terms(points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
    return np.concatenate([np.ones_like(points[..., :1]), points], axis=-1)


def _affine_motions(
    terms: Float[np.ndarray, "n s 3"], vectors: Float[np.ndarray, "n s 2"]
) -> Float[np.ndarray, "n 3 2"]:
    """By iteratively reweighted least squares with Cauchy's weights."""
    # Of a line of points the affine part is not known; it is the smaller one then.
    ridge = 1e-6 * SAMPLES * np.diag([0, 1, 1])[None]
    weighted, motions = terms, np.zeros((len(terms), 3, 2))
    for _ in range(ROUNDS):
        transposed = weighted.swapaxes(1, 2)
        motions = np.linalg.solve(transposed @ terms + ridge, transposed @ vectors)
        error = np.linalg.norm(vectors - terms @ motions, axis=2)
        spread = np.maximum(np.median(error, axis=1, keepdims=True), 0.05)
        weighted = terms / (1 + (error / spread) ** 2)[:, :, None]
    return motions
