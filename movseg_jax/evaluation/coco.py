"""Evaluates a file of results in COCO's format against one of instances.

Of the truth "images", "categories" and "annotations" are read, crowds ("iscrowd")
included. Results are the list that `COCO.loadRes` of pycocotools takes: "image_id",
"category_id", "score", and "segmentation" or "bbox" or both. They have classes but no
tracks, and images are not sequences, so there are no intervals over sequences.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats.parsing import read_json, unexpected
from movseg_jax.masks import Size
from movseg_jax.metrics.average_precision import AveragePrecision
from movseg_jax.metrics.overlaps import (
    KINDS,
    ComparedImage,
    ImageDetections,
    ImageObjects,
)

MAX_BYTES = 2**30  # Largest size of a file; COCO's largest is half as large.
CONVENTION = (
    "as COCOeval: IoU 0.5 to 0.95, 101 points of recall, all areas, crowds ignored"
)
BY_CATEGORY = "mean over categories, at most {} detections of each in an image"
STACKED = (
    "all categories are one, at most {} detections in an image, none suppressed among "
    "categories (Dave et al., 2019, Table 2)"
)

Row = Mapping[str, Any]


class CocoResults(NamedTuple):
    """The results of an evaluation.

    Attributes:
        numbers: Numbers by name, 0 to 1; NaN where there are no objects.
        about: Conventions, and digests of the files, by name.
    """

    numbers: Mapping[str, float]
    about: Mapping[str, Any]


class _Image(NamedTuple):
    """An image's rows, each with its place in the file for messages."""

    size: Size
    results: list[tuple[str, Row]]
    annotations: list[tuple[str, Row]]


def evaluate_coco_files(
    pred: str | Path,
    gt: str | Path,
    *,
    stacked: bool = False,
    max_detections: int = 100,
) -> CocoResults:
    """Measures average precision and recall of boxes and masks.

    Args:
        pred: JSON file, a list of {"image_id", "category_id", "score", "segmentation"
            or "bbox"}.
        gt: JSON file of COCO's instances.
        stacked: Whether to take all categories for one, which measures how a detector
            of classes finds objects.
        max_detections: Number of detections that count in an image.

    Raises:
        InputError: A file cannot be read or is malformed, or a result is of an image
            that the truth does not list.
    """
    if max_detections < 1:
        raise InputError(f"`max_detections` is {max_detections}, expected 1 or more.")
    files = {"pred": Path(pred), "gt": Path(gt)}
    parsed = {name: read_json(path, MAX_BYTES) for name, path in files.items()}
    numbers = evaluate_coco(
        parsed["pred"],
        parsed["gt"],
        stacked=stacked,
        max_detections=max_detections,
        results_source=str(pred),
        truth_source=str(gt),
    )
    counted = (STACKED if stacked else BY_CATEGORY).format(max_detections)
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
    }
    return CocoResults(
        numbers, {"convention": f"{CONVENTION}; {counted}", "sha256": hashes}
    )


def to_json(results: CocoResults) -> bytes:
    """The numbers as metrics.json; equal files give equal bytes."""
    numbers = {k: None if math.isnan(v) else v for k, v in results.numbers.items()}
    data = {"movseg eval": "coco", **results.about, "numbers": numbers}
    return (json.dumps(data, indent=1) + "\n").encode()


def to_text(results: CocoResults) -> str:
    """The numbers for a terminal, in percent, without those of single categories."""
    lines = [
        f"{name:10} {'-' if math.isnan(value) else f'{100 * value:.1f}':>6}"
        for name, value in results.numbers.items()
        if "/" not in name
    ]
    return "\n".join([*lines, "", f"{results.about['convention']}."])


def evaluate_coco(
    results: Any,
    truth: Any,
    *,
    stacked: bool = False,
    max_detections: int = 100,
    results_source: str = "results",
    truth_source: str = "truth",
) -> dict[str, float]:
    """Measures `AveragePrecision` as `COCOeval` does, also for equal scores.

    Boxes are measured if all results have "bbox" or "segmentation", masks if all have
    "segmentation". The box of a result without "bbox" is the tight box of its mask.

    Args:
        results: Parsed JSON of the results, a list.
        truth: Parsed JSON of the truth, an object.
        stacked: Whether all categories count as one, also those that the truth does not
            list. Two detections of a thing as two categories stay two. This compares a
            class-specific detector of COCO's objects with one of objects as such (Dave
            et al., 2019, Table 2).
        max_detections: Number of detections that count in an image, of each category
            or, if stacked, of all together; the best ones do.
        results_source: Name of the results' file for messages.
        truth_source: Name of the truth's file for messages.

    Raises:
        InputError: Something is malformed, missing, or not listed in the truth.
    """
    found = _rows(results, results_source)
    annotated = _listed(truth, "annotation", truth_source)
    categories = _categories(truth, truth_source)
    class_of = {number: i for i, number in enumerate(categories)}
    if stacked:
        for where, row in found:
            _integer(row, "category_id", where)
    else:
        _check_categories(found, class_of)
    _check_categories(annotated, class_of)
    images = _images(truth, truth_source)
    for where, row in found:
        _image_of(row, images, where).results.append((where, row))
    for where, row in annotated:
        _image_of(row, images, where).annotations.append((where, row))
    metric = AveragePrecision(
        kinds=_kinds([*found, *annotated]),
        max_detections=max_detections,
        class_names=("object",) if stacked else [*categories.values()],
        class_agnostic=stacked,
    )
    width = len(str(max(images, default=0)))
    states = []
    for number, image in images.items():
        # `COCOeval` goes through images, and stacked classes, by their numbers.
        name = f"{truth_source}: image {number:0{width}d}"
        numbers = None if stacked else class_of
        detections = _detections(image, numbers)
        compared = ComparedImage(name, detections, _objects(image, numbers))
        states.append(metric.add(compared))
    return metric.compute(metric.merge(states))


