"""Image files, read with care and encoded.

Reading never needs more memory than `MAX_PIXELS` allows, and a file that is cut off,
damaged or something else is an `InputError`. Of an animation the first picture counts.
"""

import contextlib
import io
import stat
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageFile

from movseg_jax.errors import InputError
from movseg_jax.mask_checks import refuse_lossy, to_ids

MAX_PIXELS = 2**26  # Of an image; a frame of 8K video has half of them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
MAX_BYTES = 2**29  # Of an image file.


def image_size(file: Path | bytes, *, source: str | None = None) -> tuple[int, int]:
    """Height and width as they are stored, from the file's header alone.

    Raises:
        InputError: As `read_rgb`.
    """
    with _opened(file, source) as (image, _):
        return image.height, image.width


def read_rgb(
    file: Path | bytes, *, source: str | None = None, upright: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image: grey becomes RGB, 16 bits become 8, alpha is dropped.

    Args:
        file: A path, or the file's bytes.
        source: Names it in messages; needed for bytes.
        upright: Turn it as its EXIF data say. Annotations of data sets are of the
            pixels as they are stored.

    Raises:
        InputError: It is missing, not a whole image of `FORMATS`, or has more than
            `MAX_PIXELS`.
    """
    with _opened(file, source) as (image, stream):
        turn = _TURNS.get(_orientation(image)) if upright else None
        rgb = _fast_jpeg(image, stream)
        if rgb is None:
            rgb = _to_rgb(image, source or str(file))
        if turn is None:
            return rgb
        return np.array(Image.fromarray(rgb).transpose(turn))


def read_ids(
    file: Path | bytes, *, source: str | None = None, most: int = 255
) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Reads a mask in which a pixel's value is its object's number, 0 the background.

    Of a palette image these are the palette's indices, not its colours; of one with
    several channels, which must agree, the first; of one with a bit per pixel, 0 and 1.
    A grey value is the number that is stored, however few levels the file has. Every
    mask that is an image is read by this, so that every command refuses the same files.

    Args:
        file: A path, or the file's bytes.
        source: The file's name in messages.
        most: The largest number that is one, at most 65535. The result has 8 bits,
            unless the file has more for each pixel.

    Raises:
        InputError: As `read_rgb`, `mask_checks.refuse_lossy` or `mask_checks.to_ids`;
            or the image has several channels of 16 bits.
    """
    with _opened(file, source) as (image, stream):
        where = source or str(file)
        refuse_lossy(image, stream, where)
        return to_ids(_stored_values(image, where), image.mode, most, where)


def mask_size(file: Path | bytes, *, source: str | None = None) -> tuple[int, int]:
    """The height and width of a mask, from the file's header alone.

    Raises:
        InputError: As `read_rgb`, or it is compressed with loss.
    """
    with _opened(file, source) as (image, stream):
        refuse_lossy(image, stream, source or str(file))
        return image.height, image.width


def encode_jpeg(frame: UInt8[np.ndarray, "h w 3"], quality: int = 95) -> bytes:
    """An RGB image as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=quality)
    return file.getvalue()


def encode_png(
    frame: UInt8[np.ndarray, "h w *c"] | UInt16[np.ndarray, "h w"],
) -> bytes:
    """A grey, RGB or RGBA image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="PNG", compress_level=3)
    return file.getvalue()


def encode_ids(ids: UInt8[np.ndarray, "h w"]) -> bytes:
    """An annotation as a palette PNG with the colours of DAVIS and Pascal VOC."""
    image = Image.fromarray(ids)
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=3)
    return file.getvalue()


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of Pascal VOC: each bit of a number sets a bit of a channel."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            bit = numbers >> (3 * place + channel) & 1
            colours[:, channel] |= bit << (7 - place)
    return colours.astype(np.uint8)


# EXIF's orientations: what turns the stored picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Damaged metadata of a picture that may be whole.
        return 1


