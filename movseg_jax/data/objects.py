"""The objects of one frame, as arrays, and the ways that files spell them.

Annotations come as images whose values are objects' numbers (DAVIS, YouTube-VOS), and
as JSON. Prepared data sets hold the latter, so `from_json(to_json(x)) == x`.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from movseg_jax import masks
from movseg_jax.errors import InputError

Size = tuple[int, int]  # (height, width) in pixels.
# What the value 255 of an annotation means. "instances": void, a region to ignore.
# "auto": the same, unless the image holds nothing but 0 and 255, as DAVIS 2016's do:
# then it is the object. "one": every other value than 0 is of one object.
Convention = Literal["instances", "auto", "one"]

VOID = 255
MAX_OBJECTS = 2_000  # Of a frame; LVIS has up to 300.


@dataclasses.dataclass(frozen=True)
class Objects:
    """Of a frame; the attributes are those of `Example`."""

    masks: Bool[np.ndarray, "n h w"]
    classes: Int32[np.ndarray, " n"]
    ids: Int32[np.ndarray, " n"]
    ignore: Bool[np.ndarray, " n"]
    moving: Bool[np.ndarray, " n"]


def stack(
    object_masks: Sequence[Bool[np.ndarray, "h w"]],
    size: Size,
    *,
    ids: Sequence[int],
    classes: Sequence[int] | None = None,
    ignore: Sequence[bool] | None = None,
    moving: Sequence[bool] | None = None,
) -> Objects:
    """`Objects` from one mask each; none of them is fine.

    Args:
        object_masks: Of the objects.
        size: Of the frame.
        ids: Of the objects.
        classes: All 0 if None.
        ignore: All False if None.
        moving: All True if None.
    """
    count = len(object_masks)
    stacked = np.zeros((count, *size), bool)
    for i, mask in enumerate(object_masks):
        stacked[i] = mask
    return Objects(
        masks=stacked,
        classes=np.array([0] * count if classes is None else classes, np.int32),
        ids=np.array(ids, np.int32),
        ignore=np.array([False] * count if ignore is None else ignore, bool),
        moving=np.array([True] * count if moving is None else moving, bool),
    )


def from_ids(
    ids: UInt8[np.ndarray, "h w"], convention: Convention = "instances"
) -> Objects:
    """Objects of an annotation in which a pixel's value is its object, 0 background.

    Objects come in the order of their numbers, a void region last.
    """
    values = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
    values = [int(value) for value in values if value]
    if convention == "one" or (convention == "auto" and values == [VOID]):
        void = [VOID] if VOID in values and len(values) > 1 else []
        mask = (ids != 0) & (ids != VOID) if void else ids != 0
        numbered = [(1, mask)] if values else []
    else:
        void = [VOID] if VOID in values else []
        numbered = [(value, ids == value) for value in values if value not in void]
    numbered += [(value, ids == value) for value in void]
    height, width = ids.shape
    return stack(
        [mask for _, mask in numbered],
        (height, width),
        ids=[value for value, _ in numbered],
        ignore=[i >= len(numbered) - len(void) for i in range(len(numbered))],
    )


def ignore_unlabelled(objects: Objects) -> Objects:
    """Adds one region to ignore: all that is in no mask.

    For annotations that do not label everything, so that what is unlabelled is never
    taken for background.
    """
    rest = np.logical_not(np.any(objects.masks, axis=0))
    return Objects(
        masks=np.concatenate([objects.masks, np.expand_dims(rest, 0)]),
        classes=np.append(objects.classes, np.int32(0)),
        ids=np.append(objects.ids, np.int32(objects.ids.max(initial=0) + 1)),
        ignore=np.append(objects.ignore, True),
        moving=np.append(objects.moving, True),
    )


def to_json(objects: Objects) -> str:
    """The objects as JSON text, masks as COCO's RLEs."""
    ids, classes = objects.ids.tolist(), objects.classes.tolist()
    ignore, moving = objects.ignore.tolist(), objects.moving.tolist()
    rows = [
        {
            "id": ids[i],
            "class": classes[i],
            "ignore": ignore[i],
            "moving": moving[i],
            "segmentation": masks.to_json(masks.encode(mask)),
        }
        for i, mask in enumerate(objects.masks)
    ]
    return json.dumps(rows, separators=(",", ":"))


def from_json(text: str | bytes, size: Size, *, source: str) -> Objects:
    """Reads what `to_json` wrote.

    Raises:
        InputError: It is not that, or of another size.
    """
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: is not JSON: {error}.") from None
    if not isinstance(rows, list) or len(rows) > MAX_OBJECTS:
        raise InputError(
            f"{source}: expected a list of at most {MAX_OBJECTS} objects "
            "(objects.MAX_OBJECTS)."
        )
    expected = {"id": int, "class": int, "ignore": bool, "moving": bool}
    for i, row in enumerate(rows):
        for key, kind in expected.items():
            value = row.get(key) if isinstance(row, dict) else None
            if type(value) is not kind or not -(2**31) <= value < 2**31:
                raise InputError(
                    f"{source}: {key!r} of object {i} is missing or not "
                    f"{kind.__name__}."
                )
    decoded = [
        masks.decode(
            masks.from_json(
                row.get("segmentation"), size, source=f"{source}: object {i}"
            )
        )
        for i, row in enumerate(rows)
    ]
    return stack(
        decoded,
        size,
        ids=[row["id"] for row in rows],
        classes=[row["class"] for row in rows],
        ignore=[row["ignore"] for row in rows],
        moving=[row["moving"] for row in rows],
    )
