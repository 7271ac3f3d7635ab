"""The measures of DAVIS (Perazzi et al., 2016)."""

import math

import cv2
import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.masks import boundary


def region_similarity(found: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks, bool [h, w]; 1 if both are empty.

    Raises:
        InputError: They are no masks, or differ in size.
    """
    _check(found, truth)
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """F: how well the outlines of two masks, bool [h, w], agree.

    The harmonic mean of how much of each outline is near the other one: within a disk
    of 0.008 of the image's diagonal, rounded up. 1 if neither has an outline, 0 if one
    has (`f_boundary.py` of DAVIS' code).

    Raises:
        InputError: As `region_similarity`.
    """
    _check(found, truth)
    radius = math.ceil(0.008 * math.hypot(*found.shape))
    span = np.arange(-radius, radius + 1)
    disk = (span[:, None] ** 2 + span**2 <= radius**2).astype(np.uint8)
    outlines = [boundary(mask) for mask in (found, truth)]
    counts = [np.count_nonzero(outline) for outline in outlines]
    if not all(counts):
        return float(not any(counts))
    near = [cv2.dilate(o.view(np.uint8), disk).view(bool) for o in outlines]
    precision = np.count_nonzero(outlines[0] & near[1]) / counts[0]
    recall = np.count_nonzero(outlines[1] & near[0]) / counts[1]
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def _check(found, truth):
    for name, mask in (("found", found), ("truth", truth)):
        if mask.dtype != bool or mask.ndim != 2:
            raise InputError(
                f"`{name}` is {mask.dtype} {list(mask.shape)}, expected a mask, bool "
                "[h, w]; compare an image of ids with the object's id first."
            )
    if found.shape != truth.shape:
        raise InputError(
            f"`found` is of {found.shape[0]}x{found.shape[1]} pixels (height x width), "
            f"but `truth` of {truth.shape[0]}x{truth.shape[1]}; resize neither, but "
            "find the mask at the size of the frame."
        )
