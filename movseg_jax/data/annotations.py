"""Makes the `Objects` of a frame from annotations in files.

Annotations are images whose values are the numbers of objects (DAVIS, YouTube-VOS), or
JSON. Prepared data sets hold JSON, so `from_json(to_json(x)) == x`.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8, UInt16

from movseg_jax import masks
from movseg_jax.data.example import Objects, Size
from movseg_jax.errors import InputError
from movseg_jax.masks.id_images import VOID, present_ids

# The meaning of the value 255 in an annotation of 8 bits:
# - "instances": it is void, a region to ignore.
# - "auto": it is void, unless the image holds nothing but 0 and 255, as in DAVIS 2016;
#   then it is the object.
# - "one": all values other than 0 are one object; 255 belongs to it only if there is no
#   other value. `frames.IdImage` looks at all images of the video to decide that.
Convention = Literal["instances", "auto", "one"]

MAX_OBJECTS = 2_000  # The most objects of a frame; LVIS has up to 300.
MAX_MASK_BYTES = 2**31  # The most bytes of a frame's masks: 250 masks of 4K video.


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
    """Makes `Objects` from one mask per object; there may be none.

    Args:
        object_masks: The objects' masks. If this is a generator, only one mask is in
            memory in addition to the result.
        size: The height and width of the frame.
        source: The file that messages name.
        ids: The objects' numbers.
        classes: The objects' classes; all are 0 if None.
        ignore: Whether each mask is a region to ignore; all are False if None.
        moving: Whether each object moves; all are True if None.

    Raises:
        InputError: The masks would have more than `MAX_MASK_BYTES`.
    """
    count = len(ids)
    if count * size[0] * size[1] > MAX_MASK_BYTES:
        raise InputError(
            f"{source}: has {count} masks of {size[0]}x{size[1]} pixels (height x "
            f"width), expected at most {MAX_MASK_BYTES} bytes of masks in all "
            "(annotations.MAX_MASK_BYTES)."
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
    """Returns the objects of an image whose values are objects' numbers.

    The value 0 is the background. Objects come in the order of their numbers, and a
    void region comes last; annotations of 16 bits have no void.

    Raises:
        InputError: The masks are too large, as in `stack`.
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
    """Adds a region to ignore that covers all pixels without a mask.

    If annotations do not label all objects, this keeps the unlabelled ones from being
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
    """Returns the objects as JSON text, with the masks as COCO's RLEs."""
    rows = [
        {
            "id": int(objects.ids[i]),
            "class": int(objects.classes[i]),
            "ignore": bool(objects.ignore[i]),
            "moving": bool(objects.moving[i]),
            "segmentation": masks.to_json(masks.encode(mask)),
        }
        for i, mask in enumerate(objects.masks)
    ]
    return json.dumps(rows, separators=(",", ":"))


def from_json(text: str | bytes, size: Size, *, source: str) -> Objects:
    """Reads what `to_json` wrote.

    Raises:
        InputError: The text is something else, or the masks are of another size.
    """
    try:
        rows: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: is not JSON: {error}.") from None
    if not isinstance(rows, list) or len(rows) > MAX_OBJECTS:
        raise InputError(
            f"{source}: expected a list of at most {MAX_OBJECTS} objects "
            "(annotations.MAX_OBJECTS)."
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

    def decoded():
        for i, row in enumerate(rows):
            where = f"{source}: object {i}"
            segmentation = row.get("segmentation")
            yield masks.decode(masks.from_json(segmentation, size, source=where))

    return stack(
        decoded(),
        size,
        source=source,
        ids=[row["id"] for row in rows],
        classes=[row["class"] for row in rows],
        ignore=[row["ignore"] for row in rows],
        moving=[row["moving"] for row in rows],
    )
