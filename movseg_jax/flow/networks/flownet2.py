"""FlowNet2, a stack of networks that correct each other's flow.

Ilg, Mayer, Saikia, Keuper, Dosovitskiy and Brox, "FlowNet 2.0: Evolution of Optical
Flow Estimation with Deep Networks", CVPR 2017; the network whose flow Dave et al.
(2019) used. With the same weights it computes what a PyTorch port of the authors' Caffe
model does (`NVIDIA/flownet2-pytorch`).

FlowNetC finds displacements by correlations. FlowNetS, twice, corrects the flow before
it with the help of the second image, warped by that flow. FlowNetSD finds small
displacements. The fusion merges both results.

Images are uint8, RGB, with sides that are multiples of 64.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from movseg_jax.flow.networks.resampling import UpConv4, correlate_near, warp
from movseg_jax.nn.layers import Conv

STRIDE = 64
SCALE = 20.0  # The factor from the networks' flow to pixels of the image.
# Correlations are with 21x21 displacements, each two pixels of the features apart.
REACH, STEP = 10, 2
# Level 0 has the size of the image, and each next one half of it. A level has two
# convolutions; the first one has a stride. Their channels in units of `width`:
WIDTHS = {1: (1, 2), 2: (2, 2), 3: (4, 4), 4: (8, 8), 5: (8, 8), 6: (16, 16)}
# FlowNetC and FlowNetS begin with a larger convolution per level.
STEM = {1: 7, 2: 5, 3: 5}
Levels = dict[int, Float[Array, "b _ _ _"]]


class FlowNet2(nn.Module):
    """FlowNet2, as a function of two images.

    Attributes:
        width: The channels of the first convolutions. All others are in proportion.
    """

    width: int = 64

    def features(self, image: UInt8[Array, "b h w 3"]) -> UInt8[Array, "b h w 3"]:
        """Returns the image: its features depend on the mean of both images."""
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
        images = jnp.stack([first, second], axis=1).astype(jnp.float32)
        mean = images.mean((1, 2, 3), keepdims=True)
        first, second = jnp.moveaxis((images - mean) / 255, 1, 0)
        both = jnp.concatenate([first, second], axis=-1)

        def compare(flow):
            """Returns the second image, warped, and its distance to the first one."""
            warped = warp(second, flow, outside="border")
            return warped, _length(first - warped)

        flow = FlowNetC(self.width, name="flownetc")(first, second)
        flow = enlarge_flow(SCALE * flow, "linear")
        for i, method in ((1, "linear"), (2, "nearest")):
            warped, error = compare(flow)
            x = jnp.concatenate([both, warped, flow / SCALE, error], axis=-1)
            flow = FlowNetS(self.width, name=f"flownets_{i}")(x)
            flow = enlarge_flow(SCALE * flow, method)
        # The authors' Caffe model divides here as well.
        small = FlowNetSD(self.width, name="flownets_d")(both)
        small = enlarge_flow(small / SCALE, "nearest")
        flows = small, flow
        lengths = [_length(flow) for flow in flows]
        errors = [compare(flow)[1] for flow in flows]
        x = jnp.concatenate([first, *flows, *lengths, *errors], axis=-1)
        return FlowNetFusion(self.width, name="flownetfusion")(x)


class FlowNetC(nn.Module):
    """Estimates flow by correlations of features, at a quarter of the size.

    Attributes:
        width: The channels of the first convolution.
    """

    width: int

    @nn.compact
    def __call__(
        self, first: Float[Array, "b h w 3"], second: Float[Array, "b h w 3"]
    ) -> Float[Array, "b _ _ 2"]:
        """Returns the flow between normalised images, over `SCALE`."""
        levels = _stem(jnp.concatenate([first, second]), self.width)
        levels = {level: jnp.split(x, 2) for level, x in levels.items()}
        first, second = levels[3]
        found = _relu(correlate_near(first, second, REACH, STEP))
        reduced = _conv(first, self.width // 2, "conv_redir", 1)
        x = jnp.concatenate([reduced, found], axis=-1)
        x = _conv(x, 4 * self.width, "conv3_1")
        levels = {2: levels[2][0], 3: x, **_contract(x, (4, 5, 6), self.width)}
        return _refine(levels, self.width)


class FlowNetS(nn.Module):
    """Estimates flow by convolutions of all inputs together, at a quarter of the size.

    Attributes:
        width: The channels of the first convolution.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ 2"]:
        """Returns the flow, over `SCALE`."""
        levels = _stem(x, self.width)
        x = _conv(levels[3], 4 * self.width, "conv3_1")
        levels = {2: levels[2], 3: x, **_contract(x, (4, 5, 6), self.width)}
        return _refine(levels, self.width, flow_bias=False)


