"""Parts of a pipeline: reading ahead in a thread, and measuring how long parts take."""

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Timing = dict[str, float]  # Seconds by the name of the part.
_END = object()
POLL_SECONDS = 0.1  # Seconds until a thread sees that its items are not wanted.


def ahead(items: Iterable[T], count: int = 2) -> Generator[T, None, None]:
    """Returns the same items, made by a thread that is up to `count` of them ahead.

    An exception of `items` is raised here, after the items before it. The thread ends
    when the result is closed or used up; then it closes `items`, if they can be.
    """
    ready: queue.Queue[Any] = queue.Queue(count)
    unwanted = threading.Event()

    def put(entry) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(entry, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def fill():
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        unwanted.set()
        thread.join()


@contextlib.contextmanager
def stopwatch(timing: Timing, part: str) -> Iterator[None]:
    """Adds the seconds that the block takes to those of a part."""
    began = time.perf_counter()
    try:
        yield
    finally:
        timing[part] = timing.get(part, 0.0) + time.perf_counter() - began


def timed(items: Iterable[T], timing: Timing, part: str) -> Generator[T, None, None]:
    """Returns the same items, and adds the seconds that making them takes to a part."""
    items = iter(items)
    while True:
        with stopwatch(timing, part):
            item = next(items, None)
        if item is None:
            return
        yield item
