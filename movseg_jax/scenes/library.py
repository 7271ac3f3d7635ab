"""Reads photographs and cut-outs of things, from which clips are made."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.images import read_rgb
from movseg_jax.system.bounded import read_json
from movseg_jax.system.paths import inside, list_images

MAX_CUTOUTS = 2_000_000
MAX_SIDE = 1024  # Pixels; photographs with a longer side are shrunk.
MAX_CUTOUT_SIDE = 420  # Pixels; cut-outs with a longer side are shrunk.
KEPT = 16  # The number of photographs, and of shrunk ones, that stay in memory.
SMALLEST = 32  # Pixels; a cut-out whose box has a shorter side is not used.
ATTEMPTS = 20  # The number of cut-outs that are tried until one is useful.


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """Pictures from which clips are made; each is read when it is needed.

    Attributes:
        backgrounds: The files of photographs.
        cutouts: The things that can be cut out of photographs.
    """

    backgrounds: Sequence[Path] = ()
    cutouts: Sequence["Cutout"] = ()

    def photograph(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Reads a randomly chosen photograph.

        Raises:
            InputError: The photograph cannot be read.
        """
        return _photograph(self.backgrounds[int(rng.integers(len(self.backgrounds)))])

    def cutout(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"] | None:
        """Returns the RGBA of a complete, large enough thing; None if none was found.

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
        image: The file of the photograph.
        segmentation: The mask in COCO's format: polygons or RLE.
        source: The name of the annotation in messages.
    """

    image: Path
    segmentation: Any
    source: str


def read_library(
    backgrounds: str | Path | None = None, cutouts: str | Path | None = None
) -> Library:
    """Reads a library from a folder of photographs and a file of annotations.

    Args:
        backgrounds: A folder of photographs.
        cutouts: A file of annotations in COCO's format. Its images are expected in the
            folder that its name ends with ("train2017" for
            "instances_train2017.json") or in "images", beside the file or beside its
            folder, or else in the file's own folder.

    Raises:
        InputError: A folder or a file is missing, empty or malformed.
    """
    photographs = (
        list_images(Path(backgrounds), frames=False) if backgrounds is not None else []
    )
    if backgrounds is not None and not photographs:
        raise InputError(f"{backgrounds}: has no images; expected photographs.")
    things = _read_cutouts(Path(cutouts)) if cutouts is not None else []
    return Library(tuple(photographs), tuple(things))


def _read_cutouts(file: Path) -> list[Cutout]:
    data = read_json(file)
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
            raise InputError(f'{source}: no image has its "image_id".')
        if annotation.get("iscrowd") or not annotation["segmentation"]:
            continue
        path = inside(folder, names[image], source=str(file))
        cutouts.append(Cutout(path, annotation["segmentation"], source))
    if not cutouts:
        raise InputError(f"{file}: has no annotations of single objects.")
    return cutouts


def _names_of_images(data, file):
    """Returns the images' file names by id."""
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
    """Returns the first of the usual folders that holds the first image."""
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


# Cut-outs need their photographs in full size, so that masks fit them.
@functools.lru_cache(KEPT)
def _photograph_of(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    return read_rgb(path)


def _cut(cutout, picture) -> UInt8[np.ndarray, "h w 4"] | None:
    """Cuts a thing out, with soft edges; None if it is incomplete or too small."""
    height, width = picture.shape[:2]
    parts = cutout.segmentation
    if isinstance(parts, list) and len(parts) > 1:
        return None  # Something in front divides it.
    rle = masks.from_json(parts, (height, width), source=cutout.source)
    mask = masks.decode(rle)
    x0, y0, x1, y1 = masks.tight_box(mask).astype(int)
    if x0 <= 1 or y0 <= 1 or x1 >= width - 1 or y1 >= height - 1:
        return None
    if min(x1 - x0, y1 - y0) < SMALLEST or mask.sum() < 0.25 * (x1 - x0) * (y1 - y0):
        return None
    window = slice(y0 - 1, y1 + 1), slice(x0 - 1, x1 + 1)
    # Annotated outlines lie a little outside the thing, so they are shrunk to keep the
    # background from shining through.
    alpha = cv2.erode(mask[window].astype(np.uint8) * 255, np.ones((2, 2), np.uint8))
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7)
    rgba = np.dstack([picture[window], alpha])
    shrink = MAX_CUTOUT_SIDE / max(rgba.shape[:2])
    if shrink < 1:
        rgba = cv2.resize(
            rgba, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA
        )
    return rgba
