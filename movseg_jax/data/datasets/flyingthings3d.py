"""FlyingThings3D, in the layout of its archives, with labels of moving objects.

    frames_cleanpass/TRAIN/A/0000/left/0006.png     or frames_finalpass; also .webp
    optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm
    motion_labels/TRAIN/A/0000/left/0006.png        not 0 where an object moves
    object_index/TRAIN/A/0000/left/0006.pfm         optional: the object's number

The data set itself does not say which objects move. The labels are those that the
authors of MP-Net estimated and published (Tokmakov et al., "Learning motion patterns in
videos", CVPR 2017), in a folder with any name and the layout of the frames. They may be
binary or numbered.

A sequence has ten frames, 0006 to 0015. The last one has no flow in training, as in
Dave et al. (2019), although the archive holds a file for it.

Mayer et al., "A large dataset to train convolutional networks for disparity, optical
flow, and scene flow estimation", CVPR 2016.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int32

from movseg_jax.data.annotations import MAX_OBJECTS, stack
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.listings import expect, list_folders
from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import (
    Annotation,
    Frame,
    IdImage,
    check_size,
    id_images,
    list_flow,
    list_video,
    video_frames,
)
from movseg_jax.errors import InputError
from movseg_jax.images import MAX_BYTES, MAX_PIXELS
from movseg_jax.system.bounded import read_bytes
from movseg_jax.system.paths import list_images

MIN_PIXELS = 20  # Pieces of moving objects with fewer pixels are ignored as slivers.


@dataclasses.dataclass(frozen=True)
class FlyingThings3d(Layout):
    """FlyingThings3D's left views, whose moving objects are labelled.

    Attributes:
        root: The folder that holds frames_cleanpass and the others.
        split: "train" or "test".
        flow: "true" for the data set's own flow, None for no flow, or a folder of
            estimated flow, A/0000/<frame>.flo (.png, .npz, .pfm).
        render: "clean", or "final" with blur.
        labels: The name of the labels' folder in the root.
        object_index: Whether object_index separates the moving objects of binary
            labels.
    """

    flow: Path | Literal["true"] | None = "true"
    render: Literal["clean", "final"] = "clean"
    labels: str = "motion_labels"
    object_index: bool = False

    splits: ClassVar[dict[str, int]] = {"train": 2239, "test": 437}

    def sequences(self) -> Sequence[str]:
        """Lists the sequences that have labels, such as "A/0000"."""
        part = self.split.upper()
        expect(self.root, f"frames_{self.render}pass/{part}")
        folder = expect(self.root, f"{self.labels}/{part}")
        return [
            f"{letter}/{number}"
            for letter in list_folders(folder)
            for number in list_folders(folder / letter)
        ]

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the labelled frames of a sequence."""
        below = f"{self.split.upper()}/{sequence}"
        images = list_video(expect(self.root, f"frames_{self.render}pass/{below}/left"))
        annotated = expect(self.root, f"{self.labels}/{below}/left")
        labels = id_images(list_images(annotated), "auto")
        annotations: dict[str, Annotation] = {**labels}
        if self.object_index:
            index = expect(self.root, f"object_index/{below}/left")
            annotations = {
                stem: MovingIndices(labels[stem], index / f"{stem}.pfm")
                for stem in labels
            }
        return video_frames(sequence, images, annotations, self._flow(sequence))

    def _flow(self, sequence: str) -> dict[str, Path] | None:
        if self.flow is None:
            return None
        if isinstance(self.flow, Path):
            return list_flow(self.flow, sequence)
        below = f"{self.split.upper()}/{sequence}/into_future/left"
        files = list_flow(expect(self.root, f"optical_flow/{below}")) or {}
        name = r"OpticalFlowIntoFuture_(\d+)_L"
        found = {re.fullmatch(name, stem): file for stem, file in files.items()}
        return {match[1]: file for match, file in found.items() if match}


@dataclasses.dataclass(frozen=True)
class MovingIndices:
    """A label of the moving pixels, and the number of the object at every pixel."""

    label: IdImage
    index: Path

    @property
    def files(self) -> Sequence[Path]:
        """The files of the label and of the objects' numbers."""
        return (*self.label.files, self.index)

    def read(self, size: Size) -> Objects:
        """Reads the moving objects.

        Pieces that are too small to be an object move, too, so they are a region to
        ignore, as the labels' void is.
        """
        labels = self.label.read(size)
        chosen = labels.masks[~labels.ignore].any(axis=0)
        void = labels.masks[labels.ignore].any(axis=0)
        index = read_index(self.index)
        check_size(self.index, (index.shape[0], index.shape[1]), size)
        values, counts = np.unique(index[chosen], return_counts=True)
        present = [int(value) for value in values[counts >= MIN_PIXELS]]
        if len(present) > MAX_OBJECTS:
            raise InputError(
                f"{self.index}: has {len(present)} objects, expected at most "
                f"{MAX_OBJECTS} (annotations.MAX_OBJECTS)."
            )
        found = (chosen & (index == value) for value in present)
        ids = [value + 1 for value in present]  # An index may be 0, an id may not.
        ignored = void | chosen & ~np.isin(index, present)
        rest = [ignored] if ignored.any() else []
        return stack(
            itertools.chain(found, rest),
            size,
            source=self.index,
            ids=[*ids, *([max(ids, default=0) + 1] if rest else [])],
            ignore=[False] * len(ids) + [True] * len(rest),
        )


def read_index(file: Path) -> Int32[np.ndarray, "h w"]:
    """Reads a .pfm file of whole numbers in one channel.

    Raises:
        InputError: The file is missing, cut off or something else.
    """
    data = read_bytes(file, MAX_BYTES, "images.MAX_BYTES")
    header = re.match(
        rb"Pf\s{1,9}(\d{1,6})\s{1,9}(\d{1,6})\s{1,9}([-+.\deE]{1,40})\s", data
    )
    if not header or not _is_scale(header[3]):
        raise InputError(f"{file}: is not a PFM file of one channel (Pf).")
    width, height = int(header[1]), int(header[2])
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{file}: has {width}x{height} pixels, expected 1 to {MAX_PIXELS} in all "
            "(images.MAX_PIXELS)."
        )
    if len(data) - header.end() != 4 * width * height:
        raise InputError(
            f"{file}: holds {len(data) - header.end()} bytes of pixels, expected "
            f"{4 * width * height} of {width}x{height}."
        )
    order = "<" if header[3].startswith(b"-") else ">"
    values = np.frombuffer(data, f"{order}f4", offset=header.end())
    if not ((values >= 0) & (values < 2**24)).all():
        raise InputError(f"{file}: holds values that are not indices of objects.")
    # PFM stores the lowest row first.
    return values.astype(np.int32).reshape(height, width)[::-1].copy()


def _is_scale(text: bytes) -> bool:
    try:
        scale = float(text)
    except ValueError:
        return False
    return scale != 0 and math.isfinite(scale)
