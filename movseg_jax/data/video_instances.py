"""Eleven short clips with instance masks, three of DAVIS 2017 and eight of YouTube-VOS.

    JPEGImages/<clip>/00000.jpg
    Annotations/<clip>/00000.png      object numbers

`lists/video_instances.json` says which clips are trained on and which are held out, and
which objects of a clip move as one: a rider and the motorcycle are one object here.

Perazzi et al. and Pont-Tuset et al. (see `davis`); Xu et al., "YouTube-VOS: A
large-scale video object segmentation benchmark", 2018.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from movseg_jax.data.folders import Folder
from movseg_jax.data.frames import Annotation, Frame
from movseg_jax.data.joining import join_objects
from movseg_jax.data.objects import Objects, Size, ignore_unlabelled


@dataclasses.dataclass(frozen=True)
class Joined:
    """An annotation in which some objects are one.

    Attributes:
        annotation: The annotation with all objects apart.
        groups: Numbers of the objects that are one; it gets the group's first number.
        ignore_rest: Whether what is in no mask is a region to ignore.
    """

    annotation: Annotation
    groups: tuple[tuple[int, ...], ...]
    ignore_rest: bool

    @property
    def files(self) -> Sequence[Path]:
        """The files of the annotation."""
        return self.annotation.files

    def read(self, size: Size) -> Objects:
        """See `frames.Annotation`."""
        objects = join_objects(self.annotation.read(size), self.groups)
        return ignore_unlabelled(objects) if self.ignore_rest else objects


@dataclasses.dataclass(frozen=True)
class VideoInstances(Folder):
    """The clips, and how the package splits them.

    Attributes:
        split: "fit", the clips to train on, or "development", the clips held out.
        unlabelled: "ignore" makes a region to ignore of what is in no mask, in the
            clips in which something moves that has none.
    """

    unlabelled: Literal["background", "ignore"] = "background"

    splits: ClassVar[dict[str, int]] = {"fit": 7, "development": 4}
    any_split: ClassVar[bool] = False
    every_frame: ClassVar[bool] = True

    def sequences(self) -> Sequence[str]:
        """As the package lists them."""
        return [name for name, row in _clips().items() if row["split"] == self.split]

    def frames(self, sequence: str) -> list[Frame]:
        """The frames of one clip."""
        clip = _clips()[sequence]
        groups = tuple(tuple(group) for group in clip["joined"])
        rest = self.unlabelled == "ignore" and clip["unlabelled_moves"]
        return [
            dataclasses.replace(
                frame, annotation=Joined(frame.annotation, groups, rest)
            )
            for frame in super().frames(sequence)
        ]


@functools.cache
def _clips() -> Mapping[str, Mapping[str, Any]]:
    """What the package knows of every clip, by name."""
    file = importlib.resources.files("movseg_jax.data") / "lists/video_instances.json"
    return json.loads(file.read_text())["clips"]
