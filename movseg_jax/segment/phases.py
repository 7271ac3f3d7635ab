"""The phases of a run, each of which reads a sequence: their progress and their end."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from movseg_jax.system.progress import Progress


class Stopped(Exception):
    """The run was asked to stop."""


class Watched(Sequence):
    """A sequence whose iteration raises `Stopped` after a request to stop."""

    def __init__(
        self, items: Sequence, stop: Callable[[], bool], read: Callable[[], object]
    ):
        """Wraps the items.

        Args:
            items: The sequence.
            stop: A function that returns whether there was such a request.
            read: A function that is called for each item that is read.
        """
        self._items, self._stop, self._read = items, stop, read

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        self._read()
        return self._items[index]

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            if self._stop():
                raise Stopped
            yield self[index]


@contextlib.contextmanager
def phase(
    name: str,
    items: Sequence,
    progress: Progress,
    *,
    passes: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Sequence]:
    """Gives a sequence whose reading is the progress of a phase.

    Args:
        name: The name of the phase.
        items: An item for each frame.
        progress: The function that is told of the progress.
        passes: The number of times that the phase reads each item.
        stop: A function that returns whether to raise `Stopped`; it is called for each
            item while the phase reads from the front.
    """
    count, reads = len(items), itertools.count(1)

    def read() -> None:
        progress(min(next(reads) // passes, count), count, name)

    progress(0, count, name)
    yield Watched(items, stop, read)
    progress(count, count, name)
