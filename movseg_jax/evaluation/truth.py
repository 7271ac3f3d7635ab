"""The truth of a data set, frame by frame: ids, void pixels, weights."""

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from movseg_jax.data.datasets.fbms import LabelledFrame
from movseg_jax.data.datasets.joins import JoinedAnnotation, read_joins
from movseg_jax.data.datasets.listings import list_folders
from movseg_jax.data.frames import Annotation, IdImage, check_size, id_images
from movseg_jax.data.prepared import plain_options
from movseg_jax.data.sources import Layout, open_layout
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, mask_size
from movseg_jax.system.paths import list_images

SHOWN = 10  # Names in a message.


class FrameTruth(NamedTuple):
    """What is true of a frame.

    Attributes:
        ids: Of the object at every pixel, 0 where there is none.
        void: Pixels that are neither; None if there are none.
        weights: How sure each pixel's label is, 0 to 1, where that is known.
    """

    ids: Int32[np.ndarray, "h w"]
    void: Bool[np.ndarray, "h w"] | None
    weights: Float32[np.ndarray, "h w"] | None


@dataclasses.dataclass(frozen=True)
class TruthFrame:
    """A frame that is annotated.

    Attributes:
        name: Without suffix.
        place: In its video, from 0.
        index: The same by the truth's own account, which FBMS' Def.dat gives.
        size: Height and width.
        annotation: Of its objects.
        image: Its picture, where there is one.
    """

    name: str
    place: int
    index: int
    size: tuple[int, int]
    annotation: Annotation
    image: Path | None = None

    def read(self, *, weights: bool = False) -> FrameTruth:
        """What is true of it.

        Args:
            weights: Whether to read how sure the labels are, which only FBMS says.

        Raises:
            InputError: A file is missing, damaged or of another size.
        """
        if isinstance(self.annotation, LabelledFrame):
            return self._read_regions(self.annotation, weights)
        objects = self.annotation.read(self.size)
        ids = np.zeros(self.size, np.int32)
        void = np.zeros(self.size, bool)
        # What rests where only movers are objects is neither right nor wrong to find.
        aside = objects.ignore | ~objects.moving
        for mask, identity, left_out in zip(
            objects.masks, objects.ids, aside, strict=True
        ):
            if left_out:
                void |= mask
            else:
                ids[mask] = identity
        void &= ids == 0
        return FrameTruth(ids, void if void.any() else None, None)

    def _read_regions(self, labels: LabelledFrame, weights: bool) -> FrameTruth:
        """Of FBMS: a colour that its Def.dat does not list is background."""
        regions = labels.read_regions()
        check_size(labels.labels, (regions.shape[0], regions.shape[1]), self.size)
        sure = labels.read_weights() if weights else None
        return FrameTruth(np.maximum(regions, 0), None, sure)


@dataclasses.dataclass(frozen=True)
class TruthSequence:
    """The truth of a video.

    Attributes:
        name: Of the sequence.
        video: Names of all its frames, in order.
        frames: Those that are annotated, in order.
    """

    name: str
    video: tuple[str, ...]
    frames: tuple[TruthFrame, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Of every frame, (height, width)."""
        return self.frames[0].size

    @property
    def names(self) -> tuple[str, ...]:
        """Of the frames that are annotated."""
        return tuple(frame.name for frame in self.frames)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth that predictions are measured by.

    Attributes:
        dataset: Its name; "" for two folders.
        split: Of the data set.
        options: Options of its reader, as far as they decide about the truth; for two
            folders, which objects are "joined".
        members: Names of all sequences of the split, chosen or not.
        expected: How many sequences the official split has, where that is known.
        sequences: Those to measure, by name.
    """

    dataset: str
    split: str
    options: dict[str, Any]
    members: frozenset[str]
    expected: int | None
    sequences: tuple[TruthSequence, ...]

    @property
    def is_foreground(self) -> bool:
        """Whether every frame has one object at most, what moves, by definition."""
        return self.dataset == "davis2016" and self.options["instances"] is False


def read_dataset(
    name: str, split: str, root: Path, chosen: Sequence[str] = (), **options: Any
) -> Truth:
    """Lists the truth of a data set; decodes none of it.

    Args:
        name: A key of `sources.LAYOUTS`.
        split: Of it.
        root: Its folder.
        chosen: Names of the sequences to measure; all if there are none.
        options: Of the data set's reader.

    Raises:
        InputError: There is no such data set, split, option or sequence, or the folder
            is not laid out so.
    """
    layout = open_layout(name, split, root, **options)
    members = list(layout.sequences())
    chosen = _choose(members, chosen, f"{root}: {name}, {split}")
    return Truth(
        dataset=name,
        split=split,
        options=plain_options(layout),
        members=frozenset(members),
        expected=layout.expected_count(),
        sequences=tuple(_list_sequence(layout, sequence) for sequence in chosen),
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
    """The truth in a folder SEQUENCE/FRAME.png, whose pixels are objects' numbers.

    A sequence with no other values than 0 and 255 is of one object; otherwise 255 is
    void.

    Args:
        root: The folder.
        chosen: Names of the sequences to measure; all if there are none.
        join: A file that says which objects move as one, see `data.joining`.

    Raises:
        InputError: The folder holds no sequences, no such sequence, or images that are
            no PNG; or the file is malformed.
    """
    members = list_folders(root)
    names = _choose(members, chosen, str(root))
    joined = {} if join is None else read_joins(join, names)
    sequences = []
    for sequence in names:
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
        names = tuple(frame.name for frame in frames)
        sequences.append(TruthSequence(sequence, names, frames))
    options = {} if join is None else {"joined": {**joined}}
    return Truth("", "", options, frozenset(members), None, tuple(sequences))


def is_binary(sequence: TruthSequence) -> bool:
    """Whether its images hold no other values than 0 and 255.

    Raises:
        InputError: One is damaged.
    """
    annotation = sequence.frames[0].annotation
    if not isinstance(annotation, IdImage) or annotation.video is None:
        return False
    return annotation.video.is_binary


def check_lossless(files: Sequence[Path], folder: Path) -> None:
    """Refuses masks compressed with loss: what JPEG makes of ids are other ids.

    Raises:
        InputError: There are no files, or one is damaged or compressed so.
    """
    if not files:
        raise InputError(
            f"{folder}: holds no images, expected a .png for each frame, whose pixels "
            "are objects' numbers."
        )
    for file in files:
        mask_size(file)


def update_digest(digest: "hashlib._Hash", name: str, truth: FrameTruth) -> None:
    """Adds a frame to a digest of what is true, however its files spell it."""
    digest.update(f"{name} {truth.ids.shape}".encode())
    digest.update(truth.ids.astype("<i4").tobytes())
    for part in (truth.void, truth.weights):
        digest.update(b"-" if part is None else part.tobytes())


def listed(names: Collection[str], most: int = SHOWN) -> str:
    """Names for a message, not more than so many."""
    shown = [*names][:most]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown) + more


def _choose(members: Sequence[str], chosen: Sequence[str], where: str) -> list[str]:
    """The sequences to measure, sorted, so that nothing depends on their order."""
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
    """The stems of a video's frames; where it is stored in two formats, of one."""
    files = list_images(image.parent)
    if len({file.stem for file in files}) < len(files):
        files = [file for file in files if file.suffix == image.suffix]
    return [file.stem for file in files]
