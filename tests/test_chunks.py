"""Rows in chunks equal all rows at once, but where a chunk is all padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.ops.chunks import skip_padding


@pytest.mark.parametrize("n, chunk", [(7, 3), (6, 3), (2, 5), (4, 1)])
def test_chunks_without_a_valid_row_are_zeros(n, chunk):
    a = jnp.arange(2.0 * n * 3).reshape(2, n, 3) + 1
    b = jnp.arange(2.0 * n).reshape(2, n)
    valid = jnp.zeros((2, n), bool).at[1, 1].set(True)
    function = lambda a, b: a.sum(axis=-1) + b
    found = jax.jit(lambda *rows: skip_padding(function, rows, valid, chunk))(a, b)
    computed = np.arange(n) // chunk == 1 // chunk
    assert_array_equal(found, np.where(computed, function(a, b), 0))
