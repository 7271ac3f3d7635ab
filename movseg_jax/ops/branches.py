"""Branches that save time: work that is skipped, and loops that stay apart."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def skip_padding(
    function: Callable[..., Array],
    rows: tuple[Any, ...],
    valid: Bool[Array, "b n"],
    chunk: int,
) -> Float[Array, "b n ..."]:
    """Applies a function to `chunk` rows at a time; padding may give zeros.

    Shapes are static, so without this the work is that of `n` rows however few of them
    are valid. Each chunk is a turn of a loop with a branch inside, which runs only one
    of its sides: a chunk without a valid row costs next to nothing. (`vmap` over the
    chunks would turn the branch into a selection, and both sides would run.)

    Args:
        function: A function of arrays [b, chunk, ...] that returns one such array and
            computes each row on its own.
        rows: The function's arguments, arrays [b, n, ...].
        valid: Whether a row is more than padding. It helps if valid rows come first.
        chunk: The number of rows in a chunk.

    Returns:
        The function's result for every row of a chunk that has a valid row, else zeros.
    """
    batch, n = valid.shape
    turns = -(-n // chunk)

    def cut(x):
        rest = [(0, 0)] * (x.ndim - 2)
        x = jnp.pad(x, [(0, 0), (0, turns * chunk - n), *rest])
        return x.reshape(batch, turns, chunk, *x.shape[2:]).swapaxes(0, 1)

    def one_chunk(parts):
        rows, valid = parts
        compute = lambda: function(*rows)
        shape = jax.eval_shape(compute)
        zeros = lambda: jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.cond(valid.any(), compute, zeros)

    results = jax.lax.map(one_chunk, jax.tree.map(cut, (rows, valid))).swapaxes(0, 1)
    return results.reshape(batch, -1, *results.shape[3:])[:, :n]


def compute_apart(
    function: Callable[[Array], Array], argument: Array, always: Bool[Array, ""]
) -> Array:
    """Applies a function whose last loop XLA must not fuse with what uses the result.

    XLA's CPU backend fuses a loop with the reshape after it, and then runs over single
    numbers instead of rows. A branch is the only boundary it respects:
    `optimization_barrier` is gone when it fuses. Other platforms need none.

    Args:
        function: A function of one array.
        argument: The array.
        always: A condition that is always true, which XLA must not be able to know.
    """

    def branch(argument, always):
        shape = jax.eval_shape(function, argument)
        zeros = lambda _: jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.cond(always, function, zeros, argument)

    directly = lambda argument, _: function(argument)
    return jax.lax.platform_dependent(argument, always, cpu=branch, default=directly)