def detections_by_image(
    results: Any, listing: Any, *, results_source: str, listing_source: str
) -> dict[int, ImageDetections]:
    """Returns the detections in every image that is listed, by the image's number.

    Args:
        results: Parsed JSON of the results, a list.
        listing: Parsed JSON with "images"; nothing else of it is read.
        results_source: Name of the results' file for messages.
        listing_source: Name of the listing's file for messages.

    Raises:
        InputError: Something is malformed, or not listed.
    """
    images = _images(listing, listing_source)
    for where, row in _rows(results, results_source):
        _integer(row, "category_id", where)
        _image_of(row, images, where).results.append((where, row))
    return {number: _detections(image, None) for number, image in images.items()}


# Images ----------------------------------------------------------------------------


def _detections(image: _Image, class_of) -> ImageDetections:
    scores = [_score(row, where) for where, row in image.results]
    classes, boxes, rles = _items(image.results, image.size, class_of)
    return ImageDetections(np.array(scores, np.float64), classes, boxes, rles)


def _objects(image: _Image, class_of) -> ImageObjects:
    crowd = []
    for where, row in image.annotations:
        crowd.append(row.get("iscrowd", 0))
        if crowd[-1] not in (0, 1):
            raise unexpected(where, "iscrowd", crowd[-1], "0 or 1")
    classes, boxes, rles = _items(image.annotations, image.size, class_of)
    return ImageObjects(classes, np.array(crowd, bool), boxes, rles)


def _items(rows, size, class_of):
    """Classes, boxes and masks; boxes or masks are None if one lacks them."""
    classes, boxes, rles = [], [], []
    for where, row in rows:
        category = row["category_id"]
        classes.append(class_of[category] if class_of else category)
        segmentation = row.get("segmentation")
        if segmentation:
            rles.append(masks.from_json(segmentation, size, source=where))
        if row.get("bbox"):
            boxes.append(_box(row["bbox"], where))
        elif segmentation:
            boxes.append(masks.tight_box(masks.decode(rles[-1])))
    n = len(rows)
    return (
        np.array(classes, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4) if len(boxes) == n else None,
        rles if len(rles) == n else None,
    )


def _box(bbox, where):
    valid = isinstance(bbox, list) and len(bbox) == 4
    if not valid or not all(_is_number(value) for value in bbox) or min(bbox[2:]) < 0:
        raise unexpected(where, "bbox", bbox, "[x, y, width, height] in pixels")
    x, y, width, height = bbox
    return x, y, x + width, y + height


def _score(row, where):
    score = row.get("score")
    if not _is_number(score):
        raise unexpected(where, "score", score, "a number")
    return float(score)


# Checks ----------------------------------------------------------------------------


def _kinds(rows) -> Sequence[str]:
    """The kinds of overlap for which every row has the data."""
    for where, row in rows:
        if not row.get("segmentation") and not row.get("bbox"):
            raise InputError(
                f'{where}: has neither "segmentation" nor "bbox", expected one.'
            )
    return KINDS if all(row.get("segmentation") for _, row in rows) else ("box",)


def _images(truth, source) -> dict[int, _Image]:
    images = {}
    for where, row in _listed(truth, "image", source):
        number = _integer(row, "id", where, low=0)
        size = [_integer(row, key, where, low=1) for key in ("height", "width")]
        if number in images:
            raise InputError(f"{where}: id {number} is listed twice.")
        images[number] = _Image((size[0], size[1]), [], [])
    return images


def _image_of(row, images, where) -> _Image:
    number = _integer(row, "image_id", where)
    if number not in images:
        raise InputError(
            f"{where}: image_id is {number}, which the truth does not list; expected "
            "the annotations of all images that there are results of."
        )
    return images[number]


def _categories(truth, source) -> dict[int, str]:
    """The names by number, in the order of the numbers."""
    names: dict[int, str] = {}
    for where, row in _listed(truth, "category", source):
        number = _integer(row, "id", where)
        if number in names:
            raise InputError(f"{where}: id {number} is listed twice.")
        names[number] = str(row.get("name", number))
    return dict(sorted(names.items()))


def _check_categories(rows, class_of):
    for where, row in rows:
        if _integer(row, "category_id", where) not in class_of:
            raise InputError(
                f"{where}: category_id is {row['category_id']}, which the truth does "
                f"not list, expected one of {reprlib.repr(list(class_of))}; `stacked` "
                "takes all categories for one."
            )


def _at(truth, key, source):
    value = truth.get(key) if isinstance(truth, Mapping) else None
    if value is None:
        raise InputError(f'{source}: has no "{key}", expected COCO\'s instances.')
    return value


def _listed(truth, what, source) -> list[tuple[str, Row]]:
    key = "categories" if what == "category" else f"{what}s"
    return _rows(_at(truth, key, source), source, what)


def _rows(rows, source, what="result") -> list[tuple[str, Row]]:
    if not isinstance(rows, list):
        raise unexpected(source, f"the list of {what}s", rows, "a list of objects")
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise unexpected(source, f"{what} {i}", row, "an object")
    return [(f"{source}: {what} {i}", row) for i, row in enumerate(rows)]


def _integer(row, key, where, *, low=-(2**53)):
    value = row.get(key)
    if type(value) is not int or not low <= value < 2**53:
        raise unexpected(where, key, value, "a whole number")
    return value


def _is_number(value):
    return type(value) in (int, float) and abs(value) < 1e15  # Not NaN either.
