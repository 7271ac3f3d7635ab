"""DAVIS 2016 and 2017, in the layout of their archives.

    JPEGImages/480p/<sequence>/00000.jpg      also 270p, Full-Resolution
    Annotations/480p/<sequence>/00000.png     2016: 0 and 255; 2017: object numbers
    Annotations_unsupervised/480p/...         2017, unsupervised: object numbers
    ImageSets/480p/train.txt                  2016: one line per frame
    ImageSets/2016/train.txt, ImageSets/2017/train.txt

Perazzi et al., "A benchmark dataset and evaluation methodology for video object
segmentation", CVPR 2016; Pont-Tuset et al., "The 2017 DAVIS challenge", 2017; Caelles
et al., "The 2019 DAVIS challenge on VOS: unsupervised multi-object segmentation", 2019.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from movseg_jax.data.annotations import Convention
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.listings import expect, packaged_names, read_names
from movseg_jax.data.frames import Frame, id_images, list_flow, list_video, video_frames
from movseg_jax.system.paths import list_images


@dataclasses.dataclass(frozen=True)
class Davis2016(Layout):
    """DAVIS 2016: all moving things are one object, or one each with `instances`.

    Attributes:
        root: The folder that holds JPEGImages.
        split: "train", "val", or a part of "train": "development", six sequences that
            the bundled weights never saw, or "fit", the others.
        flow: A folder of flow, <sequence>/<frame>.flo (.png, .npz, .pfm).
        resolution: "480p", "270p" or "Full-Resolution".
        instances: Whether the annotations' numbers are separate objects; if False, they
            are one object. A path is the root of a DAVIS 2017 whose annotations are
            read instead. Binary annotations are one object in any case.
    """

    flow: Path | None = None
    resolution: str = "480p"
    instances: bool | Path = False

    splits: ClassVar[dict[str, int]] = {
        "train": 30,
        "val": 20,
        "fit": 24,
        "development": 6,
    }
    parts: ClassVar[tuple[str, ...]] = ("fit", "development")
    every_frame: ClassVar[bool] = True

    def sequences(self) -> Sequence[str]:
        """Lists the sequences of the split's file, or of the list in the package."""
        if self.split in self.parts:
            return packaged_names(f"davis2016_{self.split}")
        folder = "ImageSets"
        return read_names(
            expect(
                self.root,
                f"{folder}/{self.resolution}/{self.split}.txt",
                f"{folder}/480p/{self.split}.txt",
                f"{folder}/2016/{self.split}.txt",
            )
        )

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence."""
        separate = self.instances is not False
        root = self.instances if isinstance(self.instances, Path) else self.root
        convention = "auto" if separate else "one"
        return _frames(self, sequence, root / "Annotations", convention)


@dataclasses.dataclass(frozen=True)
class Davis2017(Layout):
    """DAVIS 2017: several objects per video, each with its own number.

    Attributes:
        root: The folder that holds JPEGImages.
        split: "train", "val", or the parts of these in which all labelled objects move,
            "moving_train" and "moving_val" (Dave et al., 2019, appendix 7.2).
        flow: A folder of flow, <sequence>/<frame>.flo (.png, .npz, .pfm).
        resolution: "480p" or "Full-Resolution".
        task: "unsupervised" reads the truth of the unsupervised challenge, in
            Annotations_unsupervised, instead of that in Annotations.
    """

    flow: Path | None = None
    resolution: str = "480p"
    task: Literal["unsupervised"] | None = None

    splits: ClassVar[dict[str, int]] = {
        "train": 60,
        "val": 30,
        "moving_train": 30,
        "moving_val": 22,
    }
    parts: ClassVar[tuple[str, ...]] = ("moving_train", "moving_val")
    every_frame: ClassVar[bool] = True

    def sequences(self) -> Sequence[str]:
        """Lists the sequences of the split's file, or of the list in the package."""
        if self.split in self.parts:
            return packaged_names(f"davis2017_{self.split}")
        return read_names(expect(self.root, f"ImageSets/2017/{self.split}.txt"))

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence."""
        name = "Annotations" if self.task is None else f"Annotations_{self.task}"
        return _frames(self, sequence, self.root / name, "instances")


def _frames(
    layout: Davis2016 | Davis2017,
    sequence: str,
    annotations: Path,
    convention: Convention,
) -> list[Frame]:
    """Lists the frames of a sequence, whose annotations are in any folder."""
    folder = f"{layout.resolution}/{sequence}"
    images = list_video(expect(layout.root, f"JPEGImages/{folder}"))
    annotated = expect(annotations.parent, f"{annotations.name}/{folder}")
    masks = id_images(list_images(annotated), convention)
    flow = list_flow(layout.flow, sequence)
    return video_frames(sequence, images, masks, flow)
