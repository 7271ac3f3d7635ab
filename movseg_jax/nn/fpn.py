"""Feature Pyramid Networks (Lin et al., 2017), and a backbone with its pyramid."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from movseg_jax.config import Precision, TrunkConfig
from movseg_jax.nn.layers import Conv, xavier
from movseg_jax.nn.padding import Pyramid, zero_padding
from movseg_jax.nn.resnet import ResNet, Size

LEVELS = (2, 3, 4, 5, 6)  # Of the pyramid; the RoI heads use all but the last.


def upsample(x: Float[Array, "b h w c"], shape: tuple[int, ...]) -> Array:
    """Repeats each cell 2x2, then cuts to `shape` (h, w)."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(
        x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels)
    )
    return x.reshape(batch, 2 * height, 2 * width, channels)[:, : shape[0], : shape[1]]


class FPN(nn.Module):
    """Adds features of coarse levels to finer ones, and makes the coarsest levels.

    Level 6 is every second cell of level 5, as in the paper. If the backbone ends
    before level 5, each level it lacks is a strided 3x3 convolution of the next finer
    one. Its kernels start as those of Detectron, on which the paper is built.
    """

    channels: int = 256
    dtype: DTypeLike = jnp.float32
    precision: Precision = "default"

    @nn.compact
    def __call__(self, features: Pyramid, size: Size = None) -> dict[int, Array]:
        """The pyramid of `LEVELS`, with zeros in the padding if `size` is given."""

        def conv(x, kernel, name, stride=1):
            return Conv(
                self.channels,
                kernel,
                stride,
                kernel_init=xavier,
                dtype=self.dtype,
                precision=self.precision,
                name=name,
            )(x)

        pyramid, inner = {}, None
        last = max(features)
        for level in range(last, 1, -1):
            lateral = conv(features[level], (1, 1), f"lateral{level}")
            if inner is not None:
                lateral = lateral + upsample(inner, lateral.shape[1:3])
            inner = zero_padding(lateral, size, level)
            output = conv(inner, (3, 3), f"output{level}")
            pyramid[level] = zero_padding(output, size, level)
        for level in range(last + 1, LEVELS[-1] + 1):
            if last == 5:
                pyramid[level] = pyramid[level - 1][:, ::2, ::2]
            else:
                coarser = conv(
                    nn.relu(pyramid[level - 1]), (3, 3), f"coarser{level}", 2
                )
                pyramid[level] = zero_padding(coarser, size, level)
        return {level: pyramid[level] for level in LEVELS}


class Trunk(nn.Module):
    """The backbone of a stream: a ResNet and its FPN."""

    config: TrunkConfig
    channels: int = 256
    dtype: DTypeLike = jnp.float32
    rematerialise: bool = False  # See `ResNet`.
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], size: Size = None
    ) -> dict[int, Array]:
        """The pyramid of a batch of images (or encoded flow); see `ResNet`, `FPN`."""
        resnet = ResNet(
            self.config, self.dtype, self.rematerialise, self.precision, name="resnet"
        )
        fpn = FPN(self.channels, self.dtype, self.precision, name="fpn")
        return fpn(resnet(image, size), size)
