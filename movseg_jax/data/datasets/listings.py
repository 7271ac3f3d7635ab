"""Finds lists of names and required folders in a data set's folder.

Data sets come from others, so names must stay inside their folder, files have size
limits, and a message says what was looked for and the nearest thing that was found.
"""

import importlib.resources
import itertools
from collections.abc import Iterable
from pathlib import Path

from movseg_jax.errors import InputError, MissingInput
from movseg_jax.system.bounded import read_text
from movseg_jax.system.paths import inside

MAX_SEARCHED = 500  # The most folders that are searched for a misplaced path.


def read_names(file: Path) -> list[str]:
    """Reads names of sequences, one per line, in order and without repetitions.

    Lines may also have the form of DAVIS 2016, "/JPEGImages/480p/bear/00000.jpg
    /Annotations/480p/bear/00000.png", whose fourth field is the sequence. Empty lines
    and those that start with "#" are skipped.

    Raises:
        InputError: The file cannot be read, or holds no names or invalid ones.
    """
    names: dict[str, None] = {}
    for number, raw in enumerate(read_text(file).splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        fields = line.split("/")
        if line.startswith("/") and len(fields) < 4:
            raise InputError(
                f"{file}: line {number} is {line!r:.120}; expected a sequence, or "
                '"/JPEGImages/480p/<sequence>/<frame>.jpg ..." as in DAVIS 2016.'
            )
        name = fields[3] if line.startswith("/") else line
        check_name(name, f"{file}: line {number}")
        names[name] = None
    if not names:
        raise InputError(f"{file}: lists no sequences.")
    return list(names)


def check_name(name: str, source: str) -> str:
    """Returns the name of a folder or file, and refuses anything else.

    Raises:
        InputError: The name has a slash, or `system.paths.inside` refuses it.
    """
    inside(Path("."), name, source=source)
    if "/" in name or name.startswith("."):
        raise InputError(f"{source}: {name!r:.120} is not the name of a sequence.")
    return name


def packaged_names(name: str) -> list[str]:
    """Reads a list of sequences in the package, such as "ytvos_moving_train"."""
    folder = importlib.resources.files("movseg_jax.data.datasets") / "lists"
    with importlib.resources.as_file(folder / f"{name}.txt") as file:
        return read_names(file)


def list_folders(folder: Path) -> list[str]:
    """Lists the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        InputError: The folder cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error}.") from None
    return sorted(name for name in names if not name.startswith("."))


def expect(root: Path, *candidates: str) -> Path:
    """Returns the first existing one of several paths below the root.

    Args:
        root: The data set's folder.
        candidates: The paths relative to the root, best first.

    Raises:
        MissingInput: None of them exists. The message says what exists instead, and
            whether the root is a level too high or too low.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    expected = " or ".join(str(root / c) for c in dict.fromkeys(candidates))
    raise MissingInput(f"{expected}: not found. {_nearest(root, candidates)}")


def _nearest(root: Path, candidates: Iterable[str]) -> str:
    """Returns advice about a missing path."""
    if not root.is_dir():
        return f"There is no folder {root}."
    for other in [*_subfolders(root), *root.parents[:2]]:
        for candidate in candidates:
            if (other / candidate).exists():
                return f"But {other / candidate} exists: hand in {other}."
    # The content of the deepest existing folder on the way is shown.
    below = [root, *(root / candidate for candidate in candidates)]
    folders = [p for path in below for p in [path, *path.parents] if p.is_dir()]
    deepest = max(folders, key=lambda path: len(path.parts))
    try:
        found = sorted(path.name for path in deepest.iterdir())
    except OSError:
        found = []
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return f"{deepest} holds {shown or 'nothing'}."


def _subfolders(root: Path) -> list[Path]:
    """Lists the folders one and two levels below."""
    folders: list[Path] = []
    for pattern in ("*/", "*/*/"):
        found = itertools.islice(root.glob(pattern), MAX_SEARCHED)
        folders += sorted(path for path in found if path.is_dir())
    return folders
