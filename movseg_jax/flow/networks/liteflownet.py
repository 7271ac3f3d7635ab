"""LiteFlowNet, which warps features level by level towards the first image.

Hui, Tang and Loy, "LiteFlowNet: A Lightweight Convolutional Neural Network for Optical
Flow Estimation", CVPR 2018; one of the two networks that Dave et al. (2019) used. With
the same weights it computes what a PyTorch port of the authors' Caffe model does
(`sniklaus/pytorch-liteflownet`).

Images are uint8, RGB, with sides that are multiples of 32.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from movseg_jax.flow.networks.resampling import (
    UpConv4,
    correlate_near,
    neighbours,
    warp,
)
from movseg_jax.nn.layers import Conv

STRIDE = 32
# Blue, green and red of images from 0 to 1, for the first and the second image.
MEANS = (0.411618, 0.434631, 0.454253), (0.410782, 0.433645, 0.452793)
SCALE = 20.0  # The factor from the network's flow to pixels of the image.
# Level 1 has the size of the image, and each next one half of it.
LEVELS = (6, 5, 4, 3, 2)
SIZES = {2: 7, 3: 5, 4: 5, 5: 3, 6: 3}  # The kernel sizes of the last convolutions.
REACH = 3  # Correlations are with 7x7 displacements.


class LiteFlowNet(nn.Module):
    """LiteFlowNet, as a function of two images."""

    def features(self, image: UInt8[Array, "b h w 3"]) -> UInt8[Array, "b h w 3"]:
        """Returns the image: its features depend on whether it is first or second."""
        return image

    @nn.compact
    def __call__(
        self,
        image: UInt8[Array, "b h w 3"],
        first: UInt8[Array, "b h w 3"],
        second: UInt8[Array, "b h w 3"],
    ) -> Float[Array, "b h w 2"]:
        """Returns the flow from the first image to the second one, in pixels.

        Args:
            image: The first image.
            first: The first image's `features`.
            second: The second image's `features`.
        """
        encode = LiteFeatures(name="encoder")
        pixels, features = [], []
        for side, mean in zip((first, second), MEANS, strict=True):
            bgr = side[..., ::-1].astype(jnp.float32) / 255
            bgr = bgr - jnp.array(mean)[None, None, None]
            pixels.append(_pyramid(bgr))
            features.append(encode(bgr))
        flow = None
        for level in LEVELS:
            both = [side[level] for side in features]
            name = f"level{level}"
            match = LiteMatching(level, name=f"{name}_matching")
            flow = match(both[0], both[1], flow)
            refine = LiteSubpixel(level, name=f"{name}_subpixel")
            flow = refine(both[0], both[1], flow)
            regularise = LiteRegularization(level, name=f"{name}_regularization")
            flow = regularise(pixels[0][level], pixels[1][level], both[0], flow)
        assert flow is not None
        return SCALE * jax.image.resize(flow, (*image.shape[:3], 2), "linear")


class LiteFeatures(nn.Module):
    """The features of an image at all levels."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"]
    ) -> dict[int, Float[Array, "b _ _ c"]]:
        """Returns the features by level."""
        levels = {}
        for level, width, convs in (
            (1, 32, 1), (2, 32, 3), (3, 64, 2), (4, 96, 2), (5, 128, 1), (6, 192, 1)
        ):  # fmt: skip
            for i in range(convs):
                size = 7 if level == 1 else 3
                stride = 2 if level > 1 and i == 0 else 1
                conv = Conv(
                    width, (size, size), stride, name=f"level{level}_conv{i + 1}"
                )
                x = _relu(conv(x))
            levels[level] = x
        return levels


