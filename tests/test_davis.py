"""The measures of DAVIS against loops."""

import math

import numpy as np
import pytest

from movseg_jax.errors import InputError
from movseg_jax.metrics.davis import boundary_accuracy


def boundary_accuracy_by_loops(found, truth):
    height, width = truth.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))

    def outline(mask):
        pixels = []
        for y, x in np.ndindex(height, width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            around = (mask[y, right], mask[below, x], mask[below, right])
            if any(other != mask[y, x] for other in around):
                pixels.append((y, x))
        return pixels

    def share_near(these, those):
        near = [
            any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in those)
            for y, x in these
        ]
        return sum(near) / len(near)

    these, those = outline(found), outline(truth)
    if not these or not those:
        return float(not these and not those)
    precision, recall = share_near(these, those), share_near(those, these)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(6))
def test_boundary_accuracy_equals_the_loops(seed):
    rng = np.random.default_rng(seed)
    # Wide enough for disks of radius 1 and 2.
    size = (9, 12) if seed % 2 else (5, 150)
    found, truth = (
        np.kron(rng.random(tuple(-(-n // 3) for n in size)) < 0.3, np.ones((3, 3)))[
            : size[0], : size[1]
        ].astype(bool)
        for _ in range(2)
    )
    expected = boundary_accuracy_by_loops(found, truth)
    assert boundary_accuracy(found, truth) == pytest.approx(expected, abs=1e-12)
    assert boundary_accuracy(truth, found) == pytest.approx(expected, abs=1e-12)
    assert boundary_accuracy(truth, truth) == 1


def test_boundary_accuracy_of_nothing_is_one_with_nothing_and_zero_with_something():
    empty, some = np.zeros((2, 8, 9), bool)
    some[2:5, 3:6] = True
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(empty, some) == boundary_accuracy(some, empty) == 0


def test_boundary_accuracy_refuses_masks_of_different_sizes():
    with pytest.raises(InputError, match=r"4x5 .*5x4"):
        boundary_accuracy(np.ones((4, 5), bool), np.ones((5, 4), bool))
