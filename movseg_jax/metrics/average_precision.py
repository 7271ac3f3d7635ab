"""Average precision of detections, as COCO measures it, image by image.

In every image the detections, best score first, each take the free object of their
class that they overlap most, if by at least an IoU threshold. Over all images, the
detections with the best scores then have a precision (how many took an object) and a
recall (how many objects are taken); average precision is the mean over 101 recalls of
the best precision at that recall or a higher one (Lin et al., 2014).

The numbers are those of `COCOeval` of pycocotools, to its rounding errors and to the
order of equal scores: images count in the order of their names, unless equal scores
count together. Two things differ. What is not defined, for there are no objects, is nan
instead of -1; and objects without area (hidden in this image) are left out instead of
being missed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8

from movseg_jax.errors import InputError
from movseg_jax.metrics.overlaps import (
    KINDS,
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
_RECALL_COUNTS = (1, 10, 100)  # COCO's, of an image's detections: AR1, AR10, AR100.
# What became of a detection: it took an object, it took none, or it does not count.
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


class Outcomes(NamedTuple):
    """What became of the detections of a class, in one image or in several.

    Attributes:
        scores: float [n].
        ranks: int [n], of each in its image, 0 for the best.
        outcomes: int8 [ranges, thresholds, n]: `_RIGHT`, `_WRONG` or `_IGNORED`.
        objects: int [ranges], how many were to be found.
    """

    scores: np.ndarray
    ranks: np.ndarray
    outcomes: np.ndarray
    objects: np.ndarray

    def wrong(self, threshold: int) -> Bool[np.ndarray, " n"]:
        """Which took no object, though they should, at the threshold of this number."""
        return self.outcomes[0, threshold] == _WRONG


Tables = Mapping[tuple[str, int], Outcomes]  # By kind and class.


class Evaluator:
    """Average precision over the images that were added, in any order.

    Args:
        iou_thresholds: What a detection must overlap an object by, each in (0, 1].
        kinds: Of overlap: "box", "mask" or both.
        max_detections: How many count in an image, of each class; the best ones.
        class_names: Class 0 is the first.
        class_agnostic: All classes count as one, also those without a name. Detections
            of one thing as two classes stay two detections.
        areas: Ranges of areas in pixels, such as `COCO_AREAS`, to report also alone.
        ties_together: Detections of equal scores count together, and not in turn as in
            `COCOeval`: precision and recall are those of all detections from a score
            upwards, for every score, and do not depend on the order of images.
    """

    def __init__(
        self,
        iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
        kinds: Sequence[str] = KINDS,
        max_detections: int = 100,
        *,
        class_names: Sequence[str] = ("object",),
        class_agnostic: bool = False,
        areas: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        ties_together: bool = False,
    ):
        _check_options(iou_thresholds, kinds, max_detections, class_names)
        self._thresholds = np.array(iou_thresholds, np.float64)
        lower = [count for count in _RECALL_COUNTS if count < max_detections]
        self._recall_counts = (*lower, max_detections)
        self._kinds = tuple(kinds)
        self._max_detections = max_detections
        self._class_names = ("object",) if class_agnostic else tuple(class_names)
        self._class_agnostic = class_agnostic
        self._areas = {"": _ALL_AREAS, **{f"_{k}": v for k, v in areas.items()}}
        self._ties_together = ties_together
        self._tables: dict[str, Tables] = {}

    def add(
        self, image_name: str, detections: ImageDetections, objects: ImageObjects
    ) -> None:
        """Compares an image's detections with its objects; keeps neither.

        Args:
            image_name: Unique; the order of equal scores depends on it.
            detections: In any order, but equal scores count in the order given.
            objects: In any order.

        Raises:
            InputError: The image was added before, or its arrays are malformed or
                disagree.
        """
        if image_name in self._tables:
            raise InputError(
                f"{image_name}: the image was added twice; its name must be unique."
            )
        names = None if self._class_agnostic else self._class_names
        check_image(
            image_name, detections, objects, kinds=self._kinds, class_names=names
        )
        # Equal scores in the order of their classes: `COCOeval` with all as one.
        best_first = np.lexsort([detections.classes, -detections.scores])
        detections = take(detections, best_first)
        objects = take(objects, np.argsort(objects.classes, kind="stable"))
        objects = take(objects, np.flatnonzero(object_areas(objects)))
        self._tables[image_name] = {
            (kind, i): self._compare(kind, found, true)
            for i, found, true in self._by_class(detections, objects)
            for kind in self._kinds
        }

    def tables(self, image_name: str | None = None) -> Tables:
        """What became of the detections in an image, or in all of them."""
        if image_name is not None:
            return self._tables[image_name]
        return merged(self._tables[name] for name in sorted(self._tables))

    def summary(self) -> dict[str, float]:
        """The measures of all images that were added: see `measures`."""
        return self.measures(self.tables())

    def measures(self, tables: Tables) -> dict[str, float]:
        """The measures by name, in [0, 1]; nan where there are no objects.

        "box_ap" is the mean over all IoU thresholds and classes, "box_ap50" and
        "box_ap75" are at one threshold, where it is among them. "box_ar10" is the mean
        of the recalls that ten detections an image reach; 1, 100 and `max_detections`
        are reported too. The name of a range of areas is appended ("box_ap_small"),
        and that of a class if there are several ("box_ap/person"). The same of masks
        begins with "mask".

        Args:
            tables: Of one evaluator with the same options or, `merged`, of several.
        """
        measures = {}
        for kind in self._kinds:
            classes = range(len(self._class_names))
            curves = [self._curves(tables.get((kind, i))) for i in classes]
            precision = np.stack([precision for precision, _ in curves])
            recall = np.stack([recall for _, recall in curves])
            for i, suffix in enumerate(self._areas):
                values = self._means(precision[:, i], recall[:, i])
                measures |= {f"{kind}_{k}{suffix}": v for k, v in values.items()}
            if len(curves) == 1:
                continue
            for i, name in enumerate(self._class_names):
                values = self._means(precision[i, :1], recall[i, :1])
                measures |= {f"{kind}_{k}/{name}": v for k, v in values.items()}
        return measures

    def _by_class(self, detections, objects):
        """Each class that occurs, with its best detections and its objects."""
        if self._class_agnostic:
            yield 0, take(detections, slice(self._max_detections)), objects
            return
        for i in np.union1d(detections.classes, objects.classes).tolist():
            best = np.flatnonzero(detections.classes == i)[: self._max_detections]
            there = np.flatnonzero(objects.classes == i)
            yield i, take(detections, best), take(objects, there)

    def _compare(self, kind, detections, objects) -> Outcomes:
        """What becomes of a class's detections, best first."""
        overlaps = pairwise_overlaps(kind, detections, objects)
        in_void = parts_in_void(detections, objects) >= _enough(self._thresholds)
        found_areas = kind_areas(kind, detections)
        true_areas = object_areas(objects)
        outcomes, counts = [], []
        for smallest, largest in self._areas.values():
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
        """Precision [ranges thresholds recalls], recall [ranges thresholds counts].

        They are nan where no object was to be found.
        """
        shape = len(self._areas), len(self._thresholds)
        precision = np.full((*shape, len(_RECALLS)), np.nan)
        recall = np.full((*shape, len(self._recall_counts)), np.nan)
        if table is None:
            return precision, recall
        order = np.argsort(-table.scores, kind="stable")
        scores, outcomes = table.scores[order], table.outcomes[..., order]
        last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
        points = np.flatnonzero(last) if self._ties_together else slice(None)
        for i, j in np.ndindex(shape):
            if objects := int(table.objects[i]):
                precision[i, j] = _curve(outcomes[i, j], objects, points)
                ranks = table.ranks[table.outcomes[i, j] == _RIGHT]
                for k, count in enumerate(self._recall_counts):
                    recall[i, j, k] = np.count_nonzero(ranks < count) / objects
        return precision, recall

    def _means(self, precision, recall) -> dict[str, float]:
        """Over precisions [classes thresholds recalls], recalls [... counts]."""
        means = {"ap": _mean(precision)}
        for percent in (50, 75):
            at = np.isclose(self._thresholds, percent / 100)
            if at.any():
                means[f"ap{percent}"] = _mean(precision[:, at])
        for k, count in enumerate(self._recall_counts):
            means[f"ar{count}"] = _mean(recall[..., k])
        return means


