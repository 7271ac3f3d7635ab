"""The order of examples in training, which is a pure function of the step.

A *bucket* is a size that inputs are padded to. There is a stream for each source and
bucket, which repeats its examples without end, in another random order each time. The
streams of a bucket are mixed by the weights of their sources and cut into batches. The
batches of all buckets are mixed by the buckets' shares of the examples. Mixing takes
turns, so the shares hold to 1 % at every moment.

Hosts split each batch into equal parts, and host 0 has the first rows. So all hosts
have the same bucket at the same step, and together they have the batch of a single
host.
"""

import hashlib
import json
import operator
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import grain
import numpy as np

from movseg_jax.config import DataConfig, ModelConfig
from movseg_jax.data.example import Size, Source
from movseg_jax.errors import InputError
from movseg_jax.model.inputs import DIVISOR, resized_size

# Fields of the config that earlier releases do not have, with defaults that mean what
# those releases did. With these values they change no fingerprint, so that a run of an
# earlier release can be resumed.
NEWER_FIELDS = {"skip_last": False}


class Step(NamedTuple):
    """The batch of a step, before it is read.

    Attributes:
        number: The step's number, from 0.
        bucket: The height and width of its inputs.
        rows: The numbers of the source and of the example in it, int64 [b, 2].
    """

    number: int
    bucket: Size
    rows: np.ndarray


