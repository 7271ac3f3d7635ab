"""Claims to pieces of work, by which processes on several machines share them.

A claim is a file in a folder that all of them see. Its owner touches the file every
`BEAT` seconds. Once it is untouched for `STALE` seconds, or its process is gone from
this machine, another process may take the work over. Locks of the operating system
(`system.atomic.locked`) are gone as soon as their process is, but network file systems
often do not share them, so they guard a folder within one machine only.

The files are numbered. Whoever takes over from "claim.3" creates "claim.4", which
succeeds for one process alone, on any file system; the highest number is the claim that
counts. Times are compared as the file server sees them, so the clocks of the machines
may differ.
"""

import contextlib
import dataclasses
import functools
import json
import os
import platform
import re
import secrets
import signal
import threading
from pathlib import Path

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder
from movseg_jax.system.workspace import read_marker

STALE = 300.0  # Seconds after which a claim that is not touched is given up.
BEAT = 20.0  # Seconds between two touches. Network file systems show them late.
RELEASED = "released"  # The key of a claim whose owner has given it back.


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that holds a claim.

    Attributes:
        host: The name of its machine.
        pid: The process id there.
        space: A text that is the same for processes that see each other's ids.
    """

    host: str
    pid: int
    space: str

    @classmethod
    def this_process(cls) -> "Owner":
        """Returns the owner that this process is."""
        return cls(platform.node(), os.getpid(), _process_space())

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def is_gone(self) -> bool:
        """True if the process would be on this machine, and is not."""
        if self.space != _process_space():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # Somebody else's process.
            pass
        return False


class Claim:
    """A claim that this process holds; its file is touched by a thread.

    If another process has taken over, because this one was suspended for too long, this
    process gets a SIGTERM, so that two never write the same results.
    """

    def __init__(self, file: Path):
        self._file = file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):  # The server may be away for a while.
                if _numbers(self._file.parent)[-1:] != [_number(self._file)]:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                os.utime(self._file)

    def release(self) -> None:
        """Gives the claim back, so that others may have it at once."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._file.write_text(json.dumps({RELEASED: True}))


def take(folder: Path) -> Claim | None:
    """Claims a folder's work; returns None if another process has it.

    Args:
        folder: The folder for the files of claims; it is made if it is missing.

    Raises:
        InputError: The folder cannot be written to.
    """
    make_folder(folder)
    # The number must follow the very claim that is known to be free.
    numbers = _numbers(folder)
    if numbers and _owner(folder, numbers[-1]) is not None:
        return None
    number = numbers[-1] + 1 if numbers else 1
    file = folder / f"claim.{number}"
    try:
        with file.open("x") as created:
            json.dump(dataclasses.asdict(Owner.this_process()), created)
        # A process that was slow may have created a number that was removed already.
        if _numbers(folder)[-1] != number:
            file.unlink(missing_ok=True)
            return None
        for before in numbers:
            (folder / f"claim.{before}").unlink(missing_ok=True)
    except FileExistsError:
        return None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error}.") from None
    return Claim(file)


def owner(folder: Path) -> Owner | None:
    """Returns who holds the claim to a folder's work; None if it is free."""
    numbers = _numbers(folder)
    return _owner(folder, numbers[-1]) if numbers else None


def _owner(folder: Path, number: int) -> Owner | None:
    file = folder / f"claim.{number}"
    known = read_marker(file) or {}
    if known.get(RELEASED):
        return None
    try:
        # A file that was just created may be empty still: its age alone counts.
        found = Owner(str(known["host"]), int(known["pid"]), str(known["space"]))
    except (KeyError, TypeError, ValueError):
        found = Owner("unknown", 0, "")
    try:
        stale = server_time(folder) - file.stat().st_mtime > STALE
    except (OSError, InputError):
        stale = False  # It has just been taken over, or one may only read here.
    return None if stale or found.is_gone() else found


def server_time(folder: Path) -> float:
    """Returns the time that files written in a folder get now, in seconds.

    Raises:
        InputError: The folder cannot be written to.
    """
    clock = folder / f".clock.{secrets.token_hex(4)}.tmp"
    try:
        clock.write_bytes(b"\n")
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error}.") from None
    return now


def _numbers(folder: Path) -> list[int]:
    """The numbers of a folder's claims, in order."""
    try:
        return sorted(filter(None, map(_number, folder.iterdir())))
    except FileNotFoundError:
        return []


def _number(file: Path) -> int:
    found = re.fullmatch(r"claim\.([1-9][0-9]*)", file.name)
    return int(found[1]) if found else 0


@functools.cache
def _process_space() -> str:
    """Machine, boot and container: processes that share it see each other's ids."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
