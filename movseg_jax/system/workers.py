"""Runs tasks in several processes, or in this one, with the same results."""

import abc
import contextlib
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
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


class Worker(abc.ABC):
    """A process, here or elsewhere, that does one task after the other.

    It may die of a task. It ends with this process, if not before.
    """

    @property
    @abc.abstractmethod
    def broken(self) -> bool:
        """Whether the process is known to have died."""

    @abc.abstractmethod
    def submit(self, function: Callable[..., Result], *arguments: object) -> Future:
        """Begins a task; its future raises `BrokenExecutor` if the process dies."""

    @abc.abstractmethod
    def ask_to_stop(self) -> None:
        """Asks the task that runs to stop, as a SIGTERM does."""

    @abc.abstractmethod
    def end(self) -> None:
        """Ends the process at once, whatever it is doing."""


class ProcessWorker(Worker):
    """A process on this machine, which is spawned at its first task."""

    def __init__(self, begin: Callable[..., object], *arguments: object):
        """Prepares a process, which calls `begin` with the arguments first."""
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, spawn, _begin_with, (begin, arguments))
        self._processes: set[BaseProcess] = set()

    @property
    def broken(self) -> bool:
        """Whether its process is known to have died."""
        return any(process.exitcode is not None for process in self._processes)

    def submit(self, function: Callable[..., Result], *arguments: object) -> Future:
        """Begins a task; its future raises `BrokenExecutor` if the process dies."""
        before = set(multiprocessing.active_children())
        with kept_from_children():
            future = self._pool.submit(function, *arguments)
        self._processes |= set(multiprocessing.active_children()) - before
        return future

    def ask_to_stop(self) -> None:
        """Sends the process a SIGTERM."""
        for process in self._processes:
            process.terminate()

    def end(self) -> None:
        """Ends the process at once, whatever it is doing."""
        for process in self._processes:
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin_with(begin, arguments) -> None:
    begin(*arguments)  # First: it may change what threads share (`keep_memory`).
    serve_parent()


def take_cores(number: int, count: int) -> None:
    """Keeps this process to its share of the cores, where the system can.

    Call it before JAX starts, which has a thread for each core of the process.

    Args:
        number: The number of the process, from 0.
        count: The number of processes that share the cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if count <= len(cores):
        share = cores[number * len(cores) // count : (number + 1) * len(cores) // count]
    else:
        share = [cores[number % len(cores)]]
    os.sched_setaffinity(0, share)


def take_free_cores(count: int) -> None:
    """Keeps this process, and its threads, to cores that no other process has taken.

    It is `take_cores` for processes that have no numbers, since something else places
    them. A core is taken by a socket with its name, which is gone when its process is.
    If no core is free, the process keeps all. This works on Linux only; elsewhere it
    does nothing.

    Args:
        count: The number of cores to take; fewer are taken if fewer are free.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    taken = []
    for core in sorted(os.sched_getaffinity(0)):
        if len(taken) == count:
            break
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0movseg_jax core {core}")
        except OSError:  # Another process has the core.
            name.close()
            continue
        name.detach()  # It stays open until the process ends.
        taken.append(core)
    if taken:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # It has just ended.
                os.sched_setaffinity(int(thread), taken)


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
