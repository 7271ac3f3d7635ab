"""Measuring how long the parts of a run take."""

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Timing = dict[str, float]  # Seconds by the name of the part.


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
