"""The detections of a video on disk: added frame by frame, read in any order.

They are in one SQLite database. Each frame is committed on its own, so a process that
is killed leaves complete frames only, and the next one resumes after them.
"""

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Detection, FrameDetections, FrameSequence
from movseg_jax.video.reading import Frame

# WITHOUT ROWID keeps the detections of a frame next to each other.
SCHEMA = """
CREATE TABLE about (text TEXT NOT NULL);
CREATE TABLE frames (
    number INTEGER PRIMARY KEY,
    name BLOB NOT NULL,
    time REAL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    cut INTEGER NOT NULL
);
CREATE TABLE detections (
    frame INTEGER NOT NULL,
    number INTEGER NOT NULL,
    moving INTEGER NOT NULL,
    mask BLOB NOT NULL,
    score REAL NOT NULL,
    motion REAL,
    shift_x REAL,
    shift_y REAL,
    likely_motion REAL,
    colour BLOB NOT NULL,
    PRIMARY KEY (frame, number)
) WITHOUT ROWID;
"""


class RecordedFrame(NamedTuple):
    """A frame of the record.

    Attributes:
        name: The frame's name.
        time: Seconds after the start of the video, if known.
        size: Height and width in pixels.
        detections: The detections in it.
    """

    name: str
    time: float | None
    size: masks.Size
    detections: FrameDetections


