"""Plans a training run without any data: `movseg train --dry-run`."""

import math
import warnings
from typing import Any

import jax
import numpy as np

from movseg_jax.config import Config
from movseg_jax.data import batches
from movseg_jax.data.example import Example, Size
from movseg_jax.data.sampling import get_buckets
from movseg_jax.model.parameters import count_parameters, parameter_shapes
from movseg_jax.train import freezing, parallel
from movseg_jax.train.loop import make_stage
from movseg_jax.types import Batch


def describe_plan(config: Config) -> str:
    """Compiles the training step of a config and describes it, without any data.

    Returns:
        Lines with the devices, the parameters, the memory that XLA plans for the step
        on each device, and the operations that XLA counts. It counts the body of a
        loop once, and does not see inside of the libraries that it calls.

    Raises:
        InputError: The batch cannot be split over the devices, or what is frozen
            matches no parameter.
    """
    size = max(get_buckets(config.data, config.model), key=math.prod)
    step = _compile(config, size)
    shapes = parameter_shapes(config.model)
    trains = freezing.trains(shapes, freezing.frozen_globs(config))
    trained, frozen = freezing.split(shapes, trains)
    memory: Any = step.memory_analysis()
    cost = step.cost_analysis() or {}
    lines = [
        parallel.describe_devices(config.data.batch_size),
        f"{config.train.steps} steps on inputs of up to {size[1]}x{size[0]} pixels",
        f"{_millions(trained)} parameters train, {_millions(frozen)} are frozen",
    ]
    if memory is not None:
        before = memory.argument_size_in_bytes / 2**30
        during = memory.temp_size_in_bytes / 2**30
        lines.append(
            f"{before + during:.2f} GiB on each device: {before:.2f} for state and "
            f"batch, {during:.2f} while the step runs"
        )
    if "flops" in cost:
        flops = cost["flops"] * jax.local_device_count()
        lines.append(f"{flops / 1e9:.3g} GFLOP per step, as XLA counts")
    return "\n".join(lines)


def trace_step(config: Config, size: Size) -> jax.stages.Traced:
    """Traces the step of a config on shapes alone, so that nothing is computed.

    Args:
        config: The stage's config.
        size: The height and width of the inputs.
    """
    stage = make_stage(config)
    shapes = parameter_shapes(config.model)
    state = parallel.replicated_shapes(jax.eval_shape(stage.make_state, shapes))
    key = jax.random.key(config.seed)
    step = jax.jit(stage.step, donate_argnums=0)
    return step.trace(state, _batch_shapes(config, size), key)


def _compile(config: Config, size: Size) -> jax.stages.Compiled:
    with warnings.catch_warnings():
        # JAX warns that a `pmap` under `jit` may move data, but nothing is run here.
        warnings.simplefilter("ignore")
        return trace_step(config, size).lower().compile()


def _batch_shapes(config: Config, size: Size) -> Batch:
    """The shapes of this process's share of a batch."""
    nothing = Example(
        name="nothing",
        image=np.zeros((*size, 3), np.uint8),
        flow=np.zeros((*size, 2), np.float32),
        masks=np.zeros((0, *size), bool),
        classes=np.zeros(0, np.int32),
        ids=np.zeros(0, np.int32),
        ignore=np.zeros(0, bool),
        moving=np.zeros(0, bool),
    )
    data = config.data
    row = batches.to_training(nothing, config.model, size, data.max_objects)
    count = data.batch_size // jax.process_count()
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype),
        batches.batch([row]),
    )


def _millions(tree: Any) -> str:
    return f"{count_parameters(tree) / 1e6:.3f} million"
