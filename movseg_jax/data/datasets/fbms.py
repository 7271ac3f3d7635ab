"""FBMS-59, the Freiburg-Berkeley motion segmentation data set.

The layout is that of its archives:

    TrainingSet/<sequence>/<sequence>_0001.jpg       (cars1_01.jpg, tennis454.jpg, ...)
    TrainingSet/<sequence>/GroundTruth/<sequence>Def.dat
    TrainingSet/<sequence>/GroundTruth/<sequence>_0001_gt.ppm, .pgm
    TestSet/...

Def.dat lists the regions' colours, background first, and the few labelled frames. A
region's colour is R * 65536 + G * 256 + B in a .ppm and the grey value in a .pgm. Next
to a .ppm is a .pgm of weights, which say how reliable the label of each pixel is; 255
is certain. The official evaluation uses them; training does not.

Ochs, Malik, Brox: "Segmentation of moving objects by long term video analysis", PAMI
2014; the format is that of its evaluation code, `MoSegEval_PR.cpp`. The 3D-motion
labels, GroundTruth/<n>_gt.png, are those of Bideau and Learned-Miller, ECCV 2016.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from movseg_jax.data.annotations import stack
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.fbms_def import Definition, read_definition
from movseg_jax.data.datasets.listings import expect, list_folders
from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import (
    Annotation,
    Frame,
    check_size,
    list_flow,
    list_video,
    video_frames,
)
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, mask_size, read_header, read_ids, read_rgb
from movseg_jax.masks.id_images import MAX_ID
from movseg_jax.system.paths import inside, list_images

UNLISTED = -1  # The region of colours that Def.dat does not list.
# Archives and papers write the names of the folders differently.
FOLDERS = {"train": ("TrainingSet", "Trainingset"), "test": ("TestSet", "Testset")}


# Ground truth, for training and evaluation ------------------------------------------


@dataclasses.dataclass(frozen=True)
class LabelledFrame:
    """A labelled frame of FBMS.

    Attributes:
        index: The frame's number in its video, from 0, as in Def.dat and track files.
        image: The file of the video's frame.
        labels: The .ppm or .pgm file of its regions.
        colours: The regions' colours, background first.
    """

    index: int
    image: Path
    labels: Path
    colours: tuple[int, ...]

    @property
    def files(self) -> Sequence[Path]:
        """The file of the regions."""
        return (self.labels,)

    def read_regions(self) -> Int32[np.ndarray, "h w"]:
        """Reads the region of every pixel: 0 is the background.

        Colours that Def.dat does not list, as in cats04, become `UNLISTED`; the
        official evaluation takes them for background.

        Raises:
            InputError: The file is missing or damaged.
        """
        colours = _read_colours(self.labels)
        order = np.argsort(self.colours, kind="stable")
        listed = np.array(self.colours)[order]
        # The last of equal colours counts, as in the official evaluation.
        place = np.searchsorted(listed, colours, side="right") - 1
        found = (place >= 0) & (listed[np.maximum(place, 0)] == colours)
        return np.where(found, order[np.maximum(place, 0)], UNLISTED).astype(np.int32)

    def read_weights(self) -> Float32[np.ndarray, "h w"]:
        """Reads the reliability of every label, 0 to 1; all are 1 for a .pgm.

        Raises:
            InputError: The .pgm beside the .ppm is missing, damaged or of another size.
        """
        size = image_size(self.labels)
        if self.labels.suffix.lower() == ".pgm":
            return np.ones(size, np.float32)
        file = self.labels.with_suffix(".pgm")
        weights = read_rgb(file)[..., 0]  # The file's largest value is always 255.
        check_size(file, (weights.shape[0], weights.shape[1]), size)
        return weights.astype(np.float32) / np.float32(255)

    def read(self, size: Size) -> Objects:
        """Reads the regions as objects; the unlisted ones are a region to ignore."""
        regions = self.read_regions()
        check_size(self.labels, (regions.shape[0], regions.shape[1]), size)
        present = [int(i) for i in np.unique(regions) if i > 0]
        unlisted = regions == UNLISTED
        ignore = [False] * len(present)
        object_masks = (regions == i for i in tuple(present))
        if unlisted.any():
            present.append(len(self.colours))
            object_masks = itertools.chain(object_masks, [unlisted])
            ignore.append(True)
        return stack(object_masks, size, source=self.labels, ids=present, ignore=ignore)


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """The ground truth of one sequence of FBMS.

    Attributes:
        sequence: The name of the sequence.
        images: The files of all frames of the video.
        frame_count: The number of frames that Def.dat states.
        colours: The regions' colours, background first.
        frames: The labelled frames, in Def.dat's order.
    """

    sequence: str
    images: tuple[Path, ...]
    frame_count: int
    colours: tuple[int, ...]
    frames: tuple[LabelledFrame, ...]


def read_ground_truth(sequence_folder: Path) -> GroundTruth:
    """Reads a sequence's Def.dat and finds its files.

    Args:
        sequence_folder: The folder that holds the video's frames and GroundTruth.

    Raises:
        InputError: A file is missing, Def.dat is malformed, or a label has no frame.
    """
    images = _list_frames(sequence_folder)
    folder = expect(sequence_folder, "GroundTruth")
    files = sorted(folder.glob("*Def.dat")) or sorted(folder.glob("*.dat"))
    if len(files) != 1:
        shown = f"{len(files)} of them" if files else "none"
        raise InputError(f"{folder}: expected one file *Def.dat, found {shown}.")
    definition = read_definition(files[0])
    frames = []
    for i, number in enumerate(definition.frame_numbers):
        labels = inside(folder, definition.label_files[i], source=str(files[0]))
        if labels.suffix.lower() not in (".ppm", ".pgm"):
            raise InputError(f"{files[0]}: {labels.name} is neither .ppm nor .pgm.")
        image = _match(definition, i, images, files[0])
        frames.append(LabelledFrame(number, image, labels, definition.colours))
    return GroundTruth(
        sequence=sequence_folder.name,
        images=tuple(images),
        frame_count=definition.frame_count,
        colours=definition.colours,
        frames=tuple(frames),
    )


def frame_number(stem: str) -> int | None:
    """Returns the number that ends a name: 1 for cars1_01, 454 for tennis454."""
    found = re.search(r"(\d+)(?:_gt)?$", stem, re.ASCII)
    return int(found[1]) if found and len(found[1]) < 10 else None


def _match(definition: Definition, i: int, images: list[Path], source: Path) -> Path:
    """Finds the image of a labelled frame, by its name or else by its number."""
    by_stem = {image.stem: image for image in images}
    names = (definition.input_files[i], definition.label_files[i])
    for name in names:
        stem = Path(name).stem.removesuffix("_gt")
        if stem in by_stem:
            return by_stem[stem]
    number = definition.frame_numbers[i]
    if not 0 <= number < len(images):
        raise InputError(
            f"{source}: frame {number} ({names[1]}) has no frame in "
            f"{images[0].parent}, which holds {len(images)}."
        )
    return images[number]


def _list_frames(folder: Path) -> list[Path]:
    """Lists the video's frames; if there are two formats, the .jpg files."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder.")
    images = [path for path in list_images(folder) if path.suffix.lower() == ".jpg"]
    return images or list_video(folder)


