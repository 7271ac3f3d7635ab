"""COCO's instance annotations: images with all objects of 80 classes.

    annotations/instances_train2017.json    or any other instances_<split>.json
    train2017/000000000009.jpg              or <split>/...

Crowds are regions to ignore, because their pixels are not assigned to objects.

Lin et al., "Microsoft COCO: Common objects in context", ECCV 2014.
"""

import collections
import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from movseg_jax import masks
from movseg_jax.data.annotations import MAX_OBJECTS, ignore_unlabelled, stack
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.listings import expect
from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import Frame
from movseg_jax.errors import InputError
from movseg_jax.images import MAX_PIXELS
from movseg_jax.system.bounded import MAX_JSON_BYTES, read_json
from movseg_jax.system.paths import inside


@dataclasses.dataclass(frozen=True)
class CocoObjects:
    """The annotations of one image.

    Attributes:
        text: A JSON list of [id, class, crowd, segmentation]. As text the annotations
            take a tenth of the memory that Python objects would.
        source: The file that they come from.
        unlabelled: The meaning of pixels without annotation: "background", or "ignore"
            for a region to ignore.
    """

    text: bytes
    source: Path
    unlabelled: Literal["background", "ignore"]

    @property
    def files(self) -> Sequence[Path]:
        """An empty tuple, because one file holds the annotations of all images."""
        return ()

    def read(self, size: Size) -> Objects:
        """Reads the objects, which are numbered from 1."""
        rows = json.loads(self.text)

        def decoded():
            for identifier, _, _, segmentation in rows:
                where = f"{self.source}: annotation {identifier}"
                yield masks.decode(masks.from_json(segmentation, size, source=where))

        objects = stack(
            decoded(),
            size,
            source=f"{self.source}: annotation {rows[0][0]}, ..." if rows else "",
            ids=range(1, len(rows) + 1),
            classes=[row[1] for row in rows],
            ignore=[bool(row[2]) for row in rows],
        )
        return ignore_unlabelled(objects) if self.unlabelled == "ignore" else objects


