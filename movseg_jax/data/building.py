"""Writing data sets as TFDS' array records, without TensorFlow: `movseg data prepare`.

Any `Source` can be written, frame by frame. Images stay the bytes that they were, flow
becomes the 16-bit PNG of KITTI (steps of 1/64 pixel, clipped to +-512), so nothing else
is lost.
A data set appears under its name when all of it is on the disk, and not before.
"""

import collections
import contextlib
import dataclasses
import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from movseg_jax.data.annotations import Objects, to_json
from movseg_jax.data.example import Source
from movseg_jax.data.prepared import (
    DATASET,
    FORMAT,
    SPLIT,
    PreparedSource,
    open_prepared,
    plain_options,
)
from movseg_jax.data.selection import encoded_image, next_image
from movseg_jax.data.sources import Layout, layout_class, layout_source, open_layout
from movseg_jax.errors import InputError
from movseg_jax.flow.cache import cached
from movseg_jax.flow.estimators import ALGORITHMS, FlowEstimator, get_estimator
from movseg_jax.flow.files import encode_kitti
from movseg_jax.images import read_rgb
from movseg_jax.system.progress import progress_bar

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None

VERSION = f"{FORMAT}.0.0"
SHARD = 4096  # Records of a file, at most.
LOOKAHEAD = 4  # Records in memory for each worker.
# What provenance names the versions of.
PACKAGES = ("movseg-jax", "tensorflow-datasets", "opencv-python-headless", "pillow")

FEATURES = {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "flow": tfds.features.Tensor(shape=(), dtype=np.object_),
    "objects": tfds.features.Text(),
    "name": tfds.features.Text(),
    "sequence": tfds.features.Text(),
    "index": np.int64,
    "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
}

Record = dict[str, Any]


