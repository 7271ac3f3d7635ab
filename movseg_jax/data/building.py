"""Writes data sets as TFDS' array records, without TensorFlow: `movseg data prepare`.

Any `Source` can be written, frame by frame. Images keep their bytes, and flow becomes
the 16-bit PNG of KITTI: it is rounded to 1/64 pixel and clipped to +-512 pixels, and
nothing else is lost. A data set appears under its name only when it is complete and on
the disk.
"""

import collections
import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from movseg_jax.data.annotations import to_json
from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.example import Source
from movseg_jax.data.prepared import (
    DATASET,
    FORMAT,
    SPLIT,
    PreparedSource,
    folder_name,
    open_prepared,
    plain_options,
)
from movseg_jax.data.selection import encoded_image, next_image, read_next
from movseg_jax.data.sources import layout_class, layout_source, open_layout
from movseg_jax.errors import InputError
from movseg_jax.flow.cache import cached
from movseg_jax.flow.estimators import ALGORITHMS, FlowEstimator, get_estimator
from movseg_jax.flow.files import encode_kitti
from movseg_jax.flow.networks import load_if_network
from movseg_jax.system import atomic
from movseg_jax.system.process import installed_version
from movseg_jax.system.progress import progress_bar

VERSION = f"{FORMAT}.0.0"
SHARD = 4096  # The most records in a file.
LOOKAHEAD = 4  # The number of records in memory per worker.
# metadata.json states the versions of these packages.
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
    flow_cache: Path | str | None = None,
    flow_weights: Path | str | None = None,
    flow_updates: int | None = None,
    workers: int = 0,
    overwrite: bool = False,
    allow_missing: bool = False,
    progress: bool = True,
    **options: Any,
) -> list[Path]:
    """Writes a data set as array records, one folder for each split.

    Args:
        name: The name of the data set, a key of `sources.LAYOUTS`.
        manual_dir: The data set's folder in its original layout.
        data_dir: The folder to write to, which is then a root for `open_source`.
        splits: The splits to prepare; if empty, all that are not parts of others.
        flow: A folder <sequence>/<frame>.flo (.png, .npz, .pfm); "dis", "dis_fast",
            "farneback" or the name of a flow network to estimate flow between frames
            that follow each other on disk; "true" for FlyingThings3D's own flow; None
            for the flow that the data set itself has, if any.
        flow_cache: A folder that keeps estimated flow for a call that is repeated.
        flow_weights: The file of the flow network's weights.
        flow_updates: The number of steps in which RAFT improves the flow.
        workers: The number of threads; 0 is one for each CPU.
        overwrite: Whether to replace a data set that was prepared before.
        allow_missing: Whether to leave out videos whose frames are missing.
        progress: Whether to show a progress bar.
        options: The options of the data set's reader; see its class.

    Returns:
        The folders that were written.

    Raises:
        InputError: The data set is damaged or has another layout, or exists already.
    """
    kind = layout_class(name)
    if flow is not None and not hasattr(kind, "flow"):
        raise InputError(f"{name} is of images, which have no flow.")
    network = load_if_network(flow, flow_weights, flow_updates)
    estimator, identity = _flow_estimator(flow, network, flow_cache)
    if flow is not None:  # Without the option the reader's default holds.
        options["flow"] = None if estimator else flow
    folders = []
    for split in splits or [s for s in kind.splits if s not in kind.parts]:
        layout = open_layout(name, split, manual_dir, **options)
        described = _described(name, layout, flow if estimator else None) | identity
        folder = Path(data_dir) / DATASET / variant(described) / VERSION
        source = layout_source(name, layout, allow_missing=allow_missing)
        with _locked(folder, overwrite) as temporary:
            write_source(source, temporary, described, estimator,
                         workers=workers, progress=progress)  # fmt: skip
        folders.append(folder)
    return folders


