"""Rows on disk, handed in frame by frame and handed out track by track."""

import struct
import tempfile
from collections.abc import Hashable, Iterator
from pathlib import Path

_HEAD = struct.Struct("<QI")  # Where the key's next row is, 0 if nowhere; its length.


class Spool:
    """Rows in order for each key; memory holds two numbers a key, however many rows.

    A context manager; the file has no name and is gone with the block, or the process.
    """

    def __init__(self, folder: Path):
        """Opens the file.

        Args:
            folder: On a disk with room for all rows; folders for temporary files often
                are in memory.

        Raises:
            OSError: The folder cannot be written to.
        """
        # Unbuffered, as reading and writing jump.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
        self._file.write(b"\0")  # So that no row is at 0.
        self._end = 1
        self._first: dict[Hashable, int] = {}
        self._last: dict[Hashable, int] = {}

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    def append(self, key: Hashable, row: bytes) -> None:
        """Adds a row behind those of its key.

        Raises:
            OSError: The disk is full.
        """
        self._write(self._end, _HEAD.pack(0, len(row)) + row)
        if key in self._last:
            self._write(self._last[key], self._end.to_bytes(8, "little"))
        self._first.setdefault(key, self._end)
        self._last[key] = self._end
        self._end += _HEAD.size + len(row)

    def rows(self, key: Hashable) -> Iterator[bytes]:
        """The rows of a key, first to last; as often as needed."""
        place = self._first.get(key, 0)
        while place:
            self._file.seek(place)
            place, length = _HEAD.unpack(self._file.read(_HEAD.size))
            yield self._file.read(length)

    def _write(self, place: int, data: bytes) -> None:
        self._file.seek(place)
        if self._file.write(data) != len(data):  # As unbuffered files may.
            raise OSError("the disk is full")
