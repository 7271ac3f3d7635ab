"""The objects of one frame, as arrays, and the ways that files spell them.

Annotations come as images whose values are objects' numbers (DAVIS, YouTube-VOS), and
as JSON. Prepared data sets hold the latter, so `from_json(to_json(x)) == x`.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int32, UInt8, UInt16

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.masks.id_images import VOID, present_ids

Size = tuple[int, int]  # (height, width) in pixels.
# What the value 255 of an annotation of 8 bits means. "instances": void, a region to
# ignore. "auto": the same, unless the image holds nothing but 0 and 255, as DAVIS
# 2016's do: then it is the object. "one": every other value than 0 is of one object,
# 255 only if there is no other. `frames.IdImage` looks at the whole video for that.
Convention = Literal["instances", "auto", "one"]

MAX_OBJECTS = 2_000  # Of a frame; LVIS has up to 300.
MAX_MASK_BYTES = 2**31  # Of all masks of a frame; 250 of a frame of 4K video.


@dataclasses.dataclass(frozen=True)
class Objects:
    """Of a frame; the attributes are those of `Example`."""

    masks: Bool[np.ndarray, "n h w"]
    classes: Int32[np.ndarray, " n"]
    ids: Int32[np.ndarray, " n"]
    ignore: Bool[np.ndarray, " n"]
    moving: Bool[np.ndarray, " n"]


def stack(
    object_masks: Iterable[Bool[np.ndarray, "h w"]],
    size: Size,
    *,
    source: Path | str,
    ids: Sequence[int],
    classes: Sequence[int] | None = None,
    ignore: Sequence[bool] | None = None,
    moving: Sequence[bool] | None = None,
) -> Objects:
    """`Objects` from one mask each; none of them is fine.

    Args:
        object_masks: Of the objects; if it makes them when asked for, only one is held
            beside the result.
        size: Of the frame.
        source: Names the file in messages.
        ids: Of the objects.
        classes: All 0 if None.
        ignore: All False if None.
        moving: All True if None.

    Raises:
        InputError: The masks would have more than `MAX_MASK_BYTES`.
    """
    count = len(ids)
    if count * size[0] * size[1] > MAX_MASK_BYTES:
        raise InputError(
            f"{source}: has {count} masks of {size[0]}x{size[1]} pixels (height x "
            f"width), expected at most {MAX_MASK_BYTES} bytes of masks in all "
            "(objects.MAX_MASK_BYTES)."
        )
    stacked = np.zeros((count, *size), bool)
    for i, mask in zip(range(count), object_masks, strict=True):
        stacked[i] = mask
    return Objects(
        masks=stacked,
        classes=np.array([0] * count if classes is None else classes, np.int32),
        ids=np.array(ids, np.int32),
        ignore=np.array([False] * count if ignore is None else ignore, bool),
        moving=np.array([True] * count if moving is None else moving, bool),
    )


def from_ids(
    ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"],
    convention: Convention = "instances",
    *,
    source: Path | str,
) -> Objects:
    """Objects of an annotation in which a pixel's value is its object, 0 background.

    Objects come in the order of their numbers, a void region last; there is none in
    annotations of 16 bits.

    Raises:
        InputError: As `stack`.
    """
    values = present_ids(ids)
    marked = [VOID] if VOID in values and ids.dtype == np.uint8 else []
    if convention == "one" or (convention == "auto" and values == [VOID]):
        void = marked if len(values) > 1 else []
        chosen = (ids != 0) & (ids != VOID) if void else ids != 0
        numbers = [1] if values else []
        found = [chosen] * len(numbers)
    else:
        void = marked
        numbers = [value for value in values if value not in void]
        found = (ids == value for value in numbers)
    height, width = ids.shape
    return stack(
        itertools.chain(found, (ids == value for value in void)),
        (height, width),
        source=source,
        ids=[*numbers, *void],
        ignore=[False] * len(numbers) + [True] * len(void),
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
    decoded = (
        masks.decode(
            masks.from_json(
                row.get("segmentation"), size, source=f"{source}: object {i}"
            )
        )
        for i, row in enumerate(rows)
    )
    return stack(
        decoded,
        size,
        source=source,
        ids=[row["id"] for row in rows],
        classes=[row["class"] for row in rows],
        ignore=[row["ignore"] for row in rows],
        moving=[row["moving"] for row in rows],
    )
