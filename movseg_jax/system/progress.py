"""Progress of commands and functions: bars, and the phases of a run."""

import contextlib
import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# A function that is called with the amount done, the total if it is known, and the
# phase of the work.
Progress = Callable[[int, int | None, str], object]
Show = Callable[..., None]  # The same, where work of one phase need not name it.


@contextlib.contextmanager
def progress_bar(
    unit: str, *, quiet: bool = False, name: str | None = None
) -> Iterator[Show]:
    """Gives a function that shows progress, called with the amount done and the total.

    Each phase has a bar of its own. The amount done at its first call was done earlier,
    so it does not count for the speed. Nothing is shown before that call and, if stderr
    is not a terminal, before there is progress. After an error the bar is removed, so
    that the message stands alone. In notebooks the bar is a widget.
    """
    with warnings.catch_warnings():
        # It warns in notebooks without ipywidgets, and then shows text.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    bar = tqdm(unit=unit, desc=name, disable=True)
    first: int | None = None
    current = ""

    def show(done: int, total: int | None, phase: str = "", /) -> None:
        nonlocal bar, first, current
        if phase != current:
            bar.close()
            bar, first, current = tqdm(unit=unit, disable=True), None, phase
        if first is None:
            first = done
        if quiet or (done == first and not sys.stderr.isatty()):
            return
        if bar.disable or bar.total != total:
            bar.close()
            # With a delay, however short, tqdm leaves the first drawing to `refresh`.
            # By then `bar` is the new one, so it is removed if a signal comes.
            bar = tqdm(
                unit=unit,
                desc=phase or name,
                initial=first,
                total=total,
                delay=1e-9,
            )
            bar.refresh()
        bar.update(done - bar.n)

    try:
        yield show
    except BaseException:
        # tqdm clears what it knows to have drawn. If a signal interrupted the drawing,
        # it does not know, so the bar is drawn again first.
        bar.refresh()
        bar.leave = False
        raise
    finally:
        bar.close()


@contextlib.contextmanager
def shown_progress(progress: bool | Progress, unit: str) -> Iterator[Progress]:
    """Gives the function that is told of progress.

    Args:
        progress: The function itself; True for bars, False for nothing.
        unit: The unit of what is counted, such as "frame".
    """
    if callable(progress):
        yield progress
        return
    with progress_bar(unit, quiet=not progress) as show:
        yield show


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
