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
from typing import Any, ClassVar, Literal

from movseg_jax.data.annotations import Objects, Size, ignore_unlabelled
from movseg_jax.data.datasets.folders import Folder
from movseg_jax.data.datasets.joins import JoinedAnnotation
from movseg_jax.data.frames import Frame


class _LabelledInPart(JoinedAnnotation):
    """An annotation beside whose objects others may be that have no mask."""

    def read(self, size: Size) -> Objects:
        """See `frames.Annotation`; the rest of the frame is a region to ignore."""
        return ignore_unlabelled(super().read(size))


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
        """The clips of the split, in the order of the package's list."""
        return [name for name, row in _clips().items() if row["split"] == self.split]

    def frames(self, sequence: str) -> list[Frame]:
        """The frames of one clip."""
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
    """The package's list of clips: what it says of each, by name."""
    file = (
        importlib.resources.files("movseg_jax.data.datasets")
        / "lists/video_instances.json"
    )
    return json.loads(file.read_text())["clips"]
