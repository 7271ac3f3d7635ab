"""Checks of images that are masks: their values must be objects' numbers."""

import io

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image

from movseg_jax.errors import InputError

# `check_ids` refuses a mask if at least so many pixels lie between the numbers beside
# them, and are at least this share of all pixels at edges. A smaller share is enough if
# nearly all of the mask's smaller numbers are such pixels. None of 2500 masks of COCO
# and of videos, also reduced to a quarter, is refused; all masks of DAVIS are that were
# resized or were a JPEG (quality 75 to 95).
MIN_BETWEEN = 32
BETWEEN_OF_EDGES = 0.16
FEWER_OF_EDGES, NEARLY_ALL = 0.04, 0.55


def refuse_lossy(
    image: Image.Image, stream: io.BytesIO | io.BufferedReader, where: str
) -> None:
    """Refuses a mask whose pixels are not those that were written.

    Args:
        image: The image, whose pixels need not be loaded.
        stream: Its file, which stays where it is.
        where: The image's name in messages.

    Raises:
        InputError: It is a JPEG, or compressed with loss in another way.
    """
    if image.format == "WEBP":  # A lossless picture is in a chunk "VP8L".
        place = stream.tell()
        stream.seek(0)
        lossy = b"VP8L" not in stream.read(2**16)
        stream.seek(place)
    else:
        compression = str(image.info.get("compression", ""))  # Of TIFF.
        lossy = image.format == "JPEG"
        lossy = lossy or "jpeg" in compression or "webp" in compression
    if lossy:
        raise InputError(
            f"{where}: is a mask compressed with loss ({image.format}), so that its "
            "numbers are no longer the objects'; expected a PNG. Write masks as PNGs "
            "in the first place: converting this file does not bring them back."
        )


def to_ids(
    values: Shaped[np.ndarray, "h w *c"], mode: str, most: int, where: str
) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Objects' numbers from an image's values.

    Args:
        values: The values as they are stored, of one channel or several.
        mode: The kind of pixels, by Pillow's name.
        most: The largest number that is one, at most 65535.
        where: The image's name in messages.

    Returns:
        The numbers, in 8 bits unless the image has more for each pixel.

    Raises:
        InputError: The image is in colour, a number is too large, or as `check_ids`.
    """
    colours = values[..., :3] if mode in ("RGB", "RGBA") else values[..., :1]
    shallow = mode in ("1", "L", "P", "LA", "PA", "RGB", "RGBA")
    grey = shallow or mode == "I" or mode.startswith("I;16")
    if not grey or (values.ndim == 3 and (colours != colours[..., :1]).any()):
        raise InputError(
            f"{where}: is in colour (mode {mode}); expected a palette image or a grey "
            "one, whose values are the objects' numbers."
        )
    ids = values[..., 0] if values.ndim == 3 else values
    if ids.min(initial=0) < 0 or ids.max(initial=0) > most:
        raise InputError(
            f"{where}: holds numbers from {ids.min()} to {ids.max()}, expected "
            f"objects' numbers from 0 to {most}."
        )
    ids = ids.astype(np.uint8 if shallow else np.uint16)
    check_ids(ids, where)
    return ids


def check_ids(
    ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], where: str
) -> None:
    """Refuses masks whose edges were smeared: what is between numbers is no object.

    Resizing with interpolation, compression with loss and anti-aliasing put values
    between those of two regions along their border, which would be objects. In a mask
    of objects' numbers few pixels lie between a smaller and a larger number: those
    where three regions meet, or one is thin.

    Args:
        ids: The numbers of a frame.
        where: The image's name in messages.

    Raises:
        InputError: Many pixels do.
    """
    others = np.count_nonzero((ids > 0) & (ids < ids.max(initial=0)))
    if others < MIN_BETWEEN:  # As where there is one object; the rest takes 1 ms.
        return
    window = np.ones((3, 3), np.uint8)
    least, greatest = cv2.erode(ids, window), cv2.dilate(ids, window)
    smeared = (least < ids) & (ids < greatest)
    between = np.count_nonzero(smeared)
    if between < MIN_BETWEEN:
        return
    of_edges = between / np.count_nonzero(least < greatest)
    of_others = between / others
    nearly_all = of_others > NEARLY_ALL and of_edges > FEWER_OF_EDGES
    if nearly_all or of_edges > BETWEEN_OF_EDGES:
        raise InputError(
            f"{where}: {between} pixels at the edges of its regions hold numbers "
            f"between those beside them ({len(np.unique(ids[smeared]))} different "
            "ones), as after resizing with interpolation, compression with loss or "
            "anti-aliasing, or as in a map of probabilities; expected objects' "
            "numbers. Resize masks to the nearest pixel, apply the threshold first, "
            "and write PNGs."
        )
