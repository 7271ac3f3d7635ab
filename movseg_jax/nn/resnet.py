"""ResNets (He et al., 2015) and pre-activation ResNets (He et al., 2016).

Stages are named by the pyramid level they compute: "stage2" has stride 4 and is what
the papers call conv2_x, torchvision `layer1` and Detectron `res2`.

The norm is a frozen batch norm, folded into a scale and an offset per channel, or a
group norm for training from scratch; neither keeps statistics. Parameters are named so
that a glob such as "*/stage2_*" selects a stage.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from movseg_jax.config import Precision, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.nn.layers import Affine, Conv, max_pool_3x3_s2
from movseg_jax.nn.padding import real_cells, zero_padding

# Bottleneck blocks per stage, by depth; 14 and 26 are for small models.
BLOCKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}

Size = Float[Array, "b 2"] | None


def _normalise(kind, x, size, level, name):
    """Applies the norm called `name`; `level` says which cells of `x` are padding."""
    if kind == "affine":
        return Affine(name=name)(x)
    groups = math.gcd(32, x.shape[-1])
    norm = nn.GroupNorm(groups, epsilon=1e-5, name=name)
    real = None
    if size is not None:
        real = jnp.broadcast_to(real_cells(size, level, x.shape[1:3]), x.shape)
    # The statistics of bfloat16 numbers need more digits than they have.
    return norm(x.astype(jnp.float32), mask=real).astype(x.dtype)


def _conv(module, channels, kernel, stride, name):
    """A convolution without bias within a module of a ResNet, as that computes."""
    return Conv(
        channels,
        kernel,
        stride,
        False,
        dtype=module.dtype,
        precision=module.precision,
        name=name,
    )


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut: 1x1, 3x3, 1x1, ReLU after the sum.

    Attributes:
        channels: Channels of the result; the 3x3 convolution has a quarter of them.
        level: Pyramid level of the result.
        stride: 2 if the input is one level finer.
        config: The stream's config.
        dtype: The dtype of the computation.
        precision: The precision of the convolutions.
    """

    channels: int
    level: int
    stride: int
    config: TrunkConfig
    dtype: DTypeLike
    precision: Precision = "default"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], size: Size) -> Float[Array, "..."]:
        """Applies the block; what is padding in `x` may come out non-zero."""
        first, second = (self.stride, 1)
        if self.config.stride_in == "3x3":
            first, second = second, first
        inner_level = self.level if second == 1 else self.level - 1

        def conv_norm(x, i, channels, kernel, stride, level):
            x = _conv(self, channels, kernel, stride, f"conv{i}")(x)
            return _normalise(self.config.norm, x, size, level, f"norm{i}")

        y = nn.relu(conv_norm(x, 1, self.channels // 4, (1, 1), first, inner_level))
        y = zero_padding(y, size, inner_level)
        y = nn.relu(conv_norm(y, 2, self.channels // 4, (3, 3), second, self.level))
        y = conv_norm(y, 3, self.channels, (1, 1), 1, self.level)
        if self.stride > 1 or x.shape[-1] != self.channels:
            x = _conv(self, self.channels, (1, 1), self.stride, "shortcut_conv")(x)
            x = _normalise(self.config.norm, x, size, self.level, "shortcut_norm")
        return nn.relu(x + y)


class PreactivationBottleneck(nn.Module):
    """The block of the pre-activation ResNet: norm and ReLU before each convolution.

    Its attributes are those of `Bottleneck`. The first block of a stage gets the
    activated input too, since the backbone has computed it as that level's feature.
    """

    channels: int
    level: int
    stride: int
    config: TrunkConfig
    dtype: DTypeLike
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        size: Size,
        activated: Float[Array, "b h w c"] | None = None,
    ) -> Float[Array, "..."]:
        """Applies the block to `x`, or to its activation if that is given."""
        inner_level = self.level if self.stride == 1 else self.level - 1
        inner = self.channels // 4

        def norm_relu(x, i, level):
            return nn.relu(_normalise(self.config.norm, x, size, level, f"norm{i}"))

        def conv(x, channels, kernel, stride, name):
            return _conv(self, channels, kernel, stride, name)(x)

        if activated is None:
            activated = norm_relu(x, 1, inner_level)
        y = norm_relu(conv(activated, inner, (1, 1), 1, "conv1"), 2, inner_level)
        y = zero_padding(y, size, inner_level)
        y = norm_relu(conv(y, inner, (3, 3), self.stride, "conv2"), 3, self.level)
        y = conv(y, self.channels, (1, 1), 1, "conv3")
        if self.stride > 1 or x.shape[-1] != self.channels:
            x = conv(activated, self.channels, (1, 1), self.stride, "shortcut_conv")
        return x + y


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Attributes:
        config: The architecture.
        dtype: The dtype of the computation.
        precision: The precision of the convolutions.
        rematerialise: Whether gradients keep only the inputs of the blocks and compute
            the rest once more: less memory, a third more time.
    """

    config: TrunkConfig
    dtype: DTypeLike = jnp.float32
    rematerialise: bool = False
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], size: Size = None
    ) -> dict[int, Float[Array, "b _ _ _"]]:
        """Features of the levels 2 to `config.last_level`.

        Args:
            image: Normalised frames, zero where they are padding.
            size: Height and width of each frame without padding, in pixels; None
                takes padding for part of the frame, as most implementations do.
        """
        config = self.config
        if config.depth not in BLOCKS:
            raise InputError(
                f"No ResNet of depth {config.depth}; there are "
                f"{', '.join(map(str, BLOCKS))}."
            )

        def norm(x, level, name):
            return _normalise(config.norm, x, size, level, name)

        image = image.astype(self.dtype)
        if config.version == "v2":
            image = zero_padding(norm(image, 0, "input_norm"), size, 0)
        x = _conv(self, config.width, (7, 7), 2, "stem_conv")(image)
        x = nn.relu(norm(x, 1, "stem_norm"))
        x = max_pool_3x3_s2(zero_padding(x, size, 1))
        stages = self._stages if config.version == "v1" else self._preactivation_stages
        return stages(x, size)

    def _blocks(self, block, level):
        if self.rematerialise:
            block = nn.remat(block)
        for i in range(BLOCKS[self.config.depth][level - 2]):
            yield block(
                channels=self.config.width * 2**level,
                level=level,
                stride=2 if i == 0 and level > 2 else 1,
                config=self.config,
                dtype=self.dtype,
                precision=self.precision,
                name=f"stage{level}_block{i}",
            )

    def _stages(self, x, size):
        features = {}
        for level in range(2, self.config.last_level + 1):
            for block in self._blocks(Bottleneck, level):
                x = block(x, size)
            features[level] = x
        return features

    def _preactivation_stages(self, x, size):
        # "preact3" is the activation between stages 2 and 3: the feature of level 2.
        def activate(x, level, name):
            return nn.relu(_normalise(self.config.norm, x, size, level, name))

        features = {}
        activated = activate(x, 2, "preact2")
        for level in range(2, self.config.last_level + 1):
            for block in self._blocks(PreactivationBottleneck, level):
                x = block(x, size, activated)
                activated = None
            activated = activate(x, level, f"preact{level + 1}")
            features[level] = activated
        return features
