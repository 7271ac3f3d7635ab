"""Runs tasks in several processes, or in this one, with the same results."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, TypeVar

import cv2

from movseg_jax.errors import InputError
from movseg_jax.system.signals import kept_from_children

MAX_WORKERS = 256

Task = TypeVar("Task")
Result = TypeVar("Result")


class Done(NamedTuple):
    """The outcome of a task.

    Attributes:
        number: The number of the task.
        result: The value that the function returned; None if there is a problem.
        problem: The message of the InputError that it raised; otherwise None.
    """

    number: int
    result: object
    problem: str | None


def count_workers(workers: int) -> int:
    """Returns the number of processes to use; 0 asks for one per available CPU.

    Raises:
        InputError: The number is too large or negative.
    """
    if not 0 <= workers <= MAX_WORKERS:
        raise InputError(f"`workers` is {workers}, expected 0 to {MAX_WORKERS}.")
    if workers:
        return workers
    # A container may use fewer CPUs than the machine has.
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(available, MAX_WORKERS)


def run(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    *,
    order: Sequence[int] | None = None,
) -> Iterator[Done]:
    """Runs all tasks; gives their outcomes as they are done, in any order.

    The processes are spawned, not forked. They end with the iterator, also after
    Control-C, which this process handles, and if this process is killed.

    Args:
        function: A function of a module, or a `functools.partial` of one. Each process
            gets it, and the arguments that it has already, once.
        tasks: The arguments of the function, one call each.
        workers: The number of processes; 1 runs the tasks in this one. With several, a
            script needs `if __name__ == "__main__":`, as multiprocessing has it.
        order: The numbers of the tasks, in the order to begin them.

    Raises:
        InputError: A process died.
    """
    order = range(len(tasks)) if order is None else order
    if min(workers, len(tasks)) <= 1:
        for number in order:
            yield _done(number, function, tasks[number])
        return
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    count = min(workers, len(tasks))
    pool = ProcessPoolExecutor(count, spawn, _begin, (function,))
    try:
        with kept_from_children():
            futures = [pool.submit(_done_in_worker, n, tasks[n]) for n in order]
        for future in as_completed(futures):
            yield future.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process ended at once; memory may have run out, or the script "
            'lacks `if __name__ == "__main__":`. Try `workers=1`.'
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


def _done(number, function, task) -> Done:
    try:
        return Done(number, function(task), None)
    except InputError as error:
        return Done(number, None, str(error))


_function: list[Callable] = []  # What this process is to do, if it is a worker.


def _begin(function) -> None:
    serve_parent()
    _function[:] = [function]


def _done_in_worker(number, task) -> Done:
    return _done(number, _function[0], task)


def serve_parent() -> None:
    """Prepares a worker process: it ends when its parent is gone."""
    cv2.setNumThreads(1)  # There is a worker for every core already.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=[parent], daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)
