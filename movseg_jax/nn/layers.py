"""Convolutions, frozen batch norm and max-pooling, in the forms that CPUs run fastest.

Everything is `[batch, height, width, channels]`. Padding is explicit, symmetric and as
in PyTorch and Caffe, which the published weights assume: XLA's "SAME" shifts strided
convolutions by a pixel.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from movseg_jax.config import Precision
from movseg_jax.nn.products import dot
from movseg_jax.nn.winograd import winograd_conv

Initializer = nn.initializers.Initializer
# Detectron's "XavierFill": uniform, with a variance of 1 / (inputs of an output).
xavier = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
# Fewer pixels hardly pay for transforming the kernel, fewer channels for transforming
# the pixels, and each shape takes some tenths of a second to compile. Without AVX-512,
# where products take longest, a detector is a seventh faster than with 6000 pixels and
# 256 channels: of 96 channels at 272x480 as well as of 256 at 480x854.
WINOGRAD_PIXELS = 1_500
WINOGRAD_CHANNELS = 96


def parameter(
    module: nn.Module, name: str, initialise: Initializer, shape: tuple[int, ...]
) -> Float[Array, "..."]:
    """Returns a parameter of a module, float32, as `module.param` does.

    That traces the initialiser even if the parameter is there, to compare shapes, which
    for a detector takes half a second.
    """
    value = module.get_variable("params", name)
    if value is None or jnp.shape(value) != shape:
        return module.param(name, initialise, shape, jnp.float32)
    return value


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c n"],
    stride: int = 1,
    precision: Precision = "default",
) -> Float[Array, "b _ _ n"]:
    """Convolution with a kernel of odd size, zero padding of (size - 1) / 2."""
    if kernel.shape[:2] == (1, 1):
        # A product of matrices, whose weight gradient is one without transposing them.
        x = x[:, ::stride, ::stride]
        flat = dot(x.reshape(-1, x.shape[-1]), kernel[0, 0], precision)
        return flat.reshape(*x.shape[:-1], -1)
    if _winograd_pays(x, kernel, stride):
        winograd = lambda x, kernel: winograd_conv(x, kernel, precision)
        direct = functools.partial(direct_conv, precision=precision)
        return lax.platform_dependent(x, kernel, cpu=winograd, default=direct)
    return direct_conv(x, kernel, stride, precision)


def _winograd_pays(x, kernel, stride):
    """Whether transforming the kernel costs less than the multiplications it saves."""
    if kernel.shape[:2] != (3, 3) or stride != 1 or x.dtype != jnp.float32:
        return False
    enough_pixels = x.shape[0] * x.shape[1] * x.shape[2] >= WINOGRAD_PIXELS
    return enough_pixels and min(kernel.shape[2:]) >= WINOGRAD_CHANNELS


def direct_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c n"],
    stride: int = 1,
    precision: Precision = "default",
) -> Float[Array, "b _ _ n"]:
    """Computes the same as `conv`, by XLA's convolution."""
    if kernel.shape[2:] == (3, 32):
        # On CPUs, a stem of three channels in and 32 out, not more and not less, takes
        # four times as long as one of four channels in.
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
        kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    padding = [((n - 1) // 2, (n - 1) // 2) for n in kernel.shape[:2]]
    layout = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, precision=precision
    )


class Conv(nn.Module):
    """A convolution: parameters `kernel` [kh, kw, in, out] and `bias` [out].

    Attributes:
        features: Channels of the result.
        kernel_size: Height and width, odd.
        strides: The stride of both axes.
        use_bias: Whether there is a bias.
        kernel_init: Initialises the kernel.
        bias_init: Initialises the bias.
        dtype: The dtype of the computation and the result; None takes the input's.
            Parameters are float32.
        precision: The precision of the products of float32 numbers.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ n"]:
        """Convolves; the height becomes ceil(h / strides), the width likewise."""
        dtype = self.dtype or x.dtype
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        x = conv(x.astype(dtype), kernel.astype(dtype), self.strides, self.precision)
        if self.use_bias:
            bias = parameter(self, "bias", self.bias_init, (self.features,))
            x = x + bias.astype(dtype)[None, None, None]
        return x


class UpConv(nn.Module):
    """A transposed 2x2 convolution of stride 2, which doubles height and width.

    Pixel (y, x) becomes the 2x2 pixels (2y + i, 2x + j), which are
    `x[y, x] @ kernel[i, j] + bias`. They are left where they were computed: layers that
    look at one pixel at a time can run first, and `interleave` move fewer channels.
    Parameters: `kernel` [2, 2, in, out] and `bias` [out].

    Attributes:
        features: Channels of the result.
        kernel_init: Initialises the kernel.
        bias_init: Initialises the bias.
        dtype: The dtype, as in `Conv`.
        precision: The precision, as in `Conv`.
    """

    features: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w 4 n"]:
        """The four pixels of each one, those of the upper row first."""
        dtype = self.dtype or x.dtype
        shape = (2, 2, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        bias = parameter(self, "bias", self.bias_init, (self.features,))
        kernel, bias = kernel.astype(dtype), bias.astype(dtype)
        # The four pixels do not overlap, so this is one matrix product; the weight
        # gradient of XLA's transposed convolution is 30 times slower on CPUs.
        matrix = kernel.transpose(2, 0, 1, 3).reshape(x.shape[-1], -1)
        x = x.astype(dtype)
        flat = dot(x.reshape(-1, x.shape[-1]), matrix, self.precision)
        return (
            flat.reshape(*x.shape[:3], 4, self.features) + bias[None, None, None, None]
        )


def interleave(x: Float[Array, "b h w 4 n"]) -> Float[Array, "b h2 w2 n"]:
    """Puts the four pixels that each pixel became in their places."""
    batch, height, width, _, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels).swapaxes(2, 3)
    return x.reshape(batch, 2 * height, 2 * width, channels)


class Affine(nn.Module):
    """A frozen batch norm: a `scale` and a `bias` per channel.

    They start as the identity; whoever loads a batch norm folds its statistics in.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Scales and shifts in the input's dtype."""
        shape = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones, shape)
        bias = parameter(self, "bias", nn.initializers.zeros, shape)
        scale, bias = scale.astype(x.dtype), bias.astype(x.dtype)
        return x * scale[None, None, None] + bias[None, None, None]


def max_pool_3x3_s2(x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
    """Maximum over 3x3 windows, every second pixel, -inf beyond the border."""
    # One axis after the other: 6 times faster on CPUs than XLA's reduce-window.
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(x, padding, constant_values=-jnp.inf)
        first, second, third = (
            lax.slice_in_dim(x, i, i + size, 2, axis) for i in range(3)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x