def _flow_estimator(
    flow: Path | str | None,
    network: FlowEstimator | None,
    flow_cache: Path | str | None,
) -> tuple[FlowEstimator | None, Record]:
    """Returns the estimator that `flow` names, and what metadata.json says of it."""
    estimator = network
    if isinstance(flow, str) and flow in ALGORITHMS:
        estimator = get_estimator(flow)
    if estimator is None:
        return None, {}
    identity = repr(estimator)  # It has the hash of a network's weights.
    if flow_cache is not None:
        estimator = cached(estimator, Path(flow_cache), name=identity)
    return estimator, {"flow_estimator": identity}


def _described(name: str, layout: Layout, estimated: Path | str | None) -> Record:
    """Returns the description by which `open_source` finds a prepared data set."""
    flow = estimated or getattr(layout, "flow", None)
    return {
        "name": name,
        "split": layout.split,
        "options": plain_options(layout),
        "flow": "folder" if isinstance(flow, Path) else flow,
    }


def variant(described: dict[str, Any]) -> str:
    """Returns the folder's name: data set, split and options that are not default.

    Args:
        described: The data set's "name", "split", "options" and "flow", as in
            metadata.json.
    """
    kind = layout_class(described["name"])
    default = plain_options(kind(root=Path(), split=""))
    parts = [described["name"], described["split"]]
    for key, value in described["options"].items():
        if value != default[key]:
            parts.append(f"{key}_{value}")
    if described["flow"]:
        parts.append(f"flow_{described['flow']}")
    return folder_name("-".join(parts))


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
        source: The source; the files of its images are copied, if there are files.
        folder: The folder to make; its parent exists.
        described: The "name", "split", "options" and "flow" by which `open_source`
            finds it.
        estimator: The estimator of flow; None writes the source's own flow.
        workers: The number of threads, as in `prepare`.
        progress: Whether to show a progress bar.

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

    # The sequential writer is used because TFDS' builders hold a split in memory, or
    # need TensorFlow to shuffle it on disk.
    folder.mkdir()
    writer = tfds.core.SequentialWriter(
        _info(folder, metadata), SHARD, file_format="array_record"
    )
    writer.initialize_splits([SPLIT])
    with contextlib.closing(records()) as examples:
        # Any iterable will do. The metadata are written after its end, so the counts of
        # objects, which the records add, are in them.
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
    """Returns the content of metadata.json.

    Args:
        source: The source that will be written.
        described: The "name", "split", "options" and "flow".
        estimated: Whether flow will be estimated.
    """
    has_flow = [bool(has) for has in source.has_flow]
    if estimated:
        has_flow = [next_image(source, i) is not None for i in range(len(source))]
    return {
        "format": FORMAT,
        **described,
        "source": source.name,
        "classes": list(source.classes),
        "sequences": [[name, len(part)] for name, part in source.sequences.items()],
        "sizes": [[int(side) for side in size] for size in source.sizes],
        "has_flow": has_flow,
        "object_counts": [],  # They are added while the records are written.
        "versions": {
            package: installed_version(package) or "not installed"
            for package in PACKAGES
        },
    }


def _record(source: Source, index: int, estimator: FlowEstimator | None) -> Record:
    """Makes the record of a frame; it runs in a worker thread."""
    example = source[index]
    flow = example.flow
    following = read_next(source, index) if estimator else None
    if estimator and following:
        where, picture = following
        try:
            flow = estimator(example.image, picture)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return {
        "image": encoded_image(source, index),
        "flow": b"" if flow is None else encode_kitti(flow),
        "objects": to_json(example.objects),
        "name": example.name,
        "size": np.array(example.image.shape[:2], np.int32),
        "object_count": int((~example.ignore).sum()),
    }


def _in_order(
    make: Callable[[int], Record], count: int, workers: int
) -> Generator[Record, None, None]:
    """Makes records in several threads, at most a bounded number ahead."""
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
    """Gives a path to write to, which becomes the folder if the block succeeds.

    It removes what a killed run left. The lock of `system.atomic.locked` ends with its
    process, however that ends, so whatever is there under the lock was left behind.
    """
    if folder.exists() and not overwrite:
        raise InputError(
            f"{folder}: is prepared already.", way_out="`overwrite=True` replaces it."
        )
    temporary = folder.parent / "writing"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic.locked(folder.parent):
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
        atomic.sync(path)
