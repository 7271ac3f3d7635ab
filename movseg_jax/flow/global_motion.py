"""Estimates the camera's motion in optical flow: the homography of most pixels.

A homography is exact for a camera that turns or zooms, and for a flat background. With
parallax it describes the plane with which most of the image moves.
"""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

POINTS = 1500  # The approximate number of pixels, on a regular grid, that are used.
TOLERANCE = 0.5  # Pixels; the largest error of a point that moves with the camera.
LEAST_POINTS = 16  # A homography fits fewer points than this too well.


def camera_motion(
    flow: Float32[np.ndarray, "h w 2"],
    valid: Bool[np.ndarray, "h w"] | None = None,
    seed: int = 0,
) -> Float64[np.ndarray, "3 3"]:
    """Estimates the homography by which the camera moves pixels (x, y, 1).

    RANSAC finds it (Barath and Matas, "Graph-Cut RANSAC", CVPR 2018, in OpenCV), so
    moving objects may cover up to about 45% of the image. If nothing supports a
    homography, the result is an affine motion, else a shift by the median flow, else
    the identity. The same input gives the same result.

    Args:
        flow: The flow, which is finite where it is valid.
        valid: Whether the flow of each pixel is known; None if all of it is.
        seed: The seed of the random samples.
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


def median(values: Float[np.ndarray, " n"]) -> np.floating:
    """Returns the median of one or more finite numbers.

    `np.median` also looks for numbers that are not finite, and takes longer. This is
    called several times for each object of a frame.
    """
    half = len(values) // 2
    if len(values) % 2:
        return np.partition(values, half)[half]
    low, high = np.partition(values, (half - 1, half))[half - 1 : half + 1]
    return (low + high) / 2


def homography_flow(
    homography: Float64[np.ndarray, "3 3"], size: tuple[int, int], stride: int = 1
) -> Float32[np.ndarray, "_ _ 2"]:
    """Returns the flow of a frame whose pixels move by a homography.

    The result is in pixels of the frame, in every `stride`-th row and column of it.
    Beyond the homography's horizon there is no flow, and the result is large.
    """
    y, x = np.ogrid[: size[0] : stride, : size[1] : stride]
    across, down, depth = (row[0] * x + (row[1] * y + row[2]) for row in homography)
    depth = np.maximum(depth, 1e-6)
    flow = np.empty((*depth.shape, 2), np.float32)
    flow[..., 0] = across / depth - x
    flow[..., 1] = down / depth - y
    return flow


def resized_homography(
    homography: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    resized: tuple[int, int],
) -> Float64[np.ndarray, "3 3"]:
    """Returns the homography of frames resized from one (height, width) to another."""
    y, x = np.divide(resized, size)
    # Coordinates are those of the pixels' middles, so the first pixel's moves as well.
    scaling = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return scaling @ homography @ np.linalg.inv(scaling)


def residual_flow(
    flow: Float32[np.ndarray, "h w 2"],
    camera: Float64[np.ndarray, "3 3"] | None = None,
) -> Float32[np.ndarray, "h w 2"]:
    """Returns the flow minus the camera's; None estimates the camera's homography."""
    camera = camera_motion(flow) if camera is None else camera
    return flow - homography_flow(camera, flow.shape[:2])


def _homography(points, moved, seed):
    """Finds and refines a homography, whose last entry is 1; None if there is none."""
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
    except (cv2.error, np.linalg.LinAlgError):  # All points may be on a line.
        return None
    if not np.isfinite(homography).all() or not homography[2, 2]:
        return None
    return homography / homography[2, 2]


def _refined(homography, points, moved, rounds=12):
    """Refines by iteratively reweighted least squares (weights of Geman and McClure).

    This halves RANSAC's error in noisy flow, because it has no sharp threshold.
    """
    size = points.max()
    # Coordinates are relative to the middle and scaled, because the normal equations
    # would lose digits otherwise.
    scale = np.array([[2 / size, 0, -1], [0, 2 / size, -1], [0, 0, 1]])
    (x, y), (u, v) = ((p * (2 / size) - 1).T for p in (points, moved))
    one = np.ones_like(x)
    zero = np.zeros_like(x)
    rows = [
        np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=1),
        np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=1),
    ]
    equations = np.concatenate(rows)
    right = np.concatenate([u, v])
    estimate = scale @ homography @ np.linalg.inv(scale)
    start = np.stack([x, y, one])
    for _ in range(rounds):
        projected = estimate @ start
        difference = projected[:2] / projected[2] - [u, v]
        squared = (difference**2).sum(axis=0) * (size / 2) ** 2
        spread = min(max(4 * median(squared), 0.02**2), 1)
        weights = np.tile((1 + squared / spread) ** -2, 2)[:, None] * equations
        solution = np.linalg.solve(weights.T @ equations, weights.T @ right)
        estimate = np.append(solution, 1).reshape(3, 3)
    return np.linalg.inv(scale) @ estimate @ scale


def _keeps_in_front(homography, height, width):
    """Returns whether all pixels stay before the camera, and none are mirrored."""
    corners = np.array(
        [[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64
    )
    return np.linalg.det(homography) > 0 and (corners @ homography[2]).min() > 0.1
