"""Detections of a video on disk: added as they are made, read in any order.

The first line of the file says what they are of; every other one holds a frame's
detections as JSON. What a process that was killed left unfinished at the end is cut
off, so that the next one goes on from there.
"""

import array
import base64
import contextlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.video.reading import Frame

MAX_LINE = 2**27  # Bytes: thousands of detections.


class RecordedFrame(NamedTuple):
    """A line of the file.

    Attributes:
        name: Of the frame.
        time: Of the frame, in seconds, if it is known.
        size: Height and width.
        detections: In it.
    """

    name: str
    time: float | None
    size: masks.Size
    detections: FrameDetections


class Record(Sequence[FrameDetections]):
    """A file of detections, for one process at a time.

    Memory holds eight bytes a frame. A context manager; closing syncs it to disk.
    """

    def __init__(self, path: Path, about: dict[str, Any], *, multiple: int = 1):
        """Opens the file, or makes it.

        Args:
            path: The file; its folder is there.
            about: What the detections are of, and how they were made.
            multiple: If frames are there already, they are cut off after a multiple of
                this.

        Raises:
            InputError: The file is about something else, or cannot be written.
        """
        self.path = path
        self._cached: tuple[int, RecordedFrame] | None = None
        header = json.dumps(about, sort_keys=True).encode() + b"\n"
        try:
            self._file = path.open("a+b")
            try:
                self._starts = self._index(header, multiple)
            except BaseException:
                self._close()
                raise
        except OSError as error:
            raise self._unwritable(error) from None

    def _index(self, header, multiple) -> array.array:
        """Where each frame's line starts, and where the last one ends."""
        file = self._file
        file.seek(0)
        first = file.readline(MAX_LINE)
        if first != header:
            if first.endswith(b"\n"):
                raise InputError(
                    f"{self.path}: has detections of another video, or made with other "
                    "settings."
                )
            file.truncate(0)  # Killed before the first line was whole.
            file.write(header)
            file.flush()
        starts = array.array("q", [len(header)])
        while (line := file.readline(MAX_LINE)).endswith(b"\n"):
            starts.append(starts[-1] + len(line))
        kept = (len(starts) - 1) // multiple * multiple
        del starts[kept + 1 :]
        file.truncate(starts[-1])
        return starts

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *exception) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if exception[0] is None:
                raise self._unwritable(error) from None
        finally:
            self._close()

    def _close(self):
        # On a full disk this fails once more; the unfinished line is cut off later.
        with contextlib.suppress(OSError):
            self._file.close()

    def _unwritable(self, error):
        return InputError(f"{self.path}: cannot be written: {error}.")

    def append(self, frame: Frame, detections: FrameDetections) -> None:
        """Adds the next frame's detections.

        Raises:
            InputError: The disk is full.
        """
        row = {
            "name": frame.name,
            "time": frame.time,
            "size": list(frame.image.shape[:2]),
            "moving": [*map(_to_json, detections.moving)],
            "static": [*map(_to_json, detections.static)],
            "cut": detections.cut,
        }
        line = json.dumps(row).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from None
        self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> FrameDetections: ...
    @overload
    def __getitem__(self, index: slice) -> list[FrameDetections]: ...
    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return self.frame(index).detections

    def frame(self, index: int) -> RecordedFrame:
        """All that is known of a frame.

        Raises:
            InputError: The line is damaged.
        """
        index = range(len(self))[index]
        if self._cached is None or self._cached[0] != index:
            start, end = self._starts[index : index + 2]
            self._file.seek(start)
            self._cached = index, self._parse(self._file.read(end - start), index)
        return self._cached[1]

    def _parse(self, line, index) -> RecordedFrame:
        source = f"{self.path}, frame {index}"
        try:
            row = json.loads(line)
            height, width = row["size"]
            size = (int(height), int(width))
            moving, static = (
                tuple(_from_json(d, size, source) for d in row[kind])
                for kind in ("moving", "static")
            )
            detections = FrameDetections(moving, static, bool(row["cut"]))
            return RecordedFrame(str(row["name"]), row["time"], size, detections)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"{source}: is damaged: {error!r:.200}; start anew, with "
                "`overwrite=True`."
            ) from None


class Column(Sequence):
    """One attribute of all recorded frames: their names, or their times."""

    def __init__(self, record: Record, name: str):
        self._record, self._name = record, name

    def __len__(self) -> int:
        return len(self._record)

    def __getitem__(self, index):
        return getattr(self._record.frame(index), self._name)


def _to_json(detection: Detection) -> list:
    mask, score, motion, (x, y), colour = detection
    numbers = [None if math.isnan(number) else number for number in (motion, x, y)]
    return [mask.counts.decode(), score, *numbers, base64.b64encode(colour).decode()]


def _from_json(row, size, source) -> Detection:
    counts, score, *numbers, colour = row
    mask = masks.from_json({"size": list(size), "counts": counts}, size, source=source)
    motion, x, y = (math.nan if n is None else float(n) for n in numbers)
    return Detection(mask, float(score), motion, (x, y), base64.b64decode(colour))
