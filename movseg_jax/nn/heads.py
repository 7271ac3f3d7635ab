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
    """Predicts a mask in each RoI for each class, at twice the crops' resolution.

    Large objects are cropped from coarse levels of the pyramid. With `fine`, a second
    part of the head corrects their masks: it sees the finest level, too, at the masks'
    own resolution (as in RefineMask; Zhang et al., 2021).

    Attributes:
        classes: The number of classes.
        fine: The number of channels of the second part; 0 leaves it out.
        dtype: The dtype of all layers but the last ones.
        precision: The precision of the convolutions.
    """

    classes: int = 1
    fine: int = 0
    dtype: DTypeLike = jnp.float32
    precision: Precision = "default"

    def setup(self):
        """Builds the layer that `fine_features` needs."""
        if self.fine:
            self.fine_input = self._hidden(self.fine, (1, 1))

    def fine_features(self, level: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
        """Returns what the second part sees of the finest level, to be cropped."""
        return self.fine_input(level)

    @nn.compact
    def __call__(
        self,
        crops: Float[Array, "n size size c"],
        fine: Float[Array, "n mask_size mask_size f"] | None = None,
    ) -> Float[Array, "n mask_size mask_size {self.classes}"]:
        """Mask logits, one channel per class.

        Args:
            crops: Features of each RoI.
            fine: Crops of `fine_features`, if the head has the second part.
        """
        x, channels = crops, crops.shape[-1]
        for i in range(4):
            x = nn.relu(self._hidden(channels, (3, 3), f"conv{i}")(x))
        upconv = UpConv(
            channels,
            kernel_init=_msra,
            dtype=self.dtype,
            precision=self.precision,
            name="upconv",
        )
        x = nn.relu(upconv(x))

        def by_pixel(conv):
            pixels = conv(x.reshape(*x.shape[:2], -1, channels))
            return interleave(pixels.reshape(*x.shape[:4], -1))

        logits = by_pixel(self._logits(_msra, "logits"))
        if fine is None:
            return logits
        coarse = by_pixel(self._hidden(self.fine, (1, 1), "fine_coarse"))
        y = jnp.concatenate([coarse, fine], axis=-1)
        for i in range(2):
            y = nn.relu(self._hidden(self.fine, (3, 3), f"fine_conv{i}")(y))
        # Corrections start at 0, so that this part can be added to a trained head.
        return logits + self._logits(nn.initializers.zeros, "fine_logits")(y)

    def _hidden(self, channels, kernel, name=None):
        return Conv(
            channels,
            kernel,
            kernel_init=_msra,
            dtype=self.dtype,
            precision=self.precision,
            name=name,
        )

    def _logits(self, initializer, name):
        return Conv(
            self.classes,
            kernel_init=initializer,
            dtype=jnp.float32,
            precision=self.precision,
            name=name,
        )
