"""The meaning of the number 255 in mask images.

Training, evaluation and conversion of masks all follow these rules:

- If all images of a video hold just 0 and 255, 255 is the only object, as in DAVIS
  2016.
- Otherwise 255 is void in images of 8 bits, neither an object nor background, as in
  DAVIS 2017, YouTube-VOS and Pascal VOC.
- In images of 16 bits every number is an object.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

from movseg_jax.images import read_ids

VOID = 255
MAX_ID = 65535  # The largest number that 16 bits hold.


@dataclasses.dataclass(frozen=True)
class MaskVideo:
    """The masks of one video, which together decide the meaning of the number 255.

    Attributes:
        files: The image files, one per frame.
    """

    files: tuple[Path, ...]

    @functools.cached_property
    def is_binary(self) -> bool:
        """Whether all images hold just 0 and 255; reading stops at another number.

        Raises:
            InputError: A file is damaged or not a mask.
        """
        return all(
            {VOID}.issuperset(present_ids(read_ids(file, most=MAX_ID)))
            for file in self.files
        )

    @functools.cached_property
    def is_empty(self) -> bool:
        """Whether all images hold just 0; reading stops at another number.

        Raises:
            InputError: A file is damaged or not a mask.
        """
        return not any(read_ids(file, most=MAX_ID).any() for file in self.files)

    def has_void(self, ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]):
        """Returns whether a frame's numbers contain 255 and it means void.

        Raises:
            InputError: A file of the video is damaged or not a mask.
        """
        numbers = present_ids(ids)
        if VOID not in numbers or ids.dtype != np.uint8:
            return False
        return len(numbers) > 1 or not self.is_binary


def present_ids(
    ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"],
) -> list[int]:
    """Returns the numbers in a mask, ascending, without 0."""
    numbers = np.flatnonzero(np.bincount(ids.ravel(), minlength=VOID + 1))
    return [int(number) for number in numbers if number]


def fits_8_bits(numbers: Sequence[int]) -> bool:
    """Returns whether images of 8 bits can hold tracks without a number that is void.

    Args:
        numbers: The numbers of the tracks, ascending.
    """
    return not numbers or numbers[-1] < VOID or list(numbers) == [VOID]
