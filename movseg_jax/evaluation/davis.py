"""The measures of DAVIS (Perazzi et al., 2016)."""

import numpy as np

from movseg_jax.errors import InputError


def region_similarity(found: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two masks, bool [h, w]; 1 if both are empty.

    Raises:
        InputError: They are no masks, or differ in size.
    """
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
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0
