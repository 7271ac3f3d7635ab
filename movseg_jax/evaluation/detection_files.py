"""Detections in the single frames of a data set, in files that `movseg detect` writes.

    detections.json          what the moving heads find, a list of results as of COCO
    detections_static.json   what the static branch finds, if it is used
    detections_images.json   the frames: COCO's "images" with "video" and "frame"

Unlike tracks they have the detector's own boxes, and low scores, which average
precision needs.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.evaluation.coco import MAX_BYTES, detections_by_image
from movseg_jax.formats.parsing import Recorded, read_json, unexpected
from movseg_jax.metrics.overlaps import ImageDetections
from movseg_jax.results import Sighting

# Detections above it are foreground (Dave et al., 2019, section 5.4.1).
FOREGROUND_SCORE = 0.7


class DetectedSequence(NamedTuple):
    """The detections in the frames of a video.

    Attributes:
        names: Names of the frames.
        sizes: Heights and widths of the frames.
        frames: Detections in each frame.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    frames: tuple[ImageDetections, ...]

    def boxes(self, index: int) -> Float64[np.ndarray, "n 4"]:
        """Returns the boxes of all detections in a frame."""
        boxes = self.frames[index].boxes
        assert boxes is not None  # `read_detections` has checked it.
        return boxes

    def sightings(self, min_score: float = -math.inf) -> Recorded:
        """Returns the frames as a metric of tracks sees them.

        Each detection is a track of its own frame, numbered from 1.

        Args:
            min_score: Detections with more than this score are returned. Default: all,
                in the order of `boxes`.
        """
        found = {}
        for index, frame in enumerate(self.frames):
            pairs = zip(frame.masks or (), frame.scores.tolist(), strict=True)
            found[index] = [
                Sighting(number, mask, score, moving=True, motion=math.nan)
                for number, (mask, score) in enumerate(pairs, 1)
                if score > min_score
            ]
        size = self.sizes[0] if self.sizes else (1, 1)
        return Recorded(len(self.names), size, found, names=[*self.names])

    def hexdigest(self) -> str:
        """Returns a digest of all detections, which does not depend on their order."""
        digest = hashlib.sha256()
        for name, size, found in zip(self.names, self.sizes, self.frames, strict=True):
            rows = zip(
                found.scores.tolist(),
                np.asarray(found.boxes).tolist(),
                (mask.counts.decode() for mask in found.masks or ()),
                strict=True,
            )
            digest.update(f"{name} {size} {sorted(rows)}\n".encode())
        return digest.hexdigest()


def listing_path(path: Path) -> Path:
    """Returns the file that lists the frames of a file of detections."""
    return path.parent / f"{path.stem.removesuffix('_static')}_images.json"


def static_path(path: Path) -> Path:
    """Returns the file of what the static branch finds."""
    return path.parent / f"{path.stem}_static.json"


def read_detections(path: Path) -> dict[str, DetectedSequence]:
    """Reads the detections of `movseg detect`, by the name of their video.

    Raises:
        InputError: A file is missing or malformed, or a detection has no mask.
    """
    listing = listing_path(path)
    if not listing.is_file():
        raise InputError(
            f"{listing}: is missing. It lists the frames of {path.name}; `movseg "
            "detect` writes both."
        )
    images = read_json(listing, MAX_BYTES)
    found = detections_by_image(
        read_json(path, MAX_BYTES),
        images,
        results_source=str(path),
        listing_source=str(listing),
    )
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(images["images"]):
        where = f"{listing}: image {number}"
        for key in ("video", "frame"):
            if not isinstance(row.get(key), str):
                raise unexpected(where, key, row.get(key), "a name")
        if found[row["id"]].masks is None or found[row["id"]].boxes is None:
            raise InputError(
                f"{path}: a detection of image {row['id']} has no segmentation or box."
            )
        rows.setdefault(row["video"], []).append(row)
    return {video: _sequence(own, found) for video, own in rows.items()}


def _sequence(
    rows: Sequence[Mapping[str, Any]], found: Mapping[int, ImageDetections]
) -> DetectedSequence:
    return DetectedSequence(
        names=tuple(row["frame"] for row in rows),
        sizes=tuple((row["height"], row["width"]) for row in rows),
        frames=tuple(found[row["id"]] for row in rows),
    )


def to_rows(
    image_id: int, found: ImageDetections, *, first_class: int = 1
) -> list[dict[str, Any]]:
    """Returns the detections of a frame as COCO's results.

    Args:
        image_id: Number of the frame.
        found: Detections, with boxes and masks.
        first_class: "category_id" of class 0.
    """
    boxes = np.asarray(found.boxes, np.float64).reshape(-1, 4)
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [
        {
            "image_id": image_id,
            "category_id": int(label) + first_class,
            "bbox": [round(number, 3) for number in box],
            "score": float(f"{score:.9g}"),  # All digits of a float32.
            "segmentation": masks.to_json(mask),
        }
        for label, box, score, mask in zip(
            found.classes, sides.tolist(), found.scores, found.masks or (), strict=True
        )
    ]
