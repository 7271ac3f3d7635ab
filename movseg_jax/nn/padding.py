"""Keeping the padding of a batch out of the features.

Frames are padded at the bottom and right so that few shapes have to be compiled. A
convolution reads zeros beyond the border of an image; for its result not to depend on
the amount of padding, the padding's features have to be zero before every convolution
that looks at neighbours, which the modules here ensure with `zero_padding`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Pyramid = Mapping[int, Array]


def cell_count(size: Float[Array, "*b 2"], level: int) -> Float[Array, "*b 2"]:
    """Rows and columns of a level that belong to an image of `size` pixels."""
    return jnp.ceil(size / 2.0**level)


def real_cells(
    size: Float[Array, "b 2"], level: int, shape: tuple[int, ...]
) -> Bool[Array, "b h w 1"]:
    """True where a cell of a level of `shape` (h, w) belongs to the image."""
    rows, columns = jnp.moveaxis(cell_count(size, level), -1, 0)
    y, x = (jnp.arange(n, dtype=size.dtype) for n in shape)
    real = (y[None, :] < rows[:, None])[:, :, None] & (x[None, :] < columns[:, None])[
        :, None, :
    ]
    return real[..., None]


def zero_padding(
    features: Float[Array, "b h w c"], size: Float[Array, "b 2"] | None, level: int
) -> Float[Array, "b h w c"]:
    """Features with zeros outside the image; unchanged where `size` is None."""
    if size is None:
        return features
    real = real_cells(size, level, features.shape[1:3])
    return jnp.where(real, features, jnp.zeros((), features.dtype))
