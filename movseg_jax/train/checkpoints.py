"""Checkpoints of a run: written in the background, atomic, verified by hashes.

The folder of a run has a folder for each step, named by its number. It holds `arrays`,
which Orbax wrote, and a manifest of sha256 hashes. A step is first written to
".<step>.<attempt>.unfinished" and gets its name when all of it is on the disk; before
it is deleted, it becomes ".<step>.removed". So a folder whose name is a number was
complete once, or something else made it. The file system must have atomic renames and
be shared by all processes of the run.

Orbax's own manager also keeps the latest steps, but it gives a step its name before
hashes could be written beside it, and it could not read the folders of earlier runs. So
only the arrays are Orbax's, and this module names and deletes steps.
"""

import functools
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import sync
from movseg_jax.train import manifest, orbax_io, parallel
from movseg_jax.train.manifest import Manifest

Tree = Any
CHECKPOINTS = "checkpoints"  # Their folder, in that of a run.
_ARRAYS = "arrays"
_LEFT_BEHIND = re.compile(r"\.[0-9]+(\.[0-9]+\.unfinished|\.removed)")


class CheckpointWarning(UserWarning):
    """A warning that something in the folder of checkpoints was skipped."""


class Checkpoints:
    """The checkpoints of a run; a context manager that finishes the last one.

    If a run has several processes, all of them call the same methods in the same order,
    since the methods wait for one another; only the first process writes.

    Attributes:
        folder: The folder of the checkpoints, made with the first one.
        keep: The number of latest steps to keep.
        saved: A function that the first process calls, in the background, when a
            checkpoint is on the disk and older ones are removed.
    """

    def __init__(
        self,
        folder: str | Path,
        keep: int = 2,
        saved: Callable[[], object] = lambda: None,
    ):
        if keep < 1:
            raise InputError(f"keep: {keep} checkpoints; expected at least 1.")
        self.folder = Path(folder)
        self.keep = keep
        self.saved = saved
        self._pool = ThreadPoolExecutor(1, "checkpoints")
        self._saving: Future | None = None
        self._attempt = 0
        self._is_clean = False

    def save(self, step: int, state: Tree, extra: dict[str, Any]) -> None:
        """Copies the state to the host and writes it in the background.

        Waits for the checkpoint before, if that is still being written. A checkpoint of
        the same step is replaced; anything else of that name is renamed.

        Args:
            step: The step's number, not negative.
            state: Arrays, equal on all devices; they may be donated right afterwards.
            extra: Other things that the run has to remember, which JSON can hold.

        Raises:
            InputError: It cannot be written, or the checkpoint before could not be.
        """
        self.wait()
        if step < 0:
            raise InputError(f"step: {step}; expected 0 or more.")
        try:
            extra = json.loads(json.dumps(extra))
        except (TypeError, ValueError) as error:
            raise InputError(f"extra: JSON cannot hold it: {error}.") from None
        copies = orbax_io.to_host(state)
        self._attempt += 1
        # Each attempt has its own folder: threads of a failed one may still write.
        unfinished = self.folder / f".{step}.{self._attempt}.unfinished"
        replaces = _in_all_processes(lambda: self._make_room(step, unfinished))
        write = functools.partial(orbax_io.save, unfinished / _ARRAYS, copies)
        if jax.process_count() > 1:
            # Orbax starts with a collective. All processes must run collectives in the
            # same order, so it cannot start in the background.
            write = functools.partial(_returned, write())
        about = Manifest(step, extra, files={})
        self._saving = self._pool.submit(
            self._finish, write, unfinished, about, replaces
        )

    def wait(self) -> None:
        """Returns when the last checkpoint is on the disk.

        Raises:
            InputError: It could not be written: the disk is full, for example.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            _in_all_processes(saving.result)

    def close(self) -> None:
        """Waits and frees the thread; nothing can be saved afterwards."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is None:
            self.close()
        else:  # The error may be in this process only, so others are not waited for.
            self._pool.shutdown()

    def latest_good(self) -> int | None:
        """The last step that is complete and unchanged, the same in all processes.

        Warns of everything that looks like a later step but is damaged.
        """
        self.wait()

        def find():
            # Others do not look: they may see a shared folder in another state.
            first = jax.process_index() == 0
            return self._first_good(self._candidates()) if first else None

        return parallel.from_first(_in_all_processes(find))

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """Returns the state and the `extra` of a step.

        Args:
            step: The step's number.
            like: A state of arrays or `jax.ShapeDtypeStruct`s. The result has its
                structure and its shardings, if any; NumPy arrays give NumPy arrays.

        Raises:
            InputError: The step is missing or damaged, or it is of another model or
                optimizer, so that its arrays differ from those of `like`.
        """
        self.wait()
        path = self._path(step)
        about = _in_all_processes(lambda: manifest.check(path))
        stored = orbax_io.describe(path / _ARRAYS)
        wanted = orbax_io.flat(like)
        orbax_io.check_same(path, stored, wanted)
        loaded = orbax_io.load(path / _ARRAYS, stored)
        leaves = orbax_io.place(
            (loaded[name] for name in wanted), list(wanted.values())
        )
        return jax.tree.unflatten(jax.tree.structure(like), leaves), about.extra

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _make_room(self, step: int, unfinished: Path) -> bool:
        """Makes the folder to write to; returns whether the step is to be replaced."""
        if jax.process_index() != 0:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._is_clean:
                for path in self.folder.iterdir():
                    if _LEFT_BEHIND.fullmatch(path.name):
                        shutil.rmtree(path, ignore_errors=True)
                self._is_clean = True
            path = self._path(step)
            replaces = step in (own.step for own in self._own())
            if _exists(path) and not replaces:
                aside = self._free_name(f"not-a-checkpoint-{step}")
                path.rename(aside)
                _warn(f"{path}: not a checkpoint; it is called {aside.name} now.")
            unfinished.mkdir()
        except OSError as error:
            raise self._failure(step, error) from error
        return replaces

    def _free_name(self, name: str) -> Path:
        names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
        return next(p for p in map(self.folder.joinpath, names) if not _exists(p))

    def _finish(
        self, write: Callable, unfinished: Path, about: Manifest, replaces: bool
    ) -> None:
        """Turns arrays into a checkpoint; runs in the background."""
        first = jax.process_index() == 0
        try:
            write().result()
            if not first:
                return
            # A kill at any moment leaves a good checkpoint: the new one gets its name
            # when it is on the disk, and older ones are deleted afterwards. Only a step
            # that is saved again loses its name for a moment, as two cannot have it.
            manifest.write(unfinished, about.step, about.extra)
            old = self._take_down(about.step) if replaces else None
            unfinished.rename(self._path(about.step))
            sync(self.folder)
            if old:
                shutil.rmtree(old, ignore_errors=True)
            self._remove_old(about.step)
            self.saved()
        except Exception as error:  # Orbax has no base class for its errors.
            if first:
                shutil.rmtree(unfinished, ignore_errors=True)
                self._is_clean = False
            raise self._failure(about.step, error) from error

    def _failure(self, step: int, error: Exception) -> InputError:
        return InputError(
            f"{self._path(step)}: the checkpoint cannot be written: {error}"
        )

    def _own(self) -> list[Manifest]:
        """The manifests of all steps in order, even if their files are damaged."""
        found = []
        for path in self._paths():
            try:
                about = manifest.read(path)
            except InputError:
                continue
            if path.name == str(about.step):
                found.append(about)
        return sorted(found, key=lambda about: about.step)

    def _remove_old(self, latest: int) -> None:
        """Deletes old steps. Later ones stay: of a run that resumed before them."""
        own = [about for about in self._own() if about.step <= latest]
        for about in own[: -self.keep]:
            shutil.rmtree(self._take_down(about.step), ignore_errors=True)

    def _take_down(self, step: int) -> Path:
        """Renames a step, so that it never has its name without all of its files."""
        removed = self.folder / f".{step}.removed"
        shutil.rmtree(removed, ignore_errors=True)
        self._path(step).rename(removed)
        sync(self.folder)
        return removed

    def _candidates(self) -> list[Path]:
        """The paths that look like a step by their name, the last first."""
        found = []
        for path in self._paths():
            match = re.match(r"\.?([0-9]+)(?:\.|$)", path.name)
            if match and not path.name.endswith(".removed"):
                found.append((int(match[1]), path))
        return [path for _, path in sorted(found, reverse=True)]

    def _paths(self) -> list[Path]:
        try:
            return list(self.folder.iterdir()) if self.folder.exists() else []
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be read: {error}.") from None

    def _first_good(self, paths: Iterable[Path]) -> int | None:
        for path in paths:
            if _LEFT_BEHIND.fullmatch(path.name):
                _warn(f"{path}: was not written to its end; it is skipped.")
                continue
            try:
                about = manifest.check(path)
                if path.name == str(about.step):
                    return about.step
                _warn(f"{path}: is a copy of step {about.step}; it is skipped.")
            except InputError as error:
                _warn(f"{error} It is skipped.")
        return None


