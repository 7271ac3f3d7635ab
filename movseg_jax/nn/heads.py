"""The heads of Mask R-CNN (He et al., 2017): RPN, box head and mask head.

Their last layers compute in float32 whatever `dtype` the others do, lest scores tie;
their initialisation is Detectron's.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from movseg_jax.config import Precision
from movseg_jax.nn.layers import Conv, UpConv, interleave, xavier
from movseg_jax.nn.padding import Pyramid
from movseg_jax.nn.products import dot_general

_normal = nn.initializers.normal
# Detectron's "MSRAFill".
_msra = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class RPNHead(nn.Module):
    """Scores and refines the anchors of every level, with the same weights."""

    anchors: int = 3
    dtype: DTypeLike = jnp.float32
    precision: Precision = "default"

    @nn.compact
    def __call__(self, pyramid: Pyramid) -> dict[int, tuple[Array, Array]]:
        """Per level: objectness logits [b, h*w*anchors] and deltas [b, h*w*anchors, 4].

        Anchors are in the order of `ops.anchors.level_anchors`.
        """
        channels = next(iter(pyramid.values())).shape[-1]

        def make(features, kernel, dtype, name):
            return Conv(
                features,
                kernel,
                kernel_init=_normal(0.01),
                dtype=dtype,
                precision=self.precision,
                name=name,
            )

        conv = make(channels, (3, 3), self.dtype, "conv")
        logits = make(self.anchors, (1, 1), jnp.float32, "logits")
        deltas = make(4 * self.anchors, (1, 1), jnp.float32, "deltas")

        def run(features):
            hidden = nn.relu(conv(features))
            batch = len(features)
            return logits(hidden).reshape(batch, -1), deltas(hidden).reshape(
                batch, -1, 4
            )

        return {level: run(features) for level, features in pyramid.items()}


class BoxHead(nn.Module):
    """Classifies RoIs and refines their boxes for each class."""

    classes: int = 1
    width: int = 1024
    dtype: DTypeLike = jnp.float32
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, crops: Float[Array, "n size size c"]
    ) -> tuple[Float[Array, "n classes_1"], Float[Array, "n {self.classes} 4"]]:
        """Class logits, of which the first is background's, and deltas per class."""

        def dense(features, initializer, dtype, name):
            return nn.Dense(
                features,
                kernel_init=initializer,
                dtype=dtype,
                param_dtype=jnp.float32,
                precision=self.precision,
                dot_general=dot_general,
                name=name,
            )

        x = crops.reshape(len(crops), math.prod(crops.shape[1:]))
        x = nn.relu(dense(self.width, xavier, self.dtype, "fc1")(x))
        x = nn.relu(dense(self.width, xavier, self.dtype, "fc2")(x))
        x = x.astype(jnp.float32)
        logits = dense(self.classes + 1, _normal(0.01), jnp.float32, "logits")(x)
        deltas = dense(4 * self.classes, _normal(0.001), jnp.float32, "deltas")(x)
        return logits, deltas.reshape(len(crops), self.classes, 4)


class MaskHead(nn.Module):
    """Predicts a mask in each RoI for each class, at twice the crops' resolution."""

    classes: int = 1
    dtype: DTypeLike = jnp.float32
    precision: Precision = "default"

    @nn.compact
    def __call__(
        self, crops: Float[Array, "n size size c"]
    ) -> Float[Array, "n mask_size mask_size {self.classes}"]:
        """Mask logits, one channel per class."""
        x, channels = crops, crops.shape[-1]
        options = {"kernel_init": _msra, "precision": self.precision}
        for i in range(4):
            conv = Conv(channels, (3, 3), dtype=self.dtype, name=f"conv{i}", **options)
            x = nn.relu(conv(x))
        upconv = UpConv(channels, dtype=self.dtype, name="upconv", **options)
        x = nn.relu(upconv(x))
        make_logits = Conv(
            self.classes, (1, 1), dtype=jnp.float32, name="logits", **options
        )
        logits = make_logits(x.reshape(*x.shape[:2], -1, channels))
        return interleave(logits.reshape(*x.shape[:4], self.classes))
