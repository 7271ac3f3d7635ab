"""How long work takes."""

import time
from collections.abc import Callable


def processor_seconds(work: Callable[[], object], repeats: int) -> float:
    """Of the processor, which other tests do not take away; the least of some times."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)
