"""RAFT, which improves a flow field step by step with correlations of features.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020.
Both sizes compute what torchvision's `raft_large` and `raft_small` compute with the
same weights; those are also the sizes of the authors.

Images are uint8, RGB, with sides that are multiples of 8 and at least 128. Everything
but the first and the last step works at an eighth of their size.
"""

import dataclasses
import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from movseg_jax.flow.networks.correlation import (
    correlate_all,
    lookup_features,
    lookup_volume,
    pool_features,
    volume_bytes,
)
from movseg_jax.flow.networks.resampling import neighbours
from movseg_jax.nn.layers import Affine, Conv

STRIDE = 8
LEAST_SIDE = 128  # The features of smaller images vanish at the last level.
LEVELS = 4
# Correlations of all pairs of pixels are kept if they take less, else computed again
# in each update. 854x480 pixels take 209 MiB.
MAX_VOLUME_BYTES = 2**29
Norm = Literal["batch", "instance", "none"]


@dataclasses.dataclass(frozen=True)
class RaftConfig:
    """The sizes of a RAFT; the defaults are the large one's.

    Attributes:
        bottleneck: Whether the encoders' blocks have three convolutions (1x1, 3x3,
            1x1), or two (3x3).
        widths: The channels of the encoders' stem and of their three stages.
        feature_channels: The channels of the features that are correlated.
        context_norm: The norm in the context's encoder.
        hidden_channels: The channels of the recurrent state.
        context_channels: The channels of the context.
        radius: The radius of the windows of correlations, in pixels of a level.
        correlation_widths: The channels of the convolutions of correlations: 1x1, 3x3.
        flow_widths: The channels of the convolutions of the flow: 7x7, 3x3.
        motion_channels: The channels of the encoded motion, with the flow itself.
        gru_kernels: The kernel sizes of the recurrent units, which follow each other.
        head_width: The channels between the two convolutions that give the update.
        convex_upsampling: Whether weights for upsampling are predicted; if not,
            upsampling is bilinear.
    """

    bottleneck: bool = False
    widths: tuple[int, int, int, int] = (64, 64, 96, 128)
    feature_channels: int = 256
    context_norm: Norm = "batch"
    hidden_channels: int = 128
    context_channels: int = 128
    radius: int = 4
    correlation_widths: tuple[int, ...] = (256, 192)
    flow_widths: tuple[int, int] = (128, 64)
    motion_channels: int = 128
    gru_kernels: tuple[tuple[int, int], ...] = ((1, 5), (5, 1))
    head_width: int = 256
    convex_upsampling: bool = True


LARGE = RaftConfig()
SMALL = RaftConfig(
    bottleneck=True,
    widths=(32, 32, 64, 96),
    feature_channels=128,
    context_norm="none",
    hidden_channels=96,
    context_channels=64,
    radius=3,
    correlation_widths=(96,),
    flow_widths=(64, 32),
    motion_channels=82,
    gru_kernels=((3, 3),),
    head_width=128,
    convex_upsampling=False,
)