def get_buckets(config: DataConfig, model: ModelConfig) -> tuple[Size, ...]:
    """Returns the config's buckets, or else wide and 4:3 ones in both orientations.

    The latter hold every frame as `model.inputs.resized_size` resizes it.
    """
    if config.buckets:
        return config.buckets
    short, medium, long = (
        -(-n // DIVISOR) * DIVISOR
        for n in (model.short_side, round(model.short_side * 4 / 3), model.long_side)
    )
    sides = [max(side, short) for side in (medium, long) if side <= max(long, short)]
    shapes = [shape for side in sides for shape in ((short, side), (side, short))]
    return tuple(dict.fromkeys(shapes))


def choose_buckets(
    source: Source, buckets: Sequence[Size], model: ModelConfig
) -> np.ndarray:
    """Returns the number of the smallest bucket that each example fits into, int64 [n].

    Raises:
        InputError: An example fits into no bucket.
    """
    smallest = sorted(range(len(buckets)), key=lambda i: buckets[i][0] * buckets[i][1])
    known: dict[Size, int] = {}
    for frame_size in set(source.sizes):
        size, _ = resized_size(frame_size, model)
        fitting = (i for i in smallest if all(map(operator.le, size, buckets[i])))
        known[frame_size] = next(fitting, -1)
        if known[frame_size] < 0:
            sizes = ", ".join(f"{w}x{h}" for h, w in buckets)
            raise InputError(
                f"{source.name}: frames of {frame_size[1]}x{frame_size[0]} pixels "
                f"become {size[1]}x{size[0]} (ModelConfig.short_side and long_side), "
                f"which fits into no bucket of {sizes} (DataConfig.buckets)."
            )
    return np.array([known[size] for size in source.sizes], np.int64)


def check_sources(
    sources: Sequence[Source], config: DataConfig, model: ModelConfig
) -> None:
    """Finds problems of the sources before the run instead of in its middle.

    Raises:
        InputError: The sources are not those of the config, or one has no examples,
            lacks flow that the model needs, or has classes that the model lacks.
    """
    if len(sources) != len(config.sources) or not sources:
        named = ", ".join(s.name for s in config.sources) or "none"
        raise InputError(
            f"The loader got {len(sources)} sources, but the config has "
            f"{len(config.sources)} ({named}; DataConfig.sources); it needs the same, "
            "and at least one."
        )
    for source in sources:
        check_examples(source, model)


def check_examples(source: Source, model: ModelConfig) -> None:
    """Finds problems of a source for a model without reading its examples.

    Raises:
        InputError: It has no examples, lacks flow that the model needs, or has classes
            that the model lacks.
    """
    if not len(source):
        raise InputError(f"{source.name}: the source has no examples.")
    missing = np.flatnonzero(~np.array(source.has_flow, bool))
    if model.motion is not None and len(missing):
        raise InputError(
            f"{source.name}: {len(missing)} of {len(source)} examples have no "
            f"flow, the first is number {missing[0]}; a model with a motion stream "
            "cannot train on them. Use data.selection.with_flow(source)."
        )
    if 1 < model.classes < len(source.classes):
        raise InputError(
            f"{source.name}: there are {len(source.classes)} classes, but the "
            f"model has {model.classes} (ModelConfig.classes); expected as many, "
            "or 1, to treat all as objects."
        )


def training_order(
    sources: Sequence[Source], config: DataConfig, model: ModelConfig, seed: int
) -> grain.MapDataset[Step]:
    """Returns the endless order of `Step`s of a run; it reads no example."""
    buckets = get_buckets(config, model)
    chosen = [choose_buckets(source, buckets, model) for source in sources]
    batches = []
    shares = []
    for b, bucket in enumerate(buckets):
        streams = []
        weights = []
        for k, (of_example, options) in enumerate(
            zip(chosen, config.sources, strict=True)
        ):
            (members,) = np.nonzero(of_example == b)
            if len(members):
                stream = _Stream(k, members, (seed, k, b))
                streams.append(grain.MapDataset.source(stream))
                weights.append(options.weight * len(members) / len(of_example))
        if streams:
            mixed = grain.MapDataset.mix(streams, weights).batch(config.batch_size)
            batches.append(mixed.map(_WithBucket(bucket)))
            shares.append(sum(weights))
    return grain.MapDataset.mix(batches, shares).map_with_index(_number)


class _Stream:
    """An endless stream of rows, in another random order in each epoch.

    It replaces grain's shuffling, which takes milliseconds per example for small data
    sets, and whose orders from neighbouring seeds coincide one epoch apart.
    """

    def __init__(self, source_number: int, members: np.ndarray, seed: tuple[int, ...]):
        self._source_number = source_number
        self._members = members
        self._seed = seed
        # The order of the last epoch, because permuting for each row would be slow.
        self._last = (-1, members)

    def __len__(self) -> int:
        return 2**48  # This is practically endless, and grain can still count with it.

    def __getitem__(self, index: int) -> np.ndarray:
        epoch, at = divmod(index, len(self._members))
        last = self._last
        if last[0] != epoch:
            rng = np.random.default_rng([*self._seed, epoch])
            last = self._last = (epoch, rng.permutation(self._members))
        return np.array([self._source_number, last[1][at]])


class _WithBucket:
    """A function that can be sent to worker processes, unlike a closure."""

    def __init__(self, bucket):
        self.bucket = bucket

    def __call__(self, rows):
        return self.bucket, rows


def _number(number, bucket_and_rows):
    bucket, rows = bucket_and_rows
    return Step(number, bucket, rows)


def fingerprint(
    order: grain.MapDataset[Step],
    sources: Sequence[Source],
    config: DataConfig,
    model: ModelConfig,
    seed: int,
) -> str:
    """Returns a hash of everything but the files that determines the batches.

    This is the order, sampled at some steps; the augmentation and its seed; and the
    model's requirements. The numbers of workers and hosts do not matter.
    """
    data = _without_newer_fields(asdict(config))
    for name in ("workers", "prefetch", "max_damaged"):
        del data[name]
    inputs = ("short_side", "long_side", "classes", "convention", "flow_encoding")
    steps = [order[i] for i in (*range(8), 2**10, 2**20)]
    content = {
        "data": data,
        "model": {name: getattr(model, name) for name in inputs},
        "streams": model.streams,
        "seed": seed,
        "sources": [[source.name, len(source)] for source in sources],
        "steps": [[step.bucket, step.rows.tolist()] for step in steps if step],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_newer_fields(node: Any) -> Any:
    """Leaves out `NEWER_FIELDS` with their defaults, also in what the node holds."""
    if isinstance(node, dict):
        return {
            key: _without_newer_fields(value)
            for key, value in node.items()
            if key not in NEWER_FIELDS or value != NEWER_FIELDS[key]
        }
    if isinstance(node, list | tuple):
        return [_without_newer_fields(item) for item in node]
    return node
