"""Ways to fuse the appearance and the motion stream.

A fusion is any callable `(appearance, motion) -> fused` on features of shape
`[batch, height, width, channels]`, used for every pyramid level. A plain function does,
and so does a Flax module where the fusion has parameters; a module's parameters are
shared by all levels. To try a new one, pass it to the detector:

    Detector(config, fuse=lambda appearance, motion: appearance * motion)

or name it in a config: see `get_fusion`.

A fusion that convolves more than once may take a keyword `real` (bool [b, h, w, 1],
False in the padding, or None): see `ConcatConvs`. Without it, results may depend a
little on how much padding a frame has.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from movseg_jax.config import Precision
from movseg_jax.errors import InputError
from movseg_jax.nn.layers import Affine, Conv
from movseg_jax.nn.padding import Pyramid, real_cells

Features = Float[Array, "b h w c"]
Fusion = Callable[[Array, Array], Array]
Real = Bool[Array, "b h w 1"] | None


def average(appearance: Features, motion: Features) -> Features:
    """Mean of the two streams (`BodyMuxer_Average` of Dave et al.)."""
    return (appearance + motion) / 2


def add(appearance: Features, motion: Features) -> Features:
    """Sum of the two streams."""
    return appearance + motion


def concat(appearance: Features, motion: Features) -> Float[Array, "b h w c2"]:
    """Concatenates the channels (`BodyMuxer_Concatenate`)."""
    return jnp.concatenate([appearance, motion], axis=-1)


def difference(appearance: Features, motion: Features) -> Features:
    """Subtracts appearance from motion (`BodyMuxer_Difference`)."""
    return motion - appearance


class ConcatConvs(nn.Module):
    """Concatenates the streams, then mixes them with a stack of 3x3 convolutions.

    The fusion of the paper (section 3.3), called `adapt_3convs3x3` in its code.

    Attributes:
        depth: Number of convolutions, each followed by a ReLU.
        dtype: The dtype of the computation; None takes the features'.
        precision: The precision of the convolutions.
    """

    depth: int = 3
    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, appearance: Features, motion: Features, *, real: Real = None
    ) -> Features:
        """Fuses one level to as many channels as each stream has."""
        channels = appearance.shape[-1]
        fused = concat(appearance, motion)
        for i in range(self.depth):
            conv = _conv(
                channels, fused.shape[-1], f"conv{i}", self.dtype, self.precision
            )
            fused = nn.relu(conv(fused))
            fused = _where(real, fused)
        return fused


def select_stream(index: int) -> nn.initializers.Initializer:
    """Initialises a convolution to copy one stream out of the concatenated channels.

    The "head"/int initialisation of `BodyMuxer_ConcatenateConv` in the authors' code:
    training starts from what the chosen stream's heads already do.
    """

    def initialise(key, shape, dtype=jnp.float32):
        del key
        height, width, _, channels = shape
        kernel = jnp.zeros(shape, dtype)
        rows = np.arange(channels)
        return kernel.at[height // 2, width // 2, index * channels + rows, rows].set(1)

    return initialise


class ConcatConv(nn.Module):
    """Concatenates the streams, then one 3x3 convolution (`BodyMuxer_ConcatenateConv`).

    Attributes:
        start_from: "appearance" or "motion": starts as a copy of that stream; None
            starts at random.
        dtype: The dtype of the computation; None takes the features'.
        precision: The precision of the convolutions.
    """

    start_from: str | None = "appearance"
    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(self, appearance: Features, motion: Features) -> Features:
        """Fuses one level; there is no activation."""
        if self.start_from is None:
            channels = appearance.shape[-1]
            conv = _conv(channels, 2 * channels, "conv0", self.dtype, self.precision)
        else:
            initializer = select_stream(("appearance", "motion").index(self.start_from))
            conv = Conv(
                appearance.shape[-1], (3, 3), kernel_init=initializer,
                dtype=self.dtype, precision=self.precision, name="conv0",
            )  # fmt: skip
        return conv(concat(appearance, motion))


class ResidualBlock(nn.Module):
    """A ResNet bottleneck on the concatenated streams (`adapt_residual`).

    The inner convolutions have as many channels as a stream, as in the authors' code.
    """

    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, appearance: Features, motion: Features, *, real: Real = None
    ) -> Features:
        """Fuses one level."""
        channels = appearance.shape[-1]

        def conv_norm(x, kernel, name):
            conv = Conv(
                channels,
                kernel,
                use_bias=False,
                dtype=self.dtype,
                precision=self.precision,
                name=name,
            )
            return Affine(name=f"{name}_norm")(conv(x))

        x = concat(appearance, motion)
        y = _where(real, nn.relu(conv_norm(x, (1, 1), "conv1")))
        y = nn.relu(conv_norm(y, (3, 3), "conv2"))
        y = conv_norm(y, (1, 1), "conv3")
        return nn.relu(y + conv_norm(x, (1, 1), "shortcut"))


class DifferenceConv(nn.Module):
    """A 3x3 convolution of appearance and of what motion adds to it.

    `BodyMuxer_DifferenceConcatenateConv` of the authors' code, whose constructor fails
    there; without activation, as there.
    """

    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(self, appearance: Features, motion: Features) -> Features:
        """Fuses one level."""
        channels = appearance.shape[-1]
        conv = _conv(channels, 2 * channels, "conv0", self.dtype, self.precision)
        return conv(concat(appearance, difference(appearance, motion)))


class Gated(nn.Module):
    """Mixes the streams by a learned weight per cell and channel.

    `gate * appearance + (1 - gate) * motion`, where the gate is a sigmoid of a 3x3
    convolution of both (gated multimodal units; Arevalo et al., 2017).
    """

    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(self, appearance: Features, motion: Features) -> Features:
        """Fuses one level."""
        channels = appearance.shape[-1]
        conv = _conv(channels, 2 * channels, "gate", self.dtype, self.precision)
        gate = nn.sigmoid(conv(concat(appearance, motion)))
        return gate * appearance + (1 - gate) * motion


class CrossAttention(nn.Module):
    """Appearance asks the motion around it: attention over a neighbourhood.

    Each cell's appearance is the query; keys and values are the motion features of the
    `window` x `window` cells around it (neighbourhood attention; Hassani et al., 2023).
    What is found is added to the appearance. Cost and memory are linear in the cells,
    so the finest level of a large frame is no problem.

    Attributes:
        heads: Attention heads; the channels are split among them.
        window: Side of the neighbourhood in cells, odd.
        dtype: The dtype of the computation; None takes the features'.
        precision: The precision of the convolutions.
    """

    heads: int = 8
    window: int = 3
    dtype: DTypeLike | None = None
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, appearance: Features, motion: Features, *, real: Real = None
    ) -> Features:
        """Fuses one level; padding and cells beyond the border are not attended to."""
        channels = appearance.shape[-1]
        if channels % self.heads:
            raise InputError(
                f"CrossAttention: {channels} channels cannot be split among "
                f"{self.heads} heads."
            )

        def one_by_one(name):
            return Conv(
                channels,
                (1, 1),
                dtype=self.dtype,
                precision=self.precision,
                name=name,
            )

        def project(x, name):
            x = one_by_one(name)(x)
            return x.reshape(*x.shape[:-1], self.heads, channels // self.heads)

        query = project(appearance, "query") / jnp.sqrt(
            jnp.float32(channels // self.heads)
        ).astype(appearance.dtype)
        key, value = project(motion, "key"), project(motion, "value")
        if real is None:
            real = jnp.ones((*appearance.shape[:-1], 1), bool)

        logits = jnp.stack(
            [
                jnp.where(visible, jnp.sum(query * key, axis=-1), -jnp.inf)
                for key, visible in zip(
                    self._neighbours(key), self._neighbours(real), strict=True
                )
            ]
        ).astype(jnp.float32)
        # A cell of the padding may see nothing: it must not become NaN.
        weights = jnp.where(
            jnp.isfinite(logits), jax.nn.softmax(_finite(logits), axis=0), 0
        ).astype(value.dtype)
        found = jnp.zeros_like(value)
        for weight, neighbour in zip(weights, self._neighbours(value), strict=True):
            found = found + weight[..., None] * neighbour
        found = found.reshape(appearance.shape)
        return appearance + one_by_one("out")(found)

    def _neighbours(self, x):
        """The map shifted by every offset within the window, zeros coming in."""
        reach = self.window // 2
        height, width = x.shape[1:3]
        spatial = [(0, 0), (reach, reach), (reach, reach)]
        x = jnp.pad(x, spatial + [(0, 0)] * (x.ndim - 3))
        for dy in range(self.window):
            for dx in range(self.window):
                yield x[:, dy : dy + height, dx : dx + width]


class _Factory(Protocol):
    def __call__(self, *, dtype: DTypeLike, precision: Precision) -> Fusion: ...


def _plain(function):
    return lambda dtype, precision: function


FUSIONS: dict[str, _Factory] = {
    "concat_convs": ConcatConvs,
    "average": _plain(average),
    "sum": _plain(add),
    "concat": _plain(concat),
    "difference": _plain(difference),
    "concat_conv": ConcatConv,
    "residual": ResidualBlock,
    "difference_conv": DifferenceConv,
    "gated": Gated,
    "cross_attention": CrossAttention,
}


def get_fusion(
    name: str, dtype: DTypeLike = jnp.float32, precision: Precision = "default"
) -> Fusion:
    """The fusion a config names: a key of `FUSIONS`, or "package.module:attribute".

    The attribute is a function, a module or a module's class. It is imported, so it is
    code that runs: `load_weights` refuses such a name unless told which to expect.

    Raises:
        InputError: There is no such fusion, module or attribute.
    """
    if ":" in name:
        module, attribute = name.split(":", 1)
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"Fusion {name!r}: {error}.") from None
        return found() if isinstance(found, type) else found
    if name not in FUSIONS:
        raise InputError(
            f"No fusion {name!r}; there are {', '.join(FUSIONS)}, and "
            f"'package.module:attribute' for one of your own."
        )
    return FUSIONS[name](dtype=dtype, precision=precision)


def fuse_pyramids(
    fuse: Fusion,
    appearance: Pyramid,
    motion: Pyramid,
    size: Float[Array, "b 2"] | None = None,
) -> dict[int, Array]:
    """Fuses level by level; the result is zero in the padding if `size` is given.

    Raises:
        InputError: The fusion changed the height or width of the features.
    """
    takes_real = "real" in inspect.signature(fuse).parameters
    fused = {}
    for level in appearance:
        a, m = appearance[level], motion[level]
        real = None if size is None else real_cells(size, level, a.shape[1:3])
        f = fuse(a, m, **({"real": real} if takes_real else {}))
        if f.shape[:3] != a.shape[:3]:
            raise InputError(
                f"The fusion turned features of shape {a.shape} into {f.shape}; it "
                f"must keep batch, height and width."
            )
        fused[level] = _where(real, f)
    return fused


def _conv(channels, inputs, name, dtype, precision):
    """A 3x3 convolution that starts as PyTorch's do, and so as the paper's fusion."""
    bound = 1 / math.sqrt(9 * inputs)

    def uniform(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return Conv(
        channels,
        (3, 3),
        kernel_init=uniform,
        bias_init=uniform,
        dtype=dtype,
        precision=precision,
        name=name,
    )


def _where(real, x):
    return x if real is None else jnp.where(real, x, jnp.zeros((), x.dtype))


def _finite(logits):
    return jnp.where(jnp.isfinite(logits), logits, jnp.finfo(logits.dtype).min)