def _read_colours(file: Path) -> Int32[np.ndarray, "h w"]:
    if file.suffix.lower() == ".pgm":
        return read_ids(file).astype(np.int32)
    mask_size(file)  # This refuses lossy compression.
    rgb = read_rgb(file).astype(np.int32)
    return rgb[..., 0] * 65536 + rgb[..., 1] * 256 + rgb[..., 2]


# Layouts ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fbms(Layout):
    """FBMS-59 with its own labels of a few frames per video.

    Attributes:
        root: The folder that holds TrainingSet and TestSet.
        split: "train" or "test".
        flow: A folder of flow, <sequence>/<frame>.flo (.png, .npz, .pfm).
    """

    flow: Path | None = None

    splits: ClassVar[dict[str, int]] = {"train": 29, "test": 30}

    def sequences(self) -> Sequence[str]:
        """Lists the folders in the split's folder."""
        return list_folders(self._folder())

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the labelled frames of a sequence."""
        images, annotations = self._annotated(self._folder() / sequence)
        flow = list_flow(self.flow, sequence)
        return video_frames(sequence, images, annotations, flow)

    def _folder(self) -> Path:
        return expect(self.root, *FOLDERS[self.split])

    def _annotated(self, folder: Path) -> tuple[Sequence[Path], dict[str, Annotation]]:
        truth = read_ground_truth(folder)
        return truth.images, {frame.image.stem: frame for frame in truth.frames}


@dataclasses.dataclass(frozen=True)
class RegionImage:
    """A 3D-motion label: a pixel's value is its region; 0 is the background."""

    file: Path

    @property
    def files(self) -> Sequence[Path]:
        """The image's file."""
        return (self.file,)

    def read(self, size: Size) -> Objects:
        """Reads the regions as objects; in colour images the red channel counts.

        Raises:
            InputError: The file is missing, damaged, of another size or not a mask, or
                regions have the same red.
        """
        header = read_header(self.file)
        if header.mode in ("RGB", "RGBA") and header.bits == 8:
            regions = self._read_red()
        else:
            regions = read_ids(self.file, most=MAX_ID)
        check_size(self.file, (regions.shape[0], regions.shape[1]), size)
        present = [int(i) for i in np.unique(regions) if i > 0]
        return stack(
            (regions == i for i in present), size, source=self.file, ids=present
        )

    def _read_red(self) -> UInt8[np.ndarray, "h w"]:
        mask_size(self.file)  # This refuses lossy compression.
        rgb = read_rgb(self.file)
        red = rgb[..., 0]
        packed = rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
        if len(np.unique(packed)) > len(np.unique(red)):
            raise InputError(
                f"{self.file}: holds colours of equal red; expected each region to "
                "have its own value in the first channel."
            )
        return red


