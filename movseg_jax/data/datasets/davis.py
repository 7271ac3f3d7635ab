"""DAVIS 2016 and 2017, as their archives unpack.

    JPEGImages/480p/<sequence>/00000.jpg      also 270p, Full-Resolution
    Annotations/480p/<sequence>/00000.png     2016: 0 and 255; 2017: object numbers
    ImageSets/480p/train.txt                  2016: a line for every frame
    ImageSets/2016/train.txt, ImageSets/2017/train.txt

Perazzi et al., "A benchmark dataset and evaluation methodology for video object
segmentation", CVPR 2016; Pont-Tuset et al., "The 2017 DAVIS challenge", 2017.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from movseg_jax.data.annotations import Convention
from movseg_jax.data.datasets.listings import expect, packaged_names, read_names
from movseg_jax.data.frames import Frame, id_images, list_flow, list_video, video_frames
from movseg_jax.system.paths import list_images


@dataclasses.dataclass(frozen=True)
class Davis2016:
    """DAVIS 2016: what moves is one object, or, from DAVIS 2017, each its own.

    Attributes:
        root: The folder that holds JPEGImages.
        split: "train", "val", or a part of "train": "development", six sequences that
            the bundled weights never saw, and "fit", the rest.
        flow: A folder <sequence>/<frame>.flo (.png, .npz, .pfm).
        resolution: "480p", "270p" or "Full-Resolution".
        instances: Whether the annotations' numbers are objects; False makes one object
            of them. Or the root of a DAVIS 2017, whose annotations are then read.
            Binary annotations are one object in any case.
    """

    root: Path
    split: str
    flow: Path | None = None
    resolution: str = "480p"
    instances: bool | Path = False

    splits: ClassVar[dict[str, int]] = {
        "train": 30,
        "val": 20,
        "fit": 24,
        "development": 6,
    }
    parts: ClassVar[tuple[str, ...]] = ("fit", "development")  # Of other splits.
    every_frame: ClassVar[bool] = True

    def class_names(self) -> Sequence[str]:
        """One."""
        return ("object",)

    def expected_count(self) -> int | None:
        """Number of sequences of the whole split."""
        return self.splits.get(self.split) or None

    def sequences(self) -> Sequence[str]:
        """As the split lists them, or the package."""
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
        """Of one sequence."""
        separate = self.instances is not False
        root = self.instances if isinstance(self.instances, Path) else self.root
        return _frames(self, sequence, root, "auto" if separate else "one")


@dataclasses.dataclass(frozen=True)
class Davis2017:
    """DAVIS 2017: several objects in a video, each with its number.

    Attributes:
        root: The folder that holds JPEGImages.
        split: "train", "val", or the part of them in which every labelled object moves,
            "moving_train", "moving_val" (Dave et al., 2019, appendix 7.2).
        flow: A folder <sequence>/<frame>.flo (.png, .npz, .pfm).
        resolution: "480p" or "Full-Resolution".
    """

    root: Path
    split: str
    flow: Path | None = None
    resolution: str = "480p"

    splits: ClassVar[dict[str, int]] = {
        "train": 60,
        "val": 30,
        "moving_train": 30,
        "moving_val": 22,
    }
    parts: ClassVar[tuple[str, ...]] = ("moving_train", "moving_val")
    every_frame: ClassVar[bool] = True

    def class_names(self) -> Sequence[str]:
        """One."""
        return ("object",)

    def expected_count(self) -> int | None:
        """Number of sequences of the whole split."""
        return self.splits.get(self.split) or None

    def sequences(self) -> Sequence[str]:
        """As the split lists them, or the package."""
        if self.split in self.parts:
            return packaged_names(f"davis2017_{self.split}")
        return read_names(expect(self.root, f"ImageSets/2017/{self.split}.txt"))

    def frames(self, sequence: str) -> list[Frame]:
        """Of one sequence."""
        return _frames(self, sequence, self.root, "instances")


def _frames(
    layout: Davis2016 | Davis2017,
    sequence: str,
    annotations_root: Path,
    convention: Convention,
) -> list[Frame]:
    folder = f"{layout.resolution}/{sequence}"
    images = list_video(expect(layout.root, f"JPEGImages/{folder}"))
    annotated = expect(annotations_root, f"Annotations/{folder}")
    annotations = id_images(list_images(annotated), convention)
    flow = list_flow(layout.flow, sequence)
    return video_frames(sequence, images, annotations, flow)
