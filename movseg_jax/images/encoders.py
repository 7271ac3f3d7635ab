"""Encodes images as JPEG and PNG files."""

import io

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image


def encode_jpeg(frame: UInt8[np.ndarray, "h w 3"], quality: int = 95) -> bytes:
    """Encodes an RGB image as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG", quality=quality)
    return file.getvalue()


def encode_png(
    frame: UInt8[np.ndarray, "h w *c"] | UInt16[np.ndarray, "h w"],
) -> bytes:
    """Encodes a grey, RGB or RGBA image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="PNG", compress_level=3)
    return file.getvalue()


def encode_deep_rgb(pixels: UInt16[np.ndarray, "h w 3"]) -> bytes:
    """Encodes an RGB image with 16 bits per channel as a PNG file."""
    _, file = cv2.imencode(".png", pixels[..., ::-1])
    return file.tobytes()


def encode_ids(ids: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encodes an annotation as a palette PNG in the colours of DAVIS and Pascal VOC."""
    image = Image.fromarray(ids)
    image.putpalette(palette().tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=3)
    return file.getvalue()


def palette() -> UInt8[np.ndarray, "256 3"]:
    """Returns Pascal VOC's colours: each bit of a number sets a bit of a channel."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            bit = numbers >> (3 * place + channel) & 1
            colours[:, channel] |= bit << (7 - place)
    return colours.astype(np.uint8)
