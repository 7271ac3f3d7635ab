import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import masks
from movseg_jax.config import AugmentConfig, DataConfig, ModelConfig, TrunkConfig
from movseg_jax.data import batches, transforms
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import WAYS, encode_flow
from movseg_jax.model.inputs import preprocess, resized_size
from tests.fakes.memory_source import random_example

SIDE = batches.MASK_SIDE
MODEL = ModelConfig(short_side=64, long_side=96)
APPEARANCE = dataclasses.replace(MODEL, motion=None)


def overlaps(cells, spans):
    """How much of each span [start, stop] lies in each cell, [0, 1], [1, 2]..."""
    edges = np.arange(cells)
    start, stop = np.array(spans, np.float64).T
    inside = np.minimum(stop[:, None], edges + 1) - np.maximum(start[:, None], edges)
    return np.maximum(inside, 0)


def coverage(values, box, cells):
    """How much of each of cells x cells over a box is covered; nothing outside is."""
    weights = []
    for axis, (start, stop) in enumerate(((box[1], box[3]), (box[0], box[2]))):
        edges = np.linspace(start, stop, cells + 1)
        inside = overlaps(values.shape[axis], np.stack([edges[:-1], edges[1:]], 1))
        weights.append(inside / (edges[1] - edges[0]))
    return weights[0] @ np.asarray(values, np.float64) @ weights[1].T