class Raft(nn.Module):
    """RAFT, as a function of two images and the first one's features.

    Attributes:
        config: The sizes.
        max_volume_bytes: The most memory for correlations of all pairs of pixels.
    """

    config: RaftConfig = LARGE
    max_volume_bytes: int = MAX_VOLUME_BYTES

    def setup(self):
        """Makes the layers, which `features` and `__call__` share."""
        sizes = self.config
        encoder = functools.partial(RaftEncoder, sizes.widths, sizes.bottleneck)
        self.feature_encoder = encoder(sizes.feature_channels, "instance")
        self.context_encoder = encoder(
            sizes.hidden_channels + sizes.context_channels, sizes.context_norm
        )
        self.update = RaftUpdate(sizes)
        if sizes.convex_upsampling:
            self.mask_conv1 = Conv(256, (3, 3))
            self.mask_conv2 = Conv(9 * STRIDE**2)

    def features(self, image: UInt8[Array, "b h w 3"]) -> Float[Array, "b _ _ c"]:
        """Returns the features of an image, which serve both of its pairs."""
        return self.feature_encoder(_normalised(image))

    def __call__(
        self,
        image: UInt8[Array, "b h w 3"],
        first: Float[Array, "b y x c"],
        second: Float[Array, "b y x c"],
        updates: int = 12,
    ) -> Float[Array, "b h w 2"]:
        """Returns the flow from an image to the next one, in pixels.

        Args:
            image: The first image.
            first: The first image's `features`.
            second: The next image's `features`.
            updates: The number of steps that improve the flow.
        """
        context = self.context_encoder(_normalised(image))
        hidden, context = jnp.split(context, [self.config.hidden_channels], axis=-1)
        correlations = self._correlations(first, second)
        flow = jnp.zeros((*first.shape[:3], 2), first.dtype)
        step = nn.scan(
            lambda module, carry, inputs: (module(*carry, *inputs), None),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
            length=updates,
        )
        carry = jnp.tanh(hidden), flow
        (hidden, flow), _ = step(self.update, carry, (nn.relu(context), correlations))
        if not self.config.convex_upsampling:
            return upsample_bilinear(flow)
        # The authors made this branch's gradients smaller by a factor in the network.
        weights = 0.25 * self.mask_conv2(nn.relu(self.mask_conv1(hidden)))
        return upsample_convex(flow, weights)

    def _correlations(self, first, second):
        """Returns the correlations of all pairs, or what they are computed of."""
        pyramid = jax.vmap(lambda x: pool_features(x, LEVELS))(second)
        _, height, width, _ = first.shape
        if volume_bytes(height, width, LEVELS) <= self.max_volume_bytes:
            return None, jax.vmap(correlate_all)(first, pyramid)
        return first, pyramid


class RaftEncoder(nn.Module):
    """A small ResNet, whose result has an eighth of the image's size.

    Attributes:
        widths: The channels of the stem and of the three stages.
        bottleneck: Whether blocks have three convolutions.
        channels: The channels of the result.
        norm: The norm after each convolution but the last.
    """

    widths: tuple[int, int, int, int]
    bottleneck: bool
    channels: int
    norm: Norm

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b _ _ c"]:
        """Encodes normalised images."""
        stem, *stages = self.widths
        x = Conv(stem, (7, 7), 2, name="stem_conv")(x)
        x = nn.relu(_norm(self.norm, "stem_norm")(x))
        for stage, width in enumerate(stages, 1):
            for block in (0, 1):
                x = RaftBlock(
                    width,
                    1 if stage == 1 or block else 2,
                    self.bottleneck,
                    self.norm,
                    name=f"stage{stage}_block{block}",
                )(x)
        return Conv(self.channels, name="output_conv")(x)


class RaftBlock(nn.Module):
    """A block of convolutions around a shortcut, with a ReLU before the sum as well.

    Attributes:
        width: The channels of the result.
        stride: The stride of the first 3x3 convolution.
        bottleneck: Whether there are three convolutions: 1x1, 3x3, 1x1.
        norm: The norm after each convolution.
    """

    width: int
    stride: int
    bottleneck: bool
    norm: Norm

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ n"]:
        """Applies the block; the input has `width` channels if the stride is 1."""
        layers = [(self.width, 3, self.stride), (self.width, 3, 1)]
        if self.bottleneck:
            inner = self.width // 4
            layers = [(inner, 1, 1), (inner, 3, self.stride), (self.width, 1, 1)]
        y = x
        for i, (width, size, stride) in enumerate(layers, 1):
            y = Conv(width, (size, size), stride, name=f"conv{i}")(y)
            y = nn.relu(_norm(self.norm, f"norm{i}")(y))
        if self.stride > 1:
            x = Conv(self.width, strides=self.stride, name="shortcut_conv")(x)
            x = _norm(self.norm, "shortcut_norm")(x)
        return nn.relu(x + y)


