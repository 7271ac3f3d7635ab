"""Folders that a run claims, so that results are never mixed up or lost.

A run that writes many files marks its folder with a JSON file, the marker, that says
what decides about its results. Started again, the same run finds its marker and
resumes; another run is refused. This is the order of steps:

    workspace = Workspace(out, "flow.json")
    with locked(workspace.folder):  # From `system.atomic`, where processes may collide.
        if overwrite or not workspace.resumes(about, "flow made with other settings"):
            ...  # Remove what an earlier run left, then:
            workspace.claim(about)
        ...  # Write what is missing.

The marker is written before any result, so that every result has an owner. A run that
removes old results must remove or replace the marker first: if it is killed meanwhile,
no marker may claim that the rest is complete.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import TEMPORARY, make_folder, write_file

MAX_MARKER = 2**24  # Bytes; a larger file is not a marker of ours.
SHOWN = 3  # Differences in a message.


class Workspace:
    """A folder and the marker that says whose it is.

    Attributes:
        folder: The folder.
        marker: The marker's path.
    """

    def __init__(self, folder: Path, marker: str):
        """Makes the folder if it is missing.

        Raises:
            InputError: It cannot be made.
        """
        make_folder(folder)
        self.folder = folder
        self.marker = folder / marker

    def names(self) -> set[str]:
        """Returns the names of what the folder holds, without hidden files.

        Raises:
            InputError: The folder cannot be read.
        """
        try:
            return {
                path.name
                for path in self.folder.iterdir()
                if not path.name.startswith(".")
            }
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be used as a folder: {error}."
            ) from None

    def stored(self) -> dict[str, Any] | None:
        """Returns the marker's content; None if there is no marker.

        Raises:
            InputError: The marker is damaged.
        """
        if not self.marker.exists():
            return None
        found = read_marker(self.marker)
        if found is None:
            raise InputError(
                f"{self.marker}: is damaged; expected `overwrite=True` or another "
                "folder."
            )
        return found

    def resumes(self, about: Mapping[str, Any], what: str) -> bool:
        """Returns True if an earlier run was the same, False if the folder is empty.

        Only the keys of `about` are compared, so a marker may hold more.

        Args:
            about: JSON that decides about the results.
            what: A description of the results of a run that differs, for the message.

        Raises:
            InputError: The folder holds results of another run, or files of others.
        """
        found = self.stored()
        if found is None:
            if self.names():
                raise InputError(
                    f"{self.folder}: is not empty and has no {self.marker.name} of an "
                    "earlier run; expected an empty folder, or `overwrite=True`."
                )
            return False
        if changes := differences(found, about):
            raise InputError(
                f"{self.folder}: has {what} ({changes}); expected the same, "
                "`overwrite=True` or another folder."
            )
        return True

    def claim(self, about: Mapping[str, Any]) -> None:
        """Writes the marker.

        Raises:
            InputError: It cannot be written.
        """
        write_file(self.marker, (json.dumps(about, indent=1) + "\n").encode())


def read_marker(file: Path) -> dict[str, Any] | None:
    """Returns the JSON object in a file; None if there is none, or it is damaged."""
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(MAX_MARKER))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, exact: bool = False
) -> str:
    """Returns what changed, as "key was 1, is 2"; "" if nothing did.

    Args:
        before: The stored values.
        now: The values to compare.
        exact: Whether `before` may not have more keys, except for those that are None.
    """
    known, asked = dict(_flat(before)), dict(_flat(now))
    changes = [
        f"{key} was {known.get(key)!r:.200}, is {asked.get(key)!r:.200}"
        for key in (asked | known if exact else asked)
        if known.get(key) != asked.get(key)
    ]
    return "; ".join(changes[:SHOWN])


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, node


def sweep(files: Iterable[Path], names: Collection[str] | None = None) -> None:
    """Removes files that a killed process was just writing.

    Args:
        files: The files to look at; only temporary ones of `system.atomic` are removed.
        names: Names of the results whose temporary files are removed. Default: any.
    """
    for file in files:
        found = re.fullmatch(TEMPORARY, file.name)
        if found and (names is None or found[1] in names):
            file.unlink()
