"""The log of a run: rows, a progress bar, pictures.

`log.jsonl` in the run's folder holds one JSON object per line. A row of training is

    {"step": 20, "loss": 1.5, ..., "images_per_second": 31.2, "seconds": 14.8}

and one of an evaluation has `"kind": "evaluation"` after its step. Every other value is
a number, or null where it was not finite: JSON has no NaN. `step` counts updates made.
Rows of two equal runs are equal but for `TIMINGS`.

Write a step's rows, then call `sync`, then save its checkpoint. In this order a run
that is killed and resumes from that checkpoint has each row exactly once: rows of later
steps are removed when the log is opened, and no earlier row can be missing.
"""

import contextlib
import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import write_file
from movseg_jax.train.throughput import Progress, shown

FILE = "log.jsonl"
PICTURES = "pictures"  # Their folder, in that of a run.
TIMINGS = ("images_per_second", "seconds")  # What differs between equal runs.
EVALUATION = "evaluation"
KEPT_PICTURES = 5  # Steps of which the folder of pictures keeps some: the latest.
MAX_LINE = 2**16  # Bytes; a row has about 400.
MAX_VALUE = 1e300  # So that sums of values are finite.
MAX_STEP = 2**53  # Beyond it a float skips integers.

Row = dict[str, Any]


class Log:
    """The log of one run; a context manager.

    Attributes:
        path: The file of rows.
    """

    def __init__(
        self,
        workdir: Path,
        step: int,
        *,
        steps: int,
        batch: int,
        active: bool = True,
        quiet: bool = False,
    ):
        """Opens the log where training stands, and removes rows of later steps.

        Args:
            workdir: The run's folder; made if it is missing.
            step: The number of updates made: 0, or the step of the checkpoint to resume
                from.
            steps: Updates to make, for the time left.
            batch: Images per step over all devices, for the rate.
            active: False on all processes but the first: they write and print nothing.
            quiet: Print nothing; write all the same.

        Raises:
            InputError: The log that is there is damaged elsewhere than in a last line
                that was cut off, or cannot be written.
        """
        self.path = workdir / FILE
        self._pictures = workdir / PICTURES
        self._batch = batch
        self._file = self._tensorboard = None
        self._last = {None: -1, EVALUATION: -1}  # Latest step by kind of row.
        self._began = time.perf_counter()
        self._mark: tuple[int, float] | None = None  # Step and time to count from.
        self._progress = Progress(step, steps, silent=quiet or not active)
        if active:
            with _writing(self.path):
                workdir.mkdir(parents=True, exist_ok=True)
                self._began -= self._forget(step)
                self._file = self.path.open("ab", buffering=0)
            self._remove_pictures(lambda number: number > step)
            self._tensorboard = _tensorboard(workdir / "tensorboard", step)

    @property
    def last_evaluation(self) -> int:
        """The step of the last evaluation that has a row; -1 if there is none."""
        return self._last[EVALUATION]

    def advance(self, step: int) -> None:
        """Moves the progress bar; call it after every step.

        The rate is counted from the first call, as the first step also compiles.
        """
        if self._mark is None:
            self._mark = (step, time.perf_counter())
        self._progress.advance(step)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Time spent in here, on a checkpoint or an evaluation, is not the rate's."""
        began = time.perf_counter()
        yield
        if self._mark is not None:
            step, mark = self._mark
            self._mark = (step, mark + time.perf_counter() - began)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes and shows a row of training.

        A row of a step that has one is not written again.

        Args:
            step: Updates made.
            values: Scalars by name, also on a device: "loss" and its parts,
                "learning_rate", "gradient_norm" and whatever else.
        """
        now = time.perf_counter()
        rate = None
        if self._mark is not None and step > self._mark[0]:
            rate = self._batch * (step - self._mark[0]) / max(now - self._mark[1], 1e-9)
        self._mark = (step, now)
        if self._file is None or step <= self._last[None]:
            return
        first = {"loss": values["loss"]} if "loss" in values else {}
        row = _row(step, None, {**first, **values})
        row["images_per_second"] = rate and round(rate, 2)
        row["seconds"] = round(now - self._began, 2)
        self._append(row)
        self._progress.report(step, row)

    def write_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes and shows the results of an evaluation, scalars by name."""
        if self._file is None or step <= self._last[EVALUATION]:
            return
        row = _row(step, EVALUATION, metrics)
        self._append(row)
        text = ", ".join(f"{name} {shown(row[name], '.4g')}" for name in metrics)
        self._progress.note(f"step {step}, evaluation: {text}")

    def write_pictures(
        self, step: int, pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]]
    ) -> None:
        """Writes RGB pictures: to TensorBoard, or as `pictures/<step>_<name>.png`.

        Of the files only those of the latest `KEPT_PICTURES` steps are kept. Characters
        of a name that mean something in a path are written as %2F and the like.
        """
        if self._file is None or not pictures:
            return
        if self._tensorboard is not None:
            for name, picture in pictures.items():
                self._tensorboard.add_image(name, picture, step, dataformats="HWC")
            return
        with _writing(self._pictures):
            self._pictures.mkdir(exist_ok=True)
        for name, picture in pictures.items():
            file = io.BytesIO()
            Image.fromarray(picture).save(file, format="PNG", compress_level=3)
            write_file(
                self._pictures / f"{step:08}_{quote(name, safe='')}.png",
                file.getvalue(),
            )
        numbers = sorted({number for number, _ in self._picture_files()})
        self._remove_pictures(lambda number: number not in numbers[-KEPT_PICTURES:])

    def note(self, text: str) -> None:
        """Prints a line, without tearing the progress bar apart."""
        self._progress.note(text)

    def sync(self) -> None:
        """Returns when all rows would survive a power cut."""
        if self._file is not None:
            with _writing(self.path):
                os.fsync(self._file.fileno())
            if self._tensorboard is not None:
                self._tensorboard.flush()

    def close(self) -> None:
        """Ends the log; what was written stays."""
        self._progress.close()
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None
            if self._tensorboard is not None:
                self._tensorboard.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _forget(self, step):
        """Removes rows after `step` and a torn last one; the seconds of the last."""
        if not self.path.exists():
            return 0.0
        kept, seconds = bytearray(), 0.0
        for line, row in _lines(self.path):
            if row is not None and row["step"] <= step:
                kept += line.rstrip(b"\n") + b"\n"
                self._last[row.get("kind")] = row["step"]
                seconds = row.get("seconds") or seconds
        # Lines are kept as they are, so an equal size means an equal file.
        if len(kept) != self.path.stat().st_size:
            write_file(self.path, bytes(kept))
        return seconds

    def _append(self, row):
        line = json.dumps(row, allow_nan=False).encode() + b"\n"
        with _writing(self.path):
            # Unbuffered: a process that is killed has written all of its rows.
            if self._file is None or self._file.write(line) != len(line):
                raise OSError("the disk is full")
        self._last[row.get("kind")] = row["step"]
        if self._tensorboard is not None:
            for name, value in row.items():
                if name not in ("step", "kind") and value is not None:
                    group = row.get("kind", "train")
                    self._tensorboard.add_scalar(f"{group}/{name}", value, row["step"])

    def _picture_files(self):
        """Pairs of step and path."""
        for path in self._pictures.glob("*.png"):
            if match := re.match("([0-9]{8,})_", path.name):
                yield int(match[1]), path

    def _remove_pictures(self, remove):
        for number, path in list(self._picture_files()):
            if remove(number):
                path.unlink(missing_ok=True)


