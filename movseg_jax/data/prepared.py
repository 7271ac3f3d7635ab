"""Reading data sets that `building.prepare` wrote: TFDS' folders of array records.

    <data dir>/movseg/davis2016-train-flow_dis/1.0.0/
        metadata.json         what is known without reading records
        dataset_info.json, features.json, movseg-frames.array_record-...

A record is a frame: its image's file as it was, the flow as a 16-bit PNG in the manner
of KITTI, the objects as JSON. TFDS reads them without TensorFlow.
"""

import dataclasses
import functools
import itertools
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from movseg_jax.data.annotations import Objects, Size, from_json
from movseg_jax.data.example import Example
from movseg_jax.data.frames import check_size, ranges
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, read_deep_rgb, read_rgb
from movseg_jax.system.bounded import read_json

FORMAT = 1  # Of metadata.json and records; another number is refused.
DATASET = "movseg"  # TFDS' name of all of them.
SPLIT = "frames"  # TFDS' name of the one split in each.
FLOW_STEP = 1 / 64  # Pixels; KITTI's.
FLOW_ZERO = 2**15  # What KITTI writes for no motion.

_opening = threading.Lock()  # TFDS' registry is not made for threads.
_processes: set[int] = set()  # This one, and those it was forked from, if they read.


@dataclasses.dataclass(frozen=True)
class PreparedSource:
    """A `Source` of a prepared folder; files are opened once in every process.

    Attributes:
        folder: That holds metadata.json.
        metadata: What it says; see `building.describe`.
    """

    folder: Path
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the data set and split."""
        return self.metadata["source"]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return self.metadata["classes"]

    @property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every sequence's frames."""
        return self._sequences

    @functools.cached_property
    def _sequences(self) -> Mapping[str, range]:
        return ranges(self._sequence_of_each)

    @property
    def sizes(self) -> Sequence[Size]:
        """Height and width of every example."""
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> Sequence[Size]:
        return [(height, width) for height, width in self.metadata["sizes"]]

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether the example has flow."""
        return self.metadata["has_flow"]

    @property
    def object_counts(self) -> Sequence[int]:
        """How many objects the example has, regions to ignore not counted."""
        return self.metadata["object_counts"]

    def __len__(self) -> int:
        return len(self.metadata["sizes"])

    def __getitem__(self, index: int) -> Example:
        """Reads an example.

        Raises:
            InputError: The record is damaged.
        """
        index = range(len(self))[index]
        record = self._record(index)
        where = f"{self.folder}: record {index}"
        image = read_rgb(record["image"], source=where)
        size = self.sizes[index]
        check_size(self.folder / where, (image.shape[0], image.shape[1]), size)
        objects = from_json(record["objects"], size, source=where)
        flow = None
        if self.has_flow[index]:
            flow = decode_flow(record["flow"], size, source=where)
        return Example(
            name=record["name"].decode(),
            image=image,
            flow=flow,
            masks=objects.masks,
            classes=objects.classes,
            ids=objects.ids,
            ignore=objects.ignore,
            moving=objects.moving,
        )

    def encoded_image(self, index: int) -> bytes:
        """The image's file.

        Raises:
            InputError: The record is damaged.
        """
        return self._record(index)["image"]

    def objects(self, index: int) -> Objects:
        """The example's objects without its image.

        Raises:
            InputError: The record is damaged.
        """
        where = f"{self.folder}: record {index}"
        return from_json(
            self._record(index)["objects"], self.sizes[index], source=where
        )

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: not the files that are open in this one."""
        return {"folder": self.folder, "metadata": self.metadata}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _record(self, index: int) -> Mapping[str, Any]:
        if _processes - {os.getpid()}:
            raise InputError(
                f"{self.folder}: this process was forked from one that had read "
                "records, so that reading would hang; start worker processes by spawn "
                "or forkserver, as grain does."
            )
        try:
            record = self._records[index]
            reason = None if record["index"] == index else "it is another record"
        except InputError:
            raise
        except Exception as error:  # Of array_record, protobuf and TFDS.
            record, reason = {}, f"{type(error).__name__}: {error!s:.200}"
        if reason:
            # Of a file that is cut off, TFDS returns records of nothing but None.
            raise InputError(
                f"{self.folder}: record {index} is damaged: {reason}. Prepare the data "
                "set anew."
            )
        return record

    @functools.cached_property
    def _records(self) -> Sequence[Mapping[str, Any]]:
        import tensorflow_datasets as tfds  # Slow to import, and not always needed.

        with _opening:
            _processes.add(os.getpid())
            try:
                builder: Any = tfds.builder_from_directory(self.folder)
                decoders = {"image": tfds.decode.SkipDecoding()}
                records = builder.as_data_source(SPLIT, decoders=decoders)
                count = len(records)
            except Exception as error:
                raise InputError(
                    f"{self.folder}: cannot be opened: {type(error).__name__}: "
                    f"{error!s:.200}. Prepare the data set anew."
                ) from None
        if count != len(self):
            raise InputError(
                f"{self.folder}: holds {count} records, expected {len(self)} as "
                "metadata.json says. Prepare the data set anew."
            )
        return records

    @functools.cached_property
    def _sequence_of_each(self) -> Sequence[str]:
        pairs = self.metadata["sequences"]
        return [*itertools.chain(*([name] * count for name, count in pairs))]