class LiteMatching(nn.Module):
    """Adds to the flow of the level above what correlations tell.

    Attributes:
        level: The level.
    """

    level: int

    @nn.compact
    def __call__(
        self,
        first: Float[Array, "b h w c"],
        second: Float[Array, "b h w c"],
        flow: Float[Array, "b _ _ 2"] | None,
    ) -> Float[Array, "b h w 2"]:
        """Returns the flow of this level; there is none yet at the top."""
        first, second = _widened(self, first, second)
        if flow is not None:
            flow = _doubled(flow, "flow_upconv")
            second = warp(second, flow * _pixels(self.level))
        step = 1 if self.level >= 4 else 2
        first, second = first[:, ::step, ::step], second[:, ::step, ::step]
        x = _relu(correlate_near(first, second, REACH))
        if step == 2:
            x = _doubled(x, "correlation_upconv")
        change = _decode(x, SIZES[self.level])
        return change if flow is None else flow + change


class LiteSubpixel(nn.Module):
    """Adds to the flow what the features, and those it leads to, tell.

    Attributes:
        level: The level.
    """

    level: int

    @nn.compact
    def __call__(
        self,
        first: Float[Array, "b h w c"],
        second: Float[Array, "b h w c"],
        flow: Float[Array, "b h w 2"],
    ) -> Float[Array, "b h w 2"]:
        """Returns the refined flow."""
        first, second = _widened(self, first, second)
        second = warp(second, flow * _pixels(self.level))
        x = jnp.concatenate([first, second, flow], axis=-1)
        return flow + _decode(x, SIZES[self.level])


class LiteRegularization(nn.Module):
    """Averages the flow over neighbours, with weights that depend on the features.

    Attributes:
        level: The level.
    """

    level: int

    @nn.compact
    def __call__(
        self,
        first: Float[Array, "b h w 3"],
        second: Float[Array, "b h w 3"],
        features: Float[Array, "b h w c"],
        flow: Float[Array, "b h w 2"],
    ) -> Float[Array, "b h w 2"]:
        """Returns the smoothed flow.

        Args:
            first: The first image at this level.
            second: The second image at this level.
            features: The first image's features.
            flow: The flow.
        """
        level, size = self.level, SIZES[self.level]
        error = first - warp(second, flow * _pixels(level))
        error = jnp.linalg.norm(error, axis=-1, keepdims=True)
        if level < 5:
            features = _relu(Conv(128, name="feature_conv")(features))
        mean = flow.mean((1, 2), keepdims=True)
        x = jnp.concatenate([error, flow - mean, features], axis=-1)
        for i, width in enumerate((128, 128, 64, 64, 32, 32), 1):
            x = _relu(Conv(width, (3, 3), name=f"conv{i}")(x))
        if level < 5:
            x = Conv(size**2, (size, 1), name="distance_conv1")(x)
            x = Conv(size**2, (1, size), name="distance_conv2")(x)
        else:
            x = Conv(size**2, (size, size), name="distance_conv1")(x)
        x = -jnp.square(x)
        weights = jnp.exp(x - x.max(-1, keepdims=True))
        total = weights.sum(-1, keepdims=True)
        near = neighbours(flow, size)
        parts = [
            Conv(1, name=f"scale_{axis}")(weights * near[..., i]) / total
            for i, axis in enumerate("xy")
        ]
        return jnp.concatenate(parts, axis=-1)


def _doubled(x, name):
    """Doubles height and width of each channel by itself."""
    channels = x.shape[-1]
    return UpConv4(channels, groups=channels, use_bias=False, name=name)(x)


def _widened(module, *features):
    """Gives the features of level 2, which have few channels, 64 of them."""
    if module.level != 2:
        return features
    conv = Conv(64, name="feature_conv")
    return [_relu(conv(x)) for x in features]


def _decode(x, size):
    for i, width in enumerate((128, 64, 32), 1):
        x = _relu(Conv(width, (3, 3), name=f"conv{i}")(x))
    return Conv(2, (size, size), name="conv4")(x)


def _relu(x):
    return nn.leaky_relu(x, 0.1)


def _pixels(level):
    """Returns the factor from the network's flow to pixels of a level."""
    return SCALE / 2 ** (level - 1)


def _pyramid(image):
    levels = {1: image}
    for level in range(2, 7):
        batch, height, width, _ = levels[level - 1].shape
        x = levels[level - 1].reshape(batch, height // 2, 2, width // 2, 2, 3)
        levels[level] = x.mean((2, 4))
    return levels
