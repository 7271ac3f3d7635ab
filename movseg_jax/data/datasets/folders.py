"""Folders of frames and annotations: your own data, and that of `movseg synth`.

Several videos have the layout of DAVIS:

    JPEGImages/<sequence>/00000.jpg
    Annotations/<sequence>/00000.png      objects' numbers, or 0 and 255
    Flow/<sequence>/00000.flo             optional; also .png, .npz, .pfm
    ImageSets/<split>.txt                 names of sequences, if there are splits

A single video has a folder `frames` (or `images`) and a folder `masks` (or
`annotations`), whose files have equal names. Frames may lack an annotation.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.joins import Groups, JoinedAnnotation, read_joins
from movseg_jax.data.datasets.listings import expect, list_folders, read_names
from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import (
    Frame,
    IdImage,
    id_images,
    list_flow,
    list_video,
    video_frames,
)
from movseg_jax.errors import InputError
from movseg_jax.system.bounded import read_json
from movseg_jax.system.paths import list_images

PAIRS = (("frames", "masks"), ("images", "annotations"), ("JPEGImages", "Annotations"))


@dataclasses.dataclass(frozen=True)
class Folder(Layout):
    """Any folder of frames and annotations.

    Attributes:
        root: The folder that holds JPEGImages, or frames and masks.
        split: The name of a list in ImageSets, or "all" for all annotated sequences.
        flow: A folder of flow, <sequence>/<frame>.flo (.png, .npz, .pfm). The default
            is the root's folder Flow, if it exists.
        join: A file that says which objects move as one (see `joins`). By default every
            object stays separate.
    """

    split: str = "all"
    flow: Path | None = None
    join: Path | None = None

    splits: ClassVar[dict[str, int]] = {"all": 0}
    any_split: ClassVar[bool] = True

    def sequences(self) -> Sequence[str]:
        """Lists the split's sequences; a single video has the name of the root."""
        if self._single() is not None:
            return [self.root.resolve().name]
        if self.split != "all":
            return read_names(expect(self.root, f"ImageSets/{self.split}.txt"))
        expect(self.root, "JPEGImages", "frames", "images")
        return list_folders(expect(self.root, "Annotations", "masks", "annotations"))

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence."""
        frames = self._plain_frames(sequence)
        if self.join is None:
            return frames
        groups = self._joins[sequence]
        return [
            dataclasses.replace(f, annotation=JoinedAnnotation(f.annotation, groups))
            for f in frames
        ]

    @functools.cached_property
    def _joins(self) -> Mapping[str, Groups]:
        """The groups of every sequence of the split; the file is read once."""
        return {} if self.join is None else read_joins(self.join, self.sequences())

    def _plain_frames(self, sequence: str) -> list[Frame]:
        """Lists the frames with separate objects."""
        single = self._single()
        if single is not None:
            images, annotated = list_video(single[0]), single[1]
        else:
            images = list_video(expect(self.root, f"JPEGImages/{sequence}"))
            annotated = expect(self.root, f"Annotations/{sequence}")
        annotations = id_images(list_images(annotated), "auto")
        return video_frames(sequence, images, annotations, self._flow(sequence))

    def _single(self) -> tuple[Path, Path] | None:
        """Returns the folders of frames and masks if they hold a single video."""
        for names in PAIRS:
            frames, annotated = (self.root / name for name in names)
            if frames.is_dir() and annotated.is_dir() and list_images(frames):
                return frames, annotated
        return None

    def _flow(self, sequence: str) -> dict[str, Path] | None:
        folder = self.flow or self.root / "Flow"
        if self.flow is None and not folder.is_dir():
            return None
        if self._single() is not None and not (folder / sequence).is_dir():
            return list_flow(folder)
        return list_flow(folder, sequence)


@dataclasses.dataclass(frozen=True)
class MovingIds:
    """An annotation of a rendered clip; `moving` says which of its objects move."""

    image: IdImage
    moving: Mapping[int, bool]

    @property
    def files(self) -> Sequence[Path]:
        """The annotation's image."""
        return self.image.files

    def read(self, size: Size) -> Objects:
        """Reads the objects, and marks those that move."""
        objects = self.image.read(size)
        moving = [self.moving.get(int(i), True) for i in objects.ids]
        return dataclasses.replace(objects, moving=np.array(moving, bool))


@dataclasses.dataclass(frozen=True)
class Rendered(Folder):
    """Clips that `movseg synth` wrote: a `Folder` with Truth/<sequence>.json.

    The JSON's "objects" is a list of {"id": ..., "moving": [...]}, which says for every
    frame of the clip whether the object moves. Without the file all objects move.
    """

    def _plain_frames(self, sequence: str) -> list[Frame]:
        """Lists the frames with separate objects, which are marked as moving or not."""
        frames = super()._plain_frames(sequence)
        truth = self.root / "Truth" / f"{sequence}.json"
        if not truth.exists():
            return frames
        moving = _read_moving(truth)
        images = list_images(frames[0].image.parent) if frames else []
        numbers = {image.stem: i for i, image in enumerate(images)}
        return [
            dataclasses.replace(
                frame,
                annotation=MovingIds(
                    IdImage(frame.annotation.files[0]),
                    _moving_at(moving, numbers[frame.name], truth),
                ),
            )
            for frame in frames
        ]


def _read_moving(file: Path) -> dict[int, list[bool]]:
    """Reads for every object whether it moves in each frame."""
    objects: Any = read_json(file).get("objects")
    if not isinstance(objects, list):
        raise InputError(f'{file}: expected {{"objects": [...]}}.')
    moving = {}
    for i, row in enumerate(objects):
        identifier = row.get("id") if isinstance(row, dict) else None
        flags = row.get("moving") if isinstance(row, dict) else None
        valid = isinstance(flags, list) and all(isinstance(f, bool) for f in flags)
        if type(identifier) is not int or not valid:
            raise InputError(
                f'{file}: object {i} is not {{"id": a number, "moving": [true, ...]}}.'
            )
        moving[identifier] = flags
    return moving


def _moving_at(
    moving: Mapping[int, Sequence[bool]], number: int, file: Path
) -> dict[int, bool]:
    """Returns for every object whether it moves in a frame."""
    short = [i for i, flags in moving.items() if number >= len(flags)]
    if short:
        raise InputError(
            f"{file}: object {short[0]} has {len(moving[short[0]])} flags of motion, "
            f"expected one for every frame, so at least {number + 1}."
        )
    return {i: flags[number] for i, flags in moving.items()}
