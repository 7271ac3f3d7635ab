"""Branches change when and how something is computed, but not the result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.ops.branches import compute_apart, skip_padding


@pytest.mark.parametrize("n, chunk", [(7, 3), (6, 3), (2, 5), (4, 1)])
def test_chunks_without_a_valid_row_are_zeros(n, chunk):
    a = jnp.arange(2.0 * n * 3).reshape(2, n, 3) + 1
    b = jnp.arange(2.0 * n).reshape(2, n)
    valid = jnp.zeros((2, n), bool).at[1, 1].set(True)
    function = lambda a, b: a.sum(axis=-1) + b
    found = jax.jit(lambda *rows: skip_padding(function, rows, valid, chunk))(a, b)
    computed = np.arange(n) // chunk == 1 // chunk
    assert_array_equal(found, np.where(computed, function(a, b), 0))


def test_what_is_computed_apart_is_the_same_and_has_the_same_gradient():
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    apart = jax.jit(lambda x, size: compute_apart(jnp.sin, x, size > 0))
    assert_array_equal(apart(x, 5.0), jnp.sin(x))
    gradient = jax.jit(jax.grad(lambda x: apart(x, 5.0).sum()))
    assert_array_equal(gradient(x), jnp.cos(x))
    assert "conditional" in apart.lower(x, 5.0).compile().as_text()