class FlowNetSD(nn.Module):
    """Estimates small displacements, at a quarter of the size.

    Attributes:
        width: The channels of the first convolution.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 6"]) -> Float[Array, "b _ _ 2"]:
        """Returns the flow between two normalised images, times `SCALE`."""
        x = _conv(x, self.width, "conv0")
        levels = _contract(x, range(1, 7), self.width)
        del levels[1]
        return _refine(levels, self.width, smooth=True)


class FlowNetFusion(nn.Module):
    """Merges two flow fields.

    Attributes:
        width: The channels of the first convolution.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 11"]) -> Float[Array, "b h w 2"]:
        """Returns the flow, in pixels of the image."""
        x = _conv(x, self.width, "conv0")
        levels = {0: x, **_contract(x, (1, 2), self.width)}
        return _refine(levels, self.width, smooth=True)


def enlarge_flow(flow: Float[Array, "b h w c"], method: str) -> Float[Array, "b _ _ c"]:
    """Enlarges flow fourfold; its unit stays the same.

    Args:
        flow: The flow.
        method: The interpolation, "linear" or "nearest".
    """
    batch, height, width, channels = flow.shape
    shape = (batch, 4 * height, 4 * width, channels)
    return jax.image.resize(flow, shape, method)


def _stem(x, width) -> Levels:
    """Returns levels 1 to 3, each by one convolution."""
    levels = {}
    for level, size in STEM.items():
        x = _conv(x, WIDTHS[level][0] * width, f"conv{level}", size, stride=2)
        levels[level] = x
    return levels


def _contract(x, numbers, width) -> Levels:
    """Returns the levels of these numbers, each by two convolutions."""
    levels = {}
    for level in numbers:
        for factor, name, stride in zip(WIDTHS[level], ("", "_1"), (2, 1), strict=True):
            x = _conv(x, factor * width, f"conv{level}{name}", stride=stride)
        levels[level] = x
    return levels


def _refine(levels: Levels, width, *, smooth=False, flow_bias=True):
    """Returns the flow of the finest level, found from the coarsest to the finest.

    Args:
        levels: The features by level.
        width: The width of the network.
        smooth: Whether a convolution comes before those that give the flow.
        flow_bias: Whether the convolutions that enlarge the flow have a bias.
    """
    coarsest, *others = sorted(levels, reverse=True)
    x = levels[coarsest]
    flow = Conv(2, (3, 3), name=f"predict_flow{coarsest}")(x)
    for level in others:
        channels = width * 2**level // 4
        flow = UpConv4(2, use_bias=flow_bias, name=f"flow_upconv{level}")(flow)
        enlarged = _relu(UpConv4(channels, name=f"upconv{level}")(x))
        x = jnp.concatenate([levels[level], enlarged, flow], axis=-1)
        y = Conv(channels, (3, 3), name=f"inter_conv{level}")(x) if smooth else x
        flow = Conv(2, (3, 3), name=f"predict_flow{level}")(y)
    return flow


def _conv(x, channels, name, size=3, stride=1):
    return _relu(Conv(channels, (size, size), stride, name=name)(x))


def _relu(x):
    return nn.leaky_relu(x, 0.1)


def _length(x):
    return jnp.linalg.norm(x, axis=-1, keepdims=True)
