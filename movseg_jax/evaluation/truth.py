"""Reads the truth of a data set, frame by frame."""

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int32

from movseg_jax.data.datasets.fbms import LabelledFrame
from movseg_jax.data.datasets.joins import JoinedAnnotation, read_joins
from movseg_jax.data.datasets.listings import list_folders
from movseg_jax.data.frames import Annotation, IdImage, check_size, id_images
from movseg_jax.data.prepared import plain_options
from movseg_jax.data.sources import Layout, open_layout, present
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, mask_size
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.results import TrackedFrame
from movseg_jax.system.paths import list_images

SHOWN = 10  # Number of names in a message.


@dataclasses.dataclass(frozen=True)
class TruthFrame:
    """A frame that is annotated.

    Attributes:
        name: Name without suffix.
        place: Number of the frame in its video, from 0.
        index: Number of the frame by the truth's own account, as in FBMS' Def.dat.
        size: Height and width.
        annotation: Annotation of its objects.
        image: Path of its picture, if there is one.
    """

    name: str
    place: int
    index: int
    size: tuple[int, int]
    annotation: Annotation
    image: Path | None = None

    def compare(
        self,
        tracks: TrackedFrame,
        *,
        weights: bool = False,
        boxes: Float64[np.ndarray, "n 4"] | None = None,
    ) -> ComparedFrame:
        """Reads the truth and puts it beside the tracks.

        Args:
            tracks: Tracks that were found in the frame.
            weights: Whether to read the weights of the labels, which only FBMS has.
            boxes: Boxes of the tracks, if they are a detector's.

        Raises:
            InputError: A file is missing, damaged or of another size.
        """
        void = sure = None
        if isinstance(self.annotation, LabelledFrame):
            ids = self._read_regions(self.annotation)
            sure = self.annotation.read_weights() if weights else None
        else:
            ids, void = self._read_objects()
        return ComparedFrame(
            name=self.name,
            index=self.index,
            truth=ids,
            tracks=tracks,
            void=void,
            weights=sure,
            boxes=boxes,
        )

    def _read_objects(
        self,
    ) -> tuple[Int32[np.ndarray, "h w"], Bool[np.ndarray, "h w"] | None]:
        """The ids of the objects, and the void pixels, if there are any."""
        objects = self.annotation.read(self.size)
        ids = np.zeros(self.size, np.int32)
        void = np.zeros(self.size, bool)
        # Where only moving objects are annotated, stationary ones are neither right nor
        # wrong to find.
        excluded = objects.ignore | ~objects.moving
        for mask, identity, is_void in zip(
            objects.masks, objects.ids, excluded, strict=True
        ):
            if is_void:
                void |= mask
            else:
                ids[mask] = identity
        void &= ids == 0
        return ids, void if void.any() else None

    def _read_regions(self, labels: LabelledFrame) -> Int32[np.ndarray, "h w"]:
        """The regions of FBMS; colours that Def.dat does not list are background."""
        regions = labels.read_regions()
        check_size(labels.labels, (regions.shape[0], regions.shape[1]), self.size)
        return np.maximum(regions, 0)


@dataclasses.dataclass(frozen=True)
class TruthSequence:
    """The truth of a video.

    Attributes:
        name: Name of the sequence.
        video: Names of all frames, in order.
        frames: Frames that are annotated, in order.
    """

    name: str
    video: tuple[str, ...]
    frames: tuple[TruthFrame, ...]

    @property
    def size(self) -> tuple[int, int]:
        """The size of every frame, (height, width)."""
        return self.frames[0].size

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the frames that are annotated."""
        return tuple(frame.name for frame in self.frames)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth that predictions are measured by.

    Attributes:
        dataset: Name of the data set; "" for two folders.
        split: Name of its split.
        options: Options of its reader that decide about the truth; for two folders, the
            "joined" objects.
        members: Names of all sequences of the split, chosen or not.
        expected: Number of sequences of the official split, if it is known.
        sequences: Sequences to measure, sorted by name.
    """

    dataset: str
    split: str
    options: dict[str, Any]
    members: frozenset[str]
    expected: int | None
    sequences: tuple[TruthSequence, ...]

    @property
    def is_foreground(self) -> bool:
        """Whether the data set labels all moving objects as one foreground mask."""
        return self.dataset == "davis2016" and self.options["instances"] is False


def read_dataset(
    name: str,
    split: str,
    root: Path,
    chosen: Sequence[str] = (),
    *,
    allow_missing: bool = False,
    **options: Any,
) -> Truth:
    """Lists the truth of a data set without decoding it.

    Args:
        name: Name of the data set, a key of `data.sources.LAYOUTS`.
        split: Name of the split.
        root: Folder of the data set.
        chosen: Names of the sequences to measure; all if there are none.
        allow_missing: Whether to leave out sequences whose files are missing.
        options: Options of the data set's reader.

    Raises:
        InputError: The data set, split, option or sequence does not exist, or the
            folder has another layout.
    """
    layout = open_layout(name, split, root, **options)
    members = list(layout.sequences())
    chosen = _choose(members, chosen, f"{root}: {name}, {split}")
    read = functools.partial(_list_sequence, layout)
    sequences = present(layout, read, chosen, allow_missing=allow_missing)
    return Truth(
        dataset=name,
        split=split,
        options=plain_options(layout),
        members=frozenset(members),
        expected=layout.expected_count(),
        sequences=tuple(sequences),
    )


