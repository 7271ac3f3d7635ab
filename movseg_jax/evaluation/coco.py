"""Detections in images, as COCO keeps them: a file of results against one of instances.

Images are no sequences, so there are no intervals over sequences here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.formats.parsing import read_json
from movseg_jax.metrics.coco_results import evaluate_coco

MAX_BYTES = 2**30  # Of a file; COCO's largest has half as many.
CONVENTION = (
    "as COCOeval: IoU 0.5 to 0.95, 101 points of recall, all areas, crowds ignored"
)
BY_CATEGORY = "mean over categories, at most {} detections of each in an image"
STACKED = (
    "all categories are one, at most {} detections in an image, none suppressed among "
    "categories (Dave et al., 2019, Table 2)"
)


class CocoResults(NamedTuple):
    """What was measured.

    Attributes:
        numbers: 0 to 1, by name; NaN where there are no objects.
        about: The conventions, and what was compared, by name.
    """

    numbers: Mapping[str, float]
    about: Mapping[str, Any]


def evaluate_coco_files(
    pred: Path, gt: Path, *, stacked: bool = False, max_detections: int = 100
) -> CocoResults:
    """Average precision and recall of boxes and masks.

    Args:
        pred: JSON, a list of {"image_id", "category_id", "score", "segmentation" or
            "bbox"}.
        gt: JSON of COCO's instances.
        stacked: Take all categories for one: how a detector of classes finds objects.
        max_detections: Of an image.

    Raises:
        InputError: A file cannot be read or is malformed, or a result is of an image
            that the truth does not list.
    """
    if max_detections < 1:
        raise InputError(f"`max_detections` is {max_detections}, expected 1 or more.")
    files = {"pred": pred, "gt": gt}
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
    """For metrics.json: the same bytes for the same files."""
    numbers = {k: None if math.isnan(v) else v for k, v in results.numbers.items()}
    data = {"movseg eval": "coco", **results.about, "numbers": numbers}
    return (json.dumps(data, indent=1) + "\n").encode()


def to_text(results: CocoResults) -> str:
    """For a terminal, in percent; without those of single categories."""
    lines = [
        f"{name:10} {'-' if math.isnan(value) else f'{100 * value:.1f}':>6}"
        for name, value in results.numbers.items()
        if "/" not in name
    ]
    return "\n".join([*lines, "", f"{results.about['convention']}."])
