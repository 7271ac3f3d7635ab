"""Photographs and cut-outs of things, from folders, to make clips of."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.images import read_rgb
from movseg_jax.system.paths import inside, list_images

MAX_JSON = 2**30  # Bytes of a file of annotations.
MAX_CUTOUTS = 2_000_000
MAX_SIDE = 1024  # Pixels, of a photograph as it is used; larger ones are shrunk.
KEPT = 16  # Photographs and cut-outs in memory, of each.
SMALLEST = 32  # Pixels: sides of the smallest useful cut-out's box.
ATTEMPTS = 20  # Cut-outs to look at until one is useful.


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """Pictures to make clips of; they are read when they are needed.

    Attributes:
        backgrounds: Files of photographs.
        cutouts: What can be cut out of photographs.
    """

    backgrounds: Sequence[Path] = ()
    cutouts: Sequence["Cutout"] = ()

    def photograph(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """One of the photographs.

        Raises:
            InputError: It cannot be read.
        """
        return _photograph(self.backgrounds[int(rng.integers(len(self.backgrounds)))])

    def cutout(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"] | None:
        """RGBA of a thing that is whole and large enough; None if none was found.

        Raises:
            InputError: Its photograph or its mask cannot be read.
        """
        for _ in range(ATTEMPTS):
            cutout = self.cutouts[int(rng.integers(len(self.cutouts)))]
            picture = _photograph_of(cutout.image)
            rgba = _cut(cutout, picture)
            if rgba is not None:
                return rgba
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Cutout:
    """A thing in a photograph.

    Attributes:
        image: The photograph's file.
        segmentation: As COCO has it.
        source: Names it in messages.
    """

    image: Path
    segmentation: Any
    source: str


def read_library(
    backgrounds: Path | None = None, cutouts: Path | None = None
) -> Library:
    """A library of a folder of photographs, and of a file of annotations.

    Args:
        backgrounds: A folder of images.
        cutouts: Annotations in COCO's format. The images are in the folder that the
            file's name ends with ("instances_train2017.json": "train2017"), or in
            "images", beside the file or beside its folder; or in its own folder.

    Raises:
        InputError: A folder or a file is missing, empty or malformed.
    """
    photographs = (
        list_images(backgrounds, frames=False) if backgrounds is not None else []
    )
    if backgrounds is not None and not photographs:
        raise InputError(f"{backgrounds}: has no images; expected photographs.")
    things = _read_cutouts(cutouts) if cutouts is not None else []
    return Library(tuple(photographs), tuple(things))


def _read_cutouts(file: Path) -> list[Cutout]:
    data = _read_json(file)
    names = _names_of_images(data, file)
    annotations = data.get("annotations")
    if not isinstance(annotations, list) or len(annotations) > MAX_CUTOUTS:
        raise InputError(
            f"{file}: expected a list of at most {MAX_CUTOUTS} (library.MAX_CUTOUTS) "
            'in "annotations".'
        )
    folder = _folder_of_images(file, names)
    cutouts = []
    for number, annotation in enumerate(annotations):
        source = f"{file}: annotation {number}"
        if not isinstance(annotation, dict) or "segmentation" not in annotation:
            raise InputError(f'{source} has no "segmentation".')
        image = annotation.get("image_id")
        if not isinstance(image, int | str) or image not in names:
            raise InputError(f'{source}: its "image_id" is that of no image.')
        if annotation.get("iscrowd") or not annotation["segmentation"]:
            continue
        path = inside(folder, names[image], source=str(file))
        cutouts.append(Cutout(path, annotation["segmentation"], source))
    if not cutouts:
        raise InputError(f"{file}: has no annotations of single objects.")
    return cutouts


def _read_json(file):
    try:
        size = file.stat().st_size
        if size > MAX_JSON:
            raise InputError(
                f"{file}: has {size} bytes, expected at most {MAX_JSON} "
                "(library.MAX_JSON)."
            )
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error}.") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{file}: is not JSON: {reason:.200}.") from None
    if not isinstance(data, dict):
        raise InputError(f"{file}: expected a JSON object with images and annotations.")
    return data


def _names_of_images(data, file):
    images = data.get("images")
    if not isinstance(images, list) or not images:
        raise InputError(f'{file}: expected a list of images in "images".')
    names = {}
    for number, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        key = image.get("id") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(key, int | str):
            raise InputError(
                f'{file}: image {number} lacks "id" or "file_name", a number and a '
                "name."
            )
        names[key] = name
    return names


def _folder_of_images(file, names):
    """The first of the usual places that holds the first image."""
    first = next(iter(names.values()))
    split = file.stem.removeprefix("instances_")
    beside, above = file.parent, file.parent.parent
    places = [above / split, above / "images" / split, above / "images",
              beside / split, beside / "images", beside]  # fmt: skip
    for place in places:
        if inside(place, first, source=str(file)).is_file():
            return place
    shown = ", ".join(map(str, places))
    raise InputError(f"{file}: its image {first!r:.100} is in none of {shown}.")


@functools.lru_cache(KEPT)
def _photograph(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    picture = _photograph_of(path)
    height, width = picture.shape[:2]
    shrink = MAX_SIDE / max(height, width)
    if shrink < 1:
        wanted = max(1, round(width * shrink)), max(1, round(height * shrink))
        picture = cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA)
    # The smallest textures need a few texels.
    if min(picture.shape[:2]) < 16:
        raise InputError(f"{path}: is smaller than 16 x 16 pixels.")
    return picture


@functools.lru_cache(KEPT)
def _photograph_of(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    return read_rgb(path)


def _cut(cutout, picture) -> UInt8[np.ndarray, "h w 4"] | None:
    """The thing's own pixels, with soft edges; None if it is cut off or too small."""
    height, width = picture.shape[:2]
    parts = cutout.segmentation
    if isinstance(parts, list) and len(parts) > 1:
        return None  # Something stands in front of it.
    rle = masks.from_json(parts, (height, width), source=cutout.source)
    mask = masks.decode(rle)
    x0, y0, x1, y1 = masks.tight_box(mask).astype(int)
    if x0 <= 1 or y0 <= 1 or x1 >= width - 1 or y1 >= height - 1:
        return None
    if min(x1 - x0, y1 - y0) < SMALLEST or mask.sum() < 0.25 * (x1 - x0) * (y1 - y0):
        return None
    window = slice(y0 - 1, y1 + 1), slice(x0 - 1, x1 + 1)
    # Outlines lie a little outside; shrink them, lest the background shines through.
    alpha = cv2.erode(mask[window].astype(np.uint8) * 255, np.ones((2, 2), np.uint8))
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7)
    rgba = np.dstack([picture[window], alpha])
    shrink = 420 / max(rgba.shape[:2])
    if shrink < 1:
        rgba = cv2.resize(
            rgba, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA
        )
    return rgba
