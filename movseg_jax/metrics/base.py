"""What a measure of tracks sees: a frame's truth beside what was found in it."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from movseg_jax import masks
from movseg_jax.results import TrackedFrame


@dataclasses.dataclass(frozen=True)
class ComparedFrame:
    """One frame that has a truth.

    Attributes:
        name: Of the frame, without suffix.
        index: Of the frame in its video, from 0.
        truth: The id of the object at every pixel, 0 where there is none.
        tracks: What was found, of the size of `truth`.
        void: Pixels that are neither right nor wrong; None if all count. A measure
            whose protocol knows no such pixels takes them for background.
        weights: How much every pixel counts, 0 to 1, in measures that say so.
    """

    name: str
    index: int
    truth: Int32[np.ndarray, "h w"]
    tracks: TrackedFrame
    void: Bool[np.ndarray, "h w"] | None = None
    weights: Float32[np.ndarray, "h w"] | None = None

    @functools.cached_property
    def found(self) -> Int32[np.ndarray, "h w"]:
        """The id of the track that is visible at every pixel, 0 where there is none."""
        ids = np.zeros(self.truth.shape, np.int32)
        for sighting in self.tracks.sightings:
            ids[masks.decode(sighting.mask)] = sighting.id
        return ids


class SequenceScore(NamedTuple):
    """How well the tracks of one sequence fit its truth.

    Attributes:
        parts: What the measure needs of this sequence to measure a data set.
        frames: Of every frame that counts, a score, 0 to 1, by which a reader finds
            the worst.
    """

    parts: Any
    frames: dict[str, float]


class Measure(NamedTuple):
    """A measure of tracks.

    Attributes:
        sequence: Scores one sequence; takes its frames in order, one at a time.
        dataset: The numbers by name, over any sequences, one or more; NaN where there
            is nothing to measure. The same, in bytes, in whatever order they are.
    """

    sequence: Callable[[Iterable[ComparedFrame]], SequenceScore]
    dataset: Callable[[Sequence[SequenceScore]], dict[str, float]]
