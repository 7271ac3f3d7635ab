"""A survey of tracked frames, which checks them before anything is written."""

import array
import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import TrackedFrame
from movseg_jax.system.paths import IMAGE_SUFFIXES, inside
from movseg_jax.video.writing import LEAST_INTERVAL

MAX_ID = 2**31 - 1  # The largest number of a track; most readers hold 32 bits.
MAX_TIME = 1e9  # Seconds; a larger time is a mistake.


class Survey(NamedTuple):
    """Facts about all frames of a sequence.

    Attributes:
        frame_count: Number of frames.
        size: Height and width of every frame.
        ids: Numbers of the tracks, ascending.
        movers: Numbers of the tracks that were seen to move in any frame.
        timed: Whether the frames' times can be those of a video that is written: all
            are known, and they ascend.
    """

    frame_count: int
    size: tuple[int, int]
    ids: tuple[int, ...]
    movers: frozenset[int]
    timed: bool


def survey(tracks: Sequence[TrackedFrame], out: Path) -> Survey:
    """Reads and checks all frames. Memory holds 8 bytes of each frame's name.

    Args:
        tracks: The tracked frames, at least one.
        out: The path that will be written, for messages.

    Raises:
        InputError: There are no frames, they differ in size, a name cannot be that of a
            file or is there twice, a frame holds a track twice, a mask differs in size
            from its frame, or a track's number or score is out of range.
    """
    size = None
    names = array.array("Q")
    ids, movers = set(), set()
    timed, last = True, -LEAST_INTERVAL
    for index, frame in enumerate(tracks):
        where = f"{out}: frame {index}"
        check_name(frame.name, where)
        size = size or frame.size
        if frame.size != size:
            raise InputError(
                f"{where} is of size {frame.size}, the first of {size} (height, "
                "width); expected the frames of one video."
            )
        names.append(_digest(frame.name))
        _check_sightings(frame, where)
        time = math.nan if frame.time is None else frame.time
        timed = timed and last + LEAST_INTERVAL <= time < MAX_TIME
        last = time
        ids.update(int(sighting.id) for sighting in frame.sightings)
        movers.update(sighting.id for sighting in frame.sightings if sighting.moving)
    if size is None:
        raise InputError(f"{out}: there are no frames to write; expected at least one.")
    if len(np.unique(np.frombuffer(names, np.uint64))) < len(names):
        raise InputError(
            f"{out}: two frames have the same name; expected a name for each."
        )
    return Survey(len(names), size, tuple(sorted(ids)), frozenset(movers), timed)


def check_name(name: str, source: str) -> str:
    """The name of a frame, if it can be the name of a file.

    Raises:
        InputError: It is empty, hidden, too long or leads elsewhere.
    """
    inside(Path("."), name, source=source)
    if "/" in name or name.startswith(".") or len(name.encode(errors="replace")) > 200:
        raise InputError(
            f"{source}: {name!r:.120} is not a frame's name; expected at most 200 "
            'bytes, without "/", and no "." in front.'
        )
    return name


def stem(file_name: Any, source: str) -> str:
    """The frame's name in an image's path: "00012" of "bear/00012.jpg".

    Folders may be joined by "\\", as in Windows.

    Raises:
        InputError: It is not text, or what `check_name` refuses.
    """
    if not isinstance(file_name, str):
        raise InputError(f"{source}: {file_name!r:.120}, expected an image's name.")
    name = re.split(r"[/\\]", file_name)[-1]
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return check_name(name, source)


def check_suffix(suffix: str, out: Path) -> None:
    """Checks that images may end so.

    Raises:
        InputError: They may not.
    """
    if suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"{out}: `image_suffix` is {suffix!r}; expected one of "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )


def paint(frame: TrackedFrame) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """The track that is visible in each pixel, 0 where there is none.

    8 bits a pixel, or 16 if the frame holds a track above 255.

    Raises:
        InputError: It holds one above 65535.
    """
    top = max((sighting.id for sighting in frame.sightings), default=0)
    if top > 65535:
        raise InputError(
            f"frame {frame.name}: holds track {top}, and a picture up to 65535; "
            "number the tracks from 1, or choose a format of run lengths."
        )
    ids = np.zeros(frame.size, np.uint8 if top < 256 else np.uint16)
    for sighting in frame.sightings:
        ids[masks.decode(sighting.mask)] = sighting.id
    return ids


def box_of(mask: masks.Rle) -> list[int]:
    """A mask's tight box as COCO has it: [x, y, width, height]."""
    x0, y0, x1, y1 = masks.tight_box(masks.decode(mask)).astype(int).tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def visible(frame: TrackedFrame) -> TrackedFrame:
    """The frame with what is painted over taken away, so that no masks overlap."""
    ids = paint(frame)
    shown = tuple(
        sighting._replace(mask=masks.encode(ids == sighting.id))
        for sighting in frame.sightings
    )
    return frame._replace(sightings=shown)


def union(frame: TrackedFrame, ids: frozenset[int]) -> Bool[np.ndarray, "h w"]:
    """The pixels of some tracks."""
    rles = [sighting.mask for sighting in frame.sightings if sighting.id in ids]
    if not rles:
        return np.zeros(frame.size, bool)
    return masks.decode(masks.union(rles))


def _digest(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _check_sightings(frame: TrackedFrame, where: str) -> None:
    seen = set()
    for sighting in frame.sightings:
        if not 1 <= sighting.id <= MAX_ID or sighting.id in seen:
            raise InputError(
                f"{where} holds track {sighting.id}, expected numbers from 1 to "
                f"{MAX_ID} (survey.MAX_ID), each once."
            )
        seen.add(sighting.id)
        if sighting.mask.size != frame.size:
            raise InputError(
                f"{where} is of size {frame.size}, but the mask of track {sighting.id} "
                f"of {sighting.mask.size} (height, width)."
            )
        if not 0 <= sighting.score <= 1:  # Nor is NaN.
            raise InputError(
                f"{where}: the score of track {sighting.id} is {sighting.score}, "
                "expected 0 to 1."
            )
