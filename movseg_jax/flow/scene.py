"""How fast objects move relative to the scene: to the camera, and to what is near them.

A homography is no good model of a scene with depth before a camera that travels: what
is close to it moves relative to the homography, though it rests. But what rests stands
upon or before something that moves as it does, while around what moves by itself flow
is discontinuous on all sides. So the flow of an object is compared with what surrounds
it, too. Dave et al. (2019) do not measure motion.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from movseg_jax.flow.camera import camera_motion, homography_flow

GRID_SIDE = 427  # Motion is measured on a grid with about so many points a longer side.
RING = (2, 8)  # Points from an object. The flow of those closer is smeared over edges.
LEAST_POINTS = 30  # Of a ring; with fewer nothing is known of the surroundings.
SAMPLES = 1000  # Points of an object that its own motion is fitted to.
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

    The median of the flow's distance from the camera's; 0 where a quarter of what
    surrounds an object moves with it; nan of an object without a pixel.

    Args:
        flow: To the next frame, in pixels, finite.
        objects: Masks.
        others: Pixels that are no part of the surroundings, as they move, too; an
            object's own do not matter.
    """
    if not objects:
        return []  # Without looking for the camera's motion, which takes the time.
    stride = max(1, round(max(flow.shape[:2]) / GRID_SIDE))
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
    return [_speed(mask[grid], residual, others[grid], tolerance) for mask in objects]


def _speed(mask, residual, others, tolerance) -> float:
    if not mask.any():
        return math.nan
    # Only what is close enough to matter.
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    top, left = max(y - RING[1], 0), max(x - RING[1], 0)
    near = np.s_[top : y + height + RING[1], left : x + width + RING[1]]
    mask, flow = mask[near], residual[near]
    if tolerance and _rests(mask, flow, others[near], tolerance):
        return 0.0
    return float(np.median(np.hypot(*flow[mask].T)))


def _rests(mask, flow, others, tolerance) -> bool:
    ring = _dilated(mask, RING[1]) & ~_dilated(mask, RING[0])
    free = ring & ~others
    if free.sum() >= LEAST_POINTS:  # Else it is all among others.
        ring = free
    if ring.sum() < LEAST_POINTS:
        return False
    apart = np.hypot(*(flow[ring] - _continued(flow, mask, ring)).T)
    return float(np.quantile(apart, SHARE)) < tolerance


def _dilated(mask, by) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def _continued(flow, mask, ring) -> Float32[np.ndarray, "n 2"]:
    """The flow that the points of a ring would have if they were part of the object.

    Its motion is taken to be affine, and fitted by iteratively reweighted least squares
    with Cauchy's weights, as masks and flow are wrong along its edges.
    """
    core = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8)).view(bool)
    y, x = np.nonzero(core if core.sum() >= LEAST_POINTS else mask)
    chosen = np.linspace(0, len(y) - 1, min(len(y), SAMPLES)).astype(int)
    y, x = y[chosen], x[chosen]
    middle, size = (y.mean(), x.mean()), max(mask.shape)

    def terms(y, x):
        ones = np.ones(len(y))
        return np.stack([ones, (y - middle[0]) / size, (x - middle[1]) / size])

    points, vectors = terms(y, x), flow[y, x].astype(np.float64)
    affine, weights = np.zeros((3, 2)), np.ones(len(y))
    # Of a line of points the affine part is not known; it is the smaller one then.
    ridge = 1e-6 * len(y) * np.diag([0, 1, 1])
    for _ in range(5):
        weighted = points * weights
        affine = np.linalg.solve(weighted @ points.T + ridge, weighted @ vectors)
        error = np.hypot(*(vectors - points.T @ affine).T)
        weights = 1 / (1 + (error / max(np.median(error), 0.05)) ** 2)
    return (terms(*np.nonzero(ring)).T @ affine).astype(np.float32)
