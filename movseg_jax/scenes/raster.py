"""Rasterizes one piece: where it covers the image, and its texture warped there.

The painter and the truth both use these functions, so masks match the picture.
"""

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from movseg_jax.scenes.camera import scaled
from movseg_jax.scenes.layout import Layout
from movseg_jax.scenes.textures import Texture

if TYPE_CHECKING:
    from movseg_jax.scenes.scene import Plane

Window = tuple[slice, slice]  # Rows and columns of the image.

OPAQUE = 128  # The least alpha, of 255, with which a pixel belongs to a piece.
# Levels above the one at which texels are as large as pixels.
PIECE_BLUR = -0.25
# The share of the blur at which no texel of a slanted plane is smaller than a pixel.
SLANT_BLUR = 0.45
MAX_SLANT = 12  # The slant from which on the blur does not increase.


def line_values(line: np.ndarray, window: Window) -> Float32[np.ndarray, "h w"]:
    """Returns the product of a line with (x, y, 1) at every pixel of a window."""
    rows, columns = window
    x = np.arange(columns.start, columns.stop) * line[0]
    y = np.arange(rows.start, rows.stop) * line[1] + line[2]
    return np.add.outer(y.astype(np.float32), x.astype(np.float32))


def plane_cover(
    plane: "Plane", layout: Layout, number: int, size: tuple[int, int]
) -> tuple[Window, Float32[np.ndarray, "h w"]] | None:
    """Returns the window that a plane is in, and its cover of each pixel, 0 to 1."""
    whole = slice(0, size[0]), slice(0, size[1])
    front = layout.nearness[number]
    bounds = plane.bounds @ plane.surface @ layout.inverses[number]
    nearest = None
    for line in [front, *bounds]:
        slope = math.hypot(line[0], line[1])
        middle = line @ [size[1] / 2, size[0] / 2, 1]
        if slope * sum(size) < abs(middle) * 1e-6:  # It is parallel to the image.
            if middle <= 0:
                return None
            continue
        distance = line_values(line / slope, whole)
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    if nearest is None:
        return whole, np.ones(size, np.float32)
    cover = np.clip(nearest + np.float32(0.5), 0, 1)
    rows = np.flatnonzero(cover.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(cover.any(axis=0))
    window = (
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )
    return window, cover[window]


def plane_colours(
    texture: Texture,
    layout: Layout,
    number: int,
    window: Window,
    blur: Float32[np.ndarray, "h w"] | float = 0.0,
) -> Float32[np.ndarray, "h w 3"]:
    """Returns a plane's colours; its texture is continued by its mirror image.

    Args:
        texture: The plane's texture.
        layout: The scene's layout.
        number: The plane's number.
        window: The part of the image to draw.
        blur: The number of levels by which to blur it.
    """
    inverse, homography = layout.inverses[number], layout.homographies[number]
    # The number of texels per pixel is the root of the homography's scale of areas.
    scale = np.maximum(line_values(inverse[2], window), 1e-9)
    area = abs(np.linalg.det(inverse))
    level = np.float32(0.5 * math.log2(area)) - np.float32(1.5) * np.log2(scale)
    # A slanted texel is smaller than a pixel in one direction, and the more so the
    # smaller the cosine between the ray and the normal is.
    nearness = layout.nearness[number]
    cosine = line_values(nearness, window)
    cosine /= np.float32(np.linalg.norm(nearness @ layout.view.intrinsics))
    slant = np.float32(SLANT_BLUR) * np.log2(np.clip(cosine, 1 / MAX_SLANT, 1))
    level = np.clip(level + blur - slant, 0, len(texture.levels) - 1)
    total = np.zeros((*level.shape, 3), np.float32)
    for i in range(int(level.min()), math.ceil(float(level.max())) + 1):
        weight = np.maximum(1 - np.abs(level - np.float32(i)), 0)
        rows = np.flatnonzero(weight.any(axis=1))
        if not len(rows):
            continue
        band = slice(int(rows[0]), int(rows[-1]) + 1)
        start = window[0].start
        part = (slice(start + band.start, start + band.stop), window[1])
        layer = _warp(texture, homography, i, part, cv2.BORDER_REFLECT)
        total[band] += layer[..., :3] * weight[band, :, None]
    return total


def piece_layer(
    texture: Texture,
    layout: Layout,
    number: int,
    size: tuple[int, int],
    margin: int = 0,
) -> tuple[Window, UInt8[np.ndarray, "h w 4"]] | None:
    """Returns the window that a bone is in, and its colours times alpha there."""
    window = bounding_window(layout.corners[number], size, margin)
    if window is None:
        return None
    level = best_level(texture, layout.corners[number])
    homography = layout.homographies[number]
    return window, _warp(texture, homography, level, window, cv2.BORDER_CONSTANT)


def belongs(layer: UInt8[np.ndarray, "h w 4"]) -> Bool[np.ndarray, "h w"]:
    """Returns where a layer shows the piece: where its alpha is at least a half."""
    return layer[..., 3] >= OPAQUE


def bounding_window(
    corners: np.ndarray, size: tuple[int, int], margin: int = 0
) -> Window | None:
    """Returns the part of the image that a quadrangle is in; None if it is outside."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    x0 = max(0, math.floor(low[0]) - margin)
    y0 = max(0, math.floor(low[1]) - margin)
    x1 = min(size[1], math.ceil(high[0]) + 1 + margin)
    y1 = min(size[0], math.ceil(high[1]) + 1 + margin)
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def best_level(texture: Texture, corners: np.ndarray) -> int:
    """Returns the level whose texels are about as large as pixels."""
    (ax, ay), (bx, by) = corners[2] - corners[0], corners[3] - corners[1]
    area = max(abs(ax * by - ay * bx) / 2, 1e-3)
    level = 0.5 * math.log2(texture.size[0] * texture.size[1] / area)
    return min(max(round(level + PIECE_BLUR), 0), len(texture.levels) - 1)


def _warp(texture, homography, level, window, border):
    """Warps a level of a texture into a window of the image."""
    rows, columns = window
    matrix = homography @ np.linalg.inv(scaled(level)) if level else homography.copy()
    matrix[0] -= columns.start * matrix[2]
    matrix[1] -= rows.start * matrix[2]
    wanted = columns.stop - columns.start, rows.stop - rows.start
    return cv2.warpPerspective(
        texture.levels[level], matrix, wanted, flags=cv2.INTER_LINEAR, borderMode=border
    )
