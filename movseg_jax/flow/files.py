"""Reads and writes optical flow: .flo, .pfm, .npz, .npy, KITTI's and the authors' PNG.

A header is compared with the file's length before memory is allocated, and the result
is plausible flow in pixels or an `InputError`.
"""

import io
import math
import re
import struct
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import from_picture, to_picture
from movseg_jax.flow.estimators import checked_flow
from movseg_jax.images import (
    MAX_PIXELS,
    encode_deep_rgb,
    encode_png,
    read_deep_rgb,
    read_header,
    read_rgb,
)
from movseg_jax.system.atomic import write_file
from movseg_jax.system.bounded import read_bytes

SUFFIXES = (".flo", ".pfm", ".png", ".npz", ".npy")
MAGNITUDES = "_magnitude_minmax.txt"  # The end of the name of an authors' text file.
MAX_BYTES = MAX_PIXELS * 12 + 4096  # Three float32 per pixel, and a header.
UNKNOWN = 1e9  # Larger values mean "unknown" in Middlebury's files.
# Flow is implausible if it is longer than so many diagonals of the image in more than
# this share of the pixels. (A few pixels of FlyingThings3D are.)
IMPLAUSIBLE_DIAGONALS = 10
IMPLAUSIBLE_SHARE = 0.01


def read_flow(
    path: str | Path,
    *,
    frame_size: tuple[int, int] | None = None,
    unknown: Literal["error", "zero"] = "error",
) -> Float32[np.ndarray, "h w 2"]:
    """Reads flow, (x, y) in pixels of the frame, y downwards.

    Args:
        path: The file, whose suffix tells the format: a Middlebury .flo; a .pfm as in
            FlyingThings3D; a .png of KITTI (16 bits) or of the authors (8 bits and a
            text file beside it, see `encoding.to_picture`); an .npz with the array
            "flow" or with a single array; or an .npy. Arrays are [h, w, 2] or
            [2, h, w].
        frame_size: The height and width that the flow must have, if known.
        unknown: Whether unknown flow is an error or becomes zero.

    Raises:
        InputError: The file is missing, damaged, or of another format or size; it has
            more than `images.MAX_PIXELS` pixels, unknown flow, or values that cannot be
            flow.
    """
    flow, valid = read_flow_valid(path, frame_size=frame_size)
    missing = valid.size - np.count_nonzero(valid)
    if missing and unknown == "error":
        raise InputError(
            f"{path}: the flow is unknown in {missing} of {valid.size} pixels (not "
            f"finite, above {UNKNOWN:g}, or marked so); expected it everywhere.",
            way_out='`unknown="zero"` takes it for none.',
        )
    return flow