def _fast_jpeg(image: Image.Image, stream: io.BytesIO | io.BufferedReader):
    """A colour JPEG by OpenCV, in half of Pillow's time; None if it is not sure.

    OpenCV fills what is cut off with grey and says nothing. A whole JPEG ends with the
    marker FF D9, and its pixels' bytes cannot hold that: so where the file ends with
    it, nothing was cut off. Other files, also whole ones with something behind their
    end, are Pillow's.
    """
    if image.format != "JPEG" or image.mode != "RGB":
        return None
    stream.seek(0)
    data = stream.read()
    if not data.endswith(b"\xff\xd9"):
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if rgb is None or rgb.shape != (image.height, image.width, 3):
        return None
    return rgb


def _stored_values(image: ImageFile.ImageFile, where: str) -> np.ndarray:
    """The pixels as the file has them, where Pillow stretches them to 8 or 16 bits."""
    # What is not loaded yet tells how the bytes become pixels.
    tile = image.tile[0] if image.tile else None
    args = tile.args if tile else None
    way, *others = args if isinstance(args, tuple) and args else (args,)
    way = str(way)  # Such as "L;4R": mode, bits, their order.
    top = None  # Of a PGM or PPM that is stretched, the "maxval" of its header.
    if tile is not None and tile.codec_name in ("ppm", "ppm_plain") and others:
        top = int(others[0])
    if image.mode in ("RGB", "RGBA", "LA") and (";16" in way or (top or 0) > 255):
        raise InputError(
            f"{where}: has several channels of 16 bits; expected a palette image "
            "or a grey one, whose values are the objects' numbers."
        )
    if tile is not None and top is not None:
        deep = image.mode == "I"
        if tile.codec_name == "ppm":  # Its bytes, unchanged.
            way = "I;16B" if deep else way
            tile = tile._replace(codec_name="raw", args=(way, 0, 1))
        else:  # Stretched by 1.
            tile = tile._replace(args=(way, 65535 if deep else 255))
        image.tile = [tile]
    values = np.asarray(image)
    if top is not None and values.max(initial=0) > top:
        raise InputError(
            f"{where}: holds the number {values.max()}, but its header says that "
            f"{top} is the greatest."
        )
    if image.mode == "L" and way.startswith(("L;2", "L;4")):
        return values // (85 if way[2] == "2" else 17)
    return values


def _to_rgb(image: Image.Image, where: str) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode == "F":
        raise InputError(f"{where}: has floating-point pixels, expected 8 or 16 bits.")
    if image.mode.startswith("I"):  # 16 bits, whatever the width of Pillow's integers.
        levels = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        to_8_bits = ((np.arange(65536) + 128) // 257).astype(np.uint8)
        return np.repeat(to_8_bits[levels][..., None], 3, axis=2)
    if image.mode == "P":
        image.load()  # Reads "transparency", which is dropped, as all alpha is.
        image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))


@contextlib.contextmanager
def _opened(
    file: Path | bytes, source: str | None
) -> Iterator[tuple[ImageFile.ImageFile, io.BytesIO | io.BufferedReader]]:
    """An image whose header was checked; what fails in the block is an InputError."""
    where = source or str(file if isinstance(file, Path) else "image")
    try:
        with _stream(file, where) as stream:
            with Image.open(stream, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"{where}: has {image.width}x{image.height} pixels, expected "
                        f"at most {MAX_PIXELS} in all (images.MAX_PIXELS)."
                    )
                yield image, stream
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{where}: has more than {MAX_PIXELS} pixels (images.MAX_PIXELS)."
        ) from None
    except OSError as error:  # Also Pillow's UnidentifiedImageError.
        reason = str(error).replace(repr(file), "it")
        raise InputError(f"{where}: cannot be read as an image: {reason}.") from None
    except Exception as error:  # Its plugins let all kinds escape on damaged files.
        kind = type(error).__name__
        raise InputError(f"{where}: is a damaged image: {kind}: {error}.") from None


def _stream(file: Path | bytes, where: str) -> io.BytesIO | io.BufferedReader:
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
    if size > MAX_BYTES:
        raise InputError(
            f"{where}: has {size} bytes, expected at most {MAX_BYTES} "
            "(images.MAX_BYTES)."
        )
    return io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