def decode_flow(
    data: bytes, size: Size, *, source: str
) -> Float32[np.ndarray, "h w 2"]:
    """Flow from a PNG of KITTI's manner, every pixel of which is known.

    Raises:
        InputError: It is damaged or of another size.
    """
    check_size(Path(source), image_size(data, source=source), size)  # Before unpacking.
    steps = read_deep_rgb(data, source=source)
    flow = np.subtract(steps[..., :2], np.float32(FLOW_ZERO), dtype=np.float32)
    flow *= np.float32(FLOW_STEP)
    return np.ascontiguousarray(flow)


def open_prepared(folder: Path) -> PreparedSource:
    """Opens a prepared folder, the one that holds metadata.json.

    Raises:
        InputError: It holds none, or one of another version or program.
    """
    file = folder / "metadata.json"
    metadata = read_json(file)
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{file}: is of format {metadata.get('format')!r:.40}, expected {FORMAT}. "
            "Prepare the data set anew."
        )
    _check_metadata(metadata, file)
    return PreparedSource(folder, metadata)


def find_prepared(
    name: str,
    split: str,
    root: Path,
    *,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
) -> PreparedSource | None:
    """Looks for a prepared data set in a folder; None if it holds none at all.

    Args:
        name: Of the data set.
        split: Of the data set.
        root: A prepared folder itself, or the folder that several were written to.
        given: Options that must be those it was prepared with.
        options: The same, with their defaults; these count if there are several.

    Raises:
        InputError: What is there is something else, or is not unique.
    """
    itself = (root / "metadata.json").exists()
    folders = sorted(file.parent for file in root.glob(f"{DATASET}/*/*/metadata.json"))
    # A name of TFDS' "incomplete..." is what was being written when it was stopped.
    folders = [root] if itself else [f for f in folders if f.name[:1].isdigit()]
    if not folders:
        return None
    wanted = {
        "name": name,
        "split": split,
        "options": given if itself else options,
    }
    sources = [open_prepared(folder) for folder in folders]
    found = [source for source in sources if _fits(source.metadata, wanted)]
    if len(found) == 1:
        return found[0]
    what = "there are several" if found else "there is none"
    shown = "\n".join(f"  {s.folder}: {_shown(s.metadata)}" for s in found or sources)
    raise InputError(
        f"{root}: expected one prepared {_shown(wanted)}, but {what}. Hand in one of "
        f"these folders, or the options that it was prepared with:\n{shown}"
    )


def _fits(metadata, wanted):
    same = metadata["name"] == wanted["name"] and metadata["split"] == wanted["split"]
    own = metadata["options"]
    return same and all(own.get(k) == v for k, v in wanted["options"].items())


def _shown(described):
    options = {**described["options"]}
    if described.get("flow"):
        options["flow"] = described["flow"]
    listed = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return f"{described['name']}/{described['split']} ({listed or 'no options'})"


def _check_metadata(metadata, file):
    """Whether all of it is there, of the right kind, and of equal lengths."""
    lists = ("classes", "sequences", "sizes", "has_flow", "object_counts")
    kinds = {"name": str, "split": str, "source": str, "options": dict}
    kinds |= dict.fromkeys(lists, list)
    for key, kind in kinds.items():
        if not isinstance(metadata.get(key), kind):
            raise InputError(f"{file}: {key!r} is missing or not a {kind.__name__}.")
    count = len(metadata["sizes"])
    try:
        total = sum(int(frames) for _, frames in metadata["sequences"])
        sizes = all(int(h) > 0 and int(w) > 0 for h, w in metadata["sizes"])
    except (TypeError, ValueError):
        total, sizes = -1, False
    lengths = [len(metadata["has_flow"]), len(metadata["object_counts"]), total]
    if lengths != [count] * 3 or not sizes:
        raise InputError(f"{file}: is damaged: its lists are of different lengths.")


def plain_options(layout: Any) -> dict[str, Any]:
    """A layout's options as metadata.json has them; paths of this machine are left out.

    Args:
        layout: A frozen dataclass of `sources.LAYOUTS`.
    """
    fields = [field.name for field in dataclasses.fields(layout)]
    aside = ("root", "split", "flow", "max_json_bytes")  # They change no example.
    values = {key: getattr(layout, key) for key in fields if key not in aside}
    plain = {k: "folder" if isinstance(v, Path) else v for k, v in values.items()}
    return json.loads(json.dumps(plain))
