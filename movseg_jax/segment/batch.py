"""Many videos with one command: several processes, and several drivers, share them.

The driver is this process: it reads no video and starts no JAX. It hands videos to its
workers, one at a time; an engine starts these (`segment.engines`). A worker claims a
video before it begins, so other drivers on the same folder, on this machine or another,
do not begin it, too. Each video is a run of its own (`segment.run`), which resumes
where it was stopped.
"""

import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.segment import batch_worker
from movseg_jax.segment.batch_folder import BatchFolder, Row, Wanted
from movseg_jax.segment.batch_worker import BatchJob
from movseg_jax.segment.engines import Engine, processes
from movseg_jax.segment.video_list import WHOLE, Shard
from movseg_jax.system import claims
from movseg_jax.system.stopping import StopRequest
from movseg_jax.system.workers import Worker
from movseg_jax.system.workspace import differences

RETRIES = 2  # Times that a video is tried again after it has ended its worker.
LOOK = 0.2  # Seconds between two looks at requests to stop.
POLL = 5.0  # Seconds between two looks at what other drivers do.
PUBLISH = 10.0  # Seconds between two versions of batch.jsonl, at least.

Progress = Callable[[int, int | None], object]


class BatchOutcome(NamedTuple):
    """The outcome of a batch.

    Attributes:
        rows: The states of the videos that were asked for.
        stopped: Whether it was asked to stop; it can be started again.
    """

    rows: list[Row]
    stopped: bool

    def count(self, state: str) -> int:
        """Returns the number of videos in a state."""
        return sum(row.state == state for row in self.rows)


def segment_batch(
    batch: BatchJob,
    videos: Sequence[str],
    *,
    shard: Shard = WHOLE,
    engine: Engine | None = None,
    retries: int = RETRIES,
    limit: int | None = None,
    progress: Progress | None = None,
) -> BatchOutcome:
    """Segments many videos, each to a folder of its own, or resumes that.

    A video that cannot be segmented does not end the batch: its row says what is wrong.

    Args:
        batch: The folder, the detector and the settings.
        videos: Absolute paths and addresses.
        shard: The part of the videos to segment. It does not change the names of their
            folders, so that commands with different parts can share a folder.
        engine: The engine that runs the workers; None is one process here.
        retries: The number of times that a video is tried again if its worker dies.
        limit: The largest number of videos to segment, besides those that are finished
            already; None is all.
        progress: A function that is called with the number of videos that are finished
            or failed, and of all.

    Raises:
        InputError: The detector cannot be loaded; or the folder holds other results, or
            cannot be written to.
    """
    with StopRequest() as stop:
        show = progress or (lambda done, total: None)
        driver = _Driver(batch, engine or processes(), retries, stop, show)
        try:
            driver.run(videos, shard, limit)
        finally:
            driver.end_workers()
        return BatchOutcome(driver.rows(), stop.requested)