def read_flow_valid(
    path: str | Path, *, frame_size: tuple[int, int] | None = None
) -> tuple[Float32[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Reads flow as `read_flow` does; returns it and where it is known.

    Flow is unknown where it is not finite, is above `UNKNOWN` or is marked so in a
    KITTI file; there it becomes zero.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: is no flow file by its name; expected one of "
            f"{', '.join(SUFFIXES)}."
        )
    flow, valid = reader(path, read_bytes(path, MAX_BYTES, "flow.files.MAX_BYTES"))
    known = ~_is_longer(flow, UNKNOWN)
    valid = known if valid is None else known & valid
    if not valid.all():
        flow[~valid] = 0
    _check_size(path, flow.shape[:2], frame_size)
    _check_magnitude(path, flow)
    return flow, valid


def write_flow(path: str | Path, flow: np.ndarray, *, to: str | None = None) -> None:
    """Writes a file of flow atomically, and for "png" its text file before it.

    Args:
        path: The path, which ends with the suffix of the format.
        flow: The flow [h, w, 2], which is not empty. `encode_flo` and the others say
            what each format keeps. Flow that is not finite or above `UNKNOWN` is read
            as unknown; "png" cannot hold it.
        to: The format: "flo", "pfm", "npz", "png" (the authors') or "kitti". None takes
            the one of the suffix, and for .png the authors'.

    Raises:
        InputError: The file cannot be written, there is no such format, the suffix is
            not that of the format, or the flow has another shape or values that the
            format cannot hold.
    """
    if to is not None and to not in SUFFIX_OF:
        raise InputError(
            f"there is no format {to!r}; expected one of {', '.join(SUFFIX_OF)}."
        )
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIX_OF.values() or (to and suffix != SUFFIX_OF[to]):
        expected = SUFFIX_OF[to] if to else ", ".join(dict.fromkeys(SUFFIX_OF.values()))
        raise InputError(f"{path}: expected a name that ends in {expected}.")
    try:
        flow = checked_flow(flow, finite=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if suffix == ".png" and to != "kitti":
        unknown = np.count_nonzero(_is_longer(flow, UNKNOWN))
        if unknown:
            raise InputError(
                f"{path}: the flow is unknown in {unknown} pixels (not finite or above "
                f'{UNKNOWN:g}), which this format cannot hold; choose "kitti" or "flo".'
            )
        picture, text = to_picture(flow)
        write_file(path.with_name(path.stem + MAGNITUDES), text.encode())
        write_file(path, encode_png(picture))
    else:
        write_file(path, ENCODERS[to or suffix[1:]](flow))


def encode_flo(flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Encodes a Middlebury .flo file; lossless."""
    height, width = flow.shape[:2]
    return b"PIEH" + struct.pack("<2i", width, height) + flow.astype("<f4").tobytes()


def encode_pfm(flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Encodes a .pfm file as in FlyingThings3D, with a third channel of zeros."""
    height, width = flow.shape[:2]
    rows = np.pad(flow[::-1], ((0, 0), (0, 0), (0, 1))).astype("<f4")
    return b"PF\n%d %d\n-1.0\n" % (width, height) + rows.tobytes()


def encode_kitti(flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Encodes KITTI's 16-bit PNG: rounded to 1/64 pixel, clipped to [-512, 512).

    All three channels are 0 where the flow is unknown.
    """
    valid = ~_is_longer(flow, UNKNOWN)[..., None]
    steps = np.rint(np.where(valid, flow, 0) * 64.0) + 2**15
    pixels = np.concatenate([np.clip(steps, 0, 2**16 - 1), valid], axis=-1)
    return encode_deep_rgb(np.where(valid, pixels, 0).astype(np.uint16))


def encode_npz(flow: Float32[np.ndarray, "h w 2"]) -> bytes:
    """Encodes an .npz file with the array "flow"; lossless, with a checksum."""
    file = io.BytesIO()
    np.savez(file, flow=flow)
    return file.getvalue()


def _check_pixels(path, height, width):
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        swapped = width % 2**16 == height % 2**16 == 0 and width and height
        raise InputError(
            f"{path}: its header says {width}x{height} pixels (width x height), "
            f"expected at least one and at most {MAX_PIXELS} in all "
            f"(images.MAX_PIXELS).{' The wrong byte order?' if swapped else ''}"
        )


def _check_length(path, found, expected, height, width):
    if found != expected:
        raise InputError(
            f"{path}: has {found} bytes of flow, but its header says {width}x{height} "
            f"pixels (width x height), which are {expected}: cut off, or not what its "
            "name says."
        )


def _check_size(path, size, frame_size):
    if frame_size is None or size == tuple(frame_size):
        return
    height, width = size
    hint = " Transposed?" if size == tuple(frame_size)[::-1] else ""
    raise InputError(
        f"{path}: is flow of {width}x{height} pixels (width x height), expected the "
        f"frame's {frame_size[1]}x{frame_size[0]}.{hint}"
    )


def _check_magnitude(path, flow):
    limit = IMPLAUSIBLE_DIAGONALS * math.hypot(*flow.shape[:2])
    long = np.count_nonzero(_is_longer(flow, limit))
    if long > IMPLAUSIBLE_SHARE * flow.shape[0] * flow.shape[1]:
        raise InputError(
            f"{path}: {long} pixels move by more than {IMPLAUSIBLE_DIAGONALS} "
            "diagonals of the image; expected flow in pixels per frame. Another byte "
            "order, or another quantity?"
        )


def _is_longer(flow, limit):
    """Returns where x or y exceeds a limit or is NaN; four times as fast as `max`."""
    within = np.abs(flow) <= limit
    return ~(within[..., 0] & within[..., 1])


def _read_flo(path, data):
    if len(data) < 12 or data[:4] != b"PIEH":
        raise InputError(
            f"{path}: is not a .flo file: begins with {data[:4]!r}, expected b'PIEH' "
            "and a width and a height."
        )
    width, height = struct.unpack_from("<2i", data, 4)
    _check_pixels(path, height, width)
    _check_length(path, len(data) - 12, 8 * height * width, height, width)
    values = np.frombuffer(data, "<f4", offset=12)
    return values.reshape(height, width, 2).astype(np.float32), None


def _read_pfm(path, data):
    header = re.match(
        rb"PF\s{1,9}(\d{1,9})\s{1,9}(\d{1,9})\s{1,9}([-+.\deE]{1,40})\s", data
    )
    scale = 0.0
    if header:
        try:
            scale = float(header[3])
        except ValueError:
            header = None
    if not header or not scale or not math.isfinite(scale):
        raise InputError(
            f"{path}: is not a .pfm file of flow: begins with {data[:16]!r}, expected "
            'b"PF" (three channels), a width, a height and a scale that is not zero.'
        )
    width, height = int(header[1]), int(header[2])
    _check_pixels(path, height, width)
    start, size = header.end(), 12 * height * width
    # One white space ends the header; it has two bytes if lines end in CR LF.
    if data[start - 1 : start + 1] == b"\r\n" and len(data) - start == size + 1:
        start += 1
    _check_length(path, len(data) - start, size, height, width)
    order = "<f4" if scale < 0 else ">f4"
    values = np.frombuffer(data, order, offset=start)
    rows = values.reshape(height, width, 3)[::-1, :, :2]
    return np.ascontiguousarray(rows, np.float32), None


def _read_npz(path, data):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = _flow_member(path, archive)
            if member.file_size > MAX_BYTES * 2:  # float64
                raise InputError(f"{path}: its array has {member.file_size} bytes.")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # For other methods, `zipfile` unpacks a block of any size at once.
                raise InputError(
                    f"{path}: is compressed by method {member.compress_type}, expected "
                    "none or deflate, as NumPy writes."
                )
            with archive.open(member) as file:
                return _read_array(path, file), None
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many types.
        kind = type(error).__name__
        raise InputError(f"{path}: is a damaged .npz file: {kind}: {error}.") from None


def _flow_member(path, archive):
    """Returns the array "flow", or else the only array, such as "arr_0"."""
    arrays = {
        info.filename.removesuffix(".npy"): info
        for info in archive.infolist()
        if info.filename.endswith(".npy")
    }
    if "flow" not in arrays and len(arrays) != 1:
        names = ", ".join(list(arrays)[:5]) or "none"
        raise InputError(
            f'{path}: has no array "flow" and not just one other array: {names}.'
        )
    return arrays.get("flow") or next(iter(arrays.values()))


def _read_npy(path, data):
    try:
        return _read_array(path, io.BytesIO(data)), None
    except InputError:
        raise
    except Exception as error:  # NumPy raises many types for damaged files.
        kind = type(error).__name__
        raise InputError(f"{path}: is a damaged .npy file: {kind}: {error}.") from None


def _read_array(path, file):
    """Reads flow in NumPy's format: [h, w, 2], [2, h, w], or a batch of one."""
    shape, fortran, dtype = _npy_header(file)
    whole = all(type(side) is int for side in shape)  # NumPy takes True.
    sides = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    if not whole or dtype.kind != "f" or len(sides) != 3 or 2 not in sides[::2]:
        raise InputError(
            f"{path}: its array is {dtype}{list(shape)}, expected floats [height, "
            "width, 2] or [2, height, width]."
        )
    channels_last = sides[2] == 2
    height, width = sides[:2] if channels_last else sides[1:]
    _check_pixels(path, height, width)
    size = dtype.itemsize * 2 * height * width
    content = file.read(size + 1)
    _check_length(path, len(content), size, height, width)
    values = np.frombuffer(content, dtype).reshape(sides, order="F" if fortran else "C")
    if not channels_last:
        values = np.moveaxis(values, 0, 2)
    with np.errstate(over="ignore"):  # Overflow gives infinity, which is unknown.
        return np.ascontiguousarray(values.astype(np.float32))


def _npy_header(file):
    """Reads the shape, order and dtype in a header of version 1.0.

    Later versions are for long headers, which plain arrays do not need, and a damaged
    file may claim any length for them.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its array is of version {version} of NPY, not 1.0")
    return np.lib.format.read_array_header_1_0(file)


def _read_png(path, data):
    header = read_header(data, source=str(path))
    if (header.format, header.mode) != ("PNG", "RGB"):
        raise InputError(
            f"{path}: is a {header.format} file of mode {header.mode}; expected a PNG "
            "in RGB, of 8 bits (the authors' flow) or 16 (KITTI's)."
        )
    if header.bits == 16:
        steps = read_deep_rgb(data, source=str(path))
        flow = (steps[..., :2].astype(np.float32) - 2**15) / 64
        return flow, steps[..., 2] > 0
    picture = read_rgb(data, source=str(path))
    return from_picture(picture, *_read_magnitudes(path)), None


def _read_magnitudes(path):
    """Reads the least and the greatest magnitude of an authors' PNG."""
    beside = path.with_name(path.stem + MAGNITUDES)
    try:
        words = read_bytes(beside, MAX_BYTES, "flow.files.MAX_BYTES")[:1000].split()
    except InputError as error:
        raise InputError(
            f"{path}: is an 8-bit PNG, in which flow needs the file {beside.name} "
            f'beside it, with the magnitudes "least greatest": {error}'
        ) from None
    try:
        least, greatest = (float(word) for word in words)
    except ValueError:
        least, greatest = math.nan, math.nan
    if not 0 <= least <= greatest <= UNKNOWN:
        raise InputError(
            f"{beside}: holds {b' '.join(words)[:60]!r}, expected two numbers, the "
            "least and the greatest magnitude in pixels."
        )
    return least, greatest


READERS = {
    ".flo": _read_flo,
    ".pfm": _read_pfm,
    ".png": _read_png,
    ".npz": _read_npz,
    ".npy": _read_npy,
}
ENCODERS = {
    "flo": encode_flo,
    "pfm": encode_pfm,
    "kitti": encode_kitti,
    "npz": encode_npz,
}
SUFFIX_OF = {
    "flo": ".flo",
    "pfm": ".pfm",
    "kitti": ".png",
    "png": ".png",
    "npz": ".npz",
}
