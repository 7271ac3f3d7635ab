"""The parameters of a detector before it has learned anything, and their shapes."""

from typing import Any

import jax
import jax.numpy as jnp

from movseg_jax.config import ModelConfig
from movseg_jax.model.detector import Detector
from movseg_jax.types import Inputs


def run_key(seed: int) -> jax.Array:
    """The key of all that is random in a run, of the same kind whatever JAX's is."""
    return jax.random.key(seed, impl="threefry2x32")


def fresh(config: ModelConfig, seed: int) -> dict[str, Any]:
    """Random parameters, the same for the same seed on every machine of a kind."""
    return jax.device_get(jax.jit(_initialise(config))(run_key(seed)))


def parameter_shapes(config: ModelConfig) -> dict[str, Any]:
    """The parameters' shapes and dtypes; computes nothing."""
    return jax.eval_shape(_initialise(config), run_key(0))


def count_parameters(tree: Any) -> int:
    """Returns the number of values in a tree of arrays, or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _initialise(config):
    size = jnp.full((1, 2), 64.0, jnp.float32)

    def images(stream):
        shape = (1, 64, 64, 3)
        return jnp.zeros(shape, jnp.float32) if stream in config.streams else None

    inputs = Inputs(images("appearance"), images("motion"), size, size, size / 64)
    return lambda key: Detector(config).init(key, inputs)["params"]
