"""Losses: pure functions from predictions and targets of an image to a `Term`.

The losses of Faster and Mask R-CNN, with the weights Detectron gives them. Each is
summed here and divided later by the weights of the complete batch, so that neither the
number of devices nor an image without objects changes anything.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from movseg_jax.train.targets import AnchorTargets, RoITargets

ANCHOR_BETA = 1 / 9  # Where the smooth L1 loss of anchors' deltas becomes linear ...
ROI_BETA = 1.0  # ... and that of RoIs' deltas.


class Term(NamedTuple):
    """A loss as a sum and what to divide it by: the mean is `sum / weight`."""

    sum: Float[Array, ""]
    weight: Float[Array, ""]


def smooth_l1(error: Float[Array, "*n"], beta: float) -> Float[Array, "*n"]:
    """Quadratic up to `beta`, then linear of slope 1 (Girshick, 2015)."""
    return optax.huber_loss(error, delta=beta) / beta


def objectness_loss(logits: Float[Array, " n"], targets: AnchorTargets) -> Term:
    """Binary cross entropy of the sampled anchors, a mean over them."""
    loss = optax.sigmoid_binary_cross_entropy(
        logits, targets.positive.astype(logits.dtype)
    )
    return _masked(loss, targets.sampled, targets.sampled.sum(dtype=jnp.int32))


def anchor_box_loss(deltas: Float[Array, "n 4"], targets: AnchorTargets) -> Term:
    """Smooth L1 of the positive anchors' deltas, per sampled anchor."""
    loss = smooth_l1(deltas - targets.deltas, ANCHOR_BETA).sum(axis=1)
    return _masked(loss, targets.positive, targets.sampled.sum(dtype=jnp.int32))


def class_loss(logits: Float[Array, "n k1"], targets: RoITargets) -> Term:
    """Cross entropy of the RoIs' classes, a mean over them; background is class 0."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets.classes)
    return _masked(loss, targets.valid, targets.valid.sum(dtype=jnp.int32))


def roi_box_loss(deltas: Float[Array, "n k 4"], targets: RoITargets) -> Term:
    """Smooth L1 of the positive RoIs' deltas for their class, per RoI."""
    index = jnp.maximum(targets.classes - 1, 0)[:, None, None]
    own = jnp.take_along_axis(deltas, index, axis=1)[:, 0]
    loss = smooth_l1(own - targets.deltas, ROI_BETA).sum(axis=1)
    return _masked(loss, targets.positive, targets.valid.sum(dtype=jnp.int32))


def mask_loss(
    logits: Float[Array, "n size size"],
    targets: Bool[Array, "n size size"],
    positive: Bool[Array, " n"],
) -> Term:
    """Binary cross entropy per cell of the positive RoIs' masks, a mean over them."""
    loss = optax.sigmoid_binary_cross_entropy(logits, targets.astype(logits.dtype))
    return _masked(loss.mean(axis=(1, 2)), positive, positive.sum(dtype=jnp.int32))


def _masked(loss, counted, weight):
    # `where`, not a product: a loss that is not finite may not leak from the padding.
    return Term(
        jnp.sum(jnp.where(counted, loss, 0)),
        jax.lax.stop_gradient(weight.astype(loss.dtype)),
    )