@dataclasses.dataclass(frozen=True)
class Fbms3d(Fbms):
    """FBMS-59 with labels of motion in 3D (Bideau and Learned-Miller, 2016).

    They are in the same folders: GroundTruth/<n>_gt.png belongs to the frame whose name
    ends with the number n. Sequences without such labels are left out.
    """

    splits: ClassVar[dict[str, int]] = {"train": 0, "test": 0}

    def sequences(self) -> Sequence[str]:
        """Lists the folders in the split's folder that hold such labels."""
        folder = self._folder()
        names = [
            name
            for name in list_folders(folder)
            if any((folder / name / "GroundTruth").glob("*_gt.png"))
        ]
        if not names:
            raise InputError(
                f"{folder}: expected <sequence>/GroundTruth/<n>_gt.png, found none."
            )
        return names

    def _annotated(self, folder: Path) -> tuple[Sequence[Path], dict[str, Annotation]]:
        images = _list_frames(folder)
        by_number = _by_number(images)
        labels = sorted((folder / "GroundTruth").glob("*_gt.png"))
        for file in labels:
            if frame_number(file.stem) not in by_number:
                raise InputError(
                    f"{file}: no frame in {folder} has its number at the name's end."
                )
        return images, {
            by_number[number].stem: RegionImage(file)
            for number, file in _by_number(labels).items()
        }


def _by_number(files: Sequence[Path]) -> dict[int, Path]:
    """Returns files by the number that ends their name; others are left out.

    Raises:
        InputError: Two files have the same number.
    """
    found: dict[int, Path] = {}
    for file in files:
        number = frame_number(file.stem)
        if number is not None and found.setdefault(number, file) is not file:
            raise InputError(
                f"{file}: has the number {number} of {found[number].name}; expected "
                "each once at the end of a name."
            )
    return found