@dataclasses.dataclass(frozen=True)
class Coco(Layout):
    """COCO's instances without their classes: every object is an "object".

    Attributes:
        root: The folder that holds annotations and the images' folders.
        split: "train" or "val" of 2017, or that of a file instances_<split>.json.
        empty: Whether images without annotations are examples, too.
        unlabelled: The meaning of pixels without annotation: "background", or "ignore"
            if the annotations do not cover all objects.
        max_json_bytes: The largest size of the annotations' file that is read.
    """

    empty: bool = True
    unlabelled: Literal["background", "ignore"] = "background"
    max_json_bytes: int = MAX_JSON_BYTES

    splits: ClassVar[dict[str, int]] = {"train": 118_287, "val": 5_000}
    any_split: ClassVar[bool] = True

    def expected_count(self) -> int | None:
        """Returns the number of images of an official split.

        The images of COCO itself are named by numbers of twelve digits; data of one's
        own may well be in a file of the same name.
        """
        official = self._source.stem == f"instances_{self.split}2017" and all(
            re.fullmatch(r"\d{12}", name) for name in self._by_name
        )
        return self.splits.get(self.split) if official else None

    def sequences(self) -> Sequence[str]:
        """Lists the names of the images, in the file's order."""
        problem = next(self.problems(), None)
        if problem:
            raise InputError(problem)
        return [
            name
            for name, image in self._by_name.items()
            if self.empty or self._annotations[image["id"]]
        ]

    def frames(self, sequence: str) -> list[Frame]:
        """Returns the image as the only frame of its sequence."""
        image = self._by_name[sequence]
        rows = [
            [row["id"], self._class(row), row.get("iscrowd", 0), row["segmentation"]]
            for row in self._annotations[image["id"]]
        ]
        text = json.dumps(rows, separators=(",", ":")).encode()
        return [
            Frame(
                sequence=sequence,
                name="",
                image=self._images / image["file_name"],  # `problems` checked it.
                annotation=CocoObjects(text, self._source, self.unlabelled),
                size=(image["height"], image["width"]),
            )
        ]

    def problems(self) -> Iterator[str]:
        """Yields everything that is wrong in the file, except in its segmentations."""
        source, data = self._source, self._data
        images = _rows(data, "images", source)
        annotations = _rows(data, "annotations", source)
        wrong = [*self._category_problems()]
        if wrong:
            yield from wrong
            return
        known = set()
        names = set()
        for i, image in enumerate(images):
            wrong = _wrong(image, {"id": int, "height": int, "width": int})
            if wrong or not isinstance(image.get("file_name"), str):
                key = wrong or "file_name"
                yield f"{source}: {key} of image {i} is missing or bad."
                continue
            try:
                inside(self._images, image["file_name"], source=str(source))
            except InputError as error:
                yield str(error)
            if image["id"] in known:
                yield f"{source}: image {image['id']} is listed twice."
            if _name(image) in names:
                yield f"{source}: {image['file_name']!r} is listed twice."
            if min(image["height"], image["width"]) < 1:
                yield f"{source}: image {image['id']} has no pixels."
            if image["height"] * image["width"] > MAX_PIXELS:
                yield (
                    f"{source}: image {image['id']} has more than {MAX_PIXELS} pixels "
                    "(images.MAX_PIXELS)."
                )
            known.add(image["id"])
            names.add(_name(image))
        yield from self._annotation_problems(annotations, known)

    def _category_problems(self) -> Iterator[str]:
        source = self._source
        seen = set()
        for i, row in enumerate(_rows(self._data, "categories", source)):
            if _wrong(row, {"id": int}):
                yield f"{source}: id of category {i} is missing or bad."
            elif row["id"] in seen:
                yield f"{source}: category {row['id']} is listed twice."
            else:
                seen.add(row["id"])

    def _annotation_problems(self, annotations, known) -> Iterator[str]:
        source = self._source
        categories = {row["id"] for row in self._data["categories"]}
        seen = set()
        counts = collections.Counter()
        for i, row in enumerate(annotations):
            wrong = _wrong(row, {"id": int, "image_id": int, "category_id": int})
            if wrong:
                number = f"{row.get('id', i)!r:.40}"
                yield f"{source}: {wrong} of annotation {number} is missing or bad."
                continue
            where = f"{source}: annotation {row['id']}"
            if row["id"] in seen:
                yield f"{where} is listed twice."
            if row["image_id"] not in known:
                yield f"{where} is of image {row['image_id']}, which is not listed."
            if row["category_id"] not in categories:
                category = row["category_id"]
                yield f"{where} is of category {category}, which is not listed."
            if row.get("iscrowd", 0) not in (0, 1):
                yield f"{where}: iscrowd is {row['iscrowd']!r:.40}, expected 0 or 1."
            if not row.get("segmentation"):
                yield (
                    f"{where} has no segmentation: only a box is no mask. Remove it, "
                    "or take an export that has masks."
                )
            seen.add(row["id"])
            counts[row["image_id"]] += 1
            if counts[row["image_id"]] == MAX_OBJECTS + 1:
                yield (
                    f"{source}: image {row['image_id']} has more than {MAX_OBJECTS} "
                    "annotations (annotations.MAX_OBJECTS)."
                )

    def _class(self, annotation: Mapping[str, Any]) -> int:
        return 0

    @functools.cached_property
    def _source(self) -> Path:
        folder = "annotations/instances_"
        return expect(
            self.root, f"{folder}{self.split}2017.json", f"{folder}{self.split}.json"
        )

    @functools.cached_property
    def _images(self) -> Path:
        """The folder of the images that belong to the annotations' file."""
        name = self._source.stem.removeprefix("instances_")
        return expect(self.root, name, f"images/{name}")

    @functools.cached_property
    def _data(self) -> Mapping[str, Any]:
        return read_json(self._source, self.max_json_bytes)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, Mapping[str, Any]]:
        return {_name(image): image for image in self._data["images"]}

    @functools.cached_property
    def _annotations(self) -> Mapping[int, Sequence[Mapping[str, Any]]]:
        rows = collections.defaultdict(list)
        for row in self._data["annotations"]:
            rows[row["image_id"]].append(row)
        return rows


@dataclasses.dataclass(frozen=True)
class CocoClasses(Coco):
    """COCO's instances with their classes, from 0 in the order of their ids."""

    def class_names(self) -> Sequence[str]:
        """Returns the names in the file; COCO has 80 classes."""
        return [str(row.get("name", row["id"])) for row in self._categories]

    def _class(self, annotation: Mapping[str, Any]) -> int:
        return self._class_of[annotation["category_id"]]

    @functools.cached_property
    def _categories(self) -> Sequence[Mapping[str, Any]]:
        problem = next(self._category_problems(), None)
        if problem:
            raise InputError(problem)
        return sorted(self._data["categories"], key=lambda row: row["id"])

    @functools.cached_property
    def _class_of(self) -> Mapping[int, int]:
        return {row["id"]: i for i, row in enumerate(self._categories)}


def _rows(data: Mapping[str, Any], key: str, source: Path) -> list[dict[str, Any]]:
    rows = data.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{source}: {key!r} is missing or not a list of objects.")
    return rows


def _wrong(row: Mapping[str, Any], kinds: Mapping[str, type]) -> str | None:
    """Returns the first key that is missing or has a wrong type; `True` is no int."""
    wrong = (key for key, kind in kinds.items() if type(row.get(key)) is not kind)
    return next(wrong, None)


def _name(image: Mapping[str, Any]) -> str:
    """Returns the name of the image's file without its suffix."""
    folder, _, file = image["file_name"].rpartition("/")
    stem = file.rpartition(".")[0] or file
    return f"{folder}/{stem}" if folder else stem
