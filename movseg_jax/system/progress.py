"""Shows progress bars."""

import contextlib
import sys
from collections.abc import Callable, Iterator

Show = Callable[[int, int | None], None]


@contextlib.contextmanager
def progress_bar(
    unit: str, *, quiet: bool = False, name: str | None = None
) -> Iterator[Show]:
    """Gives a function that shows progress, called with the amount done and the total.

    The amount done at its first call was done earlier, so it does not count for the
    speed. Nothing is shown before that call and, if stderr is not a terminal, before
    there is progress. After an error the bar is removed, so that the message stands
    alone.
    """
    from tqdm import tqdm

    bar = tqdm(unit=unit, desc=name, disable=True)
    first: int | None = None

    def show(done: int, total: int | None) -> None:
        nonlocal bar, first
        if first is None:
            first = done
        if quiet or (done == first and not sys.stderr.isatty()):
            return
        if bar.disable or bar.total != total:
            bar.close()
            bar = tqdm(unit=unit, desc=name, initial=first, total=total)
        bar.update(done - bar.n)

    try:
        yield show
    except BaseException:
        bar.leave = False
        raise
    finally:
        bar.close()
