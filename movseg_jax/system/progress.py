"""Shows progress bars."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

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
            bar = tqdm(unit=unit, desc=phase or name, initial=first, total=total)
        bar.update(done - bar.n)

    try:
        yield show
    except BaseException:
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