def restore_params(
    folder: Path, step: int | None = None, *, average: bool = False
) -> dict[str, Any]:
    """The parameters in a checkpoint, without the model or the optimizer's state.

    Args:
        folder: The folder of a run's checkpoints.
        step: The step's number, by default the last good one's.
        average: Whether to take the moving averages; frozen parameters have none and
            are taken as they are.

    Returns:
        Nested dicts of NumPy arrays.

    Raises:
        InputError: There is no complete checkpoint, or it has no moving averages.
    """
    checkpoints = Checkpoints(folder)
    if step is None:
        step = checkpoints.latest_good()
    if step is None:
        raise InputError(f"{folder}: has no complete checkpoint.")
    path = Path(folder) / str(step)
    _in_all_processes(lambda: manifest.check(path))
    stored = orbax_io.describe(path / _ARRAYS)
    if average and not any(name.startswith("average/") for name in stored):
        raise InputError(
            f"{path}: has no moving average: train with train.ema_decay > 0."
        )
    chosen = {}
    for name in stored:
        if name.startswith("params/"):
            of_average = name.replace("params", "average", 1)
            chosen[name] = of_average if average and of_average in stored else name
    loaded = orbax_io.load(path / _ARRAYS, {c: stored[c] for c in chosen.values()})
    return orbax_io.nested(
        {n.removeprefix("params/"): loaded[c] for n, c in chosen.items()}
    )


def _warn(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=3)


def _returned(value: Any) -> Any:
    return value


def _exists(path: Path) -> bool:
    """Like `Path.exists`, but also true for dangling symlinks."""
    return path.exists() or path.is_symlink()


def _in_all_processes(action: Callable[[], Any]) -> Any:
    """Returns what the action returns; if it fails in one process, it fails in all.

    Otherwise the others would wait for the one that failed, in the next collective.
    """
    result = None
    failure = None
    try:
        result = action()
    except InputError as error:
        failure = error
    if parallel.agree(failure is not None):
        raise failure or InputError("Another process could not do it: see there.")
    return result
