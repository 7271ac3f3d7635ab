"""The folder of a run, which may be in a bucket.

A run in a bucket works in a local copy, and the first process writes what changes there
to the bucket: everything with each checkpoint and at the end, the log and the config
every minute. Orbax could write to gs:// itself. But the state is equal on all devices,
so that one process has all of it; and this way the hashes are those of local files,
which need not be read again, and s3:// works in the same way.
"""

import contextlib
import dataclasses
import difflib
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from movseg_jax.config import Config
from movseg_jax.config_json import from_json, to_json
from movseg_jax.errors import InputError
from movseg_jax.model.weights import RUN_WEIGHTS
from movseg_jax.system.atomic import locked, write_file
from movseg_jax.system.buckets import Mirror, bucket_address, mirrored
from movseg_jax.train import log, manifest, parallel
from movseg_jax.train.checkpoints import CHECKPOINTS
from movseg_jax.train.run_weights import BEST_WEIGHTS

CONFIG = "config.json"
INTERVAL = 60.0  # Seconds between two uploads of the log.
# Settings that a run with checkpoints may change: they change none of its steps.
FREE = {
    "data": ("workers", "prefetch", "max_damaged"),
    "train": ("log_every", "save_every", "keep", "evaluate_every"),
}


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
        files = {CONFIG, log.FILE}
        for weights in (Path(RUN_WEIGHTS), Path(BEST_WEIGHTS)):
            files |= {weights.name, weights.with_suffix(".json").name}
        mirror.get(n for n in names if n in files or n.startswith(f"{log.PICTURES}/"))


@contextlib.contextmanager
def claimed(workdir: Path, config: Config) -> Iterator[tuple[str, ...]]:
    """Claims a folder for this config, and keeps other processes out meanwhile.

    Yields:
        A sentence for each setting that has changed since the run was started, all of
        them in `FREE`.

    Raises:
        InputError: The folder holds the run of another config, and the message shows
            the difference; or another process is at work there.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{workdir}: cannot be made: {error}.") from None
    with locked(workdir):
        yield _claim(workdir, config)


def _claim(workdir: Path, config: Config) -> tuple[str, ...]:
    file = workdir / CONFIG
    text = to_json(config) + "\n"
    try:
        found = file.read_text() if file.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}.") from None
    saved = (
        any((workdir / CHECKPOINTS).glob("[0-9]*")) or (workdir / RUN_WEIGHTS).exists()
    )
    # A run that failed before its first checkpoint has nothing to lose, so it may be
    # started again with another config.
    if found is None or not saved:
        write_file(file, text.encode())
        return ()
    # Files of older versions lack fields whose defaults keep their meaning.
    known = from_json(Config, found, str(file))
    if _with_free(known, config) != config:
        lines = difflib.unified_diff(
            found.splitlines(), text.splitlines(), "there", "given", n=0, lineterm=""
        )
        changes = "\n".join(line for line in lines if line[0] in "+-")
        raise InputError(
            f"{workdir}: holds a run with another config. Use another folder, or the "
            f"config it was started with. The difference:\n{changes}"
        )
    if known == config:
        return ()
    write_file(file, text.encode())
    return tuple(
        f"{part}.{name} is {now} from here on; it was {before}."
        for part, names in FREE.items()
        for name in names
        if (before := getattr(getattr(known, part), name))
        != (now := getattr(getattr(config, part), name))
    )


def _with_free(known: Config, config: Config) -> Config:
    """The known config with the settings in `FREE` of the given one."""
    parts = {}
    for part, names in FREE.items():
        given = getattr(config, part)
        new = {name: getattr(given, name) for name in names}
        parts[part] = dataclasses.replace(getattr(known, part), **new)
    return dataclasses.replace(known, **parts)
