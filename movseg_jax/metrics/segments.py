"""Counts the pixels that regions of the truth and tracks share over a sequence.

A region is all pixels with one number in the truth, over all frames; the background may
be one. Regions and tracks are in the order of their first pixels, frame by frame and
row by row. So no result depends on their ids, not even if several matchings are equally
good.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.optimize import linear_sum_assignment

_SMALL = 2**16  # Smaller ids are looked up in a table.


class _FrameCounts(NamedTuple):
    """The pairs of a region and a track that share pixels in a frame."""

    name: str
    regions: Int64[np.ndarray, " k"]
    tracks: Int64[np.ndarray, " k"]
    counts: Float64[np.ndarray, " k"]


class Segments:
    """Counts the pixels that each region shares with each track, frame by frame."""

    def __init__(self):
        """Starts without frames."""
        self._regions: dict[int, int] = {}
        self._tracks: dict[int, int] = {}
        self._sizes: list[Float64[np.ndarray, " n"]] = []
        self._frames: list[_FrameCounts] = []

    def add(
        self,
        name: str,
        regions: np.ndarray,
        tracks: np.ndarray,
        weights: np.ndarray | None = None,
        points: np.ndarray | None = None,
    ) -> None:
        """Counts the next frame.

        Args:
            name: Name of the frame.
            regions: Region of every pixel, from 0.
            tracks: Track of every pixel, or of every point, from 0.
            weights: Weight of every pixel; 1 if None.
            points: Pixels of the points, as numbers in the flattened frame; None if
                `tracks` has every pixel.
        """
        rows = _number(regions.ravel(), self._regions)
        values = None if weights is None else weights.ravel()
        self._sizes.append(np.bincount(rows, values).astype(np.float64))
        columns = _number(tracks.ravel(), self._tracks)
        if points is not None:
            rows = rows[points]
            values = None if values is None else values[points]
        width = max(len(self._tracks), 1)
        cells = rows * width + columns
        pairs = np.flatnonzero(np.bincount(cells))
        counts = np.bincount(cells, values)[pairs].astype(np.float64)
        frame = _FrameCounts(name, pairs // width, pairs % width, counts)
        self._frames.append(frame)

    @property
    def regions(self) -> Int64[np.ndarray, " n"]:
        """The ids of the regions that have pixels, in the order of the rows."""
        return np.array([*self._regions], np.int64)

    @property
    def tracks(self) -> Int64[np.ndarray, " m"]:
        """The ids of the tracks that have pixels, in the order of the columns."""
        return np.array([*self._tracks], np.int64)

    def sizes(self) -> Float64[np.ndarray, " n"]:
        """The pixels of each region, with and without tracks, over all frames."""
        total = np.zeros(len(self._regions))
        for sizes in self._sizes:
            total[: len(sizes)] += sizes
        return total

    def overlap(self) -> Float64[np.ndarray, "n m"]:
        """The pixels that each region shares with each track, over all frames."""
        total = np.zeros((len(self._regions), len(self._tracks)))
        for frame in self._frames:
            total[frame.regions, frame.tracks] += frame.counts
        return total

    def frame_scores(
        self,
        matched: Int64[np.ndarray, " n"],
        *,
        objects: Bool[np.ndarray, " n"],
        penalised: Bool[np.ndarray, " m"],
    ) -> dict[str, float]:
        """Returns the mean IoU of objects and their tracks in every frame.

        Args:
            matched: Column of each region's track, -1 if it has none.
            objects: Whether each region counts.
            penalised: Whether each track counts, with an IoU of 0, in frames without
                the object that it is matched to, or if it is matched to none.

        Returns:
            The means by the frames' names; 1 where nothing counts.
        """
        scores = {}
        for frame in self._frames:
            overlap = np.zeros((len(self._regions), len(self._tracks)))
            overlap[frame.regions, frame.tracks] = frame.counts
            areas, track_areas = overlap.sum(axis=1), overlap.sum(axis=0)
            here = np.flatnonzero(objects & (areas > 0))
            pairs = here[matched[here] >= 0]
            shared = overlap[pairs, matched[pairs]]
            ious = shared / (areas[pairs] + track_areas[matched[pairs]] - shared)
            wrong = penalised & (track_areas > 0)
            wrong[matched[pairs]] = False
            count = len(here) + np.count_nonzero(wrong)
            scores[frame.name] = float(ious.sum() / count) if count else 1.0
        return scores


class Fit(NamedTuple):
    """The agreement of each region with each track; 0 where nothing overlaps.

    Attributes:
        precision: Share of the track that is in the region.
        recall: Share of the region that is in the track.
        f_measure: Harmonic mean of both.
    """

    precision: Float64[np.ndarray, "n m"]
    recall: Float64[np.ndarray, "n m"]
    f_measure: Float64[np.ndarray, "n m"]


def fit(
    overlap: Float64[np.ndarray, "n m"],
    region_sizes: Float64[np.ndarray, " n"],
    track_sizes: Float64[np.ndarray, " m"],
) -> Fit:
    """Computes precision, recall and F of all pairs."""
    rows, columns = region_sizes[:, None], track_sizes[None, :]
    # F is computed as Dice's coefficient, which equals it and is exact if counts are
    # whole: an F of 0.75 is neither above nor below 0.75.
    return Fit(
        _ratio(overlap, np.broadcast_to(columns, overlap.shape)),
        _ratio(overlap, np.broadcast_to(rows, overlap.shape)),
        _ratio(2 * overlap, rows + columns),
    )


def match(values: Float64[np.ndarray, "n m"]) -> Int64[np.ndarray, " n"]:
    """The column of each row in the matching of the largest sum; -1 if it has none.

    Pairs of value 0 are not matched.
    """
    matched = np.full(values.shape[0], -1, np.int64)
    rows, columns = linear_sum_assignment(values, maximize=True)
    some = values[rows, columns] > 0
    matched[rows[some]] = columns[some]
    return matched


def harmonic_mean(precision: float, recall: float) -> float:
    """Computes F of a precision and a recall; 0 if both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _ratio(part, whole):
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _number(ids, known: dict[int, int]) -> Int64[np.ndarray, " k"]:
    """The numbers of ids; new ids get the next numbers in the order of first pixels."""
    top = int(ids.max(initial=0))
    if top >= _SMALL:
        present, places = np.unique(ids, return_inverse=True)
    else:
        # A table is faster than sorting.
        present = np.flatnonzero(np.bincount(ids, minlength=1))
        table = np.zeros(top + 1, np.int64)
        table[present] = np.arange(len(present))
        places = table[ids]
    new = [i for i in present.tolist() if i not in known]
    for i in sorted(new, key=lambda i: int(np.argmax(ids == i))):
        known[i] = len(known)
    return np.array([known[i] for i in present.tolist()], np.int64)[places]
