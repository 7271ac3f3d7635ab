"""Folders in buckets (gs://, s3://), each of them worked on in a local copy.

A bucket has objects, which are written completely or not at all. There are no renames,
no locks and no real folders. So a run works in a local folder, and a `Mirror` writes
the files that changed there to the bucket. A folder with a marker (`MARKERS`) in it is
complete: its marker is written after all other objects below it, and is removed before
any of them changes. So a process that is killed at any moment leaves folders that are
complete, or have no marker.

fsspec reads and writes the objects, with gcsfs (the extra `gcs`) or s3fs (`s3`); Orbax
and TFDS need fsspec, too. It is imported when a bucket is used.
"""

import contextlib
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder, whole_file
from movseg_jax.system.paths import inside
from movseg_jax.system.process import how_to_install

# The schemes of addresses, and the extras of this package that install their libraries.
SCHEMES = {"gs": "gcs", "s3": "s3"}
MARKERS = ("manifest.json", "run.json")
WORKERS = 16  # Objects that are read or written at a time.
# Files up to this size, in bytes, are read before they are sent: they may be growing.
AT_ONCE = 2**26

_Stamp = tuple[int, ...]


def bucket_address(path: str | Path | None) -> str | None:
    """Returns the address that a path is, such as "gs://bucket/folder", or None.

    A `Path` of an address has lost a slash, which is added again.
    """
    found = re.match(rf"({'|'.join(SCHEMES)}):/+([^/].*)", str(path))
    return f"{found[1]}://{found[2].rstrip('/')}" if found else None


def download(address: str, target: Path, max_bytes: int) -> None:
    """Writes an object to a file.

    Raises:
        InputError: There is no such object, it has more than `max_bytes`, it cannot be
            read, or the file cannot be written.
    """
    files = _file_system(address)
    with _errors(address, "read"):
        size = int(files.info(address)["size"])
        if size > max_bytes:
            raise InputError(f"{address}: has {size} bytes, more than {max_bytes}.")
        files.get_file(address, str(target))


