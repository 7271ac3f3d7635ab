"""PNG files of three channels of 16 bits, which Pillow cannot read.

OpenCV can, but returns half a picture of half a file; so the file is checked first.
"""

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt16

from movseg_jax.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB = 2  # PNG's number of the colour type.


class PngHeader(NamedTuple):
    """What a PNG says of itself: its IHDR chunk, the last two fields apart."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlacing: int


def png_header(data: bytes, *, source: str) -> PngHeader:
    """The header of a PNG file.

    Raises:
        InputError: It is no PNG file.
    """
    if data[:8] != SIGNATURE or data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise InputError(
            f"{source}: is not a PNG file: begins with {data[:8]!r}, expected "
            f"{SIGNATURE!r} and a header."
        )
    return PngHeader(*struct.unpack_from(">2I5B", data, 16))


def decode_deep_png(data: bytes, *, source: str) -> UInt16[np.ndarray, "h w 3"]:
    """The pixels, in RGB order; the caller has checked their number.

    Raises:
        InputError: It is damaged, or not an RGB image of 16 bits without interlacing.
    """
    header = png_header(data, source=source)
    if header[2:] != (16, RGB, 0, 0, 0):
        raise InputError(
            f"{source}: is a PNG of {header.bits} bits, colour type {header.colour}, "
            f"interlacing {header.interlacing}; expected 16 bits, RGB (2) and none (0)."
        )
    compressed = b"".join(_image_chunks(data, source))
    _check_stream(compressed, header, source)
    # Without the chunks that OpenCV would read too: animation, transparency, EXIF.
    chunks = [(b"IHDR", data[16:29]), (b"IDAT", compressed), (b"IEND", b"")]
    file = SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)
    try:
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape != (header.height, header.width, 3):
        raise InputError(f"{source}: is a damaged PNG: OpenCV cannot read it.")
    return pixels[..., ::-1]


def encode_deep_png(pixels: UInt16[np.ndarray, "h w 3"]) -> bytes:
    """A PNG file of pixels in RGB order."""
    _, file = cv2.imencode(".png", pixels[..., ::-1])
    return file.tobytes()


def _image_chunks(data, source):
    """The contents of the IDAT chunks, every chunk's checksum checked."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        content = memoryview(data)[position + 8 : end - 4]
        if end > len(data) or _checksum(kind, content) != data[end - 4 : end]:
            break
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            yield content
        position = end
    raise InputError(f"{source}: is a damaged PNG: cut off, or a wrong checksum.")


def _check_stream(compressed, header, source):
    """Whether it unpacks to just the image, in memory for no more than that."""
    size = header.height * (1 + 6 * header.width)
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(compressed, size)
        whole = len(rows) == size and not stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise InputError(f"{source}: is a damaged PNG: {error}.") from None
    if not whole or not stream.eof or max(rows[:: 1 + 6 * header.width]) > 4:
        raise InputError(
            f"{source}: is a damaged PNG: its image is not the {header.width}x"
            f"{header.height} pixels of its header."
        )


def _chunk(kind, content):
    length = struct.pack(">I", len(content))
    return length + kind + content + _checksum(kind, content)


def _checksum(kind, content):
    return struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
