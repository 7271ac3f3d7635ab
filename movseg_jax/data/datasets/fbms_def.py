"""Reads Def.dat of FBMS-59, which lists the regions' colours and labelled frames.

The official reader, `MoSegEval_PR.cpp`, counts lines. Files differ in blank lines and
line endings, so this reader goes by the text of the lines.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from movseg_jax.errors import InputError
from movseg_jax.system.bounded import read_text

MAX_REGIONS = 1_000
MAX_FRAMES = 1_000_000
MAX_BYTES = 2**22
NUMBER = r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
MAX_DIGITS = 40  # The most characters of a penalty, with its sign and point.


@dataclasses.dataclass(frozen=True)
class Definition:
    """The content of a Def.dat.

    Attributes:
        colours: The regions' colours, background first.
        frame_count: The number of frames in the video.
        frame_numbers: The labelled frames' numbers, from 0.
        label_files: The names of the labelled frames' label files.
        input_files: The names of the labelled frames' images; "" if there is none.
    """

    colours: tuple[int, ...]
    frame_count: int
    frame_numbers: tuple[int, ...]
    label_files: tuple[str, ...]
    input_files: tuple[str, ...]


class _Lines:
    """The lines that are not blank, read one after the other."""

    def __init__(self, text: str, file: Path):
        stripped = ((i, line.strip()) for i, line in enumerate(text.split("\n"), 1))
        self._lines = [(number, line) for number, line in stripped if line]
        self._place = 0
        self._file = file

    def peek(self) -> str:
        return self._lines[self._place][1] if self._place < len(self._lines) else ""

    def next(self, expected: str) -> str:
        if self._place == len(self._lines):
            raise InputError(f"{self._file}: is cut off; expected {expected}.")
        self._place += 1
        return self._lines[self._place - 1][1]

    def label(self, words: str) -> None:
        line = self.next(f'"{words}"')
        if not re.match(re.escape(words), line, re.IGNORECASE):
            raise self.error(line, f'"{words}"')

    def integer(self, what: str, top: int) -> int:
        line = self.next(what)
        if not re.fullmatch(r"[0-9]{1,9}", line) or int(line) > top:
            raise self.error(line, f"{what}, 0 to {top}")
        return int(line)

    def error(self, line: str, expected: str) -> InputError:
        number = self._lines[self._place - 1][0]
        return InputError(
            f"{self._file}: line {number} is {line!r:.120}, expected {expected}."
        )


def read_definition(file: Path) -> Definition:
    """Reads a Def.dat.

    Raises:
        InputError: The file cannot be read, or a line is malformed.
    """
    lines = _Lines(read_text(file, MAX_BYTES, "fbms_def.MAX_BYTES"), file)
    if not lines.peek().lower().startswith("total number of regions"):
        lines.next("a header")
    lines.label("Total number of regions")
    count = lines.integer("the number of regions", MAX_REGIONS)
    if not count:
        raise InputError(f"{file}: has no regions; expected at least the background.")
    colours = tuple(_read_colour(lines) for _ in range(count))
    lines.label("Confusion penal")  # The files spell it "penality".
    _skip_numbers(lines, count * count)
    lines.label("Total number of frames in this shot")
    frame_count = lines.integer("the number of frames", MAX_FRAMES)
    lines.label("Total number of labeled frames")
    labelled = lines.integer("the number of labelled frames", frame_count)
    frames = list(_read_frames(lines, labelled))
    numbers = [number for number, _, _ in frames]
    if len(set(numbers)) != len(numbers):
        raise InputError(f"{file}: lists a frame twice: {numbers}.")
    return Definition(
        colours=colours,
        frame_count=frame_count,
        frame_numbers=tuple(numbers),
        label_files=tuple(name for _, name, _ in frames),
        input_files=tuple(name for _, _, name in frames),
    )


def _read_colour(lines: _Lines) -> int:
    lines.label("Scale of region")
    return lines.integer("a region's colour", 2**24 - 1)


def _skip_numbers(lines: _Lines, count: int) -> None:
    while count > 0:
        line = lines.next("the confusion penalty matrix")
        words = line.split()
        if not all(
            len(word) <= MAX_DIGITS and re.fullmatch(NUMBER, word) for word in words
        ):
            raise lines.error(line, "a row of the confusion penalty matrix")
        count -= len(words)
    if count:
        raise lines.error("", "as many penalties as pairs of regions")


def _read_frames(lines: _Lines, count: int) -> Iterator[tuple[int, str, str]]:
    for _ in range(count):
        lines.label("Frame number")
        number = lines.integer("a frame's number", MAX_FRAMES)
        lines.label("File name")
        labels = lines.next("a file's name")
        lines.label("Input file name")
        named = lines.peek() and not lines.peek().startswith("Frame number")
        yield number, labels, lines.next("a file's name") if named else ""
