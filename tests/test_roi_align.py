"""RoIAlign against loops, torchvision, OpenCV and what is known."""

import functools
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.ops.roi_align import pyramid_roi_align, roi_align, roi_level

GOLDEN = np.load(Path(__file__).parent / "golden" / "roi_align.npz")

align = functools.partial(roi_align, stride=4.0, output_size=7)


def point_by_definition(features, y, x):
    """The features at one point; index (0, 0) is the first cell's value."""
    height, width, _ = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(features.shape[2])
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    total = 0
    for row in {int(np.floor(y)), int(np.ceil(y))}:
        for column in {int(np.floor(x)), int(np.ceil(x))}:
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            total = total + weight * features[row, column]
    return total


def roi_align_by_loops(features, box, output_size, samples, half_pixel, stride=4.0):
    """The definition, one sampling point at a time and in float64."""
    features = np.float64(features)
    x0, y0, x1, y1 = np.float64(box) / stride - (0.5 if half_pixel else 0)
    width, height = x1 - x0, y1 - y0
    if not half_pixel:
        width, height = max(width, 1), max(height, 1)
    crop = np.zeros((output_size, output_size, features.shape[2]))
    for i, j, a, b in np.ndindex(output_size, output_size, samples, samples):
        y = y0 + height * (i + (a + 0.5) / samples) / output_size
        x = x0 + width * (j + (b + 0.5) / samples) / output_size
        crop[i, j] += point_by_definition(features, y, x)
    return crop / samples**2


def random(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def random_boxes(n, seed, height=80, width=120):
    """Mostly inside, some across the edges."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform([0, 0], [width, height], (n, 2))
    size = np.exp(rng.uniform(0, 5, (n, 2)))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return jnp.asarray(boxes, jnp.float32)


@pytest.fixture
def features():
    return random(20, 30, 5)


@pytest.fixture
def pyramid():
    """Of an image of 128 x 192 pixels."""
    return {level: random(128 >> level, 192 >> level, 4) for level in (2, 3, 4, 5)}


BOXES = {
    "inside": [10.0, 8.0, 90.0, 60.0],
    "smaller than a cell": [41.0, 33.0, 42.5, 34.0],
    "across the edge": [-16.0, -9.0, 31.0, 101.0],
    "outside": [130.0, 90.0, 160.0, 110.0],
    "padding": [0.0, 0.0, 0.0, 0.0],
    "no width": [40.0, 8.0, 40.0, 60.0],
    "inverted": [60.0, 60.0, 20.0, 20.0],
    "far larger than the image": [-150.0, -200.0, 350.0, 290.0],
}


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_equals_the_loop(features, samples, half_pixel, compiled):
    options = {"samples": samples, "half_pixel": half_pixel}
    boxes = jnp.array(list(BOXES.values()))
    crops = compiled(functools.partial(align, **options))(features, boxes)
    for crop, (name, box) in zip(crops, BOXES.items(), strict=True):
        expected = roi_align_by_loops(features, box, 7, **options)
        assert_allclose(crop, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("output_size, samples", [(7, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("half_pixel", [True, False])
def test_equals_torchvision_and_so_does_the_gradient(output_size, samples, half_pixel):
    @jax.jit
    def crop(features):
        return roi_align(
            features,
            jnp.asarray(GOLDEN["boxes"]),
            stride=float(GOLDEN["stride"]),
            output_size=output_size,
            samples=samples,
            half_pixel=half_pixel,
        )

    name = f"{half_pixel}_{output_size}_{samples}"
    features = jnp.asarray(GOLDEN["features"])
    assert_allclose(crop(features), GOLDEN[f"crops_{name}"], atol=1e-5)
    gradient = jax.grad(lambda features: (crop(features) ** 2).sum())(features)
    assert_allclose(gradient, GOLDEN[f"gradient_{name}"], atol=1e-5, rtol=1e-5)


def test_of_the_whole_map_equals_resizing_by_opencv(features):
    whole = jnp.array([[0.0, 0.0, 120.0, 80.0]])
    crop = roi_align(features, whole, stride=4.0, output_size=50, samples=1)
    resized = cv2.resize(np.asarray(features), (50, 50), interpolation=cv2.INTER_LINEAR)
    assert_allclose(crop[0], resized, atol=1e-5)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_of_a_ramp_reads_off_the_coordinates(half_pixel):
    """On features that equal x, a bin's value is its centre: catches shifts by 0.5."""
    first = 0.5 if half_pixel else 0
    ramp = jnp.broadcast_to(jnp.arange(30.0)[None, :, None] + first, (20, 30, 1))
    box = jnp.array([[8.0, 8.0, 64.0, 64.0]])
    crop = align(ramp, box, half_pixel=half_pixel)
    centres = (8 + 56 * (np.arange(7) + 0.5) / 7) / 4
    assert_allclose(crop[0, :, :, 0], np.broadcast_to(centres, (7, 7)), rtol=1e-6)


@pytest.mark.parametrize(
    "x, expected",
    [(-1.01, 0), (-1.0, 2), (-0.5, 2), (0.5, 3), (2.5, 6), (3.0, 6), (3.01, 0)],
)
def test_of_one_point_near_the_ends_of_a_line_of_cells(x, expected):
    line = jnp.array([[[2.0], [4.0], [6.0]]])
    box = jnp.array([[x - 0.5, 0.0, x + 0.5, 0.0]])
    crop = roi_align(line, box, stride=1.0, output_size=1, samples=1, half_pixel=False)
    assert_allclose(crop.item(), expected)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_what_lies_beyond_the_extent_has_no_influence(features, half_pixel, compiled):
    boxes = random_boxes(60, seed=1)
    crop = functools.partial(align, half_pixel=half_pixel)
    expected = crop(features, boxes)
    padded = jnp.pad(features, ((0, 7), (0, 3), (0, 0)), constant_values=jnp.inf)
    for extent in ([20.0, 30.0], [19.2, 29.1]):
        result = compiled(crop)(padded, boxes, extent=jnp.array(extent))
        assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(100.0, 150.0), (97.0, 160.0), (33.0, 32.0)])