def prepare(
    name: str,
    manual_dir: Path | str,
    data_dir: Path | str,
    *,
    splits: Sequence[str] = (),
    flow: Path | str | None = None,
    flow_cache: Path | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> list[Path]:
    """Writes a data set as array records, one folder for each split.

    Args:
        name: A key of `sources.LAYOUTS`.
        manual_dir: The data set's folder in its original layout.
        data_dir: Where to write; `open_source` takes it for a root.
        splits: Which; all that the data set has, without parts of others, if empty.
        flow: A folder <sequence>/<frame>.flo (.png, .npz, .pfm); "dis", "dis_fast" or
            "farneback" to estimate it between frames that follow one another on disk;
            "true" for FlyingThings3D's own; None for what the data set has of its own,
            if any.
        flow_cache: A folder that keeps estimated flow, so that a run that was stopped
            does not estimate it again.
        workers: Threads that read, estimate and encode; 0 is one for each CPU.
        overwrite: Replaces what was prepared before.
        progress: Shows a bar.
        options: Of the data set's reader; see its class.

    Returns:
        The folders written.

    Raises:
        InputError: The data set is not laid out as it should be, or damaged; the folder
            exists, or another process is writing it.
    """
    kind = layout_class(name)
    estimator = None
    if isinstance(flow, str) and flow in ALGORITHMS:
        estimator = get_estimator(flow)
        estimator = cached(estimator, flow_cache) if flow_cache else estimator
        options["flow"] = None
    elif flow is not None:  # Else the reader's default holds.
        options["flow"] = flow
    if flow is not None and not hasattr(kind, "flow"):
        raise InputError(f"{name} is of images, which have no flow.")
    folders = []
    parts = getattr(kind, "parts", ())
    for split in splits or [split for split in kind.splits if split not in parts]:
        layout = open_layout(name, split, manual_dir, **options)
        described = _described(name, layout, flow if estimator else None)
        folder = Path(data_dir) / DATASET / variant(described) / VERSION
        with _locked(folder, overwrite) as temporary:
            source = layout_source(name, layout)
            write_source(source, temporary, described, estimator,
                         workers=workers, progress=progress)  # fmt: skip
        folders.append(folder)
    return folders


def _described(name: str, layout: Layout, estimated: Path | str | None) -> Record:
    """What `open_source` finds a prepared data set by."""
    flow = estimated or getattr(layout, "flow", None)
    return {
        "name": name,
        "split": layout.split,
        "options": plain_options(layout),
        "flow": "folder" if isinstance(flow, Path) else flow,
    }


def variant(described: dict[str, Any]) -> str:
    """The folder of a prepared data set: name, split and options that are not default.

    Args:
        described: "name", "split", "options" and "flow", as in metadata.json.
    """
    kind = layout_class(described["name"])
    default = plain_options(kind(root=Path(), split=""))
    parts = [described["name"], described["split"]]
    options = {**described["options"]}
    parts += [f"{k}_{v}" for k, v in options.items() if v != default[k]]
    if described["flow"]:
        parts.append(f"flow_{described['flow']}")
    return re.sub(r"[^\w.-]", "_", "-".join(parts))


def write_source(
    source: Source,
    folder: Path,
    described: dict[str, Any],
    estimator: FlowEstimator | None = None,
    *,
    workers: int = 0,
    progress: bool = True,
) -> PreparedSource:
    """Writes any source, in its order.

    Args:
        source: Its images are written as they are on disk, if they are.
        folder: To make; its parent exists.
        described: "name", "split", "options" and "flow", for `open_source` to find.
        estimator: Of flow, instead of what the source itself has.
        workers: As in `prepare`.
        progress: Shows a bar.

    Raises:
        InputError: An example cannot be read, or there is none.
    """
    if not len(source):
        raise InputError(f"{source.name}: has no examples to prepare.")
    metadata = describe(source, described, estimator is not None)

    sequences = [name for name, part in source.sequences.items() for _ in part]

    def make(index: int) -> Record:
        estimate = estimator if metadata["has_flow"][index] else None
        record = _record(source, index, estimate)
        return {**record, "sequence": sequences[index], "index": index}

    def records():
        made = _in_order(make, len(source), workers or os.cpu_count() or 1)
        bar = progress_bar("frame", quiet=not progress, name=source.name)
        with contextlib.closing(made), bar as show:
            for done, record in enumerate(made):
                show(done, len(source))
                metadata["object_counts"].append(record.pop("object_count"))
                yield record

    # TFDS' builders hold a split in memory, or shuffle it by TensorFlow's files.
    folder.mkdir()
    writer = tfds.core.SequentialWriter(
        _info(folder, metadata), SHARD, file_format="array_record"
    )
    writer.initialize_splits([SPLIT])
    with contextlib.closing(records()) as examples:
        # Any iterable will do, and only at its end the metadata are written.
        writer.add_examples({SPLIT: cast(list, examples)})
    writer.close_all()
    return open_prepared(folder)


def _info(folder: Path, metadata: dict[str, Any]) -> tfds.core.DatasetInfo:
    version = tfds.core.Version(VERSION)
    return tfds.core.DatasetInfo(
        builder=DatasetIdentity(DATASET, version, str(folder), __name__),
        description="Frames with objects and optical flow, written by movseg-jax.",
        features=tfds.features.FeaturesDict(FEATURES),
        metadata=tfds.core.MetadataDict(metadata),
        disable_shuffling=True,
    )


def describe(
    source: Source, described: dict[str, Any], estimated: bool = False
) -> dict[str, Any]:
    """What metadata.json says of a source.

    Args:
        source: To be written.
        described: "name", "split", "options" and "flow".
        estimated: Whether flow will be estimated.
    """
    counts = collections.Counter[str]()
    for sequence, part in source.sequences.items():
        counts[sequence] = len(part)
    has_flow = [bool(has) for has in source.has_flow]
    if estimated:
        has_flow = [next_image(source, i) is not None for i in range(len(source))]
    return {
        "format": FORMAT,
        **described,
        "source": source.name,
        "classes": list(source.classes),
        "sequences": [[sequence, count] for sequence, count in counts.items()],
        "sizes": [[int(side) for side in size] for size in source.sizes],
        "has_flow": has_flow,
        "object_counts": [],  # Known when all are read.
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _record(source: Source, index: int, estimator: FlowEstimator | None) -> Record:
    """One frame; read in a thread of its own."""
    example = source[index]
    flow = example.flow
    following = next_image(source, index)
    if estimator and following:
        try:
            flow = estimator(example.image, read_rgb(following))
        except InputError as error:
            raise InputError(f"{following}: {error}") from None
    names = [field.name for field in dataclasses.fields(Objects)]
    objects = Objects(**{name: getattr(example, name) for name in names})
    return {
        "image": encoded_image(source, index),
        "flow": b"" if flow is None else encode_kitti(flow),
        "objects": to_json(objects),
        "name": example.name,
        "size": np.array(example.image.shape[:2], np.int32),
        "object_count": int((~example.ignore).sum()),
    }


def _in_order(
    make: Callable[[int], Record], count: int, workers: int
) -> Generator[Record, None, None]:
    """Records made by several threads, a bounded number ahead."""
    with ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(make, index))
                if len(waiting) >= LOOKAHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _locked(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A path to write to, which becomes the folder when the block ends well.

    What a killed run left is removed; what another run is writing is not.
    """
    if fcntl is None:
        raise InputError(
            f"{folder}: cannot be written on this system, which cannot lock files; "
            "prepare data sets on Linux or macOS."
        )
    if folder.exists() and not overwrite:
        raise InputError(
            f"{folder}: is prepared already.", way_out="`overwrite=True` replaces it."
        )
    temporary = folder.parent / "writing"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"{folder.parent}: another process is preparing it."
                ) from None
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                yield temporary / "whole"
                _to_disk(temporary / "whole")
                if folder.exists():
                    folder.rename(temporary / "old")
                (temporary / "whole").rename(folder)
                _to_disk(folder.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}.") from error


def _to_disk(folder: Path) -> None:
    """Waits until a folder and its files would survive a power cut."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
