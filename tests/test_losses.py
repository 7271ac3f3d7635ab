import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from movseg_jax.train import losses
from movseg_jax.train.targets import AnchorTargets, RoITargets


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def flags(n, seed=0, part=0.5):
    return np.random.default_rng(seed).random(n) < part


def anchors(n=40):
    sampled = flags(n, 1)
    return AnchorTargets(
        jnp.asarray(sampled),
        jnp.asarray(sampled & flags(n, 2)),
        jnp.asarray(numbers(n, 4, seed=3)),
    )


def rois(n=30, classes=3):
    valid = flags(n, 1, 0.8)
    positive = valid & flags(n, 2)
    kind = np.random.default_rng(4).integers(1, classes + 1, n)
    return RoITargets(
        rois=jnp.zeros((n, 4)),
        valid=jnp.asarray(valid),
        positive=jnp.asarray(positive),
        object=jnp.zeros(n, jnp.int32),
        classes=jnp.asarray(np.where(positive, kind, 0)),
        deltas=jnp.asarray(numbers(n, 4, seed=5)),
    )


def smooth_l1(x, beta):
    x = abs(float(x))
    return 0.5 * x * x / beta if x < beta else x - 0.5 * beta


def cross_entropy(logit, target):
    score = 1 / (1 + np.exp(-np.float64(logit)))
    return -np.log(score if target else 1 - score)


def test_objectness_is_the_cross_entropy_of_sampled_anchors(compiled):
    targets, logits = anchors(), numbers(40)
    expected = sum(
        cross_entropy(logits[i], targets.positive[i])
        for i in range(40)
        if targets.sampled[i]
    )
    term = compiled(losses.objectness_loss)(jnp.asarray(logits), targets)
    assert_allclose(term.sum, expected, rtol=1e-5)
    assert float(term.weight) == int(targets.sampled.sum())


def test_anchor_boxes_are_scored_where_positive(compiled):
    targets, deltas = anchors(), numbers(40, 4)
    expected = sum(
        smooth_l1(deltas[i, k] - targets.deltas[i, k], 1 / 9)
        for i in range(40)
        for k in range(4)
        if targets.positive[i]
    )
    term = compiled(losses.anchor_box_loss)(jnp.asarray(deltas), targets)
    assert_allclose(term.sum, expected, rtol=1e-5)
    assert float(term.weight) == int(targets.sampled.sum())


def test_classes_are_scored_where_valid(compiled):
    targets, logits = rois(), numbers(30, 4)
    expected = 0.0
    for i in range(30):
        if targets.valid[i]:
            terms = np.exp(np.float64(logits[i]))
            expected -= np.log(terms[int(targets.classes[i])] / terms.sum())
    term = compiled(losses.class_loss)(jnp.asarray(logits), targets)
    assert_allclose(term.sum, expected, rtol=1e-5)
    assert float(term.weight) == int(targets.valid.sum())


def test_roi_boxes_are_scored_for_their_class(compiled):
    targets, deltas = rois(), numbers(30, 3, 4)
    expected = sum(
        smooth_l1(deltas[i, int(targets.classes[i]) - 1, k] - targets.deltas[i, k], 1)
        for i in range(30)
        for k in range(4)
        if targets.positive[i]
    )
    term = compiled(losses.roi_box_loss)(jnp.asarray(deltas), targets)
    assert_allclose(term.sum, expected, rtol=1e-5)
    assert float(term.weight) == int(targets.valid.sum())


def test_masks_are_scored_per_cell_of_positive_rois(compiled):
    logits, masks, positive = numbers(6, 5, 5), numbers(6, 5, 5, seed=1) > 0, flags(6)
    expected = np.mean(
        [
            cross_entropy(logits[i, y, x], masks[i, y, x])
            for i in range(6)
            for y in range(5)
            for x in range(5)
            if positive[i]
        ]
    )
    term = compiled(losses.mask_loss)(
        jnp.asarray(logits), jnp.asarray(masks), jnp.asarray(positive)
    )
    assert_allclose(term.sum / term.weight, expected, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_counted_may_be_anything(bad):
    positive = jnp.array([True, False])
    logits = jnp.asarray(numbers(2, 3, 3))
    masks = jnp.ones((2, 3, 3), bool)

    def loss(logits):
        return losses.mask_loss(logits, masks, positive).sum

    clean = loss(logits)
    dirty = logits.at[1].set(bad)
    assert loss(dirty) == clean


def test_nothing_to_score_is_zero_with_a_finite_gradient():
    nothing = jnp.zeros(4, bool)

    def loss(logits):
        term = losses.objectness_loss(
            logits, AnchorTargets(nothing, nothing, jnp.zeros((4, 4)))
        )
        return term.sum / jnp.maximum(term.weight, 1)

    value, gradient = jax.value_and_grad(loss)(jnp.zeros(4))
    assert value == 0 and not gradient.any()
