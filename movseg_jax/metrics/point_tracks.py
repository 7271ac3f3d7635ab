"""Reads point trajectories from track files of FBMS-59, which have this layout:

    number of frames
    number of tracks
    label                     of each track
    number of points
    x y frame                 of each point, in consecutive frames

Brox, Malik: "Object segmentation by long term analysis of point trajectories", ECCV
2010. Pixels and frames count from 0. Any white space separates numbers, so lines may
end anywhere.
"""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64

from movseg_jax.errors import InputError

MAX_BYTES = 2**30  # A file of every fourth pixel of 800 frames has 250 MB.
MAX_TRACKS = 2**25  # 64 frames of FBMS, if each pixel is a track.
MAX_LABEL = 65535
MAX_FRAMES = 1_000_000
MAX_COORDINATE = 1_000_000  # Largest distance of a point from 0, in pixels or frames.
_CHUNK = 2**23  # Number of bytes that are parsed at a time.
_PLAIN = b"0123456789 \n\r\t"  # A text of these bytes only needs no search for errors.
_BAD = re.compile(
    # Anything but a number, up to white space. The number of digits is limited.
    rb"(?<!\S)(?![-+]?(?:\d{1,20}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?(?!\S))"
    rb"\S{1,60}"
)


class PointTracks(NamedTuple):
    """Points that were followed, each over consecutive frames.

    Attributes:
        source: Name of the file for messages.
        frame_count: Number of frames in which points were followed: all of the video,
            or fewer.
        labels: Label of each track, from 0: the number of its cluster.
        first: Number of each track's first frame.
        start: Number of each track's first point in `points`, and at the end the number
            of all points.
        points: Coordinates x and y in pixels; they may be outside of the frame.
    """

    source: str
    frame_count: int
    labels: Int32[np.ndarray, " n"]
    first: Int32[np.ndarray, " n"]
    start: Int32[np.ndarray, " n+1"]
    points: Int32[np.ndarray, "k 2"]

    def at(
        self, frame: int, size: tuple[int, int]
    ) -> tuple[Int64[np.ndarray, " p"], Int32[np.ndarray, " p"]]:
        """Returns the points inside of one frame.

        Args:
            frame: Number of the frame, from 0.
            size: Height and width of the frame.

        Returns:
            The pixels of the points, as numbers in the flattened frame, and the labels
            of their tracks. Both are in the order of the tracks.
        """
        place = frame - self.first
        (here,) = np.nonzero((place >= 0) & (place < np.diff(self.start)))
        x, y = self.points[self.start[here] + place[here]].T.astype(np.int64)
        inside = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
        return (y * size[1] + x)[inside], self.labels[here[inside]]


def read_point_tracks(path: Path) -> PointTracks:
    """Reads a track file.

    Coordinates are rounded to pixels as in the official evaluation, and numbers of
    frames are truncated to whole numbers. That program finds the point of a frame by
    its place in the track and ignores the frame's number beside it. It would take wrong
    points of tracks with gaps, so these are refused here.

    Raises:
        InputError: The file cannot be read, is malformed, or too large. The message
            names the line.
    """
    numbers = _read_numbers(path)
    if len(numbers) < 2:
        raise InputError(f"{path}: is cut off; expected the numbers of frames, tracks.")
    frame_count = _whole(
        path, numbers, 0, "number of frames", 1, MAX_FRAMES, "MAX_FRAMES"
    )
    count = _whole(path, numbers, 1, "number of tracks", 0, MAX_TRACKS, "MAX_TRACKS")
    heads = _find_tracks(path, numbers, count)
    labels, lengths = (numbers[heads + i].astype(np.int32) for i in (0, 1))
    is_point = np.ones(len(numbers), bool)
    is_point[:2] = is_point[heads] = is_point[heads + 1] = False
    rows = numbers[is_point].reshape(-1, 3)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    _check_points(path, rows, heads, start)
    # C++ adds in 32 bits and rounds towards zero.
    points = np.trunc(rows[:, :2] + np.float32(0.5)).astype(np.int32)
    first = np.trunc(rows[start[:-1], 2]).astype(np.int32)
    return PointTracks(str(path), frame_count, labels, first, start, points)


