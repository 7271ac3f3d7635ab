"""A process of a batch: loads a detector once, then segments video after video."""

import contextlib
import dataclasses
import os
import platform
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.segment.batch_folder import BatchFolder, Row, Wanted, common
from movseg_jax.segment.fetching import address_name, fetched
from movseg_jax.segment.flow_source import chosen_flow
from movseg_jax.segment.run import describe_settings, segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.segment.video_list import is_address
from movseg_jax.system import claims
from movseg_jax.system.notes import note, notes_kept
from movseg_jax.system.process import prepare_jax, share_processor
from movseg_jax.system.workers import take_cores
from movseg_jax.video.reading import fingerprint

LAST_LINES = 4  # Lines of an error that is not the user's.


@dataclasses.dataclass(frozen=True)
class BatchJob:
    """Everything that a worker needs, besides the video.

    Attributes:
        root: Folder of the batch.
        load: Function that loads the detector.
        config: Settings of all videos.
        overwrite: Whether to replace results of other runs.
        allow_truncated: Whether the readable frames of a damaged video are enough.
        explain: Function that gives an error's message.
        home: Name of the machine that runs the command; workers may be on others.
    """

    root: Path
    load: Callable[[], TrainedDetector]
    config: SegmentConfig
    overwrite: bool = False
    allow_truncated: bool = False
    explain: Callable[[InputError], str] = str
    home: str = dataclasses.field(default_factory=platform.node)


class _Worker:
    """The detector of this process, and what it is for."""

    def __init__(self, batch: BatchJob):
        share_processor()
        self.batch, self.folder = batch, BatchFolder(batch.root)
        self.detector = batch.load()
        self.flow = chosen_flow(batch.config, self.detector.config)
        self.about = describe_settings(self.detector, batch.config, self.flow)

    def segment(self, row: Row, since: float) -> Row:
        """Segments a video that this process has claimed."""
        wanted = Wanted(common(self.about), self.batch.allow_truncated, since)
        if settled := self.folder.settled(row, wanted):
            return settled  # By another process, which had the claim before.
        owner = str(claims.Owner.this_process())
        row = Row(row.video, row.folder, "running", worker=owner)
        self.folder.write(row)
        began = time.perf_counter()
        with notes_kept() as notes:
            try:
                row = self._segment(row)
                if row.state == "running":
                    row = self.folder.settled(row, wanted) or row
            except Exception as error:
                error = self._message(error, row.video)
                row = row._replace(state="failed", error=error)
        if row.state != "stopped":  # Whoever tries it again downloads it again.
            shutil.rmtree(self.folder.copies(row), ignore_errors=True)
        seconds = round(time.perf_counter() - began, 3)
        row = row._replace(seconds=seconds, notes=tuple(notes))
        self.folder.write(row)
        return row

    def _segment(self, row: Row) -> Row:
        batch, copy_of = self.batch, address_name(row.video)
        video = fetched(row.video, self.folder.copies(row))
        about = {"video": fingerprint(video, copy_of), **self.about}
        summary = segment_to_folder(
            video,
            self.folder.results(row),
            self.detector,
            batch.config,
            overwrite=self.folder.replaces(row, about, batch.overwrite),
            allow_truncated=batch.allow_truncated,
            flow=self.flow,
            copy_of=copy_of,
        )
        if summary.hint:
            note(self.batch.explain(InputError(summary.hint)))
        if summary.finished:
            return row
        return row._replace(state="stopped", frames=summary.frames)

    def _message(self, error: Exception, video: str) -> str:
        if isinstance(error, InputError):
            message, here = self.batch.explain(error), platform.node()
            missing = not is_address(video) and not os.path.exists(video)
            if missing and here != self.batch.home:
                message += (
                    f" It was looked for on {here}; all machines must have the videos "
                    f"at the same paths as {self.batch.home}."
                )
            return message
        lines = "".join(traceback.format_exception(error)).strip().splitlines()
        return "\n".join(lines[-LAST_LINES:])


_batch: list[BatchJob] = []  # What this process is for.
_worker: list[_Worker] = []  # Once the detector is loaded.


def begin(batch: BatchJob, number: int, count: int) -> None:
    """Prepares this process as one of several workers of a batch.

    Args:
        batch: The batch.
        number: The number of the worker, from 0.
        count: The number of workers on this machine.
    """
    take_cores(number, count)
    if count > 1:  # JAX takes three quarters of a GPU's memory for each process.
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / count:.3f}")
    _begin(batch)


def begin_anywhere(batch: BatchJob, folder: str, platforms: str | None) -> None:
    """Prepares this process, which somebody else started, perhaps on another machine.

    Args:
        batch: The batch.
        folder: The current folder of the command, which paths may be relative to.
        platforms: The value of JAX_PLATFORMS; None leaves the choice to JAX.
    """
    with contextlib.suppress(OSError):  # Not all machines need to have it.
        os.chdir(folder)
    if platforms:
        os.environ["JAX_PLATFORMS"] = platforms
    _begin(batch)


def _begin(batch: BatchJob) -> None:
    prepare_jax()
    _batch[:], _worker[:] = [batch], []


def load() -> dict[str, Any]:
    """Loads the detector; returns what decides about the results of all videos.

    Raises:
        InputError: The detector cannot be loaded.
    """
    if not _worker:
        _worker.append(_Worker(_batch[0]))
    return common(_worker[0].about)


def segment(row: Row, since: float) -> Row | None:
    """Claims and segments a video.

    Args:
        row: The video.
        since: The time from which on a failure counts, see `Wanted`.

    Returns:
        The new state of the video; None if another process has claimed it.

    Raises:
        InputError: The folder of the batch cannot be written to, or is another one
            than that of the command.
    """
    load()
    folder = BatchFolder(_batch[0].root)
    folder.check_shared(_batch[0].home)
    begun = folder.begin(row)
    if begun is None:
        return None
    row, claim = begun
    try:
        return _worker[0].segment(row, since)
    finally:
        claim.release()
