"""The folder of a run: whose it is, what may be replaced, what is finished.

A run is unfinished while its `run.json` is in the folder's `WORK`, and finished when it
is in the folder itself. Only what a run wrote is ever removed.
"""

import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.formats import FORMATS, Format, result_name
from movseg_jax.system.atomic import write_file
from movseg_jax.system.workspace import Workspace, differences, read_marker, sweep

RUN = "run.json"
OVERLAY = "overlay.mp4"
REPORT = "report.html"
# The format of run.json, raised when the same run would write something else there. Up
# to 1 the weights' sha256 was that of their configuration and arrays, from 2 on it is
# that of their file.
FORMAT = 2
WORK = ".movseg"
ALWAYS: tuple[Format, ...] = ("tracks", "masks")  # Formats that every run writes.
OLD_NAMES: dict[Format, str] = {"npz": "npz.npz"}  # Names of results in release 0.1.0.


class RunFolder:
    """Where a run keeps its work and writes its results.

    Attributes:
        path: The folder.
        work: The folder in it from which an unfinished run resumes.
    """

    def __init__(self, path: Path):
        """Makes the folder if it is missing.

        Raises:
            InputError: It cannot be made.
        """
        self._workspace = Workspace(path, RUN)
        self.path = path
        self.work = path / WORK

    def result(self, form: Format) -> Path:
        """Returns where a format is written."""
        return self.path / result_name(form)

    def refuse_foreign(self, about: dict[str, Any], *, overwrite: bool) -> None:
        """Refuses a folder with files of others, before anything is written there.

        Args:
            about: JSON that decides about the results, as for `claim`.
            overwrite: Whether to write beside such files, where nothing of theirs would
                be replaced.

        Raises:
            InputError: It has such files, or cannot be read.
        """
        if read_run(self.path / RUN) or read_run(self.work / RUN):
            return
        names = self._workspace.names()
        if names and not overwrite:
            raise InputError(
                f"{self.path}: is not empty; choose another folder, or "
                "`overwrite=True`."
            )
        if taken := sorted(names & {path.name for path in self.results(about)}):
            raise InputError(
                f"{self.path}: has {', '.join(taken)}, but not of a run of movseg; "
                "remove that, or choose another folder."
            )

    def results(self, about: Any) -> list[Path]:
        """Returns the paths of all results of a run, and those of release 0.1.0."""
        try:
            written = {*ALWAYS, *about["settings"]["save"]}
        except (KeyError, TypeError):
            written = {*ALWAYS}
        names = [result_name(form) for form in FORMATS if form in written]
        names += [name for form, name in OLD_NAMES.items() if form in written]
        return [self.path / name for name in (RUN, OVERLAY, REPORT, *names)]

    def claim(self, about: dict[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
        """Makes the folder this run's, or finds that the run is finished there.

        Call it after `refuse_foreign`, with the folder locked.

        Args:
            about: JSON that decides about the results.
            overwrite: Whether to remove the results of another run.

        Returns:
            What `finish` wrote, if this very run is finished; otherwise None.

        Raises:
            InputError: Another run's results are there and may not be replaced.
        """
        try:
            return self._claim(about, overwrite)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be used: {error}.") from None

    def _claim(self, about, overwrite):
        finished = read_run(self.path / RUN)
        started = read_run(self.work / RUN)
        if overwrite and (finished or started):
            self._clear()
        elif finished:
            self._check_same(finished, about, "the results of another run")
            # The process may have been killed before it had removed its work.
            shutil.rmtree(self.work, ignore_errors=True)
            return finished
        elif started:
            self._check_same(started, about, "an unfinished run")
            self._sweep(about)
        elif self.work.is_dir():
            # A process was killed while it made or removed the folder, whose marker
            # comes first and goes last.
            shutil.rmtree(self.work)
        Workspace(self.work, RUN).claim({"about": about})
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
            changes = differences(known["about"], about, exact=True)
            changes = changes or f"its {RUN} is damaged"
            raise InputError(
                f"{self.path}: has {what} ({changes}); choose another folder, or "
                "`overwrite=True`."
            )

    def _clear(self):
        """Removes what a run wrote.

        First the run becomes an unfinished one: if this process is killed meanwhile,
        the folder does not look complete, and its marker still says what to remove.
        """
        if (self.path / RUN).exists():
            self.work.mkdir(exist_ok=True)
            (self.path / RUN).replace(self.work / RUN)
        about = (read_run(self.work / RUN) or {}).get("about")
        self._sweep(about)
        for path in self.results(about):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.work)

    def _sweep(self, about):
        """Removes what a process that was killed was just writing."""
        results = self.results(about)
        sweep([*self.path.iterdir()], {path.name for path in results})
        for folder in (self.work, *(path for path in results if path.is_dir())):
            sweep([*folder.rglob(".*.tmp")])

    def finish(self, about: dict[str, Any], **outcome: Any) -> None:
        """Marks the run as finished, then removes its work."""
        machine = {"python": platform.python_version(), "system": platform.platform()}
        run = {"about": about, **outcome, "machine": machine}
        write_file(self.path / RUN, (json.dumps(run, indent=1) + "\n").encode())
        shutil.rmtree(self.work, ignore_errors=True)


def read_run(file: Path) -> dict[str, Any] | None:
    """Returns the `run.json` of a run; None if it is missing, or somebody else's."""
    found = read_marker(file)
    ours = found is not None and isinstance(found.get("about"), dict)
    return found if ours else None
