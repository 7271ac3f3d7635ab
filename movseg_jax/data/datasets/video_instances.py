"""Eleven short clips with instance masks, three of DAVIS 2017 and eight of YouTube-VOS.

    JPEGImages/<clip>/00000.jpg
    Annotations/<clip>/00000.png      object numbers

`lists/video_instances.json` says which clips are for training and which are held out,
and which objects of a clip move as one: a rider and the motorcycle are one object here.

Perazzi et al. and Pont-Tuset et al. (see `davis`); Xu et al., "YouTube-VOS: A
large-scale video object segmentation benchmark", 2018.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from movseg_jax.data.annotations import ignore_unlabelled
from movseg_jax.data.datasets.folders import Folder
from movseg_jax.data.datasets.joins import JoinedAnnotation
from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import Frame


class _LabelledInPart(JoinedAnnotation):
    """An annotation that may lack masks of moving objects."""

    def read(self, size: Size) -> Objects:
        """Reads the objects; the rest of the frame is a region to ignore."""
        return ignore_unlabelled(super().read(size))


@dataclasses.dataclass(frozen=True)
class VideoInstances(Folder):
    """The clips, split as the package's list says.

    Attributes:
        split: "fit" for the clips to train on, or "development" for the held-out ones.
        unlabelled: The meaning of pixels without a mask in clips where something moves
            that has no mask: "background", or "ignore" for a region to ignore.
    """

    unlabelled: Literal["background", "ignore"] = "background"

    splits: ClassVar[dict[str, int]] = {"fit": 7, "development": 4}
    any_split: ClassVar[bool] = False
    every_frame: ClassVar[bool] = True

    def sequences(self) -> Sequence[str]:
        """Lists the clips of the split, in the order of the package's list."""
        return [name for name, row in _clips().items() if row["split"] == self.split]

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the frames of a clip."""
        clip = _clips()[sequence]
        groups = tuple(map(tuple, clip["joined"]))
        in_part = self.unlabelled == "ignore" and clip["unlabelled_moves"]
        annotation = _LabelledInPart if in_part else JoinedAnnotation
        return [
            dataclasses.replace(frame, annotation=annotation(frame.annotation, groups))
            for frame in super().frames(sequence)
        ]


@functools.cache
def _clips() -> Mapping[str, Mapping[str, Any]]:
    """Reads the package's list: an entry for each clip, by its name."""
    file = (
        importlib.resources.files("movseg_jax.data.datasets")
        / "lists/video_instances.json"
    )
    return json.loads(file.read_text())["clips"]
