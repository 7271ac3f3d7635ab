"""Reads data sets that `building.prepare` wrote: TFDS' folders of array records.

    <data dir>/movseg/davis2016-train-flow_dis/1.0.0/
        metadata.json         names, sizes and counts, so that no record must be read
        dataset_info.json, features.json, movseg-frames.array_record-...

A record is a frame: the unchanged file of its image, its flow as a 16-bit PNG as in
KITTI, and its objects as JSON. TFDS reads them without TensorFlow.
"""

import dataclasses
import functools
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from movseg_jax.data.annotations import from_json
from movseg_jax.data.example import Example, Objects, Size, cached_property
from movseg_jax.data.frames import check_size, ranges
from movseg_jax.errors import InputError
from movseg_jax.images import image_size, read_deep_rgb, read_rgb
from movseg_jax.system.bounded import read_json

FORMAT = 1  # The format of metadata.json and records; other numbers are refused.
DATASET = "movseg"  # TFDS' name of every prepared data set.
SPLIT = "frames"  # TFDS' name of the only split in each.
FLOW_STEP = 1 / 64  # KITTI's step, pixels.
FLOW_ZERO = 2**15  # KITTI's value for no motion.

_opening = threading.Lock()  # TFDS' registry is not safe for threads.
# The processes that have read records: this one, and those that it was forked from.
_processes: set[int] = set()


@dataclasses.dataclass(frozen=True)
class PreparedSource:
    """A `Source` of a prepared folder; each process opens its files once.

    Attributes:
        folder: The folder that holds metadata.json.
        metadata: The content of metadata.json; see `building.describe`.
    """

    folder: Path
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the data set and split."""
        return self.metadata["source"]

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""
        return self.metadata["classes"]

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every sequence's frames."""
        pairs = self.metadata["sequences"]
        return ranges([name for name, count in pairs for _ in range(count)])

    @cached_property
    def sizes(self) -> Sequence[Size]:
        """The height and width of every example."""
        return [(height, width) for height, width in self.metadata["sizes"]]

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow."""
        return self.metadata["has_flow"]

    @property
    def object_counts(self) -> Sequence[int]:
        """The number of objects in each example, regions to ignore excluded."""
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
        name = record["name"].decode()
        return Example(name=name, image=image, flow=flow, **vars(objects))

    def encoded_image(self, index: int) -> bytes:
        """Returns the content of the image's file.

        Raises:
            InputError: The record is damaged.
        """
        return self._record(index)["image"]

    def objects(self, index: int) -> Objects:
        """Reads the example's objects without its image.

        Raises:
            InputError: The record is damaged.
        """
        where = f"{self.folder}: record {index}"
        return from_json(
            self._record(index)["objects"], self.sizes[index], source=where
        )

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state for another process, which opens the files itself."""
        return {"folder": self.folder, "metadata": self.metadata}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _record(self, index: int) -> Mapping[str, Any]:
        """Reads a record, and checks that it is the right one."""
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
        except Exception as error:  # array_record, protobuf and TFDS raise many types.
            record, reason = {}, f"{type(error).__name__}: {error!s:.200}"
        if reason:
            # If a file is cut off, TFDS returns records whose values are all None.
            raise InputError(
                f"{self.folder}: record {index} is damaged: {reason}. Prepare the data "
                "set anew."
            )
        return record

    @functools.cached_property
    def _records(self) -> Sequence[Mapping[str, Any]]:
        import tensorflow_datasets as tfds  # It is slow to import and rarely needed.

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


def decode_flow(
    data: bytes, size: Size, *, source: str
) -> Float32[np.ndarray, "h w 2"]:
    """Decodes flow from a PNG as in KITTI, in which every pixel has flow.

    Raises:
        InputError: The PNG is damaged or of another size.
    """
    # The size is checked before the image is unpacked, which may need much memory.
    check_size(Path(source), image_size(data, source=source), size)
    steps = read_deep_rgb(data, source=source)
    flow = np.subtract(steps[..., :2], np.float32(FLOW_ZERO), dtype=np.float32)
    flow *= np.float32(FLOW_STEP)
    return np.ascontiguousarray(flow)


def open_prepared(folder: Path) -> PreparedSource:
    """Opens a prepared folder, the one that holds metadata.json.

    Raises:
        InputError: It has no metadata.json, or one of another version or program.
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


def has_prepared(name: str, split: str, root: Path) -> bool:
    """Whether `prepare` wrote a data set's split to a folder, with any options."""
    start = folder_name(f"{name}-{split}")
    variants = (folder.parent.name for folder in _prepared_folders(root))
    return any(name == start or name.startswith(f"{start}-") for name in variants)


def folder_name(text: str) -> str:
    """Returns a text with "_" for whatever may mean something in a path."""
    return re.sub(r"[^\w.-]", "_", text)


def _prepared_folders(root: Path) -> list[Path]:
    """The folders that `prepare` wrote below another one."""
    folders = [file.parent for file in root.glob(f"{DATASET}/*/*/metadata.json")]
    # A run that was stopped may leave a folder "incomplete..." of TFDS.
    return sorted(folder for folder in folders if folder.name[:1].isdigit())


def find_prepared(
    name: str,
    split: str,
    root: Path,
    *,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    flow: str | None = None,
) -> PreparedSource | None:
    """Finds a prepared data set in a folder; None if the folder has none at all.

    Args:
        name: The name of the data set.
        split: The name of the split.
        root: A prepared folder, or the folder that several were written to.
        given: The options that it must have been prepared with.
        options: All options with their defaults, which decide between several folders.
        flow: The estimator or kind of flow, which then decides between several folders.

    Raises:
        InputError: No folder fits, or several do.
    """
    itself = (root / "metadata.json").exists()
    folders = [root] if itself else _prepared_folders(root)
    if not folders:
        return None
    wanted = {
        "name": name,
        "split": split,
        "options": given if itself else options,
    }
    sources = [open_prepared(folder) for folder in folders]
    found = [source for source in sources if _fits(source.metadata, wanted)]
    if len(found) > 1 and flow is not None:
        found = [source for source in found if source.metadata.get("flow") == flow]
    if len(found) == 1:
        return found[0]
    what = "there are several" if found else "there is none"
    wanted["flow"] = flow
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
    """Checks that all keys are there, with the right types and equal lengths."""
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
    """Returns a layout's options for metadata.json, without paths of this machine.

    Args:
        layout: A layout of `sources.LAYOUTS`.
    """
    plain = {}
    for field in dataclasses.fields(layout):
        # These are stored elsewhere or do not change the examples.
        if field.name in ("root", "split", "flow", "max_json_bytes"):
            continue
        value = getattr(layout, field.name)
        plain[field.name] = "folder" if isinstance(value, Path) else value
    return json.loads(json.dumps(plain))
