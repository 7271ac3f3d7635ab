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
    functions are fitted to a reduced image ("Fast Guided Filter", He and Sun, 2015).

    Args:
        cropped: The mask of an object.
        image: The frame, RGB.
    """
    area = np.count_nonzero(cropped.pixels)
    if not area:
        return cropped
    radius = RADIUS * math.sqrt(area)
    # Beyond twice the radius, no function is fitted to pixels of the object.
    wide = cropped.padded(math.ceil(2 * radius), image.shape[:2])
    filtered = guided_filter(wide.pixels.astype(np.float32), image[wide.window], radius)
    refined = crop(filtered > 0.5, wide.top, wide.left)
    return refined if refined.pixels.size else cropped  # A hair would be smoothed away.


def guided_filter(
    mask: Float32[np.ndarray, "h w"],
    image: UInt8[np.ndarray, "h w 3"],
    radius: float,
) -> Float32[np.ndarray, "h w"]:
    """Filters a mask, guided by the image's colours.

    Args:
        mask: The mask, 0 to 1.
        image: The image, RGB.
        radius: The radius of the filter's square windows, in pixels.
    """
    # A linear function of a colour is a product with (red, green, blue, 1).
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) * np.float32(1 / 255)
    scale = min(1.0, SIDE / max(mask.shape))
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    small = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
    target = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    width = 2 * max(1, round(radius * scale)) + 1

    def mean(values):
        return cv2.blur(values, (width, width), borderType=cv2.BORDER_REPLICATE)

    *colour, _ = cv2.split(mean(small))
    *covariance, mean_target = cv2.split(mean(small * target[..., None]))
    covariance = [c - x * mean_target for c, x in zip(covariance, colour, strict=True)]
    # The colours' covariance matrix has six different entries.
    rows, columns = np.triu_indices(3)
    matrix = [
        product - colour[i] * colour[j] + (EPSILON if i == j else 0)
        for product, i, j in zip(
            cv2.split(mean(small[..., rows] * small[..., columns])),
            rows,
            columns,
            strict=True,
        )
    ]
    slope = _solve(matrix, covariance)
    offset = mean_target - sum(s * x for s, x in zip(slope, colour, strict=True))
    functions = mean(cv2.merge([*slope, offset]))
    functions = cv2.resize(functions, mask.shape[::-1])
    return cv2.transform(functions * colours, np.ones((1, 4)))


def _solve(matrix, right):
    """Solves a system of three equations for each pixel, by Cramer's rule.

    The matrices are symmetric, and given by the planes of their upper triangles.
    LAPACK, which would be called for each pixel, takes four times as long.
    """
    a, b, c, d, e, f = (plane.astype(np.float64) for plane in matrix)
    # The adjugate, which is symmetric, too. float32 would lose it to rounding.
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    scale = 1 / (a * aa + b * ab + c * ac)
    x, y, z = right
    return [
        ((p * x + q * y + r * z) * scale).astype(np.float32)
        for p, q, r in ((aa, ab, ac), (ab, bb, bc), (ac, bc, cc))
    ]
