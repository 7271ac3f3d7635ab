"""Rows that wait on disk: handed in frame by frame, handed out track by track."""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

Key = str | int


class Spool:
    """Rows in order for each key, in a temporary SQLite database.

    Memory does not grow with the rows. A context manager: the database is gone after
    the block, and on POSIX systems also if the process is killed.
    """

    def __init__(self, folder: Path):
        """Opens the database.

        Args:
            folder: A folder on a disk with room for all rows; the system's folder for
                temporary files is often in memory.

        Raises:
            OSError: The folder cannot be written to.
        """
        descriptor, name = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        self._file, self._count = Path(name), 0
        with contextlib.ExitStack() as undo, _disk_errors():
            self._database = sqlite3.connect(name, isolation_level=None)
            undo.callback(self._database.close)
            # The rows are not needed after a crash, so they need no journal.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(
                "CREATE TABLE rows (key, number INTEGER, row BLOB, "
                "PRIMARY KEY (key, number)) WITHOUT ROWID"
            )
            self._database.execute("BEGIN")
            undo.pop_all()
        # An open file without a name is removed with the process, however that ends.
        with contextlib.suppress(OSError):
            self._file.unlink()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *exception) -> None:
        self._database.close()
        self._file.unlink(missing_ok=True)  # Windows removes no open files.

    def append(self, key: Key, row: bytes) -> None:
        """Adds a row behind the others of its key.

        Raises:
            OSError: The disk is full.
        """
        with _disk_errors():
            self._database.execute(
                "INSERT INTO rows VALUES (?, ?, ?)", (key, self._count, row)
            )
        self._count += 1

    def rows(self, key: Key) -> Iterator[bytes]:
        """The rows of a key, first to last; as often as needed.

        Raises:
            OSError: The disk fails.
        """
        with _disk_errors():
            found = self._database.execute(
                "SELECT row FROM rows WHERE key = ? ORDER BY number", (key,)
            )
            for (row,) in found:
                yield row


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Raises an OSError instead of SQLite's error, so that callers handle one kind."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error
