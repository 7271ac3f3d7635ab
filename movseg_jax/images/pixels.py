"""Returns the pixels of an image that Pillow has opened.

Pillow reads all formats and notices what is cut off. OpenCV decodes JPEGs twice as
fast, and reads several channels of 16 bits, which Pillow reduces to 8; it is used for
these where the result is certain to be the same.
"""

import contextlib
import io

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageFile

from movseg_jax.errors import InputError

Stream = io.BytesIO | io.BufferedReader

# The operations that turn a stored picture upright, by EXIF's orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(
    image: ImageFile.ImageFile,
    stream: Stream,
    where: str,
    upright: bool,
    white: int | None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the image as 8-bit RGB; see `codecs.read_rgb`."""
    turn = _TURNS.get(_orientation(image)) if upright else None
    if (deep := deep_values(image, stream, where)) is not None:
        rgb = _to_8_bits(deep[0], white or deep[1])
    elif white is not None:
        raise InputError(
            f"{where}: has 8 bits a channel; expected 16 in a PNG or TIFF where the "
            "value that is white is given."
        )
    else:
        rgb = _fast_jpeg(image, stream)
        if rgb is None:
            rgb = _convert(image, where)
    return rgb if turn is None else np.array(Image.fromarray(rgb).transpose(turn))


def deep_values(
    image: ImageFile.ImageFile, stream: Stream, where: str
) -> tuple[UInt16[np.ndarray, "h w *c"], int] | None:
    """Returns grey or RGB values of more than 8 bits, and white; None for 8 bits."""
    if image.mode.startswith("I"):  # The file has up to 16 bits.
        white = 4095 if _way(image) == "I;12" else 65535
        return np.clip(np.asarray(image), 0, 65535).astype(np.uint16), white
    if is_deep_colour(image):
        return deep_colour(image, stream, where), 65535
    return None


def is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Returns whether several channels have 16 bits, which Pillow reduces to 8."""
    if image.mode not in ("RGB", "RGBA", "LA") or ";16" not in _way(image):
        return False
    animated = image.format == "PNG" and getattr(image, "is_animated", False)
    return image.format in ("PNG", "TIFF") and not animated


def deep_colour(
    image: ImageFile.ImageFile, stream: Stream, where: str
) -> UInt16[np.ndarray, "h w 3"]:
    """Reads the values by OpenCV."""
    image.load()  # Pillow raises if the file is cut off; OpenCV may not tell.
    stream.seek(0)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    data = np.frombuffer(stream.read(), np.uint8)
    page = image.tell()
    found: list[np.ndarray] = []
    with contextlib.suppress(cv2.error):
        found += cv2.imdecodemulti(data, flags, range=(page, page + 1))[1]
    kinds = [(bgr.shape, bgr.dtype) for bgr in found]
    if kinds != [((image.height, image.width, 3), np.uint16)]:
        raise InputError(
            f"{where}: cannot be read as an image: its channels of 16 bits are damaged "
            "or stored in an unusual way. Save it anew, as PNG."
        )
    return found[0][..., ::-1]


def stored_values(image: ImageFile.ImageFile, where: str) -> np.ndarray:
    """Returns the values as they are stored; Pillow scales some to 8 or 16 bits."""
    # The description of the bytes is there only until the image is loaded.
    tile = image.tile[0] if image.tile else None
    way = _way(image)  # The mode, bits and their order, such as "L;4R".
    top = None  # The "maxval" in the header of a PGM or PPM, by which Pillow scales.
    if tile is not None and tile.codec_name in ("ppm", "ppm_plain"):
        if isinstance(tile.args, tuple) and len(tile.args) > 1:
            top = int(tile.args[1])
    if image.mode in ("RGB", "RGBA", "LA") and (";16" in way or (top or 0) > 255):
        raise InputError(
            f"{where}: has several channels of 16 bits; expected a palette image "
            "or a grey one, whose values are the objects' numbers."
        )
    if tile is not None and top is not None:
        deep = image.mode == "I"
        if tile.codec_name == "ppm":  # The bytes are used unchanged.
            way = "I;16B" if deep else way
            tile = tile._replace(codec_name="raw", args=(way, 0, 1))
        else:  # Pillow then scales by 1.
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


def _orientation(image: Image.Image) -> int:
    """Returns EXIF's orientation; 1 is upright."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # The picture may be intact though its metadata are damaged.
        return 1


def _to_8_bits(values: UInt16[np.ndarray, "h w *c"], white: int) -> np.ndarray:
    table = (np.arange(65536) * 255 + white // 2) // white
    rgb = np.minimum(table, 255).astype(np.uint8)[values]
    return rgb if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, axis=2)


def _way(image: ImageFile.ImageFile) -> str:
    """Returns Pillow's raw mode of the file's bytes; "" once the image is loaded."""
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) and args else args or "")


def _fast_jpeg(image: Image.Image, stream: Stream):
    """Decodes a complete colour JPEG by OpenCV, in half of Pillow's time, or None.

    OpenCV silently fills missing parts with grey. A complete JPEG ends with the marker
    FF D9, which the bytes of its pixels cannot contain, so nothing is missing if the
    file ends with it. Pillow decodes all other files, including complete ones with
    further bytes after their end.
    """
    if image.format != "JPEG" or image.mode != "RGB":
        return None
    stream.seek(0)
    data = stream.read()
    if not data.endswith(b"\xff\xd9"):
        return None
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if bgr is None or bgr.shape != (image.height, image.width, 3):
        return None
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr))


def _convert(image: Image.Image, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """Converts an image of 8 bits to RGB by Pillow."""
    if image.mode == "F":
        raise InputError(f"{where}: has floating-point pixels, expected 8 or 16 bits.")
    if image.mode == "P":
        image.load()  # This reads "transparency", which is dropped as all alpha is.
        image.info.pop("transparency", None)
    return np.array(image.convert("RGB"))