def _list_sequence(layout: Layout, name: str) -> TruthSequence:
    frames = layout.frames(name)
    if not frames:
        raise InputError(f"{layout.root}: {name} has no annotated frames.")
    video = _video_names(frames[0].image)
    missing = [stem for stem in video if stem not in {frame.name for frame in frames}]
    if missing and getattr(layout, "every_frame", False):
        raise InputError(
            f"{frames[0].annotation.files[0].parent}: {len(missing)} frames have no "
            f"annotation, expected one of every frame: {listed(missing)}."
        )
    places = {stem: i for i, stem in enumerate(video)}
    annotated = []
    for frame in frames:
        place = places[frame.name]
        own = frame.annotation
        index = own.index if isinstance(own, LabelledFrame) else place
        annotated.append(
            TruthFrame(frame.name, place, index, frame.size, own, frame.image)
        )
    return TruthSequence(name, tuple(video), tuple(annotated))


def read_folders(
    root: Path, chosen: Sequence[str] = (), join: Path | None = None
) -> Truth:
    """Lists the truth in a folder SEQUENCE/FRAME.png of objects' numbers.

    A sequence with the values 0 and 255 only has one object; otherwise 255 is void.

    Args:
        root: The folder.
        chosen: Names of the sequences to measure; all if there are none.
        join: File of the objects that move as one, see `data.datasets.joins`.

    Raises:
        InputError: The folder has no sequences, lacks a chosen one, or has images that
            are compressed with loss; or the file is malformed.
    """
    members = list_folders(root)
    measured = _choose(members, chosen, str(root))
    joined = {} if join is None else read_joins(join, measured)
    sequences = []
    for sequence in measured:
        files = list_images(root / sequence)
        check_lossless(files, root / sequence)
        size = image_size(files[0])
        annotations = id_images(files, "auto")
        groups = joined.get(sequence)
        frames = tuple(
            TruthFrame(
                stem, i, i, size, JoinedAnnotation(plain, groups) if groups else plain
            )
            for i, (stem, plain) in enumerate(annotations.items())
        )
        video = tuple(frame.name for frame in frames)
        sequences.append(TruthSequence(sequence, video, frames))
    options = {} if join is None else {"joined": {**joined}}
    return Truth("", "", options, frozenset(members), None, tuple(sequences))


def is_foreground(sequences: Sequence[TruthSequence]) -> bool:
    """Whether all images have the values 0 and 255 only, and some have 255.

    Raises:
        InputError: An image is damaged.
    """
    videos = []
    for sequence in sequences:
        annotation = sequence.frames[0].annotation
        if not isinstance(annotation, IdImage) or annotation.video is None:
            return False
        videos.append(annotation.video)
    binary = all(video.is_binary for video in videos)
    return binary and not all(video.is_empty for video in videos)


def check_lossless(files: Sequence[Path], folder: Path) -> None:
    """Refuses masks that are compressed with loss, as JPEG turns ids into other ids.

    Raises:
        InputError: There are no files, or one is damaged or compressed with loss.
    """
    if not files:
        raise InputError(
            f"{folder}: holds no images, expected a .png for each frame, whose pixels "
            "are objects' numbers."
        )
    for file in files:
        mask_size(file)


def update_digest(digest: "hashlib._Hash", frame: ComparedFrame) -> None:
    """Adds a frame's truth to a digest, which does not depend on the file format."""
    digest.update(f"{frame.name} {frame.truth.shape}".encode())
    digest.update(frame.truth.astype("<i4").tobytes())
    for part in (frame.void, frame.weights):
        digest.update(b"-" if part is None else part.tobytes())


def listed(names: Collection[str], most: int = SHOWN) -> str:
    """Lists names for a message, at most so many."""
    shown = [*names][:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown) + more


def _choose(members: Sequence[str], chosen: Sequence[str], where: str) -> list[str]:
    """The names of the sequences to measure, sorted, so that their order is fixed."""
    unknown = sorted(set(chosen) - set(members))
    if unknown:
        raise InputError(
            f"{where}: has no sequences {listed(unknown)}; expected some of "
            f"{listed(sorted(members))}."
        )
    if not members:
        raise InputError(f"{where}: holds no sequences; expected a folder for each.")
    return sorted(set(chosen) or members)


def _video_names(image: Path) -> list[str]:
    """The stems of a video's frames, in one format if it is stored in two."""
    files = list_images(image.parent)
    if len({file.stem for file in files}) < len(files):
        files = [file for file in files if file.suffix == image.suffix]
    return [file.stem for file in files]
