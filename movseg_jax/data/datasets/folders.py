"""Your own data: folders of frames and of annotations; and what `movseg synth` writes.

Videos, in the manner of DAVIS:

    JPEGImages/<sequence>/00000.jpg
    Annotations/<sequence>/00000.png      object numbers, or 0 and 255; not every frame
    Flow/<sequence>/00000.flo             if there is some; also .png, .npz, .pfm
    ImageSets/<split>.txt                 names of sequences, if there are splits

or a single video: a folder `frames` (or `images`) and a folder `masks` (or
`annotations`), with equal names of files.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from movseg_jax.data.annotations import Objects, Size
from movseg_jax.data.datasets.joins import JoinedAnnotation, read_joins
from movseg_jax.data.datasets.listings import expect, list_folders, read_names
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
class Folder:
    """Any folder of frames and annotations.

    Attributes:
        root: The folder that holds JPEGImages, or frames and masks.
        split: A list in ImageSets, or "all" for all that is annotated.
        flow: A folder <sequence>/<frame>.flo (.png, .npz, .pfm); None takes Flow below
            the root if it is there.
        join: A file that says which objects move as one, see `joining`; None takes all
            for objects of their own.
    """

    root: Path
    split: str = "all"
    flow: Path | None = None
    join: Path | None = None

    splits: ClassVar[dict[str, int]] = {"all": 0}
    any_split: ClassVar[bool] = True

    def class_names(self) -> Sequence[str]:
        """One."""
        return ("object",)

    def expected_count(self) -> int | None:
        """Number of sequences of the whole split."""
        return self.splits.get(self.split) or None

    def sequences(self) -> Sequence[str]:
        """As the split lists them; of a single video, its folder's name."""
        if self._single() is not None:
            return [self.root.resolve().name]
        if self.split != "all":
            return read_names(expect(self.root, f"ImageSets/{self.split}.txt"))
        expect(self.root, "JPEGImages", "frames", "images")
        return list_folders(expect(self.root, "Annotations", "masks", "annotations"))

    def frames(self, sequence: str) -> list[Frame]:
        """The annotated frames of one sequence."""
        frames = self._plain_frames(sequence)
        if self.join is None:
            return frames
        groups = read_joins(self.join, [sequence])[sequence]
        return [
            dataclasses.replace(f, annotation=JoinedAnnotation(f.annotation, groups))
            for f in frames
        ]

    def _plain_frames(self, sequence: str) -> list[Frame]:
        """The frames without joined objects."""
        single = self._single()
        if single is not None:
            images, annotated = list_video(single[0]), single[1]
        else:
            images = list_video(expect(self.root, f"JPEGImages/{sequence}"))
            annotated = expect(self.root, f"Annotations/{sequence}")
        annotations = id_images(list_images(annotated), "auto")
        return video_frames(sequence, images, annotations, self._flow(sequence))

    def _single(self) -> tuple[Path, Path] | None:
        """The folders of frames and masks, if they hold one video's files."""
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
    """An annotation of a rendered clip, and which of its objects move."""

    image: IdImage
    moving: Mapping[int, bool]

    @property
    def files(self) -> Sequence[Path]:
        """The annotation's image."""
        return self.image.files

    def read(self, size: Size) -> Objects:
        """See `frames.Annotation`."""
        objects = self.image.read(size)
        moving = [self.moving.get(int(i), True) for i in objects.ids]
        return dataclasses.replace(objects, moving=np.array(moving, bool))


@dataclasses.dataclass(frozen=True)
class Rendered(Folder):
    """What `movseg synth` writes: a folder, and Truth/<sequence>.json.

    The JSON's "objects" is a list of {"id": ..., "moving": [...]}, whether the object
    moves in every frame of the clip; without it all objects move.
    """

    def _plain_frames(self, sequence: str) -> list[Frame]:
        """The frames without joined objects, and whether the objects move."""
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
    """Of every object, whether it moves in each frame."""
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
    short = [i for i, flags in moving.items() if number >= len(flags)]
    if short:
        raise InputError(
            f"{file}: object {short[0]} has {len(moving[short[0]])} flags of motion, "
            f"expected one for every frame, so at least {number + 1}."
        )
    return {i: flags[number] for i, flags in moving.items()}
