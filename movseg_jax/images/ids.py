"""Checks mask images, whose values must be the numbers of objects."""

import io

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image

from movseg_jax.errors import InputError

# `check_ids` refuses a mask if at least MIN_BETWEEN pixels have a number between those
# of their neighbours, and these are more than the share BETWEEN_OF_EDGES of all pixels
# at edges. The share FEWER_OF_EDGES suffices if these are also more than the share
# NEARLY_ALL of all pixels with a number below the largest. These limits refuse none of
# 2500 masks of COCO and of videos, also when reduced to a quarter, and all masks of
# DAVIS that were resized or were a JPEG (quality 75 to 95).
MIN_BETWEEN = 32
BETWEEN_OF_EDGES = 0.16
FEWER_OF_EDGES = 0.04
NEARLY_ALL = 0.55


def refuse_lossy(
    image: Image.Image, stream: io.BytesIO | io.BufferedReader, where: str
) -> None:
    """Refuses a mask that is compressed with loss.

    Args:
        image: The image, whose pixels need not be loaded.
        stream: The stream of its file; its position is kept.
        where: The image's name in messages.

    Raises:
        InputError: The image is a JPEG, or is compressed with loss in another way.
    """
    if image.format == "WEBP":  # The chunk of a lossless picture is "VP8L".
        place = stream.tell()
        stream.seek(0)
        lossy = b"VP8L" not in stream.read(2**16)
        stream.seek(place)
    else:
        compression = str(image.info.get("compression", ""))  # TIFFs have it.
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
    """Converts an image's values to objects' numbers.

    Args:
        values: The values as they are stored, of one channel or several.
        mode: The kind of pixels, by Pillow's name.
        most: The largest number that an object may have, at most 65535.
        where: The image's name in messages.

    Returns:
        The numbers, in 8 bits unless the image has more per pixel.

    Raises:
        InputError: The image is in colour, a number is too large, or `check_ids`
            refuses it.
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
    """Refuses masks with blurred edges, whose intermediate values are not objects.

    Resizing with interpolation, lossy compression and anti-aliasing create values
    between those of two regions along their border. In a valid mask few pixels lie
    between a smaller and a larger number: those where three regions meet, or where one
    is thin.

    Args:
        ids: The numbers of a frame.
        where: The image's name in messages.

    Raises:
        InputError: Many pixels have such values.
    """
    others = np.count_nonzero((ids > 0) & (ids < ids.max(initial=0)))
    if others < MIN_BETWEEN:  # With one object this saves the checks below, 1 ms.
        return
    window = np.ones((3, 3), np.uint8)
    least = cv2.erode(ids, window)
    greatest = cv2.dilate(ids, window)
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
