"""Parts of readers: files with limits, values of JSON, frames held in memory."""

import json
import math
import reprlib
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats.survey import MAX_ID
from movseg_jax.masks import MAX_PIXELS, Size
from movseg_jax.results import FrameSequence, Sighting, TrackedFrame

MAX_TEXT_BYTES = 2**28  # Of a file; in memory JSON may take twenty times as much.
MAX_OUTLINE = 1e9  # Pixels, over all polygons of a file; they take ten seconds.
MAX_FRAMES = 1_000_000  # Of a video: nine hours at 30 frames a second.


class Recorded(FrameSequence[TrackedFrame]):
    """The frames of a video; only their sightings are held in memory.

    So a file with one line, about frame 900000, takes no memory for the others.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        sightings: Mapping[int, Sequence[Sighting]],
        *,
        names: list[str] | None = None,
        times: list[float | None] | None = None,
        cuts: frozenset[int] = frozenset(),
        first: int | None = None,
    ):
        """Takes what is known of the frames.

        Args:
            count: Number of frames.
            size: Height and width of every frame.
            sightings: The sightings by the frame's number, from 0, in the order to
                paint them.
            names: Names of all frames; if None, they are named by their numbers.
            times: Times of all frames; if None, they are unknown.
            cuts: Numbers of the frames with which a new shot starts.
            first: The number of the first frame in the video, if they are a part of it.
        """
        self._count, self._size = count, size
        self._sightings, self._names, self._times = sightings, names, times
        self._cuts, self._first = cuts, first

    @property
    def named(self) -> bool:
        """Whether the names of frames are known, not only their numbers."""
        return self._names is not None

    def __len__(self) -> int:
        return self._count

    def make(self, index: int) -> TrackedFrame:
        """Returns the tracks of a frame."""
        return TrackedFrame(
            f"{index:05d}" if self._names is None else self._names[index],
            self._size,
            self._times[index] if self._times else None,
            tuple(self._sightings.get(index, ())),
            index in self._cuts,
            None if self._first is None else self._first + index,
        )


class MaskReader:
    """Reads the masks of one file; gives up on polygons that would take minutes."""

    def __init__(self):
        self._outline = 0.0

    def read(self, segmentation: Any, size: Size | None, *, source: str) -> masks.Rle:
        """Reads a mask with `masks.from_json`.

        Raises:
            InputError: It is malformed, or the outlines of the file's polygons are too
                long, all together.
        """
        mask = masks.from_json(segmentation, size, source=source)
        if isinstance(segmentation, list):  # Valid polygons, then.
            for polygon in segmentation:
                points = np.array(polygon, float).reshape(-1, 2)
                self._outline += np.abs(points - np.roll(points, 1, axis=0)).sum()
        if self._outline > MAX_OUTLINE:
            raise InputError(
                f"{source}: the outlines of the file's polygons are longer than "
                f"{MAX_OUTLINE:.0e} pixels (reading.MAX_OUTLINE); expected run lengths."
            )
        return mask


def check_file(path: Path) -> int:
    """The size of a file in bytes.

    Raises:
        InputError: It is missing, or a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        raise InputError(f"{path}: cannot be read: {error}.") from None
    if not stat.S_ISREG(status.st_mode):  # Reading a pipe may never end.
        raise InputError(f"{path}: is not a file.")
    return status.st_size


def read_text(path: Path, max_bytes: int) -> str:
    """A text file in UTF-8.

    Raises:
        InputError: It cannot be read, is larger than `max_bytes`, or no such text.
    """
    size = check_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1) if size <= max_bytes else b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}.") from None
    if max(size, len(data)) > max_bytes:  # It may have grown.
        raise InputError(
            f"{path}: has {size} bytes, expected at most {max_bytes}.",
            way_out="`max_text_bytes` sets the limit.",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8: {error}.") from None


def read_json(path: Path, max_bytes: int) -> Any:
    """Reads a JSON file; NaN and Infinity are refused.

    Raises:
        InputError: It is not JSON, or `read_text` refuses it.
    """
    text = read_text(path, max_bytes)
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON, or cut off: {error}.") from None


def rows(data: Any, key: str, path: Path) -> list[Mapping[str, Any]]:
    """The list of objects under a key.

    Raises:
        InputError: There is none.
    """
    found = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(found, list):
        raise unexpected(str(path), f'"{key}"', found, "a list of objects")
    for row in found:
        if not isinstance(row, Mapping):
            raise unexpected(str(path), f'"{key}"', row, "objects in the list")
    return found


def integer(row: Mapping[str, Any], key: str, source: str, *, low: int = 1) -> int:
    """A whole number, from `low` to `MAX_ID`; 3.0 is one, too.

    Raises:
        InputError: It is something else.
    """
    value = row.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= MAX_ID:
        raise unexpected(source, f'"{key}"', value, f"a whole number from {low}")
    return value


def size(row: Mapping[str, Any], source: str) -> tuple[int, int]:
    """The height and width of a video or image.

    Raises:
        InputError: They are no such numbers, or too large.
    """
    height, width = (integer(row, key, source) for key in ("height", "width"))
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{source}: has {width}x{height} pixels, expected at most {MAX_PIXELS} in "
            "all (masks.MAX_PIXELS)."
        )
    return height, width


def score(value: Any, source: str, unit: float = 1.0) -> float:
    """A score; 1 if there is none, as in ground truth.

    Args:
        value: The score as the file has it.
        source: The file and the place in it, for messages.
        unit: The number that scores are divided by: see `dialects.score_unit`.

    Raises:
        InputError: It is no number from 0 to 1, or to 100 where the unit is that.
    """
    if value is None:
        return 1.0
    if type(value) not in (int, float) or not 0 <= value <= unit:
        expected = "a number from 0 to 1 (or in percent, in the whole file)"
        raise unexpected(source, "the score", value, expected)
    return value / unit


def flag(value: Any, source: str) -> bool:
    """Whether a track is seen to move; True where the file says nothing of it.

    Raises:
        InputError: It is not true, false or null.
    """
    if value not in (None, True, False) or type(value) in (int, float):
        raise unexpected(source, '"moving"', value, "true, false or null")
    return value is not False


def real(value: Any, source: str, what: str) -> float | None:
    """A number or None.

    Raises:
        InputError: It is something else, or too large.
    """
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) < 1e15:
        raise unexpected(source, what, value, "a number or null")
    return float(value)


def motion(value: Any, source: str) -> float:
    """A track's motion; NaN where it is unknown.

    Raises:
        InputError: It is no number.
    """
    number = real(value, source, '"motion"')
    return math.nan if number is None else number


def check_count(count: int, source: str) -> None:
    """Checks the number of a video's frames.

    Raises:
        InputError: There are none or too many.
    """
    if not 1 <= count <= MAX_FRAMES:
        raise InputError(
            f"{source}: has {count} frames, expected 1 to {MAX_FRAMES} "
            "(reading.MAX_FRAMES)."
        )


def unexpected(source: str, what: str, value: Any, expected: str) -> InputError:
    """An error that says what was found; short, however long the value is."""
    return InputError(
        f"{source}: {what} is {reprlib.repr(value)}, expected {expected}."
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is no JSON")
