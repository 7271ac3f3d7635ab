"""A data set without files, for tests; imports little, because workers import it."""

import os
import signal
from collections.abc import Mapping, Sequence

import numpy as np

from movseg_jax.data.example import Example
from movseg_jax.errors import InputError


def random_example(seed, size, objects=2, flow=True, name="memory/0"):
    """Noise, flow of a few pixels, and rectangles."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((objects, *size), bool)
    for mask in masks:
        y, x = (np.sort(rng.integers(0, side + 1, 2)) for side in size)
        mask[y[0] : y[1], x[0] : x[1]] = True
    return Example(
        name=name,
        image=rng.integers(0, 256, (*size, 3), np.uint8),
        flow=rng.normal(0, 3, (*size, 2)).astype(np.float32) if flow else None,
        masks=masks,
        classes=rng.integers(0, 3, objects).astype(np.int32),
        ids=rng.permutation(objects).astype(np.int32) + 1,
        ignore=rng.random(objects) < 0.2,
        moving=rng.random(objects) < 0.8,
    )


class MemorySource:
    """Random examples of given sizes; the first pixel of each has its number."""

    def __init__(
        self, sizes, *, name="memory", flow=True, damaged=(), disaster=None, at=-1
    ):
        self.name = name
        self.classes: Sequence[str] = ("a", "b", "c")
        self.sizes = [tuple(size) for size in sizes]
        self.has_flow: Sequence[bool] = [flow] * len(self.sizes)
        self.damaged = set(damaged)
        self.disaster, self.at = disaster, at

    @property
    def sequences(self) -> Mapping[str, range]:
        return {"all": range(len(self.sizes))}

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Example:
        name = f"{self.name}/{index}"
        if index in self.damaged:
            raise InputError(f"{name}.png: not a PNG.")
        if index == self.at:
            self._have_disaster()
        example = random_example(
            index, self.sizes[index], index % 4, self.has_flow[index], name
        )
        example.image[0, 0] = index % 256, index // 256, 0
        return example

    def _have_disaster(self):
        if self.disaster == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.disaster == "bug":
            raise KeyError("no such frame")
        elif self.disaster == "bug that cannot be pickled":
            raise Unpicklable


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("cannot be pickled")