@dataclasses.dataclass
class _Driver:
    """Hands videos to workers until all have ended, or a stop is requested."""

    batch: BatchJob
    engine: Engine
    retries: int
    stop: StopRequest
    progress: Progress

    def __post_init__(self):
        self._folder = BatchFolder(self.batch.root)
        self._rows: list[Row] = []
        self._todo: collections.deque[Row] = collections.deque()
        self._elsewhere: list[Row] = []  # Claimed by others.
        self._settled: dict[str, Row] = {}
        self._total = 0
        # Counts workers that died: by their video or, while they load, by their number.
        self._deaths: collections.Counter[str | int] = collections.Counter()
        self._jobs = 0
        self._workers: dict[int, Worker] = {}
        self._loading: dict[Future, int] = {}
        self._about: dict[str, Any] = {}  # What decides about the results.
        self._running: dict[Future, tuple[int, Row]] = {}
        self._polled = self._publish_at = 0.0

    def run(self, videos: Sequence[str], shard: Shard, limit: int | None) -> None:
        """Segments the videos."""
        count = len(shard.of(videos))
        if not count:
            return
        self._jobs = min(self.engine.jobs, count)
        while not self._about:
            if self.stop.requested:
                return
            self._start_workers(self._jobs)
            self._collect()
        self._folder.check(self._about, overwrite=self.batch.overwrite)
        self._folder.claim(self._about)
        since = claims.server_time(self.batch.root)
        self._wanted = Wanted(self._about, self.batch.allow_truncated, since)
        self._rows = shard.of(self._folder.add(videos))
        self._publish()
        for row in self._rows:
            self._sort(row)
        while limit is not None and len(self._todo) > limit:
            self._todo.pop()
        self._total = len(self._settled) + len(self._todo) + len(self._elsewhere)
        self._show()
        while self._todo or self._running or self._elsewhere:
            if self.stop.requested:
                break
            self._start_workers(min(self._jobs, len(self._todo) + len(self._running)))
            self._hand_out()
            self._collect()
            self._look_elsewhere()
        self._stop_workers()
        self._publish(now=True)

    def rows(self) -> list[Row]:
        """Returns the states of all videos of this driver."""
        return [
            self._settled.get(row.video) or self._folder.read(row) for row in self._rows
        ]

    def end_workers(self) -> None:
        """Ends all processes at once."""
        for number in list(self._workers):
            self._end_worker(number)

    # Workers -------------------------------------------------------------------------

    def _start_workers(self, count: int) -> None:
        """Starts workers, which load the detector, until there are `count`."""
        for number in range(self._jobs):
            if len(self._workers) >= count:
                break
            if number in self._workers or self._deaths[number] > self.retries:
                continue
            worker = self.engine.start(self.batch, number, self._jobs)
            self._workers[number] = worker
            self._loading[worker.submit(batch_worker.load)] = number

    def _end_worker(self, number: int) -> None:
        self._workers.pop(number).end()
        for future in [f for f, n in self._loading.items() if n == number]:
            del self._loading[future]

    def _hand_out(self) -> None:
        """Gives videos to the workers that have none, or ends these workers."""
        busy = {number for number, _ in self._running.values()}
        loading = {*self._loading.values()}
        for number, worker in [*self._workers.items()]:
            if number in busy:
                continue
            if not self._todo:  # Others may need its memory and devices.
                self._end_worker(number)
            elif number in loading:
                continue
            elif worker.broken:
                self._end_worker(number)
            else:
                row = self._todo.popleft()
                future = worker.submit(batch_worker.segment, row, self._wanted.since)
                self._running[future] = number, row

    def _collect(self) -> None:
        """Waits a moment for a worker that loads, or for a running video, to end."""
        futures = [*self._loading, *self._running]
        if not futures:
            time.sleep(LOOK)
        for future in _done(futures):
            if future in self._loading:
                self._look_at_loaded(future, self._loading.pop(future))
            else:
                self._look_at_ended(future, *self._running.pop(future))

    def _look_at_loaded(self, future: Future, number: int) -> None:
        try:
            about = future.result()
        except BrokenExecutor as error:
            self._end_worker(number)
            self._deaths[number] += 1
            if all(self._deaths[n] > self.retries for n in range(self._jobs)):
                raise InputError(
                    "All worker processes ended while they loaded the weights "
                    f"({error}); memory may have run out. Try fewer than "
                    f"`jobs={self._jobs}`."
                ) from None
            return
        self._deaths[number] = 0
        self._about = self._about or about
        if changes := differences(self._about, about, exact=True):
            raise InputError(
                f"The machines do not segment alike ({changes}); they need the same "
                "weights, the same versions of the packages and, if some processors "
                "have instructions for bfloat16 and some have not, one precision for "
                "all, such as `--precision default`."
            )

    def _look_at_ended(self, future: Future, number: int, row: Row) -> None:
        try:
            after = future.result()
        except BrokenExecutor:
            self._end_worker(number)
            if not self.stop.requested:
                self._retry(row)
            return
        if after is not None and after.state in ("done", "failed"):
            self._settle(after)
        else:  # Another driver has it, or it was stopped.
            self._elsewhere.append(row)

    def _retry(self, row: Row) -> None:
        """Tries a video again that ended its worker, or settles it as failed."""
        self._deaths[row.video] += 1
        begun = None
        if self._deaths[row.video] > self.retries:
            begun = self._folder.begin(row)
        if begun is None:
            self._todo.appendleft(row)
            return
        row, claim = begun
        try:
            row = row._replace(
                state="failed",
                error=f"The process that segmented it ended {self._deaths[row.video]} "
                "times; it was killed, perhaps since memory had run out.",
            )
            self._folder.write(row)
        finally:
            claim.release()
        self._settle(row)

    def _stop_workers(self) -> None:
        """Lets running videos stop after their frame."""
        for number, _ in self._running.values():
            self._workers[number].ask_to_stop()
        while self._running:
            self._collect()

    # Videos --------------------------------------------------------------------------

    def _sort(self, row: Row) -> None:
        """Settles a video, or puts it where it belongs."""
        settled = self._folder.settled(row, self._wanted)
        if settled is not None:
            self._settled[row.video] = settled
            return
        row = self._folder.read(row)
        if claims.owner(self._folder.claims(row)) is not None:
            self._elsewhere.append(row)
        else:
            self._todo.append(row)

    def _settle(self, row: Row) -> None:
        self._settled[row.video] = row
        self._show()
        self._publish()

    def _look_elsewhere(self) -> None:
        """Looks whether videos of others are done, or were given up."""
        if not self._elsewhere or time.monotonic() < self._polled + POLL:
            return
        self._polled = time.monotonic()
        rows, self._elsewhere = self._elsewhere, []
        before = len(self._settled)
        for row in rows:
            self._sort(row)
        if len(self._settled) > before:
            self._show()
            self._publish()

    def _show(self) -> None:
        self.progress(len(self._settled), self._total)

    def _publish(self, *, now: bool = False) -> None:
        began = time.monotonic()
        if now or began >= self._publish_at:
            self._folder.publish()
            # Of very many videos it takes long.
            took = time.monotonic() - began
            self._publish_at = began + max(PUBLISH, 20 * took)


def _done(futures: list[Future]) -> list[Future]:
    """The futures that are done, in their order; waits a moment if none is."""
    done = concurrent.futures.wait(
        futures, LOOK, concurrent.futures.FIRST_COMPLETED
    ).done
    return [future for future in futures if future in done]
