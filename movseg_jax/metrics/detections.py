"""Measures of tracks, frame by frame as detections and over the video as objects.

Neither looks at classes: an object is an object.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import fsum, isnan, nan
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32
from scipy.optimize import linear_sum_assignment

from movseg_jax import masks
from movseg_jax.metrics.average_precision import Evaluator, Tables, merged
from movseg_jax.metrics.base import ComparedFrame, Measure, SequenceScore
from movseg_jax.metrics.overlaps import ImageDetections, ImageObjects

MAX_DETECTIONS = 100  # Of a frame, as COCO has it.


# Detections ------------------------------------------------------------------------


def detection(
    *, drop_last_frame: bool = True, max_detections: int = MAX_DETECTIONS
) -> Measure:
    """Average precision and recall of boxes and masks over all frames (COCO).

    Every sighting of a track is a detection of its whole mask, with its score and the
    tight box around it; every object of the truth that is visible in the frame is to be
    found. "box_ap", "box_ap50", "box_ap75", "box_ar1", "box_ar10", "box_ar100" and the
    same of "mask" are as in `average_precision`. Three things are settled here:

    - Equal scores count together, so that neither the order of frames nor that of
      sequences matters; in a frame the larger mask comes first. Without equal scores
      the numbers are those of `COCOeval`.
    - A detection that has no object, but a part of its mask in void that is at least
      the threshold of IoU, is neither right nor wrong, as COCO has it of crowds.
    - Masks without a pixel are no detections.

    The score of a frame is its own "mask_ap50"; without objects, 1 if nothing wrong
    was found, and else 0.

    Args:
        drop_last_frame: The last frame of every sequence does not count: flow leads
            from a frame to the next, so none starts there (Dave et al., 2019).
        max_detections: How many count in a frame; the best ones.
    """
    evaluator = _evaluator(max_detections)

    def sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
        counted = _all_but_last(frames) if drop_last_frame else frames
        evaluated = _evaluator(max_detections)
        scores = {}
        for frame in counted:
            evaluated.add(frame.name, _detections(frame), _objects(frame))
            scores[frame.name] = _frame_score(evaluated, frame.name)
        return SequenceScore(evaluated.tables(), scores)

    def dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
        parts: Iterable[Tables] = (score.parts for score in scores)
        return evaluator.measures(merged(parts))

    return Measure(sequence, dataset)


def _evaluator(max_detections) -> Evaluator:
    return Evaluator(
        max_detections=max_detections, class_agnostic=True, ties_together=True
    )


def _all_but_last(frames: Iterable[ComparedFrame]) -> Iterator[ComparedFrame]:
    before = None
    for frame in frames:
        if before is not None:
            yield before
        before = frame


def _detections(frame: ComparedFrame) -> ImageDetections:
    sightings = [s for s in frame.tracks.sightings if masks.area(s.mask)]
    # In an order of what they are: their tracks' numbers and places mean nothing.
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
    # As above: of two objects that are overlapped equally, the last is preferred.
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


def _frame_score(evaluator: Evaluator, name: str) -> float:
    tables = evaluator.tables(name)
    table = tables["mask", 0]
    if table.objects[0]:
        return evaluator.measures(tables)["mask_ap50"]
    return float(not table.wrong(0).any())


# Overlap ---------------------------------------------------------------------------


class _Overlap(NamedTuple):
    """What is kept of a sequence.

    Attributes:
        ious: IoU of every object with its track; 0 if there is none for it.
        foreground: IoU, precision and recall.
        tracks: Number of tracks.
    """

    ious: tuple[float, ...]
    foreground: tuple[float, float, float]
    tracks: int


def overlap() -> Measure:
    """How far tracks and objects overlap, in plain numbers.

    Each track is what is visible of it, and void pixels are left out. Of a data set:

    - "object_iou": mean over all objects of the IoU with their tracks, each over all
      frames of the video at once. An object has at most one track and a track at most
      one object, such that the sum of the IoUs is the largest; 0 without a track.
    - "foreground_iou", "foreground_precision", "foreground_recall": mean over sequences
      of how the pixels of all tracks agree with those of all objects. Where there are
      neither, IoU is 1; sequences without tracks have no precision, those without
      objects no recall, and those without frames none of the three.
    - "objects", "tracks": how many there are, in all sequences.

    The score of a frame is the IoU of its foreground.
    """
    return Measure(_overlap_of_sequence, _overlap_of_dataset)


def _overlap_of_sequence(frames: Iterable[ComparedFrame]) -> SequenceScore:
    total: Counter[tuple[int, int]] = Counter()
    scores: dict[str, float] = {}
    for frame in frames:
        counts = pair_counts(frame.truth, frame.found, frame.void)
        total.update(counts)
        scores[frame.name] = _foreground(counts)[0]
    ious = pair_ious(total)
    rows = {i: n for n, i in enumerate(sorted({i for i, _ in total if i}))}
    columns = {j: n for n, j in enumerate(sorted({j for _, j in total if j}))}
    matrix = np.zeros((len(rows), len(columns)))
    for (i, j), iou in ious.items():
        matrix[rows[i], columns[j]] = iou
    of_objects = np.zeros(len(rows))
    matched = linear_sum_assignment(matrix, maximize=True)
    of_objects[matched[0]] = matrix[matched]
    foreground = _foreground(total) if scores else (nan, nan, nan)
    part = _Overlap(tuple(of_objects.tolist()), foreground, len(columns))
    return SequenceScore(part, scores)


def _overlap_of_dataset(scores: Sequence[SequenceScore]) -> dict[str, float]:
    parts: list[_Overlap] = [score.parts for score in scores]
    ious = [iou for part in parts for iou in part.ious]
    foreground = zip(*(part.foreground for part in parts), strict=True)
    names = ("foreground_iou", "foreground_precision", "foreground_recall")
    return {
        "object_iou": _mean(ious),
        **{name: _mean(v) for name, v in zip(names, foreground, strict=True)},
        "objects": float(len(ious)),
        "tracks": float(sum(part.tracks for part in parts)),
    }


def pair_counts(
    truth: Int32[np.ndarray, "h w"],
    found: Int32[np.ndarray, "h w"],
    void: Bool[np.ndarray, "h w"] | None,
) -> Counter[tuple[int, int]]:
    """The number of pixels of each (object, track); 0 is none of them.

    Args:
        truth: Ids of the objects.
        found: Ids of the tracks.
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
    """IoU, precision and recall of all tracks together; nan where not defined."""
    both = sum(count for (i, j), count in counts.items() if i and j)
    found = sum(count for (_, j), count in counts.items() if j)
    true = sum(count for (i, _), count in counts.items() if i)
    either = found + true - both
    return (
        both / either if either else 1.0,
        both / found if found else nan,
        both / true if true else nan,
    )


def _mean(values: Iterable[float]) -> float:
    """Of what is defined; exact, so that no order matters."""
    defined = [value for value in values if not isnan(value)]
    return fsum(defined) / len(defined) if defined else nan