def read_log(workdir: str | Path) -> Iterator[Row]:
    """The rows of a run, in their order; a last line that was cut off is left out.

    Raises:
        InputError: There is no log, or a line of it is not a row: see above.
    """
    for _, row in _lines(Path(workdir) / FILE):
        if row is not None:
            yield row


def _lines(path):
    """Pairs of a line, as it is, and its row, which is None for a torn last line."""
    last = {None: -1, EVALUATION: -1}
    try:
        with path.open("rb") as file:
            for number in range(1, sys.maxsize):
                line = file.readline(MAX_LINE)
                if not line:
                    return
                where = f"{path}: line {number}"
                try:
                    row = _parse(line, where)
                except InputError:
                    if line.endswith(b"\n") or file.read(1):
                        raise
                    row = None
                if row is not None:
                    _check_order(row, last, where)
                yield line, row
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected the folder of a training run."
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error


def _parse(line, where):
    if len(line) == MAX_LINE and not line.endswith(b"\n"):
        raise InputError(f"{where}: is longer than {MAX_LINE} bytes (log.MAX_LINE).")
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):  # Also a number of more than 4300 digits.
        row = None
    if not isinstance(row, dict):
        raise InputError(
            f"{where}: {line[:40]!r} is not a row, a JSON object on one line. Remove "
            "the line if it is damaged."
        )
    step = row.get("step")
    if type(step) is not int or not 0 <= step <= MAX_STEP:
        raise InputError(
            f"{where}: step is {str(step)[:40]!r}, expected a whole number from 0 to "
            "2^53 (log.MAX_STEP)."
        )
    if row.get("kind", EVALUATION) != EVALUATION:
        raise InputError(
            f"{where}: kind is {str(row['kind'])[:40]!r}, expected {EVALUATION!r} or "
            "none."
        )
    for name, value in row.items():
        number = type(value) in (int, float) and abs(value) <= MAX_VALUE
        if name != "kind" and value is not None and not number:
            raise InputError(
                f"{where}: {name[:40]!r} is {str(value)[:40]!r}, expected null or a "
                f"number within ±{MAX_VALUE:g} (log.MAX_VALUE)."
            )
    return row


def _check_order(row, last, where):
    kind, step = row.get("kind"), row["step"]
    if step <= last[kind]:
        raise InputError(
            f"{where}: step {step} comes after step {last[kind]}: two processes wrote "
            "to this log at once, or it was edited."
        )
    last[kind] = step


def _row(step, kind, values):
    row: Row = {"step": step} | ({"kind": kind} if kind else {})
    for name, value in values.items():
        if name in ("step", "kind", *TIMINGS):
            raise ValueError(f"A value cannot be called {name!r}: the log's own is.")
        row[name] = _number(value)
    return row


def _number(value):
    """A Python number, of a float32 the shortest that gives it back; or None."""
    if value is None:
        return None
    scalar = np.asarray(value)[()]
    if isinstance(scalar, (np.integer, np.bool_)):
        return int(scalar)
    number = float(str(scalar))
    return number if math.isfinite(number) and abs(number) <= MAX_VALUE else None


def _tensorboard(folder, step):
    """TensorBoard's writer, if the extra `log` is installed; else None."""
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


@contextlib.contextmanager
def _writing(path):
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}.") from error
