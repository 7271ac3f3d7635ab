"""Masks that are image files: the images of a video, and what the number 255 means.

Whoever reads such masks, to train, to measure or to convert them, decides by this:

- Where all images of a video hold no other numbers than 0 and 255, 255 is the one
  object, as in DAVIS 2016.
- Elsewhere 255 is void in images of 8 bits: neither an object nor background, as in
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
    """The masks of one video, which say together what the number 255 means.

    Attributes:
        files: The images, one for each frame.
    """

    files: tuple[Path, ...]

    @functools.cached_property
    def is_binary(self) -> bool:
        """Whether no image holds another number than 0 and 255; reads until one does.

        Raises:
            InputError: A file is damaged or no mask.
        """
        return all(
            {VOID}.issuperset(present_ids(read_ids(file, most=MAX_ID)))
            for file in self.files
        )

    def has_void(self, ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]):
        """Whether 255 is in a frame's numbers, as read, and means void.

        Raises:
            InputError: As `is_binary`.
        """
        numbers = present_ids(ids)
        if VOID not in numbers or ids.dtype != np.uint8:
            return False
        return len(numbers) > 1 or not self.is_binary


def present_ids(
    ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"],
) -> list[int]:
    """The numbers in a mask but 0, ascending."""
    numbers = np.flatnonzero(np.bincount(ids.ravel(), minlength=VOID + 1))
    return [int(number) for number in numbers if number]


def fits_8_bits(numbers: Sequence[int]) -> bool:
    """Whether images of 8 bits hold the tracks, so that no number of theirs is void.

    Args:
        numbers: The tracks' numbers, ascending.
    """
    return not numbers or numbers[-1] < VOID or list(numbers) == [VOID]
