"""Correlations of two feature maps, looked up around a point for each pixel.

RAFT compares every pixel of one frame with a window of the next one, at several scales
(Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV
2020, section 3.2). There are two ways with the same result. `lookup_volume` reads the
products of all pairs of pixels, which are computed once and take memory that grows with
the fourth power of the frame's side. `lookup_features` computes the products when they
are needed, in chunks of pixels.

Points are (x, y) in pixels of a feature map, and the centre of the first pixel is 0.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# The memory of the features that one chunk of pixels gathers, at the largest window.
CHUNK_BYTES = 2**25


def pool_features(
    features: Float[Array, "h w c"], levels: int
) -> tuple[Float[Array, "_ _ c"], ...]:
    """Returns the features and `levels - 1` reductions, each by half in both axes.

    Averaging features before they are correlated gives the average of the correlations.
    An odd last row or column is left out, as PyTorch's pooling does.
    """
    pyramid = [features]
    for _ in range(levels - 1):
        x = pyramid[-1]
        height, width = x.shape[0] // 2, x.shape[1] // 2
        x = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
        pyramid.append(x.mean((1, 3)))
    return tuple(pyramid)


def volume_bytes(height: int, width: int, levels: int) -> int:
    """Returns the size of the correlations of all pairs of pixels, at all levels."""
    pixels = height * width
    return sum(4 * pixels * (pixels // 4**level) for level in range(levels))


def correlate_all(
    first: Float[Array, "h w c"], pyramid: Sequence[Float[Array, "_ _ c"]]
) -> tuple[Float[Array, "n _ _"], ...]:
    """Returns the correlation of each of the n = h w pixels with all pixels of a level.

    A correlation is the product of two feature vectors over the root of their length.
    """
    rows = _scaled_rows(first)
    return tuple(
        jnp.einsum("nc,hwc->nhw", rows, level, precision="highest") for level in pyramid
    )


def lookup_volume(
    volumes: Sequence[Float[Array, "n _ _"]],
    points: Float[Array, "n 2"],
    radius: int,
) -> Float[Array, "n k"]:
    """Returns the correlations in a window around each pixel's point, at all levels.

    Args:
        volumes: The result of `correlate_all`.
        points: The centre of each pixel's window at the first level.
        radius: The distance from the centre to the window's border, in pixels of the
            level.

    Returns:
        The `k = levels (2 radius + 1)^2` correlations: level by level, and in a window
        column by column. Those outside of the frame are 0.
    """
    found = []
    for level, volume in enumerate(volumes):
        flat = volume.reshape(len(volume), -1)

        def read(index, flat=flat):
            rows = index.reshape(len(index), -1)
            return jnp.take_along_axis(flat, rows, axis=1).reshape(index.shape)

        size = volume.shape[1:]
        found.append(_sample_windows(read, points / 2**level, radius, size))
    return jnp.concatenate(found, axis=-1)


def lookup_features(
    first: Float[Array, "h w c"],
    pyramid: Sequence[Float[Array, "_ _ c"]],
    points: Float[Array, "n 2"],
    radius: int,
) -> Float[Array, "n k"]:
    """Returns the same as `lookup_volume`, in memory that is proportional to n.

    Args:
        first: The features of the n = h w pixels.
        pyramid: The features of the other frame, from `pool_features`.
        points: The centres, as in `lookup_volume`.
        radius: The radius, as in `lookup_volume`.
    """
    window = (2 * radius + 2) ** 2
    chunk = max(1, CHUNK_BYTES // (4 * window * first.shape[-1]))

    def look_up(pixel):
        features, point = pixel
        found = []
        for level, values in enumerate(pyramid):
            flat = values.reshape(-1, values.shape[-1])

            def correlate(index, flat=flat):
                return jnp.einsum(
                    "c,nxyc->nxy", features, flat[index], precision="highest"
                )

            size = values.shape[:2]
            centre = point[None] / 2**level
            found.append(_sample_windows(correlate, centre, radius, size)[0])
        return jnp.concatenate(found)

    return jax.lax.map(look_up, (_scaled_rows(first), points), batch_size=chunk)


def _scaled_rows(features):
    channels = features.shape[-1]
    return features.reshape(-1, channels) / math.sqrt(channels)


def _sample_windows(
    read: Callable[[Int[Array, "n x y"]], Float[Array, "n x y"]],
    points: Float[Array, "n 2"],
    radius: int,
    size: tuple[int, ...],
) -> Float[Array, "n k"]:
    """Interpolates windows of a map, of which `read` returns pixels by their index.

    All points of a window have the same fraction, so each pixel is read once.
    """
    height, width = size
    corner = jnp.floor(points)
    offsets = jnp.arange(-radius, radius + 2, dtype=points.dtype)[None]
    x, y = (corner[:, axis, None] + offsets for axis in (0, 1))
    inside = ((x >= 0) & (x < width))[:, :, None] & ((y >= 0) & (y < height))[:, None]
    column = jnp.clip(x, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(y, 0, height - 1).astype(jnp.int32)
    values = read(row[:, None] * width + column[:, :, None])
    values = jnp.where(inside, values, 0.0)
    right, down = jnp.moveaxis(points - corner, -1, 0)[:, :, None, None]
    values = values[:, :-1] * (1 - right) + values[:, 1:] * right
    values = values[:, :, :-1] * (1 - down) + values[:, :, 1:] * down
    return values.reshape(len(points), -1)
