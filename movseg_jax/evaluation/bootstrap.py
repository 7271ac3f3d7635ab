"""Computes intervals by drawing sequences with replacement (Efron, 1979)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
SEED = 0
MAX_DRAWS = 100_000


def intervals(
    measure: Callable[[Sequence[Any]], Mapping[str, float]],
    scores: Sequence[Any],
    draws: int,
) -> dict[str, tuple[float, float] | None]:
    """Computes percentile intervals of a data set's numbers.

    Every draw takes as many sequences as there are, each of them any number of times.
    Sequences are drawn, not frames, because the frames of a sequence are alike.

    Args:
        measure: Function that returns the numbers of any sequences.
        scores: Scores of all sequences, in an order that does not depend on files.
        draws: Number of draws; 0 gives no intervals.

    Returns:
        Ends of the interval of every number. They are None with fewer than two
        sequences or if no draw has the number. Draws in which a number is not defined
        are left out.
    """
    names = measure(scores).keys()
    if draws < 1 or len(scores) < 2:
        return dict.fromkeys(names)
    # The same sequences are drawn for all numbers, so that these can be compared.
    generator = np.random.Generator(np.random.PCG64(SEED))
    drawn = generator.integers(0, len(scores), (draws, len(scores)))
    values: dict[str, list[float]] = {name: [] for name in names}
    for row in drawn.tolist():
        for name, value in measure([scores[i] for i in row]).items():
            if np.isfinite(value):
                values[name].append(value)
    return {name: _percentiles(found) for name, found in values.items()}


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high
