"""Whether a video file is all there, by the lengths that its container states.

FFmpeg's demuxers take the end of a file for the end of the video, wherever it comes.
MP4 and MOV (ISO/IEC 14496-12), Matroska and WebM (RFC 9559), AVI and GIF say how long
they are; MPEG streams do not, so where one of those was cut cannot be known.
"""

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


def what_is_missing(path: Path) -> str | None:
    """Why the file is not whole, in a few words; None if nothing speaks against it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _missing_of_boxes(file, size)
        if start[:4] == b"RIFF":
            stated = 8 + int.from_bytes(start[4:8], "little")
            # Recorders that were stopped leave 0 or the largest number.
            unknown = stated == 8 or stated >= 2**32
            # Some writers leave out the last chunk's padding byte.
            return None if unknown else _missing_bytes(stated, size + 1)
        if start[:4] == _EBML.to_bytes(4, "big"):
            return _missing_of_matroska(file, size)
        if start[:4] == b"GIF8":
            file.seek(-1, 2)
            return None if file.read(1) == b";" else "its end is missing"
    return None


def _missing_bytes(stated: int, size: int) -> str | None:
    return f"only {size} of {stated} bytes are there" if stated > size else None


def _missing_of_boxes(file: BinaryIO, size: int) -> str | None:
    kinds, at = set(), 0
    while at + 8 <= size and len(kinds) < 64:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # A 64-bit length follows.
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # To the end of the file.
            length = size - at
        kinds.add(header[4:8])
        if length < 8:
            break
        at += length
        if at > size:
            break
    if b"moov" not in kinds:
        return "its index (moov) is missing: recording or copying it did not finish"
    return _missing_bytes(at, size)


def _missing_of_matroska(file: BinaryIO, size: int) -> str | None:
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return None
    file.seek(length, 1)
    if file.read(4) != _SEGMENT.to_bytes(4, "big"):
        return None
    length = _ebml_number(file)
    return None if length is None else _missing_bytes(file.tell() + length, size)


def _ebml_number(file: BinaryIO) -> int | None:
    """A number of 1 to 8 bytes, the first of which says how many; None: unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    mask = (1 << (7 - extra)) - 1
    number = int.from_bytes(bytes([first[0] & mask]) + file.read(extra), "big")
    return None if number == (1 << (7 * (extra + 1))) - 1 else number
