"""Manifests: a folder's files with their sizes and hashes.

A manifest is written last and checked first, so a folder that agrees with its manifest
is complete and unchanged: a process that is killed, a full disk or a flipped bit cannot
produce one by accident. Orbax itself loads an array in which a byte has changed. (It
does not protect against somebody who changes a file and its hash.)
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import sync, write_file

NAME = "manifest.json"
MAX_BYTES = 2**26  # The largest manifest.


class Manifest(NamedTuple):
    """The content of a manifest.

    Attributes:
        step: The checkpoint's step.
        extra: JSON that was saved with it.
        files: Size in bytes and sha256 of every file, by its path in the folder.
    """

    step: int
    extra: dict[str, Any]
    files: dict[str, list[int | str]]


def write(folder: Path, step: int, extra: dict[str, Any]) -> None:
    """Writes the manifest; returns when it and all files are on the disk.

    Raises:
        InputError: A file cannot be read, or the manifest cannot be written.
    """
    try:
        files = {
            name: [os.stat(folder / name).st_size, _hash(folder / name, sync=True)]
            for name in _names(folder)
        }
        for path, _, _ in os.walk(folder):
            sync(Path(path))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}.") from error
    content = Manifest(step, extra, files)._asdict()
    document = {"sha256": _digest(content), "content": content}
    data = json.dumps(document, indent=1).encode()
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{folder / NAME}: would have {len(data)} bytes, more than {MAX_BYTES} "
            "(MAX_BYTES): store less in `extra`."
        )
    write_file(folder / NAME, data)


def read(folder: Path) -> Manifest:
    """Reads a folder's manifest without checking the other files.

    Raises:
        InputError: There is none, or it has changed since it was written.
    """
    path = folder / NAME
    try:
        if not path.is_file():
            raise InputError(
                f"{folder}: has no {NAME}, so it is not a complete checkpoint."
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"has more than {MAX_BYTES} bytes (MAX_BYTES)")
        document = json.loads(data)
        content = document["content"]
        if document["sha256"] != _digest(content):
            raise ValueError("its own sha256 differs")
        content.pop("score", None)  # Of release 0.1.0.
        manifest = Manifest(**content)
        if not isinstance(manifest.step, int) or not isinstance(manifest.files, dict):
            raise ValueError("its fields have other types")
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        why = "its fields are others" if isinstance(error, TypeError) else error
        raise InputError(f"{path}: damaged: {why}.") from None
    return manifest


def check(folder: Path) -> Manifest:
    """Reads a folder's manifest and checks every file.

    Raises:
        InputError: A file is missing, has changed or is not in the manifest.
    """
    manifest = read(folder)
    try:
        # Names in the manifest are only ever compared, so they lead nowhere.
        names = set(_names(folder))
        for name in sorted(names.symmetric_difference(manifest.files)):
            what = "was not saved with it" if name in names else "is missing"
            raise InputError(f"{folder}: damaged: the file {name!r} {what}.")
        for name, expected in manifest.files.items():
            path = folder / name
            # The size first: it needs no reading.
            same = path.is_file() and [path.stat().st_size] == expected[:1]
            if not same or _hash(path) != expected[1]:
                raise InputError(
                    f"{folder}: damaged: the file {name!r} has changed since it was "
                    "saved."
                )
    except (OSError, TypeError) as error:  # TypeError: not a list.
        raise InputError(f"{folder}: cannot be read: {error}.") from error
    return manifest


def _names(folder: Path, below: str = "") -> Iterator[str]:
    """The paths of all files but the manifest; links to folders count as files."""
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _names(folder, f"{name}/")
            elif name != NAME:
                yield name


def _hash(path: Path, sync: bool = False) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def _digest(content: dict[str, Any]) -> str:
    """The hash of a manifest's content, however its JSON is formatted."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
