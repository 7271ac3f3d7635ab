"""Selects parts of sources and joins sources, without reading any example."""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from movseg_jax.data.example import (
    Example,
    Objects,
    Size,
    Source,
    cached_property,
)
from movseg_jax.data.frames import ranges
from movseg_jax.errors import InputError
from movseg_jax.images import encode_png, read_rgb


def subset(source: Source, indices: Sequence[int]) -> "Subset":
    """Returns the examples with the given numbers, in the given order.

    Args:
        source: The source of the examples.
        indices: The numbers; those of a sequence must be next to each other, but they
            may be a part of it.

    Raises:
        InputError: A number is out of range, or a sequence is torn apart.
    """
    wrong = [i for i in indices if not 0 <= i < len(source)]
    if wrong:
        raise InputError(
            f"{source.name}: has no example {wrong[0]}; expected 0 to "
            f"{len(source) - 1}."
        )
    of_each = _sequence_of_each(source)
    chosen = tuple(of_each[i] for i in indices)
    rows = [name for name, _ in itertools.groupby(chosen)]
    if len(rows) != len(set(rows)):
        raise InputError(
            f"{source.name}: a sequence's examples must be in a row in a subset."
        )
    return Subset(source, tuple(indices), chosen)


def with_flow(source: Source) -> "Subset":
    """Returns the examples with flow: all but the last frame of every sequence."""
    return subset(source, [i for i, has in enumerate(source.has_flow) if has])


def without_last(source: Source) -> "Subset":
    """Returns the examples that have a next frame, to which there can be flow.

    The last example of a sequence has one if it is followed by frames that are not
    annotated.
    """
    lasts = {numbers[-1] for numbers in source.sequences.values()}

    def has_next(i):
        return source.has_flow[i] or next_image(source, i) is not None

    chosen = [i for i in range(len(source)) if i not in lasts or has_next(i)]
    return subset(source, chosen)


def choose_sequences(source: Source, names: Sequence[str]) -> "Subset":
    """Returns the examples of some sequences, in the source's order.

    Raises:
        InputError: The source has no such sequence.
    """
    unknown = [name for name in names if name not in source.sequences]
    if unknown:
        raise InputError(
            f"{source.name}: has no sequence {unknown[0]!r:.120}; it has "
            f"{', '.join([*source.sequences][:10])} ..."
        )
    chosen = {*names}
    indices = [i for name in source.sequences if name in chosen
               for i in source.sequences[name]]  # fmt: skip
    return subset(source, indices)


def annotated(source: Source) -> "Subset":
    """Returns the examples with at least one object, regions to ignore excluded.

    It reads all annotations, unless the source knows the numbers of objects.
    """
    counts = getattr(source, "object_counts", None)
    if counts is None:
        numbers = range(len(source))
        counts = [int((~read_objects(source, i).ignore).sum()) for i in numbers]
    return subset(source, [i for i, count in enumerate(counts) if count])


def join(sources: Sequence[Source]) -> Source:
    """Returns the examples of several sources, one source after the other.

    Raises:
        InputError: There are none, two have one name, or their classes differ.
    """
    if not sources:
        raise InputError("join: expected at least one source.")
    names = [source.name for source in sources]
    classes = {tuple(source.classes) for source in sources}
    if len(set(names)) != len(names) or len(classes) > 1:
        raise InputError(
            f"{', '.join(names)}: cannot be joined; expected different data sets or "
            "splits of the same classes."
        )
    return Join(tuple(sources))


# `prepare` needs more than a `Source` offers. Sources of files have methods for it; the
# functions below work without them, too.


def encoded_image(source: Source, index: int) -> bytes:
    """Returns the image's file unchanged, or a PNG if the source has no files."""
    source, index = _locate(source, index)
    own = getattr(source, "encoded_image", None)
    return own(index) if own else encode_png(source[index].image)


def next_image(source: Source, index: int) -> Path | bytes | None:
    """Returns the file of the next frame, or its content, if the source knows it."""
    source, index = _locate(source, index)
    own = getattr(source, "next_image", None)
    return own(index) if own else None


def read_next(
    source: Source, index: int
) -> tuple[str, UInt8[np.ndarray, "h w 3"]] | None:
    """Reads the next frame, if the source knows it; returns its file and the image.

    Raises:
        InputError: It cannot be read.
    """
    following = next_image(source, index)
    if following is None:
        return None
    where = str(following)
    if isinstance(following, bytes):
        where = f"{source.name}: the frame after example {index}"
    return where, read_rgb(following, source=where)


def read_objects(source: Source, index: int) -> Objects:
    """Reads an example's objects, without its image if the source can do that."""
    source, index = _locate(source, index)
    own = getattr(source, "objects", None)
    return own(index) if own else source[index].objects


@dataclasses.dataclass(frozen=True)
class Subset:
    """A part of a source, as `subset` makes it."""

    source: Source
    indices: tuple[int, ...]
    sequence_of_each: tuple[str, ...]

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    @property
    def classes(self) -> Sequence[str]:
        """The source's classes."""
        return self.source.classes

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The sequences with examples left."""
        return ranges(self.sequence_of_each)

    @cached_property
    def sizes(self) -> Sequence[Size]:
        """The height and width of every example."""
        return [self.source.sizes[i] for i in self.indices]

    @cached_property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow."""
        return [self.source.has_flow[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.indices[index]]

    def locate(self, index: int) -> tuple[Source, int]:
        """Returns the source of an example, and its number there."""
        return self.source, self.indices[index]


@dataclasses.dataclass(frozen=True)
class Join:
    """Several sources as one, as `join` makes it.

    Its sequences are named "data set/split/sequence".
    """

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """The names of all sources."""
        return "+".join(source.name for source in self.sources)

    @property
    def classes(self) -> Sequence[str]:
        """The classes, which are the same in all sources."""
        return self.sources[0].classes

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The sequences of all sources."""
        return {
            f"{source.name}/{name}": range(start + part.start, start + part.stop)
            for source, start in zip(self.sources, self._starts, strict=True)
            for name, part in source.sequences.items()
        }

    @cached_property
    def sizes(self) -> Sequence[Size]:
        """The height and width of every example."""
        return [size for source in self.sources for size in source.sizes]

    @cached_property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow."""
        return [has for source in self.sources for has in source.has_flow]

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, index: int) -> Example:
        source, below = self.locate(index)
        return source[below]

    def locate(self, index: int) -> tuple[Source, int]:
        """Returns the source of an example, and its number there."""
        index = range(len(self))[index]
        which = bisect.bisect_right(self._starts, index) - 1
        return self.sources[which], index - self._starts[which]

    @functools.cached_property
    def _starts(self) -> Sequence[int]:
        lengths = [len(source) for source in self.sources]
        return [0, *itertools.accumulate(lengths)][:-1]


def _locate(source: Source, index: int) -> tuple[Source, int]:
    """Returns the original source of an example, and its number there."""
    while isinstance(source, Subset | Join):
        source, index = source.locate(index)
    return source, index


def _sequence_of_each(source):
    names = [""] * len(source)
    for name, part in source.sequences.items():
        for i in part:
            names[i] = name
    return names
