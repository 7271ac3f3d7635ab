"""Reads image files with limits and checks.

Reading never needs more memory than `MAX_PIXELS` allows, and a file that is cut off,
damaged or something else is an `InputError`. So is a file of several pictures (pages of
a TIFF, an animation) where one is expected; `read_pictures` returns them all.
"""

import contextlib
import io
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageFile, UnidentifiedImageError

from movseg_jax.errors import InputError
from movseg_jax.images.ids import refuse_lossy, to_ids
from movseg_jax.images.pixels import (
    Stream,
    deep_colour,
    deep_values,
    is_deep_colour,
    stored_values,
    to_rgb,
)

MAX_PIXELS = 2**26  # The most pixels of an image; a frame of 8K video has half of them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
MAX_BYTES = 2**29  # The largest size of an image file.
_NEW_SUBFILE_TYPE = 254  # A TIFF tag, whose lowest bit marks a thumbnail.


class Header(NamedTuple):
    """The properties of an image in its file's header.

    Attributes:
        format: The format, one of `FORMATS`.
        size: The height and width as they are stored.
        mode: The channels as Pillow names them, such as "RGB"; "I" and "I;16" are grey.
        bits: The bits of a channel that is read: 8, or 16 for anything deeper.
        pictures: The number of pictures that `read_pictures` gives.
    """

    format: str
    size: tuple[int, int]
    mode: str
    bits: int
    pictures: int


def read_header(file: str | Path | bytes, *, source: str | None = None) -> Header:
    """Reads the header of an image file, without decoding its pixels.

    Raises:
        InputError: The file is not a readable image; see `read_rgb`.
    """
    with _opened(file, source, several=True) as (image, _):
        bits = 16 if image.mode.startswith("I") or is_deep_colour(image) else 8
        size = (image.height, image.width)
        count = len(_pictures(image))
        return Header(image.format or "", size, image.mode, bits, count)


def image_size(
    file: str | Path | bytes, *, source: str | None = None
) -> tuple[int, int]:
    """Reads the height and width, as they are stored, from the file's header.

    Raises:
        InputError: The file is not a readable image; see `read_rgb`.
    """
    return read_header(file, source=source).size


