"""Average precision of detections, as COCO measures it, image by image.

In every image the detections, best score first, each take the free object of their
class that they overlap most, if by at least an IoU threshold. Over all images, the
detections with the best scores then have a precision (how many took an object) and a
recall (how many objects are taken); average precision is the mean over 101 recalls of
the best precision at that recall or a higher one (Lin et al., 2014).

The numbers are those of `COCOeval` of pycocotools, to its rounding errors and to the
order of equal scores: images count in the order of their names. Two things differ. What
is not defined, for there are no objects, is nan instead of -1; and objects without area
(hidden in this image) are left out instead of being missed.
"""

import math
from collections.abc import Mapping, Sequence
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
# What became of a detection: it took an object, it took none, or it does not count.
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


class _Table(NamedTuple):
    """What is kept of an image: the detections of a class, best first.

    Attributes:
        scores: float [n].
        outcomes: int8 [ranges, thresholds, n]: `_RIGHT`, `_WRONG` or `_IGNORED`.
        objects: int [ranges], how many were to be found.
    """

    scores: np.ndarray
    outcomes: np.ndarray
    objects: np.ndarray


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
    ):
        _check_options(iou_thresholds, kinds, max_detections, class_names)
        self._thresholds = np.array(iou_thresholds, np.float64)
        self._kinds = tuple(kinds)
        self._max_detections = max_detections
        self._class_names = ("object",) if class_agnostic else tuple(class_names)
        self._class_agnostic = class_agnostic
        self._areas = {"": _ALL_AREAS, **{f"_{k}": v for k, v in areas.items()}}
        self._tables: dict[str, dict[tuple[str, int], _Table]] = {}

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

    def summary(self) -> dict[str, float]:
        """The measures by name, in [0, 1]; nan where there are no objects.

        "box_ap" is the mean over all IoU thresholds and classes, "box_ap50" and
        "box_ap75" are at one threshold, where it is among them, "box_ar" is the mean
        of the best recalls. The name of a range of areas is appended ("box_ap_small"),
        and that of a class if there are several ("box_ap/person"). The same of masks
        begins with "mask".
        """
        measures = {}
        for kind in self._kinds:
            curves = [self._curves(kind, i) for i in range(len(self._class_names))]
            precision = np.stack([precision for precision, _ in curves])
            recall = np.stack([recall for _, recall in curves])
            for i, suffix in enumerate(self._areas):
                values = self._measures(precision[:, i], recall[:, i])
                measures |= {f"{kind}_{k}{suffix}": v for k, v in values.items()}
            if len(curves) == 1:
                continue
            for i, name in enumerate(self._class_names):
                values = self._measures(precision[i, :1], recall[i, :1])
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

    def _compare(self, kind, detections, objects) -> _Table:
        """What becomes of a class's detections, best first."""
        overlaps = pairwise_overlaps(kind, detections, objects)
        found_areas = kind_areas(kind, detections)
        true_areas = object_areas(objects)
        outcomes, counts = [], []
        for smallest, largest in self._areas.values():
            outside = (true_areas < smallest) | (true_areas > largest)
            ignored = objects.ignore | outside
            outcome = _match(overlaps, ignored, objects.ignore, self._thresholds)
            outside = (found_areas < smallest) | (found_areas > largest)
            outcome[(outcome == _WRONG) & outside] = _IGNORED
            outcomes.append(outcome)
            counts.append(np.count_nonzero(~ignored))
        scores = np.asarray(detections.scores, np.float64)
        return _Table(scores, np.stack(outcomes), np.array(counts))

    def _curves(self, kind, class_index):
        """Precisions [ranges, thresholds, recalls], best recalls [ranges, thresholds].

        They are nan where no object was to be found.
        """
        shape = len(self._areas), len(self._thresholds)
        precision = np.full((*shape, len(_RECALLS)), np.nan)
        recall = np.full(shape, np.nan)
        images = [self._tables[name] for name in sorted(self._tables)]
        key = kind, class_index
        tables = [image[key] for image in images if key in image]
        if not tables:
            return precision, recall
        scores = np.concatenate([table.scores for table in tables])
        order = np.argsort(-scores, kind="stable")
        counts = np.sum([table.objects for table in tables], axis=0)
        for i, j in np.ndindex(shape):
            if counts[i]:
                outcomes = np.concatenate([t.outcomes[i, j] for t in tables])[order]
                precision[i, j], recall[i, j] = _curve(outcomes, int(counts[i]))
        return precision, recall

    def _measures(self, precision, recall) -> dict[str, float]:
        """The means over precisions [c thresholds recalls] and best recalls."""
        measures = {"ap": _mean(precision)}
        for percent in (50, 75):
            at = np.isclose(self._thresholds, percent / 100)
            if at.any():
                measures[f"ap{percent}"] = _mean(precision[:, at])
        return {**measures, "ar": _mean(recall)}


# Matching --------------------------------------------------------------------------


def _match(
    overlaps: Float64[np.ndarray, "n m"],
    ignored: Bool[np.ndarray, " m"],
    crowd: Bool[np.ndarray, " m"],
    thresholds: Float64[np.ndarray, " t"],
) -> Int8[np.ndarray, "t n"]:
    """What becomes of each detection, best first, at each threshold."""
    outcomes = np.full((len(thresholds), len(overlaps)), _WRONG, np.int8)
    enough = overlaps[:, None, :] >= np.minimum(thresholds, 1 - 1e-10)[:, None]
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


def _curve(outcomes: Int8[np.ndarray, " n"], objects: int):
    """Precision at each of `_RECALLS` or higher, and the best recall."""
    right = np.cumsum(outcomes == _RIGHT)
    wrong = np.cumsum(outcomes == _WRONG)
    recall = right / objects
    precision = right / np.maximum(right + wrong, 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # Recalls that are not reached have precision 0.
    reached = np.searchsorted(recall, _RECALLS, side="left")
    return np.append(best_from_here, 0)[reached], recall.max(initial=0)


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
