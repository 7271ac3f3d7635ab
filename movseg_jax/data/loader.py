"""Batches for training and evaluation, which worker processes read.

The content of a batch depends on the seed and the step alone (see `data.sampling`), and
not on the worker that reads it: each example has its own random numbers, made from the
seed and the example's position in the run. So a run can be stopped and resumed at any
step, with any number of workers or hosts.

Scripts that use workers need the usual `if __name__ == "__main__":`; see
`data.grain_workers`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from movseg_jax.config import DataConfig, ModelConfig
from movseg_jax.data import batches, sampling, transforms
from movseg_jax.data.example import Example, Source
from movseg_jax.data.grain_workers import Reader
from movseg_jax.errors import InputError
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.types import Batch, Inputs

REPLACEMENTS = 10  # The most replacements that are tried for a damaged example.


class Loader(Iterator[Batch]):
    """An endless iterator over batches of NumPy arrays.

    Every batch has one of the buckets' sizes. With several hosts, each opens the same
    sources and gets its rows of the same batch: `batch_size / host_count` of them, and
    host 0 gets the first. If their states differ, they do not read the same data.

        with Loader(sources, config.data, config.model, seed=config.seed) as loader:
            for batch in loader:
                ...

    Reading starts when the first batch is requested. If an example is damaged, the
    `InputError` of its source is raised at the example's step. With
    `DataConfig.on_damaged = "skip"` another example of the same source and bucket takes
    its place, the same one in every run, until this host has met more than
    `DataConfig.max_damaged` damaged examples since it started.

    Args:
        sources: The sources that `config.sources` names, in that order.
        config: The settings of batches and augmentation.
        model: The settings of the model that the batches are for.
        seed: The seed of the order and the augmentation, 0 or larger.
        host_index: The number of this host, from 0.
        host_count: The number of hosts; it must divide the batch size.
        start_step: The number of the first batch.

    Raises:
        InputError: The sources do not suit the config or the model, or a number is out
            of range.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        config: DataConfig,
        model: ModelConfig,
        *,
        seed: int,
        host_index: int = 0,
        host_count: int = 1,
        start_step: int = 0,
    ):
        sampling.check_sources(sources, config, model)
        if config.batch_size % host_count:
            raise InputError(
                f"A batch of {config.batch_size} images (DataConfig.batch_size) cannot "
                f"be split evenly over {host_count} hosts."
            )
        if not 0 <= host_index < host_count or seed < 0 or start_step < 0:
            raise InputError(
                f"The loader got host {host_index} of {host_count}, seed {seed} and "
                f"step {start_step}; hosts count from 0, and none is negative."
            )
        share = config.batch_size // host_count
        self._rows = slice(host_index * share, (host_index + 1) * share)
        self._sources = tuple(sources)
        self._order = sampling.training_order(sources, config, model, seed)
        self._batches = self._order.map(
            _ReadBatch(self._sources, config, model, seed, self._rows)
        )
        self._config = config
        self._fingerprint = sampling.fingerprint(
            self._order, sources, config, model, seed
        )
        self._step = start_step
        self._reader: Reader | None = None
        self._damaged: dict[str, None] = {}  # It is a set that keeps its order.

    @property
    def step(self) -> int:
        """The number of the next batch."""
        return self._step

    def names(self, step: int) -> list[str]:
        """Returns the examples in this host's rows of a step, as "source[number]"."""
        found: Any = self._order[step]
        rows = found.rows[self._rows].tolist()
        return [f"{self._sources[k].name}[{number}]" for k, number in rows]

    @property
    def damaged(self) -> list[str]:
        """The errors of the examples that were skipped."""
        return list(self._damaged)

    def get_state(self) -> dict[str, Any]:
        """Returns the step and a hash of the order's settings, as JSON."""
        return {"step": self._step, "order": self._fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues at the step of a state from `get_state`, of this or another run.

        Raises:
            InputError: The state is malformed, or belongs to other data or another
                config or seed.
        """
        step = state.get("step")
        if set(state) != {"step", "order"} or type(step) is not int or step < 0:
            raise InputError(
                f"The loader's state is {state!r:.100}, expected what "
                "`Loader.get_state` gives."
            )
        if state["order"] != self._fingerprint:
            raise InputError(
                "The loader's state is of another order of examples: the sources, the "
                "seed, DataConfig, or the model's input sizes, streams or flow "
                "encoding have changed. Set them back, or start a new run."
            )
        self.close()
        self._step = step

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self._reader is None:
            self._reader = Reader(
                self._batches[self._step :], self._config.workers, self._config.prefetch
            )
        try:
            batch = self._check(next(self._reader))
        except BaseException:
            self.close()
            raise
        self._step += 1
        return batch

    def _check(self, read):
        """Returns the batch that was read, unless too much was damaged."""
        if read.error is not None:
            raise InputError(read.error)
        self._damaged |= dict.fromkeys(read.damaged)
        if len(self._damaged) > self._config.max_damaged:
            raise InputError(self._describe_damage())
        return read.batch

    def _describe_damage(self):
        reasons = "\n".join(self._damaged)
        return (
            f"{len(self._damaged)} examples cannot be read, more than the "
            f"{self._config.max_damaged} that may be skipped "
            f"(DataConfig.max_damaged):\n{reasons}"
        )

    def close(self) -> None:
        """Ends the workers; the next request for a batch starts them again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class EvaluationBatch(NamedTuple):
    """A batch of frames to detect objects in.

    Attributes:
        inputs: The model's inputs, with a leading batch axis.
        numbers: The numbers of the examples in their source, int64 [b].
        valid: Whether each row is an example, bool [b]; other rows repeat the last
            example.
    """

    inputs: Inputs
    numbers: np.ndarray
    valid: np.ndarray


def evaluation_batches(
    source: Source, config: DataConfig, model: ModelConfig, *, batch_size: int = 1
) -> Iterator[EvaluationBatch]:
    """Yields every example once and in order, as the model sees frames of a video.

    If the next example has another bucket, a batch ends early and is padded. Examples
    without flow are left out if the model has a motion stream. Workers are used as in
    training; close the iterator if it is not exhausted.

    Raises:
        InputError: An example is damaged, or fits into no bucket.
    """
    buckets = sampling.get_buckets(config, model)
    chosen = sampling.choose_buckets(source, buckets, model)
    needed = np.array(source.has_flow, bool) | (model.motion is None)
    groups: list[tuple[int, list[int]]] = []
    for number in np.flatnonzero(needed).tolist():
        bucket = int(chosen[number])
        if not groups or groups[-1][0] != bucket or len(groups[-1][1]) == batch_size:
            groups.append((bucket, []))
        groups[-1][1].append(number)
    if not groups:
        return
    frames = grain.MapDataset.source(groups).map(
        _ReadFrames(source, model, buckets, batch_size)
    )
    reader = Reader(frames, config.workers, config.prefetch)
    try:
        for read in reader:
            if read.error is not None:
                raise InputError(read.error)
            yield read.batch
    finally:
        reader.close()


# The functions below run in the workers ------------------------------------------


class _Read(NamedTuple):
    """A batch or an error; errors are sent as text, because not all can be pickled."""

    batch: Any
    damaged: tuple[str, ...] = ()  # The errors of the examples that were skipped.
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class _ReadBatch:
    """Reads and augments this host's rows of a step."""

    sources: tuple[Source, ...]
    config: DataConfig
    model: ModelConfig
    seed: int
    rows: slice

    def __call__(self, step: sampling.Step) -> _Read:
        examples = []
        damaged = []
        first = step.number * self.config.batch_size + self.rows.start
        for i, (k, number) in enumerate(step.rows[self.rows].tolist()):
            try:
                read = self._read(first + i, k, number, step.bucket, damaged)
            except InputError as error:
                return _Read(None, error=str(error))
            examples.append(read)
        return _Read(batches.batch(examples), tuple(damaged))

    def _read(self, position, k, number, bucket, damaged):
        """Reads an example, or a replacement if it is damaged and that is allowed."""
        for attempt in range(REPLACEMENTS + 1):
            rng = np.random.default_rng([self.seed, position, attempt])
            if attempt:
                number = self._choose(k, bucket, rng)
            try:
                return self._augment(k, number, bucket, rng)
            except InputError as error:
                if self.config.on_damaged == "raise" or attempt == REPLACEMENTS:
                    raise
                damaged.append(str(error))

    def _augment(self, k, number, bucket, rng):
        example = self._load(k, number)
        other = None
        if rng.random() < self.config.augment.paste:
            other = self._load(k, int(rng.integers(len(self.sources[k]))))
        return batches.augment(example, bucket, other, self.config, self.model, rng)

    def _load(self, k, number):
        example = _load(self.sources[k], number)
        if self.config.sources[k].ignore_resting:
            example = transforms.ignore_resting(example)
        return example

    def _choose(self, k, bucket, rng):
        """Chooses any example of the same source and bucket."""
        buckets = sampling.get_buckets(self.config, self.model)
        chosen = sampling.choose_buckets(self.sources[k], buckets, self.model)
        return int(rng.choice(np.flatnonzero(chosen == buckets.index(bucket))))


@dataclasses.dataclass(frozen=True)
class _ReadFrames:
    """Reads the frames of a batch, and makes the model's inputs of them."""

    source: Source
    model: ModelConfig
    buckets: tuple[tuple[int, int], ...]
    batch_size: int

    def __call__(self, group: tuple[int, list[int]]) -> _Read:
        bucket, numbers = group
        inputs = []
        try:
            for number in numbers:
                example = _load(self.source, number)
                inputs.append(
                    make_inputs(
                        example.image,
                        example.flow,
                        self.model,
                        pad_to=self.buckets[bucket],
                    )
                )
        except InputError as error:
            return _Read(None, error=str(error))
        missing = self.batch_size - len(numbers)
        padded = [*numbers, *numbers[-1:] * missing]
        valid = np.arange(self.batch_size) < len(numbers)
        frames = stack([*inputs, *inputs[-1:] * missing])
        return _Read(EvaluationBatch(frames, np.array(padded, np.int64), valid))


def _load(source: Source, number: int) -> Example:
    """Reads an example, and checks that it is as its source announced.

    Raises:
        InputError: The example is damaged.
        RuntimeError: The source raised any other error.
    """
    where = f"{source.name}[{number}]"
    try:
        example = source[number]
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error
    size, expected = example.image.shape[:2], tuple(source.sizes[number])
    if size != expected:
        raise InputError(
            f"{example.name}: the image has {size[1]}x{size[0]} pixels, but {where} "
            f"was announced with {expected[1]}x{expected[0]}; was it replaced?"
        )
    if example.flow is None and source.has_flow[number]:
        raise InputError(
            f"{example.name}: {where} was announced with flow, and has none."
        )
    return example
