"""DAVIS 2017 and YouTube-VIS as TFDS' own builders write them, in array records.

    davis/480p/2.1.0/davis-train.array_record-00000-of-00008, dataset_info.json, ...
    youtube_vis/only_frames_with_labels/1.0.0/youtube_vis-train.array_record-...

A record is a video: the files of its frames, and masks as PNGs. They are parsed here,
because TFDS itself needs TensorFlow for features of videos. They have no flow, and a
single frame cannot be read alone; `movseg data prepare` writes records of frames with
flow from them.

The builder of COCO stores boxes only, so it is not read.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from movseg_jax.data.annotations import from_ids, stack
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.example import Example, Objects, Size, cached_property
from movseg_jax.data.frames import Frame, check_size, ranges
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, read_ids, read_rgb
from movseg_jax.system.bounded import read_json
from movseg_jax.system.paths import natural_key

INFO = "dataset_info.json"
OPEN_VIDEOS = 2  # The number of videos that a source keeps in memory.

Features = Mapping[str, Any]  # The lists of values in a record, by name.


class MaskOf(NamedTuple):
    """A mask in a record.

    Attributes:
        number: The number of its object, or 0 if its values are the objects' numbers.
        ignore: Whether it is a region to ignore.
        data: The PNG.
    """

    number: int
    ignore: bool
    data: bytes


class Video(NamedTuple):
    """A video of a record.

    Attributes:
        name: The video's name.
        images: The files of all frames.
        masks: The masks of each annotated frame, by its number.
    """

    name: str
    images: Sequence[bytes]
    masks: Mapping[int, Sequence[MaskOf]]


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """A `Source` of the annotated frames in records of videos.

    Attributes:
        name: The name of the data set and split.
        layout: The reader of the records.
        frames: The numbers of the video and of the frame in it, for each example.
        names: The video's name, for each example.
        sizes: The height and width of each example.
    """

    name: str
    layout: "TfdsLayout"
    frames: Sequence[tuple[int, int]]
    names: Sequence[str]
    sizes: Sequence[Size]

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes: there is just one."""
        return self.layout.class_names()

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every sequence's frames."""
        return ranges(self.names)

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow, which none has."""
        return [False] * len(self)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Example:
        """Reads an example.

        Raises:
            InputError: The record is damaged.
        """
        index = range(len(self))[index]
        where = self._where(index)
        image = read_rgb(self.encoded_image(index), source=where)
        check_size(Path(where), (image.shape[0], image.shape[1]), self.sizes[index])
        name = f"{self.name.split('/')[0]}/{self.names[index]}"
        return Example(
            name=f"{name}/{self.frames[index][1]:05d}",
            image=image,
            flow=None,
            **vars(self.objects(index)),
        )

    def encoded_image(self, index: int) -> bytes:
        """Returns the content of the image's file."""
        video, frame = self.frames[index]
        return self._video(video).images[frame]

    def next_image(self, index: int) -> bytes | None:
        """Returns the file of the video's next frame, annotated or not."""
        video, frame = self.frames[index]
        following = self._video(video).images[frame + 1 : frame + 2]
        return following[0] if following else None

    def objects(self, index: int) -> Objects:
        """Reads the example's objects without its image.

        Raises:
            InputError: The record is damaged.
        """
        video, frame = self.frames[index]
        size, where = self.sizes[index], self._where(index)
        found = self._video(video).masks[frame]
        ids = [read_ids(mask.data, source=where) for mask in found]
        for each in ids:
            check_size(Path(where), (each.shape[0], each.shape[1]), size)
        if [mask.number for mask in found] == [0]:
            return from_ids(ids[0], source=where)
        return stack(
            (each != 0 for each in ids),
            size,
            source=where,
            ids=[mask.number for mask in found],
            ignore=[mask.ignore for mask in found],
        )

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state for another process, which opens the files itself."""
        fields = dataclasses.fields(self)
        return {field.name: getattr(self, field.name) for field in fields}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _where(self, index: int) -> str:
        video, frame = self.frames[index]
        return f"{self.layout.folder}: video {video}, frame {frame}"

    @functools.cached_property
    def _video(self) -> Any:
        return functools.lru_cache(OPEN_VIDEOS)(_Records(self.layout).read)


@dataclasses.dataclass(frozen=True)
class TfdsLayout(Layout):
    """A data set that a builder of TFDS wrote; further fields are options.

    Attributes:
        root: The data directory of TFDS, or the folder with dataset_info.json in it.
        flow: Always None: flow can only be estimated, by `movseg data prepare`.
        config: The builder's config.
    """

    flow: None = None
    config: str = ""

    builder: ClassVar[str] = ""
    tfds_splits: ClassVar[dict[str, str]] = {"val": "validation"}

    @property
    def folder(self) -> Path:
        """The folder with dataset_info.json, of the latest version.

        Raises:
            InputError: There is none.
        """
        if (self.root / INFO).exists():
            return self.root
        found = self.root.glob(f"{self.builder}/{self.config}/*/{INFO}")
        folders = sorted((f.parent for f in found), key=lambda f: natural_key(f.name))
        if not folders:
            raise InputError(
                f"{self.root}: expected {self.builder}/{self.config}/VERSION/{INFO}, "
                "as TFDS writes it; the option `config` names another config."
            )
        return folders[-1]

    def video(self, record: Features) -> Video:
        """Returns the video in a record."""
        raise NotImplementedError

    def sequences(self) -> Sequence[str]:
        """Lists the names of the split's videos; this reads all records."""
        return [*self.source("").sequences]

    def frames(self, sequence: str) -> list[Frame]:
        """Raises an error, as the frames are not files."""
        raise InputError(
            f"{self.root}: {sequence}: videos in records of TFDS cannot be read here; "
            "expected frames in files."
        )

    def source(self, name: str) -> TfdsSource:
        """Returns the examples; this reads all records once.

        Raises:
            InputError: A file is missing or damaged.
        """
        records, frames, names, sizes = _Records(self), [], [], []
        for number in range(len(records)):
            video = records.read(number)
            for frame in sorted(video.masks):
                where = f"{self.folder}: video {number}, frame {frame}"
                frames.append((number, frame))
                names.append(video.name)
                sizes.append(image_size(video.images[frame], source=where))
        return TfdsSource(f"{name}/{self.split}", self, frames, names, sizes)


