"""The folder of a run: whose it is, what may be replaced, what is finished.

A run is unfinished while its settings are in the folder's `WORK`, and finished when
they are in the folder itself. Only what a run wrote is ever removed.
"""

import json
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import FORMATS, Format
from movseg_jax.system.atomic import make_folder, write_file

RUN, OVERLAY, REPORT = "run.json", "overlay.mp4", "report.html"
# The format of run.json, raised when the same run would write something else there. Up
# to 1 the weights' sha256 was that of their configuration and arrays, from 2 on it is
# that of their file.
FORMAT = 2
WORK, LOCK = ".movseg", ".lock"
ALWAYS: tuple[Format, ...] = ("tracks", "masks")  # Formats that every run writes.
# As `writing.whole_file` names files that are being written.
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


class RunFolder:
    """Where a run keeps its work and writes its results.

    Attributes:
        path: Of the folder.
        work: Of the folder in it that an unfinished run goes on from.
    """

    def __init__(self, path: Path):
        """Makes the folder if it is missing.

        Raises:
            InputError: It cannot be made.
        """
        self.path, self.work = path, path / WORK
        make_folder(path)

    def result(self, form: Format) -> Path:
        """Where a format is written."""
        return self.path / f"{form}{FORMATS[form].suffix}"

    def refuse_foreign(self, about: dict[str, Any], *, overwrite: bool) -> None:
        """Refuses a folder with files of others, before anything is written there.

        Args:
            about: As of `claim`.
            overwrite: Write beside them, where nothing of theirs would be replaced.

        Raises:
            InputError: It has such files, or cannot be read.
        """
        if _read_run(self.path / RUN) or _read_run(self.work / RUN):
            return
        try:
            names = {path.name for path in self.path.iterdir()} - {LOCK, WORK}
        except OSError as error:
            raise InputError(f"{self.path}: cannot be used: {error}.") from None
        if names and not overwrite:
            raise InputError(
                f"{self.path}: is not empty; choose another folder, or "
                "`overwrite=True`."
            )
        if taken := sorted(names & {path.name for path in self._results(about)}):
            raise InputError(
                f"{self.path}: has {', '.join(taken)}, but not of a run of movseg; "
                "remove that, or choose another folder."
            )

    def _results(self, about) -> list[Path]:
        """All that a run writes."""
        try:
            written = {*ALWAYS, *about["settings"]["save"]}
        except (KeyError, TypeError):
            written = {*ALWAYS}
        results = [self.result(form) for form in FORMATS if form in written]
        return [self.path / name for name in (RUN, OVERLAY, REPORT)] + results

    def claim(self, about: dict[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
        """Makes the folder this run's, or finds that the run is finished there.

        Asked for after `refuse_foreign`.

        Args:
            about: What decides about the results, as JSON has it.
            overwrite: Remove the results of another run.

        Returns:
            What `finish` wrote, if this very run is finished.

        Raises:
            InputError: Something else is there, and may not be replaced.
        """
        try:
            return self._claim(about, overwrite)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be used: {error}.") from None

    def _claim(self, about, overwrite):
        known, started = _read_run(self.path / RUN), _read_run(self.work / RUN)
        if overwrite and (known or started):
            self._clear()
        elif known:
            self._check_same(known, about, "the results of another run")
            shutil.rmtree(self.work, ignore_errors=True)  # Killed while doing this.
            return known
        elif started:
            self._check_same(started, about, "an unfinished run")
            self._sweep(about)
        elif self.work.is_dir():  # Killed while making or removing it.
            shutil.rmtree(self.work)
        self.work.mkdir(exist_ok=True)
        write_file(self.work / RUN, json.dumps({"about": about}).encode())
        return None

    def _check_same(self, known, about, what):
        written = known["about"].get("versions")
        written = written.get(RUN) if isinstance(written, Mapping) else None
        if written != FORMAT:
            raise InputError(
                f"{self.path}: has {what}, of another version of movseg, whose {RUN} "
                f"has format {written or 1} instead of {FORMAT}, so that it cannot be "
                "told whether it is the same run; choose another folder, or "
                "`overwrite=True`."
            )
        if known["about"] != about:
            raise InputError(
                f"{self.path}: has {what} ({_difference(known.get('about'), about)}); "
                "choose another folder, or `overwrite=True`."
            )

    def _clear(self):
        """Removes what a run wrote; killed meanwhile, the run is an unfinished one."""
        if (self.path / RUN).exists():
            self.work.mkdir(exist_ok=True)
            (self.path / RUN).replace(self.work / RUN)
        about = (_read_run(self.work / RUN) or {}).get("about")
        self._sweep(about)
        for path in self._results(about):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.work)

    def _sweep(self, about):
        """Removes what a process that was killed was just writing."""
        results = self._results(about)
        names = {path.name for path in results}
        for file in self.path.glob(".*.tmp"):
            found = _TEMPORARY.fullmatch(file.name)
            if found and found[1] in names:
                file.unlink()
        for folder in (self.work, *(path for path in results if path.is_dir())):
            for file in folder.rglob(".*.tmp"):
                if _TEMPORARY.fullmatch(file.name):
                    file.unlink()

    def finish(self, about: dict[str, Any], **outcome: Any) -> None:
        """Says that the run is finished, and forgets its work."""
        system = {"python": platform.python_version(), "system": platform.platform()}
        run = {"about": about, **outcome, "machine": system}
        text = json.dumps(run, indent=1) + "\n"
        write_file(self.path / RUN, text.encode())
        shutil.rmtree(self.work, ignore_errors=True)


def _read_run(file: Path) -> dict[str, Any] | None:
    """What a run says of itself; None if there is none, or it is somebody else's."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and isinstance(found.get("about"), dict)
    return found if ours else None


def _difference(there: Any, here: Mapping[str, Any]) -> str:
    """The first thing that two runs differ in."""
    before = dict(_flat(there))
    for key, value in _flat(here):
        if before.get(key) != value:
            return f"{key} was {before.get(key)!r:.200}, is {value!r:.200}"
    return "its run.json is damaged"


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, node
