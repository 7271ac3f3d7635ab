"""The folder of a run, which may be in a bucket.

A run in a bucket works in a local copy, and the first process writes what changes there
to the bucket: everything with each checkpoint and at the end, the log and the config
every minute. Orbax could write to gs:// itself. But the state is equal on all devices,
so that one process has all of it; and this way the hashes are those of local files,
which need not be read again, and s3:// works in the same way.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from movseg_jax.errors import InputError
from movseg_jax.model.weights import RUN_WEIGHTS
from movseg_jax.system.buckets import Mirror, bucket_address, mirrored
from movseg_jax.train import log, manifest, parallel
from movseg_jax.train.checkpoints import CHECKPOINTS

CONFIG = "config.json"
INTERVAL = 60.0  # Seconds between two uploads of the log.


class Workdir:
    """The folder of a run as a process sees it.

    Attributes:
        name: The folder's path or address, for messages.
        path: The local folder to work in.
    """

    def __init__(self, name: str, path: Path, mirror: Mirror | None = None):
        """Takes the folder, and its mirror if this process is to write to a bucket."""
        self.name = name
        self.path = path
        self._mirror = mirror
        self._due = 0.0

    def put(self) -> None:
        """Writes everything that changed to the bucket, if there is one.

        Raises:
            InputError: The bucket cannot be written to.
        """
        if self._mirror is not None:
            self._mirror.put()

    def put_log(self, *, now: bool = False) -> None:
        """Writes the log and the config to the bucket, if the last time is a while ago.

        If that fails, it is tried again later; `put` raises the error.
        """
        if self._mirror is None or (time.monotonic() < self._due and not now):
            return
        with contextlib.suppress(InputError):
            for name in (CONFIG, log.FILE):
                self._mirror.put_file(name)
        self._due = time.monotonic() + INTERVAL


@contextlib.contextmanager
def open_workdir(place: str | Path) -> Iterator[Workdir]:
    """Gives the folder of a run; one in a bucket is read first, and written at the end.

    All processes of a run have to open it. The local copy has the same path in each,
    which Orbax asks for, whether they share a disk or not.

    Args:
        place: A path, or the address of a folder in a bucket.

    Raises:
        InputError: The bucket cannot be read or written.
    """
    address = bucket_address(place)
    if address is None:
        yield Workdir(str(place), Path(place))
        return
    name = f"{parallel.from_first(secrets.randbelow(2**31)):08x}"
    with mirrored(address, name) as mirror:
        is_first = jax.process_index() == 0
        _read(mirror, everything=is_first)
        workdir = Workdir(address, mirror.folder, mirror if is_first else None)
        try:
            yield workdir
        except InputError:
            workdir.put_log(now=True)
            raise
        workdir.put()
        parallel.barrier("written")  # Whoever leaves removes the folder.


def _read(mirror: Mirror, *, everything: bool) -> None:
    """Reads the checkpoints that are complete, and all else that a run resumes from.

    `put` removes the checkpoints that are not complete.
    """
    names = mirror.names()
    steps = {n: f[0] for n in names if (f := re.match(rf"{CHECKPOINTS}/[0-9]+/", n))}
    complete = {step for n, step in steps.items() if n == step + manifest.NAME}
    mirror.get(name for name, step in steps.items() if step in complete)
    if everything:
        mirror.adopt(steps)
        weights = Path(RUN_WEIGHTS)
        files = {CONFIG, log.FILE, weights.name, weights.with_suffix(".json").name}
        mirror.get(n for n in names if n in files or n.startswith(f"{log.PICTURES}/"))