class RaftUpdate(nn.Module):
    """Improves the flow by a step, with the correlations where it leads.

    Attributes:
        config: The sizes.
    """

    config: RaftConfig

    @nn.compact
    def __call__(
        self,
        hidden: Float[Array, "b h w n"],
        flow: Float[Array, "b h w 2"],
        context: Float[Array, "b h w m"],
        correlations: tuple[Array | None, tuple[Array, ...]],
    ) -> tuple[Float[Array, "b h w n"], Float[Array, "b h w 2"]]:
        """Returns the new recurrent state and the new flow, in pixels of features.

        Args:
            hidden: The recurrent state.
            flow: The flow so far.
            context: The features of the first image alone.
            correlations: None and the result of `correlate_all`, or the arguments of
                `lookup_features`.
        """
        sizes = self.config
        found = self._look_up(flow, *correlations)
        for i, width in enumerate(sizes.correlation_widths, 1):
            kernel = (3, 3) if i > 1 else (1, 1)
            found = nn.relu(Conv(width, kernel, name=f"correlation_conv{i}")(found))
        encoded = flow
        for i, (width, size) in enumerate(zip(sizes.flow_widths, (7, 3), strict=True)):
            conv = Conv(width, (size, size), name=f"flow_conv{i + 1}")
            encoded = nn.relu(conv(encoded))
        motion = jnp.concatenate([found, encoded], axis=-1)
        motion = Conv(sizes.motion_channels - 2, (3, 3), name="motion_conv")(motion)
        motion = jnp.concatenate([context, nn.relu(motion), flow], axis=-1)
        for i, kernel in enumerate(sizes.gru_kernels, 1):
            conv = functools.partial(Conv, sizes.hidden_channels, kernel)
            both = jnp.concatenate([hidden, motion], axis=-1)
            keep = nn.sigmoid(conv(name=f"gru{i}_z")(both))
            reset = nn.sigmoid(conv(name=f"gru{i}_r")(both))
            both = jnp.concatenate([reset * hidden, motion], axis=-1)
            new = jnp.tanh(conv(name=f"gru{i}_q")(both))
            hidden = (1 - keep) * hidden + keep * new
        delta = nn.relu(Conv(sizes.head_width, (3, 3), name="head_conv1")(hidden))
        return hidden, flow + Conv(2, (3, 3), name="head_conv2")(delta)

    def _look_up(self, flow, first, levels):
        _, height, width, _ = flow.shape
        y, x = jnp.mgrid[:height, :width].astype(flow.dtype)
        points = flow + jnp.stack([x, y], axis=-1)[None]
        points = points.reshape(len(flow), -1, 2)
        radius = self.config.radius
        if first is None:
            look_up = lambda levels, points: lookup_volume(levels, points, radius)
            found = jax.vmap(look_up)(levels, points)
        else:
            look_up = lambda first, levels, points: lookup_features(
                first, levels, points, radius
            )
            found = jax.vmap(look_up)(first, levels, points)
        return found.reshape(*flow.shape[:3], -1)


def upsample_bilinear(flow: Float[Array, "b h w 2"]) -> Float[Array, "b _ _ 2"]:
    """Enlarges flow eightfold, so that the corner pixels' centres stay in the corners.

    This is PyTorch's interpolation with `align_corners`.
    """
    batch, *size, channels = flow.shape
    large = [STRIDE * side for side in size]
    scale = jnp.array([(b - 1) / (a - 1) for a, b in zip(size, large, strict=True)])
    return STRIDE * jax.image.scale_and_translate(
        flow,
        (batch, *large, channels),
        (1, 2),
        scale,
        0.5 - 0.5 * scale,  # Pixels' centres are at halves there.
        "linear",
        antialias=False,
    )


def upsample_convex(
    flow: Float[Array, "b h w 2"], weights: Float[Array, "b h w n"]
) -> Float[Array, "b _ _ 2"]:
    """Enlarges flow eightfold: each pixel is an average of nine, weighted by a softmax.

    Args:
        flow: The flow. Beyond its border it is 0.
        weights: The logits of the weights: n = 9 * 64 for nine neighbours, row by row,
            and the 8x8 pixels that a pixel becomes.
    """
    batch, height, width, _ = flow.shape
    shape = (batch, height, width, 9, STRIDE, STRIDE)
    weights = nn.softmax(weights.reshape(shape), axis=3)
    near = neighbours(STRIDE * flow, 3)
    large = jnp.einsum("bhwkyx,bhwkc->bhywxc", weights, near, precision="highest")
    return large.reshape(batch, STRIDE * height, STRIDE * width, 2)


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Returns each channel of each image with mean 0 and variance 1 over its pixels."""
    mean = x.mean((1, 2), keepdims=True)
    variance = x.var((1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


def _norm(kind: Norm, name: str):
    if kind == "batch":
        return Affine(name=name)
    return instance_norm if kind == "instance" else (lambda x: x)


def _normalised(image):
    """Maps 0 to 255 to -1 to 1."""
    return image.astype(jnp.float32) / 127.5 - 1