def merged(tables: Iterable[Tables]) -> Tables:
    """The tables of some images as one; where scores are equal, the first come first.

    Args:
        tables: Of evaluators with the same options; the same one may occur repeatedly.
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
    """What becomes of each detection, best first, at each threshold."""
    outcomes = np.full((len(thresholds), len(overlaps)), _WRONG, np.int8)
    enough = overlaps[:, None, :] >= _enough(thresholds)
    # An object is preferred to what is ignored, however much that is overlapped; of
    # equal ones the last, as in `COCOeval`. The most preferred has the highest rank.
    preferred = np.broadcast_to(~ignored, overlaps.shape)
    rank = np.argsort(np.lexsort([overlaps, preferred], axis=-1), axis=-1)
    free = np.ones((len(thresholds), len(ignored)), bool)
    for i in np.flatnonzero(enough.any(axis=(1, 2))):
        candidates = enough[i] & free
        (takes,) = np.nonzero(candidates.any(axis=1))
        taken = np.where(candidates, rank[i], -1).argmax(axis=1)[takes]
        outcomes[takes, i] = np.where(ignored[taken], _IGNORED, _RIGHT)
        free[takes, taken] = crowd[taken]  # A crowd is taken by any number.
    return outcomes


def _enough(thresholds: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, "t 1"]:
    """What is at least a threshold, but for rounding."""
    return np.minimum(thresholds, 1 - 1e-10)[:, None]


def _curve(outcomes: Int8[np.ndarray, " n"], objects: int, points):
    """Best precision at each of `_RECALLS` or higher, at some points of the curve."""
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


def _check_options(iou_thresholds, kinds, max_detections, class_names):
    if not len(iou_thresholds) or not all(0 < t <= 1 for t in iou_thresholds):
        raise InputError(
            f"iou_thresholds is {iou_thresholds}, expected at least one, in (0, 1]."
        )
    if not kinds or not set(kinds) <= set(KINDS):
        raise InputError(f"kinds is {kinds}, expected some of {', '.join(KINDS)}.")
    if max_detections < 1:
        raise InputError(f"max_detections is {max_detections}, expected at least 1.")
    if not class_names or len(set(class_names)) < len(class_names):
        raise InputError(
            f"class_names is {class_names}, expected at least one name, each once."
        )
