"""Warps and enlarges maps, and compares and collects near pixels."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from movseg_jax.nn.layers import parameter


def warp(
    x: Float[Array, "b h w c"],
    flow: Float[Array, "b h w 2"],
    outside: Literal["zero", "border"] = "zero",
) -> Float[Array, "b h w c"]:
    """Returns each pixel's value where its flow leads, interpolated linearly.

    Args:
        x: The map.
        flow: The flow, in pixels of the map.
        outside: The values outside of the map: 0, or those of the nearest pixel of its
            border.
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
            if outside == "zero":
                inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
                weight = jnp.where(inside, weight, 0.0)
            index = jnp.clip(i, 0, height - 1).astype(jnp.int32) * width
            index += jnp.clip(j, 0, width - 1).astype(jnp.int32)
            values = jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1)
            result += weight[..., None] * values.reshape(x.shape)
    return result


def neighbours(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b h w n c"]:
    """Returns the n = size^2 pixels around each pixel, row by row; 0 if outside."""
    border = size // 2
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    # One axis after the other needs fewer slices, which take long to compile.
    rows = jnp.stack([padded[:, y : y + height] for y in range(size)], axis=3)
    columns = [rows[:, :, x : x + width] for x in range(size)]
    return jnp.stack(columns, axis=4).reshape(*x.shape[:3], size**2, -1)


def correlate_near(
    first: Float[Array, "b h w c"],
    second: Float[Array, "b h w c"],
    reach: int,
    step: int = 1,
) -> Float[Array, "b h w n"]:
    """Returns the mean products of each pixel's features with those of near pixels.

    Args:
        first: The features of the first image.
        second: The features of the second image; beyond their border they are 0.
        reach: The number of displacements to each side.
        step: The distance of displacements, in pixels.

    Returns:
        The n = (2 reach + 1)^2 correlations, row by row.
    """
    batch, height, width, channels = first.shape
    border = reach * step
    padded = jnp.pad(second, ((0, 0), (border, border), (border, border), (0, 0)))
    wide = width + 2 * border

    def correlate_row(down):
        # A product of matrices gives each pixel's correlations with all pixels of a
        # row, more than are needed, but ten times faster than those alone.
        rows = lax.dynamic_slice_in_dim(padded, down, height, axis=1)
        found = jnp.einsum("bywc,byvc->bywv", first, rows, precision="highest")
        # Rows that are longer by one shift each pixel's window to the same columns.
        found = found.reshape(batch, height, width * wide)
        found = jnp.pad(found, ((0, 0), (0, 0), (0, width)))
        found = found.reshape(batch, height, width, wide + 1)
        return found[..., : 2 * border + 1 : step] / channels

    rows = lax.map(correlate_row, jnp.arange(0, 2 * border + 1, step))
    return jnp.moveaxis(rows, 0, 3).reshape(batch, height, width, -1)


class UpConv4(nn.Module):
    """A transposed 4x4 convolution of stride 2, which doubles height and width.

    Its parameters are `kernel` [4, 4, in / groups, out] and `bias` [out].

    Attributes:
        features: The channels of the result.
        groups: The number of groups of channels that are convolved by themselves.
        use_bias: Whether there is a bias.
    """

    features: int
    groups: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ n"]:
        """Returns the enlarged map."""
        shape = (4, 4, x.shape[-1] // self.groups, self.features)
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), shape)
        x = up_conv4(x, kernel, self.groups)
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
            x = x + bias[None, None, None]
        return x


def up_conv4(
    x: Float[Array, "b h w c"], kernel: Float[Array, "4 4 m n"], groups: int = 1
) -> Float[Array, "b _ _ n"]:
    """Returns the transposed 4x4 convolution of stride 2, without its outer border.

    Every 2x2 pixels of the result depend on 2x2 pixels of the map, so this is a 2x2
    convolution with four times the channels. XLA's transposed convolution is ten times
    slower if there are groups.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1] // groups
    # Along an axis: the pixel of the map, then that of the result.
    kernel = kernel[::-1, ::-1].reshape(2, 2, 2, 2, -1, groups, features)
    kernel = kernel.transpose(0, 2, 4, 5, 1, 3, 6)
    found = lax.conv_general_dilated(
        x,
        kernel.reshape(2, 2, channels // groups, -1),
        (1, 1),
        [(1, 1), (1, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision="default",
    )
    found = found.reshape(batch, height + 1, width + 1, groups, 2, 2, features)
    rows = [
        jnp.stack(
            [found[:, i : i + height, j : j + width, :, i, j] for j in (0, 1)], axis=3
        )
        for i in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)
