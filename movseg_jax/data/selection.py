"""Parts of sources, and sources after one another; nothing is read."""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from movseg_jax.data.annotations import Objects, Size
from movseg_jax.data.example import Example, Source
from movseg_jax.data.frames import ranges
from movseg_jax.errors import InputError
from movseg_jax.images import encode_png


def subset(source: Source, indices: Sequence[int]) -> "Subset":
    """The examples with these numbers, in this order.

    Args:
        source: Of the examples.
        indices: Those of a sequence must be in a row, whole or not.

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
    """The examples that have flow: without the last frame of every sequence."""
    return subset(source, [i for i, has in enumerate(source.has_flow) if has])


def annotated(source: Source) -> "Subset":
    """The examples with at least one object that is not just a region to ignore.

    Reads the annotations, unless the source knows without.
    """
    counts = getattr(source, "object_counts", None)
    if counts is None:
        counts = [int((~read_objects(source, i).ignore).sum()) for i in _all(source)]
    return subset(source, [i for i, count in enumerate(counts) if count])


def join(sources: Sequence[Source]) -> Source:
    """The examples of several sources, one source after the other.

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


# What `prepare` needs beyond `Source`, of sources that have it and others -----------


def encoded_image(source: Source, index: int) -> bytes:
    """The image's file as it is, or, of a source that has none, a PNG."""
    if isinstance(source, Subset):
        return encoded_image(source.source, source.indices[index])
    if isinstance(source, Join):
        return encoded_image(*source.locate(index))
    own = getattr(source, "encoded_image", None)
    return own(index) if own else encode_png(source[index].image)


def next_image(source: Source, index: int) -> Path | None:
    """The next frame on disk, where the source knows it."""
    if isinstance(source, Subset):
        return next_image(source.source, source.indices[index])
    if isinstance(source, Join):
        return next_image(*source.locate(index))
    own = getattr(source, "next_image", None)
    return own(index) if own else None


def read_objects(source: Source, index: int) -> Objects:
    """An example's objects, without reading its image where that is possible."""
    if isinstance(source, Subset):
        return read_objects(source.source, source.indices[index])
    if isinstance(source, Join):
        return read_objects(*source.locate(index))
    own = getattr(source, "objects", None)
    if own:
        return own(index)
    example = source[index]
    return Objects(
        masks=example.masks,
        classes=example.classes,
        ids=example.ids,
        ignore=example.ignore,
        moving=example.moving,
    )


@dataclasses.dataclass(frozen=True)
class Subset:
    """See `subset`."""

    source: Source
    indices: tuple[int, ...]
    sequence_of_each: tuple[str, ...]

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    @property
    def classes(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.classes

    @property
    def sequences(self) -> Mapping[str, range]:
        """Those with examples left."""
        return self._sequences

    @functools.cached_property
    def _sequences(self) -> Mapping[str, range]:
        return ranges(self.sequence_of_each)

    @property
    def sizes(self) -> Sequence[Size]:
        """Height and width of every example."""
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> Sequence[Size]:
        return [self.source.sizes[i] for i in self.indices]

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether the example has flow."""
        return self._has_flow

    @functools.cached_property
    def _has_flow(self) -> Sequence[bool]:
        return [self.source.has_flow[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.indices[index]]


@dataclasses.dataclass(frozen=True)
class Join:
    """See `join`. Sequences are called "data set/split/sequence"."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """Of all sources."""
        return "+".join(source.name for source in self.sources)

    @property
    def classes(self) -> Sequence[str]:
        """Those of all sources."""
        return self.sources[0].classes

    @property
    def sequences(self) -> Mapping[str, range]:
        """Of all sources."""
        return self._sequences

    @functools.cached_property
    def _sequences(self) -> Mapping[str, range]:
        return {
            f"{source.name}/{name}": range(start + part.start, start + part.stop)
            for source, start in zip(self.sources, self._starts, strict=True)
            for name, part in source.sequences.items()
        }

    @property
    def sizes(self) -> Sequence[Size]:
        """Height and width of every example."""
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> Sequence[Size]:
        return [size for source in self.sources for size in source.sizes]

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether the example has flow."""
        return self._has_flow

    @functools.cached_property
    def _has_flow(self) -> Sequence[bool]:
        return [has for source in self.sources for has in source.has_flow]

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, index: int) -> Example:
        source, below = self.locate(index)
        return source[below]

    def locate(self, index: int) -> tuple[Source, int]:
        """The source of an example, and its number there."""
        index = range(len(self))[index]
        which = bisect.bisect_right(self._starts, index) - 1
        return self.sources[which], index - self._starts[which]

    @functools.cached_property
    def _starts(self) -> Sequence[int]:
        lengths = [len(source) for source in self.sources]
        return [0, *itertools.accumulate(lengths)][:-1]


def _all(source):
    return range(len(source))


def _sequence_of_each(source):
    names = [""] * len(source)
    for name, part in source.sequences.items():
        for i in part:
            names[i] = name
    return names