def blob(size, seed, cells=6):
    coarse = np.random.default_rng(seed).normal(size=(cells, cells))
    mask = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) > 0
    mask[size[0] // 2, size[1] // 2] = True
    return mask


# Masks ---------------------------------------------------------------------------


SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@given(st.integers(0, 99), SIZES)
def test_a_cropped_mask_is_the_coverage_of_its_cells_by_definition(seed, size):
    mask = blob(size, seed)
    box = masks.tight_box(mask)
    expected = np.round(255 * coverage(mask, box, SIDE))
    # Where the coverage is between two levels, rounding may go either way.
    assert_allclose(batches.crop_mask(mask, box), expected, atol=1)
    assert np.mean(batches.crop_mask(mask, box) != expected) < 0.01


def test_a_mask_of_whole_cells_is_kept_exactly():
    mask = np.zeros((40, 300), bool)
    mask[7:35, 30:254] = np.random.default_rng(0).random((28, 224)) < 0.5
    mask[7, 30] = mask[34, 253] = True
    inside = mask[7:35, 30:254].reshape(28, 112, 2).mean(axis=2)
    expected = np.repeat(np.round(inside * 255), 4, axis=0)
    cropped = batches.crop_mask(mask, np.float32([30, 7, 254, 35]))
    assert_array_equal(cropped, expected)


def test_a_mask_that_fills_its_box_is_full():
    for size in ((1, 1), (3, 500), (113, 112)):
        assert (
            batches.crop_mask(np.ones(size, bool), np.float32([0, 0, *size[::-1]]))
            == 255
        ).all()


def box_iou(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(sides, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def roi_near(box, rng):
    """A RoI with an IoU of 0.5 or more; not within the frame for certain."""
    sides = np.tile(box[2:] - box[:2], 2)
    while True:
        roi = box + rng.uniform(-0.5, 0.5, 4) * sides
        if box_iou(roi, box) >= 0.5:
            return roi


@pytest.mark.parametrize("side", [6, 20, 60, 112, 250, 700])
def test_targets_from_cropped_masks_are_those_from_whole_ones(side):
    rng = np.random.default_rng(side)
    different = cells = 0
    for seed in range(12):
        size = (side, int(rng.integers(side // 2, 2 * side)))
        mask = np.pad(blob(size, seed), 5)
        box = masks.tight_box(mask)
        cropped = batches.crop_mask(mask, box) / 255
        for _ in range(4):
            roi = roi_near(box, rng)
            whole = coverage(mask, roi, 28)
            scale = SIDE / np.tile(box[2:] - box[:2], 2)
            target = coverage(cropped, (roi - np.tile(box[:2], 2)) * scale, 28)
            # A cell of the target has at least 2x2 of the crop's: what is not known is
            # where within a cell of the crop the mask is.
            assert np.abs(target - whole).max() < 0.15
            assert_allclose(target.mean(), whole.mean(), atol=0.002)
            different += np.sum((target >= 0.5) != (whole >= 0.5))
            cells += target.size
    assert different / cells < 0.001


# Examples ------------------------------------------------------------------------


def test_inputs_are_those_of_inference_for_a_frame_of_the_right_size():
    example = random_example(0, (64, 80))
    inputs, _ = batches.to_training(example, MODEL, (64, 96), 10)
    expected = preprocess(
        example.image, encode_flow(example.flow), MODEL, pad_to=(64, 96)
    )
    for name in expected._fields:
        assert_array_equal(getattr(inputs, name), getattr(expected, name))
        assert getattr(inputs, name).dtype == np.float32


@pytest.mark.parametrize("way", WAYS)
def test_flow_is_encoded_as_the_model_wants_it(way):
    model = dataclasses.replace(MODEL, flow_encoding=way)
    example = random_example(0, (32, 40))
    inputs, _ = batches.to_training(example, model, (32, 64), 3)
    assert_array_equal(inputs.motion[:, :40], encode_flow(example.flow, way))
    assert not inputs.motion[:, 40:].any()


def test_streams_that_the_model_lacks_are_none():
    example = random_example(0, (32, 32), flow=False)
    inputs, _ = batches.to_training(example, APPEARANCE, (32, 32), 3)
    assert inputs.motion is None and inputs.image is not None
    motion = dataclasses.replace(MODEL, appearance=None, motion=TrunkConfig())
    inputs, _ = batches.to_training(random_example(0, (32, 32)), motion, (32, 32), 3)
    assert inputs.image is None and inputs.motion is not None
    with pytest.raises(InputError, match=r"memory/0 has no flow.*with_flow"):
        batches.to_training(example, motion, (32, 32), 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_flow_that_is_not_finite_is_refused(value):
    example = random_example(0, (32, 40))
    example.flow[3, 4, 1] = value
    with pytest.raises(InputError, match="memory/0: the flow is not finite"):
        batches.to_training(example, MODEL, (32, 64), 3)


@given(
    st.integers(0, 99),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 9),
    st.integers(1, 6),
)
def test_objects_are_padded_to_their_number(seed, size, count, most):
    example = random_example(seed, size, objects=count, flow=False)
    _, objects = batches.to_training(example, APPEARANCE, (64, 64), most)
    assert objects.boxes.shape == (most, 4) and objects.boxes.dtype == np.float32
    assert objects.masks.shape == (most, SIDE, SIDE) and objects.masks.dtype == np.uint8
    assert objects.classes.shape == (most,) and objects.classes.dtype == np.int32
    assert objects.ignored.shape == (8, 8) and objects.ignored.dtype == np.uint8
    left = int((example.masks.any(axis=(1, 2)) & ~example.ignore).sum())
    assert objects.valid.dtype == bool
    assert_array_equal(objects.valid, np.arange(most) < min(left, most))
    for array in objects[:4]:
        assert not array[~objects.valid].any()
    sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
    assert (sides[objects.valid] >= 1).all()
    # An object reaches every side of its box.
    for edge in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        assert objects.masks[objects.valid][edge].any(axis=1).all()


def squares(sides, ignore=None):
    mask = np.zeros((len(sides), 64, 64), bool)
    for i, side in enumerate(sides):
        mask[i, :side, :side] = True
    return dataclasses.replace(
        random_example(0, (64, 64), objects=len(sides)),
        masks=mask,
        ignore=np.array(ignore or [False] * len(sides)),
    )


def test_the_largest_objects_are_kept_and_the_others_ignored():
    example = squares([8, 0, 16, 24], [False, False, False, True])
    for most, expected, left_out in [
        (1, [16], [8, 24]),
        (2, [8, 16], [24]),
        (3, [8, 16, 0], [24]),
    ]:
        _, objects = batches.to_training(example, MODEL, (64, 64), most)
        assert_array_equal(objects.boxes[:, 2], expected)
        cells = max(left_out) // 8
        covered = np.zeros((8, 8), np.uint8)
        covered[:cells, :cells] = 255
        assert_array_equal(objects.ignored, covered)


@given(st.integers(0, 99), st.tuples(st.integers(1, 60), st.integers(1, 40)))
def test_what_is_ignored_is_counted_in_cells(seed, size):
    example = random_example(seed, size, objects=3, flow=False)
    _, objects = batches.to_training(example, APPEARANCE, (64, 64), 3)
    union = np.zeros((64, 64))
    union[: size[0], : size[1]] = example.masks[example.ignore].any(axis=0)
    for y in range(8):
        for x in range(8):
            part = union[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].mean()
            assert abs(objects.ignored[y, x] - 255 * part) <= 0.5


def test_classes_are_the_model_s():
    example = dataclasses.replace(squares([9, 5]), classes=np.int32([2, 1]))
    _, objects = batches.to_training(example, MODEL, (64, 64), 3)
    assert_array_equal(objects.classes, [0, 0, 0])
    three = dataclasses.replace(MODEL, classes=3)
    _, objects = batches.to_training(example, three, (64, 64), 3)
    assert_array_equal(objects.classes, [2, 1, 0])
    with pytest.raises(InputError, match=r"class 2, but the model has 2 .*classes"):
        two = dataclasses.replace(MODEL, classes=2)
        batches.to_training(example, two, (64, 64), 3)


def test_an_example_that_does_not_fit_is_refused():
    with pytest.raises(
        InputError, match="memory/0: 40x33 pixels do not fit into 64x32"
    ):
        batches.to_training(random_example(0, (33, 40)), MODEL, (32, 64), 3)


# Augmentation --------------------------------------------------------------------


def assert_same(result, expected):
    for name in ("image", "motion", "size", "frame_size", "scale"):
        assert_array_equal(getattr(result[0], name), getattr(expected[0], name))
    for got, wanted in zip(result[1], expected[1], strict=True):
        assert_array_equal(got, wanted)


ALL = AugmentConfig(
    flip=0.5, paste=0.5, scale=(0.5, 2.0),
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1,
)  # fmt: skip


def test_without_augmentation_an_example_is_only_resized():
    example = random_example(0, (48, 60))
    data = DataConfig(augment=AugmentConfig(flip=0.0))
    rng = np.random.default_rng(0)
    result = batches.augment(example, (64, 96), None, data, MODEL, rng)
    resized = transforms.resize(example, (64, 80))
    expected = batches.to_training(resized, MODEL, (64, 96), data.max_objects)
    assert_same(result, expected)


@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 4),
)
def test_augmented_examples_fill_their_bucket_and_are_determined(seed, size, count):
    example = random_example(seed, size, objects=count)
    other = random_example(seed + 1, (30, 50), objects=3)
    data = DataConfig(augment=ALL, max_objects=8)

    def make(example):
        rng = np.random.default_rng(seed)
        return batches.augment(example, (64, 64), other, data, MODEL, rng)

    inputs, objects = make(example)
    assert inputs.image.shape == inputs.motion.shape == (64, 64, 3)
    height, width = inputs.size.astype(int)
    assert not inputs.image[height:].any() and not inputs.motion[:, width:].any()
    assert (objects.boxes[:, 2:] <= [width, height]).all()
    assert_same((inputs, objects), make(example))


def test_a_crop_does_not_change_how_fast_things_look():
    # The encoding is relative to the image's diagonal: to the frame's, not the crop's.
    example = random_example(0, (64, 64), objects=0)
    example = dataclasses.replace(example, flow=np.full((64, 64, 2), 3, np.float32))
    data = DataConfig(augment=AugmentConfig(flip=0.0, scale=(2.0, 2.0)))
    rng = np.random.default_rng(0)
    inputs, _ = batches.augment(example, (64, 96), None, data, MODEL, rng)
    whole = encode_flow(example.flow)[0, 0]
    assert_allclose(
        inputs.motion, np.broadcast_to(whole, inputs.motion.shape), rtol=1e-5
    )


def test_the_size_is_that_of_inference():
    size, _ = resized_size((48, 90), MODEL)
    data = DataConfig(augment=AugmentConfig(flip=1.0))
    rng, example = np.random.default_rng(0), random_example(0, (48, 90))
    inputs, _ = batches.augment(example, (64, 96), None, data, MODEL, rng)
    assert_array_equal(inputs.size, size)
