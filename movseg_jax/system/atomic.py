"""Files that are whole or not there."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from movseg_jax.errors import InputError

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file or none, even if the machine stops at any moment.

    Raises:
        InputError: It cannot be written: the folder is missing or read-only, the disk
            is full.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        raise InputError(f"{folder}: cannot be made: {error}.") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name to write to; after the block, the file there becomes `path`.

    If the block raises, or the machine stops at any moment, `path` is what it was.

    Raises:
        InputError: It cannot be written, as `write_file`; or an OSError in the block.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # Else the new name may not survive a power cut.
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for it from writing to a folder as well.

    However this process ends, the lock is gone. Where the system or the file system
    knows no locks, there is none.

    Raises:
        InputError: Another process has it, or the folder cannot be written to.
    """
    file = folder / ".lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error}.") from None
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{folder}: another process is writing there; wait for it to end, or use "
            "another folder."
        ) from None
    except OSError:  # Some network file systems.
        pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
