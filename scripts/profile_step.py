"""Shows what a step of training costs, and what freezing saves.

    python scripts/profile_step.py configs/paper.py:joint_davis
    python scripts/profile_step.py configs/tiny.py \\
        --compare "" "appearance/*" "appearance/* motion/*"

Random parameters are trained on random data of the config's first bucket, on all
devices of this process. Each row of the table is a compilation of its own:

- "trained" and "frozen" count parameters;
- "GFLOP" is XLA's count for the compiled step, all devices together. It counts the body
  of a loop once and does not see inside the libraries that it calls, so use it only to
  compare rows;
- "args" and "temp" are MiB per device, as planned by XLA: the state and the batch, and
  what the step needs besides;
- "s/step" is the median of the repetitions, and "GFLOP/s" and "of peak" follow from it.
  The peak is that of a product of large matrices, measured here in the model's
  `compute_dtype`, times the number of devices.
"""

import argparse
import dataclasses
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from movseg_jax.bench import peak_flops
from movseg_jax.config import Config
from movseg_jax.config_files import load_config
from movseg_jax.data import batches
from movseg_jax.data.example import Example
from movseg_jax.data.sampling import get_buckets
from movseg_jax.model.parameters import count_parameters, fresh
from movseg_jax.system.process import prepare_jax
from movseg_jax.train import freezing, parallel
from movseg_jax.train.loop import make_stage
from movseg_jax.types import Batch

OBJECTS = 5  # Of each random image.


class Cost(NamedTuple):
    """The cost of a step: operations of all devices, bytes of one device."""

    trained: int
    frozen: int
    flops: float
    arguments: int
    temporary: int
    compile_seconds: float
    seconds: float


def main() -> None:
    """Prints the table."""
    options = _parse()
    config = load_config(options.config)
    height, width = options.size or get_buckets(config.data, config.model)[0]
    size = (height, width)
    batch_size = options.batch_size or config.data.batch_size
    data = dataclasses.replace(config.data, buckets=(size,), batch_size=batch_size)
    # So low that random parameters stay as calm as they are.
    optimizer = dataclasses.replace(config.train.optimizer, learning_rate=1e-9)
    train = dataclasses.replace(config.train, optimizer=optimizer)
    config = dataclasses.replace(config, data=data, train=train)
    batch = random_batch(config, size)
    device, count = jax.devices()[0], jax.device_count()
    peak = count * peak_flops(jnp.dtype(config.model.compute_dtype))
    print(
        f"{options.config}: batch {config.data.batch_size}, {size[1]}x{size[0]} pixels,"
        f" {count} x {device.device_kind}, jax {jax.__version__}; matrices multiply at "
        f"{peak / 1e9:.4g} GFLOP/s"
    )
    print(_row("trained", "frozen", "GFLOP", "args", "temp", "compile", "s/step",
               "GFLOP/s", "of peak", "frozen globs"))  # fmt: skip
    params = calm(fresh(config.model, config.seed))
    for frozen in _rows(options, config):
        cost = measure(_freeze(config, frozen), params, batch, options)
        rate = cost.flops / cost.seconds
        print(
            _row(
                f"{cost.trained / 1e6:.3f}M",
                f"{cost.frozen / 1e6:.3f}M",
                f"{cost.flops / 1e9:.4g}",
                f"{cost.arguments / 2**20:.0f}",
                f"{cost.temporary / 2**20:.0f}",
                f"{cost.compile_seconds:.1f}",
                f"{cost.seconds:.4g}",
                f"{rate / 1e9:.4g}",
                f"{100 * rate / peak:.1f} %",
                " ".join(frozen) or "-",
            ),
            flush=True,
        )


