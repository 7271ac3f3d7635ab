"""Average precision of detections, as COCO measures it, image by image.

In every image the detections, best score first, each take the free object of their
class that they overlap most, if the overlap reaches an IoU threshold. Over all images,
the detections above a score then have a precision (the share that took an object) and
a recall (the share of objects that are taken). Average precision is the mean over 101
recalls of the best precision at that recall or a higher one (Lin et al., 2014).

The numbers are those of `COCOeval` of pycocotools, except for its rounding errors and
the order of equal scores: images count in the order of their names, unless equal scores
count together. Two things differ. Numbers that are not defined, because there are no
objects, are NaN instead of -1. Objects without area, which are hidden in the image, are
left out instead of being missed.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8

from movseg_jax.errors import InputError
from movseg_jax.metrics.base import Metric, State
from movseg_jax.metrics.overlaps import (
    KINDS,
    ComparedImage,
    ImageDetections,
    ImageObjects,
    check_image,
    kind_areas,
    object_areas,
    pairwise_overlaps,
    parts_in_void,
    take,
)

# 0.5, 0.55, ..., 0.95 with COCO's rounding errors.
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_AREAS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "small": (0.0, 32.0**2),
        "medium": (32.0**2, 96.0**2),
        "large": (96.0**2, math.inf),
    }
)

_ALL_AREAS = (0.0, math.inf)
_RECALLS = np.linspace(0, 1, 101)
_RECALL_COUNTS = (1, 10, 100)  # Detections in an image: COCO's AR1, AR10, AR100.
# A detection took an object, took none, or does not count.
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


class Outcomes(NamedTuple):
    """The outcomes of a class's detections, in one image or in several.

    Attributes:
        scores: Scores of the detections, float [n].
        ranks: Rank of each detection in its image, 0 for the best, int [n].
        outcomes: `_RIGHT`, `_WRONG` or `_IGNORED`, int8 [areas, thresholds, n].
        objects: Number of objects to be found, int [areas].
    """

    scores: np.ndarray
    ranks: np.ndarray
    outcomes: np.ndarray
    objects: np.ndarray

    def wrong(self, threshold: int) -> Bool[np.ndarray, " n"]:
        """Detections that wrongly took no object, at the threshold of this number."""
        return self.outcomes[0, threshold] == _WRONG


Tables = Mapping[tuple[str, int], Outcomes]  # By kind and class.


@dataclasses.dataclass(frozen=True)
class AveragePrecision(Metric[ComparedImage]):
    """Average precision and recall over images.

    Attributes:
        iou_thresholds: Least overlaps of a detection with its object, each in (0, 1].
        kinds: Kinds of overlap: "box", "mask" or both.
        max_detections: Number of detections that count in an image, of each class; the
            best ones do.
        class_names: Names of the classes, from class 0.
        class_agnostic: Whether all classes count as one, also those without a name.
            Two detections of one object as two classes stay two detections.
        areas: Ranges of areas in pixels, such as `COCO_AREAS`, to also report alone.
        ties_together: Whether detections of equal scores count together instead of in
            turn as in `COCOeval`. Then precision and recall are those of all detections
            from a score upwards, for every score, and do not depend on the order of
            images.

    Raises:
        InputError: An option has no meaning.
    """

    iou_thresholds: Sequence[float] = COCO_THRESHOLDS
    kinds: Sequence[str] = KINDS
    max_detections: int = 100
    _: dataclasses.KW_ONLY
    class_names: Sequence[str] = ("object",)
    class_agnostic: bool = False
    areas: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    ties_together: bool = False

    def __post_init__(self):
        """Checks the options."""
        if not len(self.iou_thresholds) or not all(
            0 < t <= 1 for t in self.iou_thresholds
        ):
            raise InputError(
                f"iou_thresholds is {self.iou_thresholds}, expected at least one, in "
                "(0, 1]."
            )
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise InputError(
                f"kinds is {self.kinds}, expected some of {', '.join(KINDS)}."
            )
        if self.max_detections < 1:
            raise InputError(
                f"max_detections is {self.max_detections}, expected at least 1."
            )
        names = self.class_names
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"class_names is {names}, expected at least one name, each once."
            )

    @property
    def _classes(self) -> Sequence[str]:
        return ("object",) if self.class_agnostic else self.class_names

    @property
    def _thresholds(self) -> Float64[np.ndarray, " t"]:
        return np.array(self.iou_thresholds, np.float64)

    @property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        """The ranges of areas, by the suffix of their numbers."""
        return {"": _ALL_AREAS, **{f"_{name}": v for name, v in self.areas.items()}}

    @property
    def _recall_counts(self) -> list[int]:
        lower = [count for count in _RECALL_COUNTS if count < self.max_detections]
        return [*lower, self.max_detections]

    def add(self, image: ComparedImage, /) -> State:
        """Compares an image's detections with its objects; keeps neither.

        Detections of equal scores count in the order given.

        Raises:
            InputError: The image's arrays are malformed or disagree.
        """
        names = None if self.class_agnostic else self.class_names
        check_image(image, kinds=self.kinds, class_names=names)
        # Equal scores in the order of their classes, as `COCOeval` has all as one.
        order = np.lexsort([image.detections.classes, -image.detections.scores])
        detections = take(image.detections, order)
        objects = take(image.objects, np.argsort(image.objects.classes, kind="stable"))
        objects = take(objects, np.flatnonzero(object_areas(objects)))
        tables = {
            (kind, i): self._compare(kind, found, true)
            for i, found, true in self._by_class(detections, objects)
            for kind in self.kinds
        }
        return State(((image.name, tables),), {})

    def merge(self, states: Iterable[State]) -> State:
        """Returns the state of all images, in the order of their names.

        Raises:
            InputError: An image was added twice.
        """
        parts = super().merge(states).parts
        images = dict(sorted(parts, key=lambda part: part[0]))
        if len(images) < len(parts):
            names = [name for name, _ in parts]
            twice = next(name for name in images if names.count(name) > 1)
            raise InputError(
                f"{twice}: the image was added twice; its name must be unique."
            )
        return State(tuple(images.items()), {})

    def compute(self, state: State) -> dict[str, float]:
        """Returns the numbers of all images: see `numbers`."""
        return self.numbers(concatenate(tables for _, tables in state.parts))

    def numbers(self, tables: Tables) -> dict[str, float]:
        """Returns the numbers by name, in [0, 1]; NaN where there are no objects.

        "box_ap" is the mean over all IoU thresholds and classes, "box_ap50" and
        "box_ap75" are at one threshold, if it is among them. "box_ar10" is the mean of
        the recalls that ten detections an image reach; 1, 100 and `max_detections` are
        reported too. The name of a range of areas is appended ("box_ap_small"), and
        that of a class if there are several ("box_ap/person"). The same numbers of
        masks begin with "mask".

        Args:
            tables: Outcomes by a metric with the same options.
        """
        found: dict[str, float] = {}
        for kind in self.kinds:
            classes = range(len(self._classes))
            curves = [self._curves(tables.get((kind, i))) for i in classes]
            precision = np.stack([precision for precision, _ in curves])
            recall = np.stack([recall for _, recall in curves])
            for i, suffix in enumerate(self._ranges):
                means = self._means(precision[:, i], recall[:, i])
                found |= {f"{kind}_{name}{suffix}": v for name, v in means.items()}
            if len(curves) == 1:
                continue
            for i, class_name in enumerate(self._classes):
                means = self._means(precision[i, :1], recall[i, :1])
                found |= {f"{kind}_{name}/{class_name}": v for name, v in means.items()}
        return found

    def _by_class(self, detections, objects):
        """Each class that occurs, with its best detections and its objects."""
        if self.class_agnostic:
            yield 0, take(detections, slice(self.max_detections)), objects
            return
        for i in np.union1d(detections.classes, objects.classes).tolist():
            best = np.flatnonzero(detections.classes == i)[: self.max_detections]
            own = np.flatnonzero(objects.classes == i)
            yield i, take(detections, best), take(objects, own)

    def _compare(
        self, kind: str, detections: ImageDetections, objects: ImageObjects
    ) -> Outcomes:
        """The outcomes of a class's detections, best first."""
        overlaps = pairwise_overlaps(kind, detections, objects)
        in_void = parts_in_void(detections, objects) >= _enough(self._thresholds)
        found_areas = kind_areas(kind, detections)
        true_areas = object_areas(objects)
        outcomes = []
        counts = []
        for smallest, largest in self._ranges.values():
            outside = (true_areas < smallest) | (true_areas > largest)
            ignored = objects.ignore | outside
            outcome = _match(overlaps, ignored, objects.ignore, self._thresholds)
            outside = (found_areas < smallest) | (found_areas > largest)
            outcome[(outcome == _WRONG) & (outside | in_void)] = _IGNORED
            outcomes.append(outcome)
            counts.append(np.count_nonzero(~ignored))
        scores = np.asarray(detections.scores, np.float64)
        ranks = np.arange(len(scores), dtype=np.int32)
        return Outcomes(scores, ranks, np.stack(outcomes), np.array(counts))

    def _curves(self, table: Outcomes | None):
        """Precision [areas thresholds recalls] and recall [areas thresholds counts].

        They are NaN where no object was to be found.
        """
        shape = len(self._ranges), len(self.iou_thresholds)
        counts = self._recall_counts
        precision = np.full((*shape, len(_RECALLS)), np.nan)
        recall = np.full((*shape, len(counts)), np.nan)
        if table is None:
            return precision, recall
        order = np.argsort(-table.scores, kind="stable")
        scores = table.scores[order]
        outcomes = table.outcomes[..., order]
        last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
        points = np.flatnonzero(last) if self.ties_together else slice(None)
        for i, j in np.ndindex(shape):
            if objects := int(table.objects[i]):
                precision[i, j] = _curve(outcomes[i, j], objects, points)
                ranks = table.ranks[table.outcomes[i, j] == _RIGHT]
                for k, count in enumerate(counts):
                    recall[i, j, k] = np.count_nonzero(ranks < count) / objects
        return precision, recall

    def _means(self, precision, recall) -> dict[str, float]:
        """Means over precision [classes thresholds recalls] and recall [... counts]."""
        means = {"ap": _mean(precision)}
        for percent in (50, 75):
            at = np.isclose(self._thresholds, percent / 100)
            if at.any():
                means[f"ap{percent}"] = _mean(precision[:, at])
        for k, count in enumerate(self._recall_counts):
            means[f"ar{count}"] = _mean(recall[..., k])
        return means


