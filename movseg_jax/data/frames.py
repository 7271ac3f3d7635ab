"""Frames on disk, and the `FrameSource` that reads them for all layouts.

A layout lists its `Frame`s without decoding any, and `FrameSource` reads a frame on
request. All frames of a video have one size, so one header per video is read.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from movseg_jax.data.annotations import Convention, from_ids
from movseg_jax.data.example import Example, Objects, Size, cached_property
from movseg_jax.errors import InputError
from movseg_jax.flow.files import SUFFIXES, read_flow
from movseg_jax.images import MAX_BYTES, image_size, read_ids, read_rgb
from movseg_jax.masks.id_images import VOID, MaskVideo, present_ids
from movseg_jax.system.bounded import read_bytes
from movseg_jax.system.paths import list_images


@runtime_checkable
class Annotation(Protocol):
    """The annotation of a frame's objects, in any form, which is read on request."""

    @property
    def files(self) -> Sequence[Path]:
        """The files of this frame's annotation, without those that frames share."""
        ...

    def read(self, size: Size) -> Objects:
        """Reads the objects of a frame, which has the given size.

        Raises:
            InputError: A file is missing, damaged or of another size.
        """
        ...


@dataclasses.dataclass(frozen=True)
class IdImage:
    """An annotation in which a pixel's value is the number of its object.

    Attributes:
        file: A palette or grey image.
        convention: The meaning of the value 255.
        video: All annotations of the video. If this image holds just 0 and 255, they
            decide: 255 is void if another image has objects' numbers. If None,
            `convention` is applied to this image alone.
    """

    file: Path
    convention: Convention = "instances"
    video: MaskVideo | None = None

    @property
    def files(self) -> Sequence[Path]:
        """The image's file."""
        return (self.file,)

    def read(self, size: Size) -> Objects:
        """Reads the objects, as `Annotation.read` says."""
        ids = read_ids(self.file)
        check_size(self.file, (ids.shape[0], ids.shape[1]), size)
        return from_ids(ids, self._convention(ids), source=self.file)

    def _convention(
        self, ids: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
    ) -> Convention:
        if self.video is None or present_ids(ids) != [VOID]:
            return self.convention
        if not self.video.is_binary:
            return "instances"
        if self.convention == "instances":
            raise InputError(
                f"{self.file.parent}: these annotations hold no other values than 0 "
                f"and {VOID}, expected objects' numbers; {VOID} is not a number but a "
                'region to ignore. For masks of one object take the data set "folder" '
                'or, for DAVIS, "davis2016".'
            )
        return "one"


def id_images(files: Sequence[Path], convention: Convention) -> dict[str, IdImage]:
    """Returns the annotations of one video by the stem of their frame.

    Raises:
        InputError: Two files belong to one frame.
    """
    video = MaskVideo(tuple(files))
    found = _by_stem(files)
    return {stem: IdImage(file, convention, video) for stem, file in found.items()}


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame on disk.

    Attributes:
        sequence: The name of its video.
        name: The name within the sequence; "" if the sequence is a single image.
        image: The file of the image.
        annotation: The annotation of its objects.
        size: The height and width that the image must have.
        flow: The file of the flow to the next frame, if there is one.
        next_image: The file of the video's next frame, annotated or not.
    """

    sequence: str
    name: str
    image: Path
    annotation: Annotation
    size: Size
    flow: Path | None = None
    next_image: Path | None = None


@dataclasses.dataclass(frozen=True)
class FrameSource:
    """A `Source` of frames on disk; the frames of a sequence follow each other."""

    name: str
    classes: tuple[str, ...]
    frames: tuple[Frame, ...]

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every sequence's frames."""
        return ranges([frame.sequence for frame in self.frames])

    @cached_property
    def sizes(self) -> Sequence[Size]:
        """The height and width of every example."""
        return [frame.size for frame in self.frames]

    @cached_property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow."""
        return [frame.flow is not None for frame in self.frames]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Example:
        """Reads an example.

        Raises:
            InputError: One of its files is missing, damaged or of another size.
        """
        frame = self.frames[index]
        image = read_rgb(frame.image)
        check_size(frame.image, (image.shape[0], image.shape[1]), frame.size)
        return Example(
            name=self.example_name(index),
            image=image,
            flow=None if frame.flow is None else read_frame_flow(frame),
            **vars(self.objects(index)),
        )

    def example_name(self, index: int) -> str:
        """Returns the name of an example, which is known without reading it."""
        frame = self.frames[index]
        dataset = self.name.split("/")[0]
        parts = [dataset, frame.sequence, frame.name]
        return "/".join(part for part in parts if part)

    def encoded_image(self, index: int) -> bytes:
        """Returns the content of the image's file.

        Raises:
            InputError: The file cannot be read.
        """
        return read_bytes(self.frames[index].image, MAX_BYTES, "images.MAX_BYTES")

    def next_image(self, index: int) -> Path | None:
        """Returns the file of the video's next frame, annotated or not."""
        return self.frames[index].next_image

    def objects(self, index: int) -> Objects:
        """Reads the example's objects without its image.

        Raises:
            InputError: A file is missing, damaged or of another size.
        """
        frame = self.frames[index]
        return frame.annotation.read(frame.size)