def _find_tracks(
    path: Path, numbers: Float32[np.ndarray, " n"], count: int
) -> Int64[np.ndarray, " m"]:
    """The places in a file's numbers where the tracks start."""
    if len(numbers) == 2 + 5 * count and (numbers[3::5] == 1).all():
        heads = np.arange(2, len(numbers), 5)  # Each track has one point.
    else:
        heads = np.array([*_walk_tracks(path, numbers, count)], np.int64)
    labels = numbers[heads]
    bad = np.flatnonzero((labels < 0) | (labels > MAX_LABEL) | (labels % 1 != 0))
    if len(bad):
        _whole(path, numbers, int(heads[bad[0]]), "label", 0, MAX_LABEL, "MAX_LABEL")
    return heads


def _walk_tracks(path, numbers, count: int) -> Iterator[int]:
    place = 2
    for i in range(count):
        if place + 1 >= len(numbers):
            raise _cut_off(path, i, count)
        yield place
        length = _whole(
            path, numbers, place + 1, "number of points", 1, MAX_FRAMES, "MAX_FRAMES"
        )
        place += 2 + 3 * length
        if place > len(numbers):
            raise _cut_off(path, i, count)
    if place < len(numbers):
        raise InputError(
            f"{path}: line {_line(path, place)} goes on after the {count} tracks that "
            "it says it has."
        )


def _check_points(path, rows, heads, start) -> None:
    """Checks x, y, frame of all points."""

    def line(row) -> int:
        track = np.searchsorted(start, row, side="right") - 1
        return _line(path, int(heads[track] + 2 + 3 * (row - start[track])))

    bad = np.flatnonzero((np.abs(rows) > MAX_COORDINATE).any(axis=1))
    if len(bad):
        raise InputError(
            f"{path}: line {line(bad[0])} has the point {rows[bad[0]].tolist()}, "
            f"expected x, y, frame within ±{MAX_COORDINATE} "
            "(point_tracks.MAX_COORDINATE)."
        )
    gap = np.diff(np.trunc(rows[:, 2])) != 1
    gap[start[1:-1] - 1] = False  # From the last point of a track to the next track.
    bad = np.flatnonzero(gap) + 1
    if len(bad):
        frame, before = rows[bad[0], 2], rows[bad[0] - 1, 2]
        raise InputError(
            f"{path}: line {line(bad[0])} has a point of frame {frame:g} after one of "
            f"frame {before:g}, expected the points of a track in consecutive frames; "
            "make it two tracks of one label."
        )


def _whole(path, numbers, place, what, least: int, most: int, limit: str) -> int:
    """Checks that a number of the file is whole and within limits, and returns it."""
    value = float(numbers[place])
    if not (least <= value <= most and value == int(value)):
        raise InputError(
            f"{path}: line {_line(path, place)} has {value:g} as the {what}, "
            f"expected a whole number from {least} to {most} (point_tracks.{limit})."
        )
    return int(value)


def _cut_off(path: Path, track: int, count: int) -> InputError:
    return InputError(
        f"{path}: is cut off in track {track + 1} of the {count} that it says it has."
    )


# Numbers in text -------------------------------------------------------------------


def _read_numbers(path: Path) -> Float32[np.ndarray, " n"]:
    """All numbers of a file, in order."""
    chunks, line = [np.empty(0, np.float32)], 1
    for text in _texts(path):
        wrong = _BAD.search(text) if text.translate(None, _PLAIN) else None
        if wrong:
            number = line + text.count(b"\n", 0, wrong.start())
            raise InputError(
                f"{path}: line {number} has {wrong[0]!r}, expected a number."
            )
        line += text.count(b"\n")
        values = np.fromstring(text, np.float64, sep=" ")
        # The program reads numbers in 32 bits. The bounds are beyond all limits.
        chunks.append(np.clip(values, -1e30, 1e30).astype(np.float32))
    return np.concatenate(chunks)


def _texts(path: Path) -> Iterator[bytes]:
    """Yields the text of a file in chunks of complete numbers."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # Reading a pipe may never end.
            raise InputError(f"{path}: is not a file.")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{path}: has {status.st_size} bytes, expected at most {MAX_BYTES} "
                "(point_tracks.MAX_BYTES)."
            )
        with path.open("rb") as file:
            rest = b""
            while data := file.read(_CHUNK):
                data = rest + data
                cut = max(data.rfind(space) for space in (b"\n", b" ", b"\t")) + 1
                cut = cut or len(data)  # A text so long without space is not a number.
                yield data[:cut]
                rest = data[cut:]
            yield rest
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read: {error}.") from None


def _line(path: Path, place: int) -> int:
    """The line, from 1, of a number of the file."""
    line = 1
    for text in _texts(path):
        for found in re.finditer(rb"\S+", text):
            if not place:
                return line + text.count(b"\n", 0, found.start())
            place -= 1
        line += text.count(b"\n")
    return line
