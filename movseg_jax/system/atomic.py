"""Files that are complete or missing, and folders that one process writes to."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from movseg_jax.errors import InputError

# The names of files that are being written: a dot, the final name, a token.
TEMPORARY = r"\.(.+)\.[0-9a-f]{8}\.tmp"
LOCK = ".lock"
# Errors of file systems that know no locks, or cannot be asked to write the names in a
# folder to the disk, such as some network file systems.
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL}


def write_file(path: Path, data: bytes) -> None:
    """Writes a complete file or none, even if the machine stops at any moment.

    Raises:
        InputError: It cannot be written: the folder is missing or read-only, or the
            disk is full.
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
        InputError: The file cannot be written, or an OSError left the block.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        # The content must be on the disk before the name: after a power cut, a renamed
        # file could otherwise be empty.
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)  # Otherwise the new name may not survive a power cut.
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same lock from writing to a folder.

    The operating system holds the lock, so it is gone however this process ends. Where
    the file system knows no locks, there is none: a lock that is only a file would stay
    after a process was killed.

    Raises:
        InputError: Another process has the lock, or the folder cannot be written to.
    """
    import filelock  # Here, as those who only write files do not need it.

    if not folder.is_dir():  # `filelock` would make it.
        raise InputError(f"{folder}: there is no such folder.")
    lock = filelock.FileLock(folder / LOCK, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another process is writing there; wait for it to end, or use "
            "another folder."
        ) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise InputError(f"{lock.lock_file}: cannot be written: {error}.") from None
    try:
        yield
    finally:
        lock.release()


def sync(path: Path) -> None:
    """Returns when a file's content, or the names in a folder, are on the disk.

    Where the file system does not offer that for folders, names are not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