def ranges(sequence_of_each: Sequence[str]) -> dict[str, range]:
    """Returns the range of every sequence's examples, which follow each other."""
    starts: dict[str, int] = {}
    counts: dict[str, int] = {}
    for i, sequence in enumerate(sequence_of_each):
        starts.setdefault(sequence, i)
        counts[sequence] = counts.get(sequence, 0) + 1
    return {name: range(i, i + counts[name]) for name, i in starts.items()}


def read_frame_flow(frame: Frame) -> Float32[np.ndarray, "h w 2"]:
    """Reads the flow of a frame that has some.

    Raises:
        InputError: The file is missing, damaged or of another size.
    """
    assert frame.flow is not None
    # The true flow of a few pixels of FlyingThings3D is infinite.
    unknown = "zero" if frame.flow.suffix.lower() == ".pfm" else "error"
    return read_flow(frame.flow, frame_size=frame.size, unknown=unknown)


def check_size(file: Path, size: Size, expected: Size) -> None:
    """Refuses a file whose size is not that of its frame.

    Raises:
        InputError: The sizes differ.
    """
    if size != expected:
        raise InputError(
            f"{file}: is of {size[0]}x{size[1]} pixels (height x width), expected "
            f"{expected[0]}x{expected[1]} as the video's first frame and its image."
        )


def list_video(folder: Path) -> list[Path]:
    """Lists the frames of a video, in natural order.

    Raises:
        InputError: The folder is missing or empty, or two files are one frame.
    """
    images = list_images(folder)
    if not images:
        raise InputError(f"{folder}: holds no images; expected a video's frames.")
    _by_stem(images)
    return images


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise InputError(
                f"{file}: is the same frame as {other.name}; remove one of them."
            )
    return found


def list_flow(folder: Path | None, sequence: str = "") -> dict[str, Path] | None:
    """Lists a video's flow files by the stem of their frame; None without a folder.

    Args:
        folder: The folder of flow, if there is one.
        sequence: The video's folder in it; "" if the video's flow is in `folder`.

    Raises:
        InputError: The folder is missing, or two files belong to one frame.
    """
    if folder is None:
        return None
    folder = folder / sequence
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read as a folder of flow: {error}. Expected "
            f"<flow folder>/<sequence>/<frame>{{{','.join(SUFFIXES)}}}."
        ) from None
    shown = [file for file in files if not file.name.startswith(".")]
    return _by_stem([file for file in shown if file.suffix.lower() in SUFFIXES])


def video_frames(
    sequence: str,
    images: Sequence[Path],
    annotations: Mapping[str, Annotation],
    flow: Mapping[str, Path] | None,
) -> list[Frame]:
    """Returns the annotated frames of a video.

    Args:
        sequence: The video's name.
        images: The files of all frames, in order.
        annotations: The annotations by their frame's stem. A frame without one is used
            as the next image of the frame before it.
        flow: The flow files by their frame's stem; None if there is no flow. All
            annotated frames need flow except the video's last, whose flow is not used.

    Raises:
        InputError: An annotation has no frame or no flow, flow is not numbered as the
            frames are, or the first frame cannot be read.
    """
    following = dict(itertools.pairwise(images))
    missing = annotations.keys() - {image.stem for image in images}
    if missing:
        stem = min(missing)
        folder = images[0].parent
        shown = ", ".join(str(file) for file in annotations[stem].files) or stem
        raise InputError(
            f"{shown}: is an annotation without a frame, expected {folder / stem} "
            f"with the ending of an image ({len(missing)} such)."
        )
    if flow is not None:
        _check_flow(images, annotations, flow)
    size = image_size(images[0])
    return [
        Frame(
            sequence=sequence,
            name=image.stem,
            image=image,
            annotation=annotations[image.stem],
            size=size,
            flow=flow.get(image.stem) if flow and image in following else None,
            next_image=following.get(image),
        )
        for image in images
        if image.stem in annotations
    ]


def _check_flow(
    images: Sequence[Path],
    annotations: Mapping[str, Annotation],
    flow: Mapping[str, Path],
) -> None:
    """Refuses flow whose names do not fit those of the frames.

    Otherwise flow that is numbered from 1 would be assigned to the wrong frames.

    Raises:
        InputError: The names do not fit.
    """
    shifted = images[-1].stem in flow and images[0].stem not in flow
    without = [i.stem not in flow and i.stem in annotations for i in images[:-1]]
    if not shifted and not any(without):
        return
    files = sorted(flow.values())
    found = f"{files[0]} to {files[-1].name}" if files else "none"
    if shifted:
        raise InputError(
            f"{images[-1]}: is the last frame and has flow, but the first, "
            f"{images[0].name}, has none; expected a file for each frame but the last, "
            f"named as the frame. Found {found}: numbered from 1?"
        )
    raise InputError(
        f"{images[without.index(True)]}: has no flow, and is not the last frame; "
        "expected a file for each annotated frame but the last, named as the frame. "
        f"Found {found}."
    )
