import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.ops import boxes


def iou_by_counting_pixels(a, b, size=16):
    """The definition, on a grid: only right for boxes with integer corners."""

    def inside(box):
        y, x = np.mgrid[:size, :size] + 0.5
        return (box[0] < x) & (x < box[2]) & (box[1] < y) & (y < box[3])

    return (inside(a) & inside(b)).sum() / max((inside(a) | inside(b)).sum(), 1)


def random_boxes(n, seed):
    corners = np.random.default_rng(seed).integers(0, 16, (n, 2, 2))
    return jnp.asarray(np.sort(corners, axis=1).reshape(n, 4), jnp.float32)


def test_iou_is_the_fraction_of_shared_pixels(compiled):
    a, b = random_boxes(20, seed=0), random_boxes(30, seed=1)
    expected = [[iou_by_counting_pixels(i, j) for j in b] for i in a]
    assert_allclose(compiled(boxes.pairwise_iou)(a, b), expected, atol=1e-6)


@pytest.mark.parametrize(
    "other, expected",
    [
        pytest.param([0, 0, 4, 4], 1, id="identical"),
        pytest.param([2, 0, 6, 4], 1 / 3, id="half overlapping"),
        pytest.param([4, 0, 8, 4], 0, id="touching edges"),
        pytest.param([9, 9, 12, 12], 0, id="disjoint"),
        pytest.param([0, 0, 0, 0], 0, id="padding"),
        pytest.param([3, 3, 1, 1], 0, id="inverted"),
    ],
)
def test_iou_of_a_4x4_box_with(other, expected):
    box = jnp.array([[0.0, 0.0, 4.0, 4.0]])
    assert_allclose(boxes.pairwise_iou(box, jnp.float32([other])), [[expected]])


def test_iou_of_padding_has_a_finite_gradient():
    padding = jnp.zeros((1, 4))
    gradient = jax.grad(lambda b: boxes.pairwise_iou(b, padding).sum())(padding)
    assert jnp.isfinite(gradient).all()


def test_iou_batches_with_vmap():
    batch = jnp.stack([random_boxes(5, seed) for seed in range(3)])
    assert jax.vmap(boxes.pairwise_iou)(batch, batch).shape == (3, 5, 5)


def decode_by_hand(delta, box, weights):
    """R-CNN's equations for one box, in float64."""
    x0, y0, x1, y1 = map(float, box)
    dx, dy, dw, dh = (float(d) / w for d, w in zip(delta, weights, strict=True))
    width, height = x1 - x0, y1 - y0
    cx, cy = x0 + width / 2 + dx * width, y0 + height / 2 + dy * height
    width *= np.exp(min(dw, np.log(1000 / 16)))
    height *= np.exp(min(dh, np.log(1000 / 16)))
    return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]


@pytest.mark.parametrize("weights", [boxes.ANCHOR_WEIGHTS, boxes.ROI_WEIGHTS])
def test_decode_follows_the_equations(weights, compiled):
    deltas = jax.random.normal(jax.random.key(2), (20, 4)) * 3
    references = random_boxes(20, seed=3)
    expected = [
        decode_by_hand(d, r, weights) for d, r in zip(deltas, references, strict=True)
    ]
    actual = compiled(lambda d, r: boxes.decode(d, r, weights))(deltas, references)
    assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


@given(
    st.lists(st.floats(0, 500, width=32), min_size=4, max_size=4),
    st.lists(st.floats(0.5, 500, width=32), min_size=4, max_size=4),
)
def test_decode_inverts_encode(corners, sides):
    box = jnp.float32(
        [[corners[0], corners[1], corners[0] + sides[0], corners[1] + sides[1]]]
    )
    reference = jnp.float32(
        [[corners[2], corners[3], corners[2] + sides[2], corners[3] + sides[3]]]
    )
    growth = np.array(sides[:2]) / np.array(sides[2:])
    if (growth > 60).any():  # Beyond what decode allows.
        return
    deltas = boxes.encode(box, reference, boxes.ROI_WEIGHTS)
    decoded = boxes.decode(deltas, reference, boxes.ROI_WEIGHTS)
    assert_allclose(decoded, box, rtol=1e-4, atol=2e-2)


def test_growth_is_limited_to_detectrons_bound():
    decoded = boxes.decode(
        jnp.float32([[0, 0, 100, 5]]),
        jnp.float32([[0, 0, 16, 16]]),
        boxes.ANCHOR_WEIGHTS,
    )
    assert_allclose(decoded[0, 2:] - decoded[0, :2], [1000, 1000], rtol=1e-5)


@pytest.mark.parametrize("padded", ["boxes", "references", "both"])
def test_encoding_padding_gives_zeros_and_finite_gradients(padded):
    box = jnp.zeros((1, 4)) if padded != "references" else random_boxes(1, 5)
    reference = jnp.zeros((1, 4)) if padded != "boxes" else random_boxes(1, 6)
    encode = lambda b, r: boxes.encode(b, r, boxes.ROI_WEIGHTS)
    assert_array_equal(encode(box, reference), np.zeros((1, 4)))
    gradients = jax.grad(lambda b, r: encode(b, r).sum(), argnums=(0, 1))(
        box, reference
    )
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_padding_decodes_to_area_zero():
    decoded = boxes.decode(jnp.ones((1, 4)), jnp.zeros((1, 4)), boxes.ROI_WEIGHTS)
    assert boxes.area(decoded) == 0


def test_clipping_keeps_what_is_inside_the_image(compiled):
    inside = jnp.float32([[1, 2, 9, 7], [-5, -5, 50, 50], [20, 3, 30, 5]])
    clipped = compiled(boxes.clip)(inside, jnp.float32([8, 10]))
    assert_array_equal(clipped, [[1, 2, 9, 7], [0, 0, 10, 8], [10, 3, 10, 5]])


def test_inclusive_clipping_is_that_of_inclusive_boxes():
    """Detectron clips x1, x2 to [0, width - 1]; here x2 + 1 is stored."""
    rng = np.random.default_rng(7)
    inclusive = np.sort(rng.uniform(-20, 40, (50, 2, 2)), axis=1).reshape(50, 4)
    height, width = 8, 10
    expected = np.clip(inclusive, 0, [width - 1, height - 1] * 2)
    stored = jnp.asarray(inclusive + np.array([0, 0, 1, 1]), jnp.float32)
    clipped = boxes.clip(stored, jnp.float32([height, width]), inclusive=True)
    assert_allclose(np.asarray(clipped) - [0, 0, 1, 1], expected, atol=1e-5)
