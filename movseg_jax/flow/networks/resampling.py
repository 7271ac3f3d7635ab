"""Warps maps by flow, and compares and collects near pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def warp(
    x: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]
) -> Float[Array, "b h w c"]:
    """Returns each pixel's value where its flow leads, interpolated linearly.

    Values outside of the map are 0.
    """
    batch, height, width, channels = x.shape
    row, column = jnp.mgrid[:height, :width].astype(flow.dtype)
    right = column[None] + flow[..., 0]
    down = row[None] + flow[..., 1]
    left, top = jnp.floor(right), jnp.floor(down)
    flat = x.reshape(batch, height * width, channels)
    result = jnp.zeros_like(x)
    for i in (top, top + 1):
        for j in (left, left + 1):
            weight = (1 - jnp.abs(down - i)) * (1 - jnp.abs(right - j))
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            weight = jnp.where(inside, weight, 0.0)[..., None]
            index = jnp.clip(i, 0, height - 1).astype(jnp.int32) * width
            index += jnp.clip(j, 0, width - 1).astype(jnp.int32)
            values = jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1)
            result += weight * values.reshape(x.shape)
    return result


def neighbours(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b h w n c"]:
    """Returns the n = size^2 pixels around each pixel, row by row; 0 if outside."""
    border = size // 2
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    return jnp.stack(
        [
            padded[:, y : y + height, x : x + width]
            for y in range(size)
            for x in range(size)
        ],
        axis=3,
    )


def correlate_near(
    first: Float[Array, "b h w c"],
    second: Float[Array, "b h w c"],
    reach: int,
    step: int = 1,
) -> Float[Array, "b _ _ n"]:
    """Returns the mean products of each pixel's features with those of near pixels.

    Args:
        first: The features of the first image. Every `step`-th pixel is used.
        second: The features of the second image; beyond their border they are 0.
        reach: The number of displacements to each side.
        step: The distance of displacements, in pixels.

    Returns:
        The n = (2 reach + 1)^2 correlations, row by row.
    """
    border = reach * step
    padded = jnp.pad(second, ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = first.shape[1:3]
    first = first[:, ::step, ::step]
    displacements = range(0, 2 * border + 1, step)
    return jnp.stack(
        [
            (first * padded[:, y : y + height : step, x : x + width : step]).mean(-1)
            for y in displacements
            for x in displacements
        ],
        axis=-1,
    )
