"""Metrics and their states, and the frames that the metrics of tracks compare."""

import abc
import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from movseg_jax import masks
from movseg_jax.results import TrackedFrame

Example = TypeVar("Example", contravariant=True)


class State(NamedTuple):
    """The state of a metric: the data it keeps of the examples that were added.

    Attributes:
        parts: Data of each example, in a form that only the metric knows.
        frames: Score of each frame, 0 to 1, by which a reader finds the worst ones.
    """

    parts: tuple[Any, ...]
    frames: dict[str, float]


class Metric(abc.ABC, Generic[Example]):
    """A metric turns examples into states, and the state of many into numbers.

    States are small and can be pickled, so examples can be added in other processes.
    The same states can be merged time and again, as bootstrapping does.
    """

    @abc.abstractmethod
    def add(self, example: Example, /) -> State:
        """Returns the state of one example."""

    def merge(self, states: Iterable[State]) -> State:
        """Returns one state of all examples, without the scores of frames.

        Frames of different sequences have the same names.
        """
        return State(tuple(part for state in states for part in state.parts), {})

    @abc.abstractmethod
    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers by name; NaN where there is nothing to measure.

        They are the same, to the last bit, in whatever order examples were merged.
        """


@dataclasses.dataclass(frozen=True)
class ComparedFrame:
    """A frame's truth beside the tracks that were found in it.

    Attributes:
        name: Name of the frame, without suffix.
        index: Number of the frame in its video, from 0.
        truth: Id of the object at every pixel, 0 where there is none.
        tracks: The tracks that were found, of the size of `truth`.
        void: Pixels that are neither right nor wrong; None if all count. A metric whose
            protocol knows no such pixels takes them for background.
        weights: Weight of every pixel, 0 to 1, for metrics that use weights.
        boxes: Boxes `[x0, y0, x1, y1]` of the sightings, if a detector gave them; None
            stands for the tight boxes of the masks.
    """

    name: str
    index: int
    truth: Int32[np.ndarray, "h w"]
    tracks: TrackedFrame
    void: Bool[np.ndarray, "h w"] | None = None
    weights: Float32[np.ndarray, "h w"] | None = None
    boxes: Float64[np.ndarray, "n 4"] | None = None

    @functools.cached_property
    def found(self) -> Int32[np.ndarray, "h w"]:
        """The id of the track that is visible at every pixel, 0 where there is none."""
        ids = np.zeros(self.truth.shape, np.int32)
        for sighting in self.tracks.sightings:
            ids[masks.decode(sighting.mask)] = sighting.id
        return ids

    def without_void(
        self,
    ) -> tuple[Int32[np.ndarray, "h w"], Int32[np.ndarray, "h w"]]:
        """`truth` and `found`, both 0 at void pixels."""
        if self.void is None:
            return self.truth, self.found
        return np.where(self.void, 0, self.truth), np.where(self.void, 0, self.found)


# A metric of tracks: it is given the frames of a sequence in order, one at a time.
TrackMetric = Metric[Iterable[ComparedFrame]]


def mean(values: Iterable[float]) -> float:
    """The mean of all values but NaNs; NaN if there are no others.

    The sum is exact, so the order of the values does not matter.
    """
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