@dataclasses.dataclass(frozen=True)
class TfdsDavis(TfdsLayout):
    """DAVIS 2017 of the builder `davis` of TFDS; it has no flow.

    Attributes:
        config: "480p" or "full_resolution".
    """

    config: str = "480p"

    builder: ClassVar[str] = "davis"
    splits: ClassVar[dict[str, int]] = {"train": 60, "val": 30}
    every_frame: ClassVar[bool] = True

    def video(self, record: Features) -> Video:
        """Returns the video in a record; the values of its masks are objects."""
        return Video(
            record["metadata/video_name"][0].decode(),
            record["video/frames"],
            {
                frame: [MaskOf(0, False, data)]
                for frame, data in enumerate(record["video/segmentations"])
            },
        )


@dataclasses.dataclass(frozen=True)
class TfdsYoutubeVis(TfdsLayout):
    """YouTube-VIS of the builder `youtube_vis` of TFDS; it has no flow.

    Attributes:
        config: The builder's config, such as "only_frames_with_labels" or "full".
    """

    config: str = "only_frames_with_labels"

    builder: ClassVar[str] = "youtube_vis"
    splits: ClassVar[dict[str, int]] = {"train": 0}
    any_split: ClassVar[bool] = True

    def video(self, record: Features) -> Video:
        """Returns the video in a record, of which some frames are annotated."""
        masks: dict[int, list[MaskOf]] = collections.defaultdict(list)
        images = iter(_list(record, "tracks/segmentations", "flat_values"))
        frames = iter(_list(record, "tracks/frames", "flat_values"))
        lengths = _list(record, "tracks/frames", "row_lengths_0")
        crowds = record.get("tracks/is_crowd", [0] * len(lengths))
        for track, length in enumerate(lengths):
            for _ in range(length):
                mask = MaskOf(track + 1, bool(crowds[track]), next(images))
                masks[int(next(frames))].append(mask)
        name = record["metadata/video_name"][0].decode()
        return Video(name, record["video"], dict(masks))


def _list(record: Features, name: str, part: str) -> Sequence[Any]:
    """A list of lists as TFDS stores it: flat, and the lengths of its rows."""
    return record.get(f"{name}/ragged_{part}", ())


class _Records:
    """The records of a split."""

    def __init__(self, layout: TfdsLayout):
        from grain.sources import ArrayRecordDataSource

        self._layout, self._folder = layout, layout.folder
        stored = read_json(self._folder / INFO).get("fileFormat", "tfrecord")
        if stored != "array_record":
            raise InputError(
                f"{self._folder}: its records are of the format {stored!r:.40}, "
                "expected array_record; `tfds build --file_format=array_record` "
                "writes that."
            )
        split = layout.tfds_splits.get(layout.split, layout.split)
        pattern = f"{layout.builder}-{split}.array_record-*"
        files = sorted(map(str, self._folder.glob(pattern)))
        if not files:
            raise InputError(f"{self._folder}: expected files {pattern}; found none.")
        try:
            self._source: Any = ArrayRecordDataSource(files)
        except Exception as error:  # array_record raises many types.
            raise InputError(f"{files[0]}: cannot be opened: {error}.") from None

    def __len__(self) -> int:
        return len(self._source)

    def read(self, number: int) -> Video:
        """Reads a video.

        Raises:
            InputError: The record is damaged, or of another builder or version.
        """
        from tensorflow_datasets import proto

        example: Any = proto.tf_example_pb2
        try:
            features = example.Example.FromString(self._source[number]).features
            record = {
                name: getattr(feature, feature.WhichOneof("kind") or "int64_list").value
                for name, feature in features.feature.items()
            }
            video = self._layout.video(record)
            valid = max(video.masks, default=-1) < len(video.images)
        except Exception as error:  # array_record and protobuf raise many types.
            raise InputError(
                f"{self._folder}: record {number} is damaged, or not one of the "
                f"builder {self._layout.builder}: {error!r:.200}."
            ) from None
        if not valid:
            raise InputError(f"{self._folder}: record {number} has too few frames.")
        return video