def test_padding_the_image_changes_no_crop(pyramid, size):
    real = {
        level: cells[: -int(-size[0] // 2**level), : -int(-size[1] // 2**level)]
        for level, cells in pyramid.items()
    }
    boxes = random_boxes(60, seed=1, height=size[0], width=size[1])
    crop = functools.partial(pyramid_roi_align, boxes=boxes, output_size=3)
    assert_array_equal(crop(pyramid, size=jnp.array(size)), crop(real))


def test_extent_beyond_the_array_is_cut(features):
    boxes = random_boxes(20, seed=1)
    assert_array_equal(
        align(features, boxes, extent=jnp.array([99.0, 99.0])), align(features, boxes)
    )


@pytest.mark.parametrize("half_pixel", [True, False])
def test_pyramid_crops_each_box_from_its_level(pyramid, half_pixel):
    side = jnp.array([[30.0], [70.0], [150.0], [300.0], [500.0]])
    boxes = jnp.concatenate([7.0 - side / 9, 3.0 + side], axis=1)[:, [0, 0, 1, 1]]
    options = {"output_size": 3, "half_pixel": half_pixel}
    crops = jax.jit(functools.partial(pyramid_roi_align, **options))(pyramid, boxes)
    levels = roi_level(boxes, 2, 5)
    assert levels.tolist() == [2, 2, 3, 4, 5]
    for crop, box, level in zip(crops, boxes, levels.tolist(), strict=True):
        expected = roi_align(pyramid[level], box[None], stride=2.0**level, **options)
        assert_allclose(crop, expected[0], atol=1e-5)


@pytest.mark.parametrize(
    "side, level",
    [(0, 2), (1, 2), (111.9, 2), (112, 3), (223.9, 3), (224, 4), (448, 5), (1e5, 5)],
)
def test_level_of_a_square_box(side, level):
    assert roi_level(jnp.array([[5.0, 5.0, 5.0 + side, 5.0 + side]]), 2, 5) == level


def test_level_follows_the_area_not_the_longer_side():
    assert roi_level(jnp.array([[0.0, 0.0, 56.0, 896.0]]), 2, 5) == 4


def test_pyramid_with_a_missing_level_is_refused(pyramid):
    del pyramid[3]
    with pytest.raises(InputError, match=r"levels \[2, 4, 5\], expected successive"):
        pyramid_roi_align(pyramid, jnp.zeros((1, 4)), output_size=7)


def test_no_boxes_give_no_crops_and_no_gradient(features, compiled):
    none = jnp.zeros((0, 4))
    assert compiled(align)(features, none).shape == (0, 7, 7, 5)
    gradient = jax.grad(lambda features: align(features, none).sum())(features)
    assert_array_equal(gradient, 0)


@given(st.lists(st.floats(width=32), min_size=4, max_size=4))
@settings(deadline=None, max_examples=200)
def test_of_any_box_is_finite_and_moves_no_gradient_elsewhere(box):
    crop, gradient = _crop_and_gradient(random(4, 5, 1), jnp.float32([box]))
    assert np.isfinite(crop).all() and np.isfinite(gradient).all()
    if not np.isfinite(box).all():
        assert not crop.any() and not gradient.any()


@jax.jit
def _crop_and_gradient(features, boxes):
    crops, transpose = jax.vjp(lambda features: align(features, boxes), features)
    return crops, transpose(crops)[0]


@pytest.mark.parametrize("half_pixel", [True, False])
def test_gradient_equals_finite_differences(features, half_pixel):
    boxes = jnp.array(list(BOXES.values()))
    crop = jax.jit(functools.partial(align, boxes=boxes, half_pixel=half_pixel))
    check_grads(lambda f: crop(jnp.asarray(f)), (features,), order=1, modes=["rev"])


def test_gradient_of_many_boxes_is_the_transpose_of_the_crop(features):
    """<crop(f), g> = <f, gradient(g)>, with enough bins for several steps."""
    boxes = random_boxes(30, seed=3)
    crops, transpose = jax.vjp(lambda features: align(features, boxes), features)
    g = random(*crops.shape, seed=4)
    assert_allclose((crops * g).sum(), (features * transpose(g)[0]).sum(), rtol=1e-4)


def test_gradient_by_boxes_equals_finite_differences(features):
    """Off the cells' centres, where the crop has kinks."""
    smooth = jnp.cumsum(jnp.cumsum(features, axis=0), axis=1) / 100
    box = jnp.array([[11.3, 9.1, 81.7, 58.9]])
    crop = jax.jit(functools.partial(align, smooth))

    def total(box):
        return (crop(box) * random(1, 7, 7, 5, seed=5)).sum()

    steps = 0.02 * jnp.eye(4)
    numeric = [(total(box + s) - total(box - s)) / 0.04 for s in steps[:, None]]
    assert_allclose(jax.grad(total)(box)[0], jnp.stack(numeric), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("half_pixel", [True, False])
def test_gradient_by_boxes_is_finite(pyramid, half_pixel):
    boxes = jnp.array([*BOXES.values(), [-1e30, -1e30, 1e30, 1e30]])

    def total(boxes):
        crops = pyramid_roi_align(pyramid, boxes, output_size=3, half_pixel=half_pixel)
        return crops.sum()

    assert jnp.isfinite(jax.jit(jax.grad(total))(boxes)).all()


def test_batches_with_vmap_as_one_by_one(pyramid):
    batch = jax.tree.map(lambda cells: jnp.stack([cells, cells[::-1]]), pyramid)
    boxes = jnp.stack([random_boxes(9, seed) for seed in range(2)])
    size = jnp.array([[128.0, 192.0], [100.0, 100.0]])

    def value_and_gradient(pyramid, boxes, size):
        crop = functools.partial(pyramid_roi_align, boxes=boxes, output_size=3)
        crops, transpose = jax.vjp(lambda p: crop(p, size=size), pyramid)
        return crops, transpose(crops)[0]

    together = jax.jit(jax.vmap(value_and_gradient))(batch, boxes, size)
    for i in range(2):
        one = jax.tree.map(lambda array, i=i: array[i], (batch, boxes, size))
        jax.tree.map(
            lambda all, expected, i=i: assert_allclose(all[i], expected, atol=1e-5),
            together,
            jax.jit(value_and_gradient)(*one),
        )


@pytest.mark.slow
def test_gradient_is_the_same_outside_vmap_and_under_checkpoint(pyramid):
    batch = jax.tree.map(lambda cells: jnp.stack([cells, -cells]), pyramid)
    boxes = jnp.stack([random_boxes(9, seed) for seed in range(2)])
    crop = functools.partial(pyramid_roi_align, output_size=3)

    def total(one, pyramid):
        return (one(pyramid, boxes) ** 2).sum()

    plain = jax.jit(jax.grad(functools.partial(total, jax.vmap(crop))))(batch)
    again = jax.checkpoint(jax.vmap(crop))
    saved = jax.jit(jax.grad(functools.partial(total, again)))(batch)
    jax.tree.map(functools.partial(assert_allclose, rtol=1e-5, atol=1e-5), plain, saved)
    for i in range(2):
        alone = jax.grad(lambda p, i=i: (crop(p, boxes[i]) ** 2).sum())(
            jax.tree.map(lambda cells, i=i: cells[i], batch)
        )
        for level in plain:
            assert_allclose(plain[level][i], alone[level], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_features_give_bfloat16_crops_summed_in_float32(features):
    boxes = random_boxes(40, seed=6)
    rounded = features.astype(jnp.bfloat16)
    crops, transpose = jax.vjp(lambda features: align(features, boxes), rounded)
    exact, transpose_exact = jax.vjp(
        lambda features: align(features, boxes), rounded.astype(jnp.float32)
    )
    (gradient,) = transpose(crops)
    (gradient_exact,) = transpose_exact(crops.astype(jnp.float32))
    assert crops.dtype == gradient.dtype == jnp.bfloat16
    assert_array_equal(crops, exact.astype(jnp.bfloat16))
    assert_array_equal(gradient, gradient_exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("half_pixel", [True, False])
def test_gradient_on_tpus_equals_that_on_others(pyramid, half_pixel, monkeypatch):
    """With boxes for several steps, padding, and features that end early."""
    boxes = jnp.concatenate([random_boxes(77, seed=8), jnp.zeros((2, 4))])
    g = random(len(boxes), 3, 3, next(iter(pyramid.values())).shape[-1], seed=9)

    def gradient(pyramid):
        crop = functools.partial(pyramid_roi_align, output_size=3, boxes=boxes)
        size = jnp.array([100.0, 120.0])
        _, transpose = jax.vjp(
            lambda p: crop(p, half_pixel=half_pixel, size=size), pyramid
        )
        return transpose(g)[0]

    expected = jax.jit(gradient)(pyramid)
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *arrays, tpu, **others: tpu(*arrays)
    )
    found = jax.jit(lambda p: gradient(p))(pyramid)
    close = functools.partial(assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, found, expected)


@pytest.fixture
def batched_gradient(pyramid):
    batch = jax.tree.map(lambda cells: jnp.stack([cells, cells]), pyramid)

    def total(pyramid, boxes):
        crop = functools.partial(pyramid_roi_align, output_size=3)
        return jax.vmap(crop)(pyramid, boxes).sum()

    boxes = jnp.stack([random_boxes(99, seed) for seed in range(2)])
    return jax.jit(jax.grad(total)).trace(batch, boxes)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_batched_gradient_lowers_for(batched_gradient, platform):
    lowered = batched_gradient.lower(lowering_platforms=(platform,)).as_text()
    assert "while" in lowered
    assert ("scatter" in lowered) == (platform != "tpu")


def test_compiled_gradient_has_neither_branches_nor_the_part_by_boxes(batched_gradient):
    """Under `vmap` a choice by platform could become all its branches and a select."""
    program = batched_gradient.lower().compile().as_text()
    assert "conditional(" not in program
    assert program.count(" while(") == 1