def concatenate(tables: Iterable[Tables]) -> Tables:
    """Joins the outcomes of several images; the first count first at equal scores.

    Args:
        tables: Outcomes by metrics with the same options. The same may occur
            repeatedly.
    """
    by_key: dict[tuple[str, int], list[Outcomes]] = {}
    for table in tables:
        for key, outcomes in table.items():
            by_key.setdefault(key, []).append(outcomes)
    return {
        key: Outcomes(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.outcomes for part in parts], axis=-1),
            np.sum([part.objects for part in parts], axis=0),
        )
        for key, parts in by_key.items()
    }


# Matching --------------------------------------------------------------------------


def _match(
    overlaps: Float64[np.ndarray, "n m"],
    ignored: Bool[np.ndarray, " m"],
    crowd: Bool[np.ndarray, " m"],
    thresholds: Float64[np.ndarray, " t"],
) -> Int8[np.ndarray, "t n"]:
    """The outcome of each detection, best first, at each threshold."""
    outcomes = np.full((len(thresholds), len(overlaps)), _WRONG, np.int8)
    enough = overlaps[:, None, :] >= _enough(thresholds)
    # As in `COCOeval`, an object is preferred to an ignored one, whatever the overlaps;
    # among equals the last is preferred. The most preferred has the highest rank.
    preferred = np.broadcast_to(~ignored, overlaps.shape)
    rank = np.argsort(np.lexsort([overlaps, preferred], axis=-1), axis=-1)
    free = np.ones((len(thresholds), len(ignored)), bool)
    for i in np.flatnonzero(enough.any(axis=(1, 2))):
        candidates = enough[i] & free
        (takes,) = np.nonzero(candidates.any(axis=1))
        taken = np.where(candidates, rank[i], -1).argmax(axis=1)[takes]
        outcomes[takes, i] = np.where(ignored[taken], _IGNORED, _RIGHT)
        free[takes, taken] = crowd[taken]  # Any number can take a crowd.
    return outcomes


def _enough(thresholds: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, "t 1"]:
    """Thresholds that an overlap of 1 reaches in spite of rounding."""
    return np.minimum(thresholds, 1 - 1e-10)[:, None]


def _curve(outcomes: Int8[np.ndarray, " n"], objects: int, points):
    """The best precision at each of `_RECALLS` or higher, among points of the curve."""
    right = np.cumsum(outcomes == _RIGHT)[points]
    wrong = np.cumsum(outcomes == _WRONG)[points]
    recall = right / objects
    precision = right / np.maximum(right + wrong, 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # Recalls that are not reached have precision 0.
    reached = np.searchsorted(recall, _RECALLS, side="left")
    return np.append(best_from_here, 0)[reached]


def _mean(values) -> float:
    defined = values[~np.isnan(values)]
    return float(np.mean(defined)) if defined.size else math.nan