def measure(config: Config, params: Any, batch: Batch, options: Any) -> Cost:
    """Compiles the config's step and runs it."""
    stage = make_stage(config)
    key = jax.random.key(config.seed)
    # Copies, since the step gives the memory of its state away.
    state = parallel.replicate(stage.make_state(jax.tree.map(jnp.array, params)))
    step = stage.step
    if options.models > 1:
        step = jax.vmap(step)
        state, batch, key = jax.tree.map(
            lambda x: jnp.stack([x] * options.models), (state, batch, key)
        )
    begun = time.perf_counter()
    with warnings.catch_warnings():
        # A `pmap` under `jit` may move data; here it is compiled once and runs alone.
        warnings.simplefilter("ignore")
        lowered = jax.jit(step, donate_argnums=0).lower(state, batch, key)
        compiled = lowered.compile()
    compile_seconds = time.perf_counter() - begun
    seconds, metrics = [], {}
    batch = jax.device_put(batch)
    for i in range(1 + options.repeats):
        begun = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, batch, key))
        seconds += [time.perf_counter() - begun] if i else []
    if options.trace:
        with jax.profiler.trace(str(options.trace)):
            jax.block_until_ready(compiled(state, batch, key))
    if not np.isfinite(metrics["loss"]).all():
        print("The loss is not finite.")
    trains = freezing.trains(params, config.train.frozen)
    trained, frozen = freezing.split(params, trains)
    memory = compiled.memory_analysis()
    return Cost(
        count_parameters(trained),
        count_parameters(frozen),
        (compiled.cost_analysis() or {}).get("flops", math.nan) * jax.device_count(),
        getattr(memory, "argument_size_in_bytes", 0),
        getattr(memory, "temp_size_in_bytes", 0),
        compile_seconds,
        statistics.median(seconds),
    )


def calm(params: Any) -> Any:
    """Scales parameters so that activations do not grow from block to block.

    Otherwise, random kernels after frozen norms give numbers that are not finite, and
    NMS of those takes longer.
    """

    def calmed(path, leaf):
        last_of_block = jax.tree_util.keystr(path).endswith("['norm3']['scale']")
        return leaf * 0.2 if last_of_block else leaf

    return jax.tree_util.tree_map_with_path(calmed, params)


def random_batch(config: Config, size: tuple[int, int]) -> Batch:
    """Draws a batch of noise with rectangles in it, as the loader would give it."""
    rng = np.random.default_rng(0)
    height, width = size

    def example(name):
        masks = np.zeros((OBJECTS, height, width), bool)
        for mask in masks:
            y, x = (rng.integers(0, 3 * side // 4) for side in size)
            mask[y : y + height // 4, x : x + width // 4] = True
        return Example(
            name=name,
            image=rng.integers(0, 256, (height, width, 3), np.uint8),
            flow=rng.normal(0, 3, (height, width, 2)).astype(np.float32),
            masks=masks,
            classes=rng.integers(0, config.model.classes, OBJECTS).astype(np.int32),
            ids=np.arange(1, OBJECTS + 1, dtype=np.int32),
            ignore=np.zeros(OBJECTS, bool),
            moving=np.ones(OBJECTS, bool),
        )

    return batches.batch(
        [
            batches.to_training(
                example(str(i)), config.model, size, config.data.max_objects
            )
            for i in range(config.data.batch_size)
        ]
    )


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument(
        "--frozen", nargs="*", metavar="GLOB", help="instead of the config's"
    )
    parser.add_argument(
        "--compare", nargs="+", metavar="GLOBS", help="a row each, globs in quotes"
    )
    parser.add_argument("--batch-size", type=int, help="instead of the config's")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="of the input, in pixels"
    )
    parser.add_argument(
        "--models", type=int, default=1, help="that are trained at once, under vmap"
    )
    parser.add_argument("--repeats", type=int, default=5, help="of each step timed")
    parser.add_argument(
        "--trace", type=Path, help="folder for a step's trace, for TensorBoard or XProf"
    )
    return parser.parse_args()


def _rows(options, config):
    """Returns the globs of each row."""
    if options.compare is not None:
        return [tuple(globs.split()) for globs in options.compare]
    return [config.train.frozen if options.frozen is None else tuple(options.frozen)]


def _freeze(config, frozen):
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, frozen=frozen)
    )


def _row(*cells):
    *numbers, last = cells
    return "".join(f"{cell:>10}" for cell in numbers) + f"  {last}"


if __name__ == "__main__":
    prepare_jax()
    main()
