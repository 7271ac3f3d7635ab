"""Detections and objects of an image, checked, and how much they overlap."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.masks import Rle

KINDS = ("box", "mask")


@dataclasses.dataclass(frozen=True)
class ImageDetections:
    """The detections in an image, without padding.

    Attributes:
        scores: Scores, float [n].
        classes: Classes from 0, int [n].
        boxes: Boxes `[x0, y0, x1, y1]` in pixels, continuous, float [n, 4]. They are
            needed to evaluate boxes.
        masks: Masks, n of them. They are needed to evaluate masks.
    """

    scores: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray | None = None
    masks: Sequence[Rle] | None = None


@dataclasses.dataclass(frozen=True)
class ImageObjects:
    """The objects in an image, without padding.

    Attributes:
        classes: Classes from 0, int [n].
        ignore: Whether each is a crowd or another region where nothing is right or
            wrong, bool [n]. A detection is in one if enough of its own area is.
        boxes: Boxes as in `ImageDetections`.
        masks: Masks as in `ImageDetections`. Their areas are the objects' areas;
            without masks, the areas of the boxes are.
        void: Pixels where nothing is right or wrong; None if there are none. A
            detection that has no object is ignored if enough of its mask lies there.
            The mask also decides about the detection's box, as these pixels have none.
    """

    classes: np.ndarray
    ignore: np.ndarray
    boxes: np.ndarray | None = None
    masks: Sequence[Rle] | None = None
    void: Rle | None = None


class ComparedImage(NamedTuple):
    """An image's detections beside its objects.

    Attributes:
        name: Unique name; the order of equal scores may depend on it.
        detections: Detections in any order.
        objects: Objects in any order.
    """

    name: str
    detections: ImageDetections
    objects: ImageObjects


Items = TypeVar("Items", ImageDetections, ImageObjects)


def take(items: Items, rows: np.ndarray | slice) -> Items:
    """Selects the detections or objects in some rows."""
    taken: dict[str, Any] = {}
    for field in dataclasses.fields(items):
        values = getattr(items, field.name)
        if isinstance(values, np.ndarray):
            taken[field.name] = values[rows]
        elif isinstance(values, Sequence):
            taken[field.name] = [values[i] for i in np.arange(len(values))[rows]]
    return dataclasses.replace(items, **taken)


# Areas and overlaps ----------------------------------------------------------------


def kind_areas(
    kind: str, items: ImageDetections | ImageObjects
) -> Float64[np.ndarray, " n"]:
    """Areas of the boxes or of the masks, in pixels."""
    if kind == "mask":
        return masks.areas(items.masks or ()).astype(np.float64)
    return _box_areas(np.asarray(items.boxes, np.float64))


def object_areas(objects: ImageObjects) -> Float64[np.ndarray, " m"]:
    """Areas of the objects in pixels: of their masks, or else of their boxes."""
    return kind_areas("box" if objects.masks is None else "mask", objects)


def pairwise_overlaps(
    kind: str, detections: ImageDetections, objects: ImageObjects
) -> Float64[np.ndarray, "n m"]:
    """IoU with objects; for ignored objects, the part of the detection inside them."""
    if kind == "mask":
        found, true = detections.masks or [], objects.masks or []
        return masks.iou(found, true, crowd=objects.ignore.tolist())
    found = np.asarray(detections.boxes, np.float64)
    true = np.asarray(objects.boxes, np.float64)
    start = np.maximum(found[:, None, :2], true[None, :, :2])
    end = np.minimum(found[:, None, 2:], true[None, :, 2:])
    intersection = np.maximum(end - start, 0).prod(axis=2)
    own = _box_areas(found)[:, None]
    union = own + _box_areas(true)[None, :] - intersection
    whole = np.where(objects.ignore[None, :], own, union)
    # Boxes without area have no overlap, not even with themselves.
    return intersection / np.where(intersection > 0, whole, 1)


def parts_in_void(
    detections: ImageDetections, objects: ImageObjects
) -> Float64[np.ndarray, " n"]:
    """The share of each detection's mask that is void, 0 to 1."""
    if objects.void is None:
        return np.zeros(len(detections.scores))
    return masks.iou(detections.masks or [], [objects.void], crowd=[True])[:, 0]


def _box_areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


# Checks ----------------------------------------------------------------------------


def check_image(
    image: ComparedImage, *, kinds: Sequence[str], class_names: Sequence[str] | None
) -> None:
    """Checks the arrays of an image; without names of classes, any class is valid.

    Raises:
        InputError: Something that a kind needs is missing, malformed, or of another
            length or size than the rest.
    """
    image_name, detections, objects = image
    for what, items in (("detections", detections), ("objects", objects)):
        where, n = f"{image_name}: {what}", items.classes.size
        _check_array(f"{where}.classes", items.classes, (n,), "integers")
        if class_names is not None:
            _check_classes(where, items.classes, class_names)
        for kind, given in (("box", items.boxes), ("mask", items.masks)):
            if given is None and kind in kinds:
                raise InputError(
                    f"{where} have no {'boxes' if kind == 'box' else 'masks'}, which "
                    f"the evaluator's kind {kind!r} needs; hand them in, or leave out "
                    "that kind."
                )
        if items.boxes is not None:
            _check_boxes(f"{where}.boxes", items.boxes, n)
        if items.masks is not None and len(items.masks) != n:
            raise InputError(
                f"{where}.masks are {len(items.masks)}, expected {n}, one for each of "
                "`classes`."
            )
    n, m = len(detections.classes), len(objects.classes)
    _check_array(f"{image_name}: detections.scores", detections.scores, (n,), "floats")
    _check_array(f"{image_name}: objects.ignore", objects.ignore, (m,), "booleans")
    if objects.void is not None and detections.masks is None:
        raise InputError(
            f"{image_name}: detections have no masks, which objects.void needs; hand "
            "them in, or a region to ignore among the objects."
        )
    given = [*(detections.masks or ()), *(objects.masks or ()), objects.void]
    sizes = {rle.size for rle in given if rle is not None}
    if len(sizes) > 1:
        raise InputError(
            f"{image_name}: the masks are of different sizes, {sorted(sizes)} (height, "
            "width), expected that of the frame; paste detections at its size."
        )


def _check_array(where, array, shape, kind):
    dtype_kinds = {"integers": "iu", "floats": "f", "booleans": "b"}[kind]
    if array.shape != shape or array.dtype.kind not in dtype_kinds:
        raise InputError(
            f"{where} is {array.dtype} {list(array.shape)}, expected {kind} "
            f"{list(shape)}, one for each of `classes`."
        )
    if kind == "floats" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise InputError(f"{where}[{row}] is {array[row]}, expected finite numbers.")


def _check_boxes(where, boxes, n):
    _check_array(where, boxes, (n, 4), "floats")
    (wrong,) = np.nonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(wrong):
        raise InputError(
            f"{where}[{wrong[0]}] is {boxes[wrong[0]]}, expected [x0, y0, x1, y1] with "
            "x0 <= x1 and y0 <= y1."
        )


def _check_classes(where, classes, class_names):
    (wrong,) = np.nonzero((classes < 0) | (classes >= len(class_names)))
    if len(wrong):
        raise InputError(
            f"{where}.classes[{wrong[0]}] is {classes[wrong[0]]}, expected 0 to "
            f"{len(class_names) - 1}, as there are names of classes; name them all by "
            "`class_names`, or count all as one by `class_agnostic`."
        )