class Record(FrameSequence[FrameDetections]):
    """A database of detections, for one process at a time.

    Memory holds one byte per frame. It is a context manager.
    """

    def __init__(self, path: Path, about: dict[str, Any], *, multiple: int = 1):
        """Opens the database, or makes it.

        Args:
            path: The file; its folder must exist.
            about: JSON that says whose detections these are and how they were made.
            multiple: If there are frames already, those after the last multiple of
                this number are removed, so that batches are the same as before.

        Raises:
            InputError: The file is about something else, damaged, or cannot be written.
        """
        self.path = path
        with self._errors():
            self._database = _connect(path)
        try:
            self._open(json.dumps(about, sort_keys=True))
            count = self._cut(multiple)
        except BaseException:
            self._database.close()
            raise
        # Whether the masks of a frame are known to be valid. Checking them takes most
        # of the time of reading, and linking reads each frame several times.
        self._checked = bytearray(count)

    def _open(self, about: str) -> None:
        """Makes the tables if they are missing, and checks what they are about."""
        with self._errors(), self._transaction() as database:
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables == (0,):
                for statement in SCHEMA.split(";"):
                    database.execute(statement)
                database.execute("INSERT INTO about VALUES (?)", (about,))
            found = database.execute("SELECT text FROM about").fetchone()
        if found != (about,):
            raise InputError(
                f"{self.path}: has detections of another video, or made with other "
                "settings."
            )

    def _cut(self, multiple: int) -> int:
        """Removes the frames of an incomplete batch; returns the number of the rest."""
        with self._errors(), self._transaction() as database:
            (count,) = database.execute("SELECT count(*) FROM frames").fetchone()
            kept = count // multiple * multiple
            database.execute("DELETE FROM frames WHERE number >= ?", (kept,))
            database.execute("DELETE FROM detections WHERE frame >= ?", (kept,))
        return kept

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._database as database:  # Commits, or rolls back after an error.
            database.execute("BEGIN")
            yield database

    @contextlib.contextmanager
    def _errors(self, what: str = "the file") -> Iterator[None]:
        """Turns errors of the disk, and damaged values, into InputErrors."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(f"{self.path}: cannot be written: {error}.") from None
        except (sqlite3.DatabaseError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.path}: {what} is damaged: {error!r:.200}; start anew, with "
                "`overwrite=True`."
            ) from None

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *exception) -> None:
        # On a full disk closing fails, too. What was committed can be read later.
        with contextlib.suppress(sqlite3.Error):
            self._database.close()

    def append(self, frame: Frame, detections: FrameDetections) -> None:
        """Adds the next frame's detections.

        Raises:
            InputError: The disk is full.
        """
        self.add(
            RecordedFrame(frame.name, frame.time, frame.image.shape[:2], detections)
        )

    def add(self, frame: RecordedFrame) -> None:
        """Adds the next frame, and commits it.

        Raises:
            InputError: The disk is full.
        """
        number = len(self)
        # A file name may have bytes that are not text.
        name = frame.name.encode("utf-8", "surrogatepass")
        moving, static, cut = frame.detections
        rows = [
            (number, place, place < len(moving), *_to_row(detection))
            for place, detection in enumerate((*moving, *static))
        ]
        with self._errors(), self._transaction() as database:
            database.execute(
                "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)",
                (number, name, frame.time, *frame.size, cut),
            )
            database.executemany(
                "INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
        self._checked.append(True)  # An `Rle` is always valid.

    def __len__(self) -> int:
        return len(self._checked)

    def make(self, index: int) -> FrameDetections:
        """Reads the detections in a frame."""
        return self.frame(index).detections

    def frame(self, index: int) -> RecordedFrame:
        """Returns everything that is known of a frame.

        Raises:
            InputError: The frame is damaged.
        """
        number = range(len(self))[index]
        checked = bool(self._checked[number])
        with self._errors(f"frame {number}"):
            name, time, height, width, cut = self._facts(number)
            rows = self._database.execute(
                "SELECT moving, mask, score, motion, shift_x, shift_y, likely_motion, "
                "colour FROM detections WHERE frame = ? ORDER BY number",
                (number,),
            )
            moving, static = [], []
            for is_moving, *row in rows:
                detection = _from_row(row, (height, width), checked)
                (moving if is_moving else static).append(detection)
        self._checked[number] = True
        detections = FrameDetections(tuple(moving), tuple(static), bool(cut))
        return RecordedFrame(name, time, (height, width), detections)

    def _facts(self, number: int) -> tuple[str, float | None, int, int, int]:
        """Name, time, height and width of a frame, and whether it is a cut."""
        name, *others = self._database.execute(
            "SELECT name, time, height, width, cut FROM frames WHERE number = ?",
            (number,),
        ).fetchone()
        return name.decode("utf-8", "surrogatepass"), *others

    def name(self, index: int) -> str:
        """Returns the name of a frame, without reading its detections."""
        number = range(len(self))[index]
        with self._errors(f"frame {number}"):
            return self._facts(number)[0]

    def time(self, index: int) -> float | None:
        """Returns the time of a frame, without reading its detections."""
        number = range(len(self))[index]
        with self._errors(f"frame {number}"):
            return self._facts(number)[1]


class Column(Sequence):
    """The names, or the times, of all recorded frames."""

    def __init__(self, record: Record, name: str):
        self._record, self._read = record, getattr(record, name)

    def __len__(self) -> int:
        return len(self._record)

    def __getitem__(self, index):
        return self._read(index)


def _connect(path: Path) -> sqlite3.Connection:
    """Opens the database so that every commit survives the end of the process.

    With a write-ahead log and `synchronous = NORMAL`, a commit waits for no disk. After
    a power cut the last commits may be missing, but the database is intact.
    """
    uri = path.absolute().as_uri()
    if os.name == "posix":
        # The folder is locked already (`system.atomic.locked`), and some network file
        # systems do not know the locks that SQLite would ask for.
        uri += "?vfs=unix-none"
    database = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        # Exclusive: the log then needs no memory that is shared with other processes.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL"):
            database.execute(f"PRAGMA {pragma}").fetchone()
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:  # The file is no database, or the disk fails.
        database.close()
        raise
    return database


def _to_row(detection: Detection) -> tuple:
    mask, score, motion, shift, colour, likely = detection
    # SQLite stores NaN as NULL.
    return mask.counts, score, motion, *shift, likely, colour


def _from_row(row: Sequence, size: masks.Size, checked: bool) -> Detection:
    counts, score, *numbers, colour = row
    mask = masks.trusted(size, counts) if checked else masks.Rle(size, counts)
    motion, x, y, likely = (math.nan if n is None else float(n) for n in numbers)
    return Detection(mask, float(score), motion, (x, y), bytes(colour), likely)
