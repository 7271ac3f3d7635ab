"""Products of matrices whose precision may be bfloat16 on every device.

With the precision "bfloat16", float32 factors are rounded to bfloat16, and their
products are added in float32. TPUs do the same by default. Some CPUs (AVX512-BF16, AMX)
multiply such numbers at twice the speed or more, but JAX never rounds there by itself.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from movseg_jax.config import Precision


def dot_general(
    a: Float[Array, "..."],
    b: Float[Array, "..."],
    dimension_numbers: Any,
    precision: Precision = "default",
) -> Float[Array, "..."]:
    """`jax.lax.dot_general` of arrays of one dtype, which the result has as well."""
    dtype = a.dtype
    if precision == "bfloat16":
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return lax.dot_general(
        a, b, dimension_numbers, precision=precision, preferred_element_type=dtype
    )


def dot(
    a: Float[Array, "n c"], b: Float[Array, "c m"], precision: Precision
) -> Float[Array, "n m"]:
    """The product of two matrices."""
    return dot_general(a, b, (((1,), (0,)), ((), ())), precision)
