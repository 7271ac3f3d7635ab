"""Metrics of tracks as detections in frames, and as objects over the video.

Neither looks at classes.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from math import nan
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32
from scipy.optimize import linear_sum_assignment

from movseg_jax import masks
from movseg_jax.metrics.average_precision import AveragePrecision, concatenate
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric, mean
from movseg_jax.metrics.overlaps import ComparedImage, ImageDetections, ImageObjects

MAX_DETECTIONS = 100  # Detections that count in a frame, as in COCO.


# Detections ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class DetectionPrecision(TrackMetric):
    """Average precision and recall of boxes and masks over all frames (COCO).

    Every sighting of a track is a detection of its complete mask, with its score and
    the tight box around it, or the box that its detector gave. Every object of the
    truth that is visible in the frame is to be found. The numbers are "box_ap",
    "box_ap50", "box_ap75", "box_ar1", "box_ar10", "box_ar100" and the same of "mask",
    as in `average_precision`. Three rules are added:

    - Equal scores count together, so that neither the order of frames nor that of
      sequences matters. Within a frame the larger mask comes first. Without equal
      scores the numbers are those of `COCOeval`.
    - A detection without an object is neither right nor wrong if the part of its mask
      in void reaches the IoU threshold, as COCO treats crowds.
    - Masks without a pixel are not detections, unless a detector gave their boxes.

    The score of a frame is its own "mask_ap50". In a frame without objects it is 1 if
    nothing wrong was found, and 0 otherwise.

    Attributes:
        max_detections: Number of detections that count in a frame; the best ones do.
    """

    max_detections: int = MAX_DETECTIONS

    @property
    def _precision(self) -> AveragePrecision:
        return AveragePrecision(
            max_detections=self.max_detections, class_agnostic=True, ties_together=True
        )

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence, whose part has all frames' outcomes."""
        metric = self._precision
        states: list[State] = []
        scores: dict[str, float] = {}
        for frame in frames:
            image = ComparedImage(frame.name, _detections(frame), _objects(frame))
            state = metric.add(image)
            states.append(state)
            scores[frame.name] = _frame_score(metric, state)
        merged = metric.merge(states)
        return State((concatenate(tables for _, tables in merged.parts),), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers over the frames of all sequences."""
        return self._precision.numbers(concatenate(state.parts))


def _detections(frame: ComparedFrame) -> ImageDetections:
    if frame.boxes is not None:
        found = frame.tracks.sightings
        return ImageDetections(
            np.array([s.score for s in found], np.float64),
            np.zeros(len(found), np.int32),
            frame.boxes,
            [s.mask for s in found],
        )
    sightings = [s for s in frame.tracks.sightings if masks.area(s.mask)]
    # Ordered by what they look like: their tracks' numbers and places mean nothing.
    sightings.sort(key=lambda s: (-masks.area(s.mask), s.mask.counts, s.score))
    return ImageDetections(
        np.array([s.score for s in sightings], np.float64),
        np.zeros(len(sightings), np.int32),
        _stack([masks.tight_box(masks.decode(s.mask)) for s in sightings]),
        [s.mask for s in sightings],
    )


def _objects(frame: ComparedFrame) -> ImageObjects:
    truth = frame.truth if frame.void is None else frame.truth * ~frame.void
    dense = [truth == i for i in np.unique(truth) if i]
    objects = [(masks.encode(mask), masks.tight_box(mask)) for mask in dense]
    # Ordered likewise: among objects of equal overlap, the last is preferred.
    objects.sort(key=lambda item: item[0].counts)
    return ImageObjects(
        np.zeros(len(objects), np.int32),
        np.zeros(len(objects), bool),
        _stack([box for _, box in objects]),
        [rle for rle, _ in objects],
        None if frame.void is None else masks.encode(frame.void),
    )


def _stack(boxes):
    return np.array(boxes, np.float32).reshape(-1, 4)


def _frame_score(metric: AveragePrecision, state: State) -> float:
    ((_, tables),) = state.parts
    masks_outcomes = tables["mask", 0]
    if masks_outcomes.objects[0]:
        return metric.compute(state)["mask_ap50"]
    return float(not masks_outcomes.wrong(0).any())


# Overlap ---------------------------------------------------------------------------


class OverlapPart(NamedTuple):
    """The data that `Overlap` keeps of a sequence.

    Attributes:
        ious: IoU of every object with its track; 0 if it has none.
        foreground: IoU, precision and recall of all tracks together.
        tracks: Number of tracks.
    """

    ious: tuple[float, ...]
    foreground: tuple[float, float, float]
    tracks: int


class Overlap(TrackMetric):
    """Measures how far tracks and objects overlap, in plain numbers.

    Each track is its visible part, and void pixels are left out. The numbers are:

    - "object_iou": mean over all objects of the IoU with their tracks, each over all
      frames of the video at once. An object has at most one track and a track at most
      one object, such that the sum of the IoUs is the largest; 0 without a track.
    - "foreground_iou", "foreground_precision", "foreground_recall": means over
      sequences, with the pixels of all tracks together against those of all objects
      together. Where there are neither, IoU is 1. Sequences without tracks have no
      precision, those without objects no recall, and those without frames none of the
      three.
    - "objects", "tracks": numbers of objects and tracks in all sequences.

    The score of a frame is the IoU of its foreground.
    """

    def add(self, frames: Iterable[ComparedFrame], /) -> State:
        """Returns the state of one sequence."""
        total: Counter[tuple[int, int]] = Counter()
        scores: dict[str, float] = {}
        for frame in frames:
            counts = pair_counts(frame.truth, frame.found, frame.void)
            total.update(counts)
            scores[frame.name] = _foreground(counts)[0]
        rows = {i: n for n, i in enumerate(sorted({i for i, _ in total if i}))}
        columns = {j: n for n, j in enumerate(sorted({j for _, j in total if j}))}
        ious = np.zeros((len(rows), len(columns)))
        for (i, j), iou in pair_ious(total).items():
            ious[rows[i], columns[j]] = iou
        of_objects = np.zeros(len(rows))
        matched = linear_sum_assignment(ious, maximize=True)
        of_objects[matched[0]] = ious[matched]
        foreground = _foreground(total) if scores else (nan, nan, nan)
        part = OverlapPart(tuple(of_objects.tolist()), foreground, len(columns))
        return State((part,), scores)

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers of all sequences."""
        parts: tuple[OverlapPart, ...] = state.parts
        ious = [iou for part in parts for iou in part.ious]
        names = ("foreground_iou", "foreground_precision", "foreground_recall")
        foreground = zip(*(part.foreground for part in parts), strict=True)
        return {
            "object_iou": mean(ious),
            **{name: mean(v) for name, v in zip(names, foreground, strict=True)},
            "objects": float(len(ious)),
            "tracks": float(sum(part.tracks for part in parts)),
        }


def pair_counts(
    truth: Int32[np.ndarray, "h w"],
    found: Int32[np.ndarray, "h w"],
    void: Bool[np.ndarray, "h w"] | None,
) -> Counter[tuple[int, int]]:
    """The number of pixels of each (object, track); id 0 stands for neither.

    Args:
        truth: Id of the object at every pixel.
        found: Id of the track at every pixel.
        void: Pixels that do not count; None if all do.
    """
    counted = ... if void is None else ~void
    pairs = (truth[counted].astype(np.int64) << 32 | found[counted]).ravel()
    # A sort of all pixels would take ten times as long as one of the runs.
    starts = np.flatnonzero(np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)])
    lengths = np.diff(starts, append=len(pairs))
    distinct, inverse = np.unique(pairs[starts], return_inverse=True)
    counts = np.bincount(inverse, lengths, len(distinct)).astype(np.int64).tolist()
    ids = [(pair >> 32, pair & 0xFFFFFFFF) for pair in distinct.tolist()]
    return Counter(dict(zip(ids, counts, strict=True)))


def pair_ious(counts: Counter[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """The IoU of each (object, track) that share pixels, from `pair_counts`."""
    objects, tracks = Counter(), Counter()
    for (i, j), count in counts.items():
        objects[i] += count
        tracks[j] += count
    return {
        (i, j): count / (objects[i] + tracks[j] - count)
        for (i, j), count in counts.items()
        if i and j
    }


def _foreground(counts: Counter[tuple[int, int]]) -> tuple[float, float, float]:
    """IoU, precision and recall of all tracks together; NaN where not defined."""
    both = sum(count for (i, j), count in counts.items() if i and j)
    found = sum(count for (_, j), count in counts.items() if j)
    true = sum(count for (i, _), count in counts.items() if i)
    either = found + true - both
    return (
        both / either if either else 1.0,
        both / found if found else nan,
        both / true if true else nan,
    )