def read_rgb(
    file: str | Path | bytes,
    *,
    source: str | None = None,
    upright: bool = False,
    white: int | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image: grey becomes RGB, 16 bits become 8, alpha is dropped.

    Args:
        file: A path, or the file's bytes.
        source: The file's name in messages; needed for bytes.
        upright: Whether to turn the image as its EXIF data say. Annotations of data
            sets belong to the pixels as they are stored.
        white: The value that becomes 255 in an image of more than 8 bits; None is the
            largest value that the file's bits can hold.

    Raises:
        InputError: The file is missing, is not one complete image of `FORMATS`, or has
            more than `MAX_PIXELS`; or `white` is given for an image of 8 bits.
    """
    with _opened(file, source) as (image, stream):
        return to_rgb(image, stream, source or str(file), upright, white)


def read_pictures(
    path: str | Path, *, upright: bool = False, white: int | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Reads all pictures of a file, one at a time, each as `read_rgb` does.

    The pictures are the pages of a TIFF without thumbnails, or the frames of an
    animation in PNG or WebP. Any other file has one picture.

    Raises:
        InputError: The file is not a readable image; see `read_rgb`.
    """
    with _opened(path, None, several=True) as (image, stream):
        for number in _pictures(image):
            image.seek(number)
            _check_pixels(image, str(path))
            yield to_rgb(image, stream, str(path), upright, white)


def brightest(path: str | Path) -> int | None:
    """Returns the largest value of a file's first picture; None if it has 8 bits.

    Raises:
        InputError: The file is not a readable image; see `read_rgb`.
    """
    with _opened(path, None, several=True) as (image, stream):
        deep = deep_values(image, stream, str(path))
        return None if deep is None else int(deep[0].max(initial=0))


def read_deep_rgb(data: bytes, *, source: str) -> UInt16[np.ndarray, "h w 3"]:
    """Reads the values of an RGB image with 16 bits per channel.

    Raises:
        InputError: The data are not a readable image, or one of another kind.
    """
    with _opened(data, source) as (image, stream):
        if not is_deep_colour(image):
            raise InputError(f"{source}: is not an RGB image of 16 bits a channel.")
        return deep_colour(image, stream, source)


def read_ids(
    file: str | Path | bytes, *, source: str | None = None, most: int = 255
) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Reads a mask in which a pixel's value is its object's number; 0 is background.

    The values of a palette image are the palette's indices, not its colours. Several
    channels must agree. A bit per pixel gives 0 and 1, and a grey value is the number
    that is stored, even if the file has few levels. All mask images are read by this
    function, so every command refuses the same files.

    Args:
        file: A path, or the file's bytes.
        source: The file's name in messages.
        most: The largest number that an object may have, at most 65535. The result has
            8 bits, unless the file has more per pixel.

    Raises:
        InputError: The file is not a readable image, or not a mask: see
            `ids.refuse_lossy` and `ids.to_ids`; or it has several channels of 16 bits.
    """
    with _opened(file, source) as (image, stream):
        where = source or str(file)
        refuse_lossy(image, stream, where)
        return to_ids(stored_values(image, where), image.mode, most, where)


def mask_size(
    file: str | Path | bytes, *, source: str | None = None
) -> tuple[int, int]:
    """Reads the height and width of a mask from the file's header.

    Raises:
        InputError: The file is not a readable image, or is compressed with loss.
    """
    with _opened(file, source) as (image, stream):
        refuse_lossy(image, stream, source or str(file))
        return image.height, image.width


def _pictures(image: ImageFile.ImageFile) -> list[int]:
    """Lists the numbers of a file's pictures, without thumbnails.

    Additional pictures of a JPEG are previews, depth maps and the like.
    """
    several = image.format in ("TIFF", "PNG", "WEBP")
    found = []
    for number in range(getattr(image, "n_frames", 1) if several else 1):
        if image.format == "TIFF":
            image.seek(number)
            if image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1:  # pyright: ignore[reportAttributeAccessIssue]
                continue
        found.append(number)
    return found or [0]


@contextlib.contextmanager
def _opened(
    file: str | Path | bytes, source: str | None, *, several: bool = False
) -> Iterator[tuple[ImageFile.ImageFile, Stream]]:
    """Opens an image and checks its header; errors in the block become InputError."""
    file = file if isinstance(file, bytes) else Path(file)
    where = source or str(file if isinstance(file, Path) else "image")
    try:
        with _stream(file, where) as stream:
            with Image.open(stream, formats=FORMATS) as image:
                pictures = _pictures(image)
                if not several and len(pictures) > 1:
                    raise InputError(
                        f"{where}: holds {len(pictures)} pictures, expected one. Save "
                        "each as a file of its own."
                    )
                image.seek(pictures[0])
                _check_pixels(image, where)
                yield image, stream
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{where}: has more than {MAX_PIXELS} pixels (images.MAX_PIXELS)."
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{where}: cannot be read as an image: it is none of {', '.join(FORMATS)}, "
            "or its beginning is damaged."
        ) from None
    except OSError as error:
        reason = str(error).replace(repr(file), "it")
        raise InputError(f"{where}: cannot be read as an image: {reason}.") from None
    except Exception as error:  # Pillow's plugins raise many types for damaged files.
        kind = type(error).__name__
        raise InputError(f"{where}: is a damaged image: {kind}: {error}.") from None


def _check_pixels(image: Image.Image, where: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{where}: has {image.width}x{image.height} pixels, expected at most "
            f"{MAX_PIXELS} in all (images.MAX_PIXELS)."
        )


def _stream(file: Path | bytes, where: str) -> Stream:
    """Opens a file after checking its kind and size, without reading it."""
    if isinstance(file, bytes):
        size = len(file)
    else:
        try:
            status = file.stat()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
            raise InputError(f"{where}: cannot be read: {error}.") from None
        if not stat.S_ISREG(status.st_mode):  # Reading a pipe may never end.
            raise InputError(f"{where}: is not a file.")
        size = status.st_size
    if size == 0:
        raise InputError(f"{where}: is empty: it has no bytes.")
    if size > MAX_BYTES:
        raise InputError(
            f"{where}: has {size} bytes, expected at most {MAX_BYTES} "
            "(images.MAX_BYTES)."
        )
    return io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
