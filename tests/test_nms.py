"""NMS against a NumPy loop, and what is known of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from numpy.testing import assert_array_equal

from movseg_jax.ops.nms import non_maximum_suppression


def iou_by_definition(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return np.float32(0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return np.float32(width * height) / np.float32(sum(areas) - width * height)


def nms_by_loops(boxes, scores, valid, iou_threshold, suppress_equal=False):
    """The definition, one box at a time; exact for boxes with small integer corners."""
    boxes, threshold = np.float64(boxes), np.float32(iou_threshold)
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept = []
    for i in order[np.asarray(valid)[order]]:
        overlaps = [iou_by_definition(boxes[i], boxes[j]) for j in kept]
        if suppress_equal:
            suppressed = any(overlap >= threshold for overlap in overlaps)
        else:
            suppressed = any(overlap > threshold for overlap in overlaps)
        if not suppressed:
            kept.append(i)
    return np.isin(np.arange(len(boxes)), kept)


def clustered(n, seed, side=64):
    """Boxes with integer corners around a few places, as an RPN makes them."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, max(n // 8, 1), n)
    corner = rng.integers(0, 4 * side, (n, 2))[place] + rng.integers(-6, 7, (n, 2))
    size = rng.integers(4, side, (n, 2))[place] + rng.integers(0, 7, (n, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    scores = rng.integers(0, n, n) / n  # With ties.
    return (
        jnp.float32(boxes),
        jnp.float32(scores),
        jnp.asarray(rng.uniform(size=n) < 0.9),
    )


def chain(n):
    """Each box overlaps its neighbours only: every other one is kept."""
    x = np.arange(n)
    boxes = np.stack([x * 2, 0 * x, x * 2 + 3, 0 * x + 10], axis=1)
    return jnp.float32(boxes), jnp.float32(1 - x / n), jnp.ones(n, bool)


@pytest.mark.parametrize("suppress_equal", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("n", [1, 64, 65, 300])
def test_keeps_what_the_loop_keeps(n, threshold, suppress_equal, compiled):
    arrays = clustered(n, seed=n)
    options = {"iou_threshold": threshold, "suppress_equal": suppress_equal}
    kept = compiled(functools.partial(non_maximum_suppression, **options))(*arrays)
    assert_array_equal(kept, nms_by_loops(*arrays, **options))


@given(
    boxes=stnp.arrays(
        np.float32, st.tuples(st.just(70), st.just(4)), elements=st.integers(0, 8)
    ),
    scores=stnp.arrays(
        np.float32, 70, elements=st.sampled_from([-np.inf, -1, -0.0, 0.0, 1, np.inf])
    ),
    valid=stnp.arrays(bool, 70),
    threshold=st.sampled_from([0.0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0]),
    suppress_equal=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_keeps_what_the_loop_keeps_with_ties_and_boxes_of_any_kind(
    boxes, scores, valid, threshold, suppress_equal
):
    """70 boxes on a grid of 8: identical, touching, empty, inverted, chains."""
    arrays = (jnp.asarray(boxes), jnp.asarray(scores), jnp.asarray(valid))
    kept = _jitted(*arrays, threshold, suppress_equal=suppress_equal)
    expected = nms_by_loops(boxes, scores, valid, threshold, suppress_equal)
    assert_array_equal(kept, expected)


_jitted = jax.jit(
    non_maximum_suppression, static_argnames=("iou_threshold", "suppress_equal")
)


@pytest.mark.parametrize("n", [10, 128, 1000])
def test_of_a_chain_keeps_every_other_box(n):
    kept = _jitted(*chain(n), 0.1)
    assert_array_equal(kept, np.arange(n) % 2 == 0)


@pytest.mark.parametrize(
    "other, kept",
    [
        pytest.param([0, 0, 4, 4], False, id="identical"),
        pytest.param([0, 0, 4, 3], False, id="most of it"),
        pytest.param([2, 0, 6, 4], True, id="half overlapping"),
        pytest.param([4, 0, 8, 4], True, id="touching"),
        pytest.param([1, 1, 1, 3], True, id="no area"),
        pytest.param([3, 3, 1, 1], True, id="inverted"),
    ],
)
def test_beside_a_better_4x4_box(other, kept, compiled):
    boxes = jnp.float32([other, [0, 0, 4, 4]])
    nms = compiled(functools.partial(non_maximum_suppression, iou_threshold=0.5))
    result = nms(boxes, jnp.array([0.1, 0.9]), jnp.ones(2, bool))
    assert_array_equal(result, [kept, True])


@pytest.mark.parametrize("suppress_equal", [False, True])
def test_an_iou_of_exactly_the_threshold(suppress_equal):
    boxes = jnp.float32([[0, 0, 10, 10], [0, 0, 10, 7]])
    kept = _jitted(
        boxes,
        jnp.array([0.9, 0.1]),
        jnp.ones(2, bool),
        0.7,
        suppress_equal=suppress_equal,
    )
    assert_array_equal(kept, [True, not suppress_equal])


def test_of_equal_boxes_and_scores_the_first_is_kept():
    boxes = jnp.tile(jnp.array([[0.0, 0.0, 4.0, 4.0]]), (100, 1))
    kept = _jitted(boxes, jnp.zeros(100), jnp.arange(100) >= 7, 0.5)
    assert np.flatnonzero(kept).tolist() == [7]


def test_padding_is_not_kept_and_changes_nothing():
    boxes, scores, valid = clustered(100, seed=0)
    expected = non_maximum_suppression(boxes[valid], scores[valid], valid[valid], 0.5)
    kept = non_maximum_suppression(boxes, scores, valid, 0.5)
    assert not kept[~valid].any()
    assert_array_equal(kept[valid], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("corner", range(4))
def test_a_box_that_is_not_finite_counts_as_padding(bad, corner):
    good = jnp.array([0.0, 0.0, 4.0, 4.0])
    boxes = jnp.stack([good.at[corner].set(bad), good])
    kept = non_maximum_suppression(boxes, jnp.array([0.9, 0.1]), jnp.ones(2, bool), 0.5)
    assert_array_equal(kept, [False, True])


@pytest.mark.parametrize(
    "score, kept", [(np.nan, False), (np.inf, True), (-np.inf, True)]
)
def test_a_score_of_nan_counts_as_padding_but_an_infinite_one_does_not(score, kept):
    boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [10.0, 0.0, 14.0, 4.0]])
    scores = jnp.array([score, 0.1])
    result = non_maximum_suppression(boxes, scores, jnp.ones(2, bool), 0.5)
    assert_array_equal(result, [kept, True])


def test_huge_boxes_do_not_overflow_into_a_wrong_answer():
    boxes = jnp.array([[0.0, 0.0, 3e38, 3e38], [0.0, 0.0, 4.0, 4.0]])
    kept = non_maximum_suppression(boxes, jnp.array([0.9, 0.1]), jnp.ones(2, bool), 0.5)
    assert_array_equal(kept, [True, True])


def test_of_no_boxes_is_empty(compiled):
    nms = compiled(functools.partial(non_maximum_suppression, iou_threshold=0.5))
    kept = nms(jnp.zeros((0, 4)), jnp.zeros(0), jnp.zeros(0, bool))
    assert kept.shape == (0,) and kept.dtype == bool


def test_of_padding_alone_keeps_nothing():
    kept = non_maximum_suppression(
        jnp.zeros((9, 4)), jnp.zeros(9), jnp.zeros(9, bool), 0.5
    )
    assert not kept.any()


def test_does_not_depend_on_the_order_of_the_boxes():
    boxes, _, valid = clustered(200, seed=3)
    scores = jnp.linspace(0, 1, 200)
    shuffle = np.random.default_rng(0).permutation(200)
    kept = _jitted(boxes, scores, valid, 0.5)
    shuffled = _jitted(boxes[shuffle], scores[shuffle], valid[shuffle], 0.5)
    assert_array_equal(shuffled, kept[shuffle])


def test_what_is_kept_is_kept_again():
    boxes, scores, valid = clustered(200, seed=4)
    kept = _jitted(boxes, scores, valid, 0.5)
    assert_array_equal(_jitted(boxes, scores, kept, 0.5), kept)


def test_batches_with_vmap_as_one_by_one():
    sets = [clustered(150, seed) for seed in range(3)]
    sets.append((*sets[0][:2], jnp.zeros(150, bool)))  # Ends before the others.
    batch = [jnp.stack(arrays) for arrays in zip(*sets, strict=True)]
    nms = functools.partial(non_maximum_suppression, iou_threshold=0.5)
    together = jax.jit(jax.vmap(nms))(*batch)
    assert_array_equal(together, jnp.stack([nms(*arrays) for arrays in sets]))


def test_may_stand_where_gradients_are_taken():
    boxes, scores, valid = clustered(50, seed=0)

    def total(boxes, scores):
        kept = non_maximum_suppression(boxes, scores, valid, 0.5)
        return (
            jnp.where(kept, scores, 0).sum() + jnp.where(kept[:, None], boxes, 0).sum()
        )

    by_boxes, by_scores = jax.jit(jax.grad(total, argnums=(0, 1)))(boxes, scores)
    assert_array_equal(by_boxes[:, 0], by_scores)
    assert set(by_scores.tolist()) == {0.0, 1.0}