class Mirror:
    """A local folder, and the folder in a bucket that it is written to.

    Files and folders whose names start with a dot are left to `get`, `put_file` and
    `remove`; `put` neither writes nor removes them.

    Attributes:
        address: The address of the folder in the bucket.
        folder: The local folder.
    """

    def __init__(self, address: str, folder: Path):
        self.address = address
        self.folder = folder
        self._files = _file_system(address)
        self._root = self._files._strip_protocol(address)
        # The objects that are known to be in the bucket, by name. A stamp identifies
        # the local file that an object was read or written as; () is none.
        self._known: dict[str, _Stamp] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Lists all objects, by their paths below the folder.

        Raises:
            InputError: They cannot be listed.
        """
        with _errors(self.address, "read"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root)
            except FileNotFoundError:
                return []
        below = f"{self._root}/"
        return sorted(p.removeprefix(below) for p in found if p.startswith(below))

    def get(self, names: Iterable[str]) -> None:
        """Reads objects to the local folder.

        Raises:
            InputError: One cannot be read, or has a name that leads out of the folder.
        """

        def read(name: str) -> None:
            file = inside(self.folder, name, source=self.address)
            make_folder(file.parent)
            with whole_file(file) as temporary, _errors(self._path(name), "read"):
                self._files.get_file(self._path(name), str(temporary))
            self._known[name] = _stamp(file)

        _in_threads(read, names)

    def adopt(self, names: Iterable[str]) -> None:
        """Takes over objects that were not read: `put` replaces or removes them."""
        for name in names:
            self._known.setdefault(name, ())

    def put(self) -> None:
        """Makes the folder in the bucket what the local one is.

        Objects that this mirror neither read, wrote nor adopted stay. Several threads
        may call it at once.

        Raises:
            InputError: The bucket cannot be written to.
        """
        with self._lock:
            stamps, known = dict(self._local()), dict(self._known)
            changed = {n for n, stamp in stamps.items() if known.get(n) != stamp}
            gone = {n for n in known if n not in stamps and not _is_hidden(n)}
            markers = [n for n in stamps if _is_marker(n)]
            # Files that left folders that stay, and markers of folders that change.
            left = {n for n in gone if any(_marks(marker, n) for marker in markers)}
            touched = [m for m in markers if any(_marks(m, n) for n in changed | left)]
            _in_threads(self.remove, touched)
            _in_threads(self.put_file, changed.difference(markers))
            _in_threads(self.remove, left)
            for marker in sorted(touched, key=lambda n: -n.count("/")):
                self.put_file(marker)
            # Folders that are gone lose their markers first. They go after others have
            # their markers, so that a run always has the last one that was complete.
            old = {n for n in gone if _is_marker(n)}
            _in_threads(self.remove, old)
            _in_threads(self.remove, gone - left - old)

    def put_file(self, name: str) -> None:
        """Writes one file to the bucket, if it is still there.

        Raises:
            InputError: The bucket cannot be written to.
        """
        file, path = self.folder / name, self._path(name)
        with contextlib.suppress(FileNotFoundError):
            stamp = _stamp(file)
            data = file.read_bytes() if file.stat().st_size <= AT_ONCE else None
            with _errors(path, "written"):
                if data is None:
                    self._files.put_file(str(file), path)
                else:
                    self._files.pipe_file(path, data)
            self._known[name] = stamp

    def remove(self, name: str) -> None:
        """Removes an object that this mirror read, wrote or adopted, if it is there.

        Raises:
            InputError: The bucket cannot be written to.
        """
        if name not in self._known:
            return
        with _errors(self._path(name), "removed"):
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))
        del self._known[name]

    def _path(self, name: str) -> str:
        return f"{self.address}/{name}"

    def _local(self) -> Iterator[tuple[str, _Stamp]]:
        for file in self.folder.rglob("*"):
            name = file.relative_to(self.folder).as_posix()
            if _is_hidden(name):
                continue
            with contextlib.suppress(FileNotFoundError):  # It was removed just now.
                if file.is_file():
                    yield name, _stamp(file)


@contextlib.contextmanager
def mirrored(address: str, name: str | None = None) -> Iterator[Mirror]:
    """Gives the mirror of a folder in a bucket, with an empty local folder.

    The local folder is temporary, so the bucket alone says what was done. Errors name
    the address in the place of the local folder.

    Args:
        address: The address of the folder in the bucket.
        name: A part of the local folder's path, for processes that need the same path.

    Raises:
        InputError: The bucket's library is not installed, or there is no local disk.
    """
    part = name or secrets.token_hex(4)
    temporary = Path(tempfile.gettempdir()).resolve() / f"movseg-{part}"
    folder = temporary / re.sub(r"[^\w.-]", "_", Path(address).name)
    try:
        make_folder(folder)
        temporary.chmod(0o700)
        yield Mirror(address, folder)
    except InputError as error:
        error.args = (str(error).replace(str(folder), address),)
        error.message = error.message.replace(str(folder), address)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _file_system(address: str) -> Any:
    """Returns fsspec's file system of an address."""
    scheme = address.partition(":")[0]
    try:
        import fsspec

        return fsspec.filesystem(scheme)
    except ImportError:
        extra = SCHEMES[scheme]
        raise InputError(
            f"{address}: reading and writing {scheme}:// needs a package that is not "
            f"installed; install movseg-jax with the extra `{extra}`, "
            f"{how_to_install(extra)}."
        ) from None
    except Exception as error:  # Of credentials, of many types.
        raise InputError(f"{address}: cannot be used: {error}.") from None


@contextlib.contextmanager
def _errors(address: str, verb: str) -> Iterator[None]:
    """Turns the errors of a bucket, which have no base class, into InputErrors."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{address}: there is no such object or bucket.") from None
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise InputError(f"{address}: cannot be {verb}: {reason:.500}.") from None


def _in_threads(call: Callable[[str], None], names: Iterable[str]) -> None:
    """Calls a function for each name, several at a time; raises the first error."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(call, name) for name in sorted(names)]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_marker(name: str) -> bool:
    return Path(name).name in MARKERS


def _marks(marker: str, name: str) -> bool:
    """Whether a file, or object, is in the folder of a marker, or below it."""
    return name.startswith(marker[: marker.rfind("/") + 1])


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
