"""Moves the outlines of masks to edges of the image.

A mask head gives 28x28 cells, so the outline of a large object is a cell or two beside
its edge. A guided filter (He et al., "Guided Image Filtering", TPAMI 2013) explains the
mask around each pixel as a linear function of the pixel's colour; where colours tell
object and background apart, its outline follows them. Dave et al. (2019) do not refine
masks.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from movseg_jax.masks.paste import Crop, crop

# Chosen on four clips of video_instances and 16 rendered clips (docs/experiments.md).
RADIUS = 0.1  # The filter's radius as a share of the square root of the mask's area.
EPSILON = 1e-4  # The least variance of colours, from 0 to 1, that counts as an edge.
SIDE = 64  # The longer side, in pixels, at which the linear functions are fitted.


def refine(cropped: Crop, image: UInt8[np.ndarray, "h w 3"]) -> Crop:
    """Returns the mask with its outline at edges of the image.

    Nothing changes further from the outline than twice the filter's radius. The
    functions are fitted to a reduced image ("Fast Guided Filter", He and Sun, 2015),
    which takes about a millisecond.

    Args:
        cropped: The mask of an object.
        image: The frame, RGB.
    """
    area = int(cropped.pixels.sum())
    if not area:
        return cropped
    radius = RADIUS * math.sqrt(area)
    # Beyond twice the radius, no function is fitted to pixels of the object.
    wide = cropped.padded(math.ceil(2 * radius), image.shape[:2])
    colours = image[wide.window] * np.float32(1 / 255)
    filtered = guided_filter(wide.pixels.astype(np.float32), colours, radius)
    refined = crop(filtered > 0.5, wide.top, wide.left)
    return refined if refined.pixels.size else cropped  # A hair would be smoothed away.


def guided_filter(
    mask: Float32[np.ndarray, "h w"],
    colours: Float32[np.ndarray, "h w 3"],
    radius: float,
) -> Float32[np.ndarray, "h w"]:
    """Filters a mask, guided by the image's colours.

    Args:
        mask: The mask, 0 to 1.
        colours: The image, RGB, 0 to 1.
        radius: The radius of the filter's square windows, in pixels.
    """
    scale = min(1.0, SIDE / max(mask.shape))
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    small = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    target = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    width = 2 * max(1, round(radius * scale)) + 1

    def mean(values):
        return cv2.blur(values, (width, width), borderType=cv2.BORDER_REPLICATE)

    mean_colour, mean_target = mean(small), mean(target)
    covariance = mean(small * target[..., None]) - mean_colour * mean_target[..., None]
    # The colours' covariance matrix has six different entries.
    rows, columns = np.triu_indices(3)
    products = mean(small[..., rows] * small[..., columns])
    products -= mean_colour[..., rows] * mean_colour[..., columns]
    matrix = np.empty((*target.shape, 3, 3), np.float32)
    matrix[..., rows, columns] = matrix[..., columns, rows] = products
    matrix += EPSILON * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(matrix, covariance[..., None])[..., 0]
    offset = mean_target - _product(slope, mean_colour)
    functions = mean(np.concatenate([slope, offset[..., None]], axis=-1))
    functions = cv2.resize(functions, mask.shape[::-1])
    return _product(functions[..., :3], colours) + functions[..., 3]


def _product(a, b):
    # Several times as fast as summing the products over the short last axis.
    return np.einsum("hwc,hwc->hw", a, b)
