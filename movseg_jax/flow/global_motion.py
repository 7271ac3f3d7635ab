"""The camera's share of optical flow: a homography that most pixels agree on.

A homography is exact for a camera that turns or zooms and for a flat background; with
parallax it is the plane most of the image moves with.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

POINTS = 1500  # About so many pixels are compared, on a regular grid.
TOLERANCE = 0.5  # Pixels by which one that moves with the camera may stray.
LEAST_POINTS = 16  # A homography through fewer says more of them than of the camera.


def camera_motion(
    flow: Float32[np.ndarray, "h w 2"],
    valid: Bool[np.ndarray, "h w"] | None = None,
    seed: int = 0,
) -> Float64[np.ndarray, "3 3"]:
    """The homography that takes pixels (x, y, 1) to where the camera moves them.

    Found by RANSAC (Barath and Matas, "Graph-Cut RANSAC", CVPR 2018, as it is in
    OpenCV), so it holds while objects that move otherwise cover less than about 45% of
    the image. Where nothing supports a homography it is affine, then a shift by the
    median flow, then the identity. The same input gives the same result.

    Args:
        flow: Finite where valid.
        valid: Where the flow is known; None is everywhere.
        seed: Of the random samples.
    """
    height, width = flow.shape[:2]
    step = max(1, math.isqrt(height * width // POINTS))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    if valid is not None:
        y, x = y[valid[y, x]], x[valid[y, x]]
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    vectors = flow[y, x].reshape(-1, 2)
    if len(points) >= LEAST_POINTS:
        homography = _homography(points, points + vectors, seed)
        if homography is not None and _keeps_in_front(homography, height, width):
            return homography
        affine, _ = cv2.estimateAffine2D(
            points, points + vectors, ransacReprojThreshold=TOLERANCE
        )
        if affine is not None and np.isfinite(affine).all():
            return np.vstack([affine, [0, 0, 1]])
    shift = np.eye(3)
    if len(points):
        shift[:2, 2] = np.median(vectors, axis=0)
    return shift


def homography_flow(
    homography: Float64[np.ndarray, "3 3"], size: tuple[int, int], stride: int = 1
) -> Float32[np.ndarray, "_ _ 2"]:
    """The flow of a frame of size (height, width) whose pixels move by a homography.

    Of every `stride`-th row and column of the frame, in pixels of the frame. Beyond the
    homography's horizon there is none, and what is returned is large.
    """
    y, x = np.ogrid[: size[0] : stride, : size[1] : stride]
    across, down, depth = (row[0] * x + (row[1] * y + row[2]) for row in homography)
    depth = np.maximum(depth, 1e-6)
    flow = np.empty((*depth.shape, 2), np.float32)
    np.subtract(across / depth, x, out=flow[..., 0], casting="same_kind")
    np.subtract(down / depth, y, out=flow[..., 1], casting="same_kind")
    return flow


def residual_flow(
    flow: Float32[np.ndarray, "h w 2"],
    camera: Float64[np.ndarray, "3 3"] | None = None,
) -> Float32[np.ndarray, "h w 2"]:
    """The flow without the camera's, which is estimated unless it is given."""
    camera = camera_motion(flow) if camera is None else camera
    return flow - homography_flow(camera, flow.shape[:2])


def _homography(points, moved, seed):
    """By RANSAC, then refined; its last entry is 1. None where there is none."""
    parameters = cv2.UsacParams()
    parameters.loMethod = cv2.LOCAL_OPTIM_GC
    parameters.threshold = TOLERANCE
    parameters.confidence = 0.999
    parameters.maxIterations = 1000
    parameters.randomGeneratorState = seed
    try:
        homography, _ = cv2.findHomography(points, moved, parameters)
        if homography is None:
            return None
        homography = _refined(homography, points, moved)
    except (cv2.error, np.linalg.LinAlgError):  # All points on a line, for one.
        return None
    if not np.isfinite(homography).all() or not homography[2, 2]:
        return None
    return homography / homography[2, 2]


def _refined(homography, points, moved, rounds=12):
    """Iteratively reweighted least squares with the weights of Geman and McClure.

    Halves RANSAC's error where the flow is noisy, as it needs no sharp threshold.
    """
    size = points.max()
    # In coordinates around the middle, else the normal equations lose their digits.
    scale = np.array([[2 / size, 0, -1], [0, 2 / size, -1], [0, 0, 1]])
    (x, y), (u, v) = ((p * (2 / size) - 1).T for p in (points, moved))
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = [
        np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=1),
        np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=1),
    ]
    equations, right = np.concatenate(rows), np.concatenate([u, v])
    estimate = scale @ homography @ np.linalg.inv(scale)
    start = np.stack([x, y, one])
    for _ in range(rounds):
        projected = estimate @ start
        difference = projected[:2] / projected[2] - [u, v]
        squared = (difference**2).sum(axis=0) * (size / 2) ** 2
        spread = np.clip(4 * np.median(squared), 0.02**2, 1)
        weights = np.tile((1 + squared / spread) ** -2, 2)[:, None] * equations
        solution = np.linalg.solve(weights.T @ equations, weights.T @ right)
        estimate = np.append(solution, 1).reshape(3, 3)
    return np.linalg.inv(scale) @ estimate @ scale


def _keeps_in_front(homography, height, width):
    """Whether no pixel passes behind the camera, and the image is not turned over."""
    corners = np.array(
        [[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64
    )
    return np.linalg.det(homography) > 0 and (corners @ homography[2]).min() > 0.1
