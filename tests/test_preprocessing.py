import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model.inputs import preprocess, resized_size, stack

APPEARANCE = ModelConfig(motion=None)
DETECTRON = ModelConfig(motion=None, convention="detectron")


def random_frame(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "frame_size, factor, size, padded",
    [
        ((480, 854), 1.560890, (749, 1333), (768, 1344)),
        ((540, 960), 1.388542, (750, 1333), (768, 1344)),
        ((480, 640), 1.666667, (800, 1067), (800, 1088)),
    ],
)
def test_detectrons_sizes(frame_size, factor, size, padded):
    assert resized_size(frame_size, DETECTRON)[0] == size
    assert_allclose(resized_size(frame_size, DETECTRON)[1], factor, rtol=1e-6)
    inputs = preprocess(random_frame(*frame_size), None, DETECTRON)
    assert inputs.image.shape == (*padded, 3)
    assert_array_equal(inputs.size, size)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from(["continuous", "torchvision", "detectron"]),
)
def test_sizes_are_positive_and_within_the_limits(height, width, convention):
    config = ModelConfig(motion=None, convention=convention)
    size, scale = resized_size((height, width), config)
    assert min(size) >= 1 and max(size) <= 1333 and min(size) <= 800
    assert min(size) >= 799 or max(size) >= 1332
    if convention != "detectron":
        assert_allclose(np.multiply(scale, (height, width)), size)


@pytest.mark.parametrize(
    "frame_size, size",
    [
        ((480, 640), (800, 1066)),
        ((480, 800), (799, 1333)),
        ((427, 640), (800, 1199)),
        ((1254, 1886), (800, 1203)),
        ((1093, 345), (1333, 420)),
        ((1900, 1801), (843, 800)),
    ],
)
def test_torchvisions_sizes(frame_size, size):
    config = ModelConfig(motion=None, convention="torchvision")
    assert resized_size(frame_size, config)[0] == size


def test_detectron_rounds_halves_to_even_as_opencv_does():
    frame = random_frame(640, 666)
    inputs = preprocess(frame, None, DETECTRON)
    assert_array_equal(inputs.size, [800, 832])
    assert inputs.image.shape == (800, 832, 3)


@pytest.mark.parametrize("convention", ["continuous", "torchvision", "detectron"])
@pytest.mark.parametrize("frame_size", [(1, 3000), (3000, 1), (1, 1), (7, 5000)])
def test_frames_of_extreme_shape_are_prepared(convention, frame_size):
    config = ModelConfig(motion=None, convention=convention)
    inputs = preprocess(random_frame(*frame_size), None, config)
    height, width = inputs.size.astype(int)
    assert inputs.image[:height, :width].any()
    assert not inputs.image[height:].any() and not inputs.image[:, width:].any()


def test_flow_that_is_not_finite_is_an_input_error():
    motion = np.full((4, 4, 3), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        preprocess(random_frame(4, 4), motion, ModelConfig())


def test_normalising_follows_the_convention():
    frame = np.zeros((800, 800, 3), np.uint8)
    frame[...] = (200, 100, 50)
    image = preprocess(frame, None, APPEARANCE).image
    expected = (np.array([200, 100, 50]) / 255 - [0.485, 0.456, 0.406]) / [
        0.229,
        0.224,
        0.225,
    ]
    assert_allclose(image[5, 5], expected, rtol=1e-5)
    image = preprocess(frame, None, DETECTRON).image
    assert_allclose(
        image[5, 5],
        np.array([50, 100, 200]) - [102.9801, 115.9465, 122.7717],
        rtol=1e-6,
    )


def test_detectron_samples_at_the_factor_not_at_the_ratio_of_sizes():
    """OpenCV given fx samples at (x + 0.5) / fx - 0.5, whatever the rounded width."""
    config = ModelConfig(
        motion=None, convention="detectron", short_side=10, long_side=17
    )
    frame = np.repeat(np.arange(0, 250, 25, dtype=np.uint8)[:, None], 13, 1)
    frame = np.stack([frame.T] * 3, -1)  # 13 rows of a ramp along 10 columns.
    (height, width), (factor, _) = resized_size((13, 10), config)
    assert (height, width) == (13, 10) and factor == 1
    config = ModelConfig(motion=None, convention="detectron", short_side=7, long_side=9)
    (height, width), (factor, _) = resized_size((13, 10), config)
    assert (height, width) == (9, 7)
    image = preprocess(frame, None, config).image[:height, :width, 2] + 122.7717
    source = np.clip((np.arange(width) + 0.5) / factor - 0.5, 0, 9)
    assert_allclose(image[4], 25 * source, atol=0.02)


def test_padding_is_zero_at_the_bottom_and_right():
    inputs = preprocess(random_frame(50, 70), None, APPEARANCE, pad_to=(832, 1344))
    height, width = inputs.size.astype(int)
    assert inputs.image.shape == (832, 1344, 3)
    assert not inputs.image[height:].any() and not inputs.image[:, width:].any()
    assert inputs.image[height - 1, width - 1].any()


@pytest.mark.parametrize(
    "convention, padded",
    [
        ("continuous", (800, 1200)),
        ("torchvision", (800, 1216)),
        ("detectron2", (800, 1216)),
        ("detectron", (800, 1216)),
    ],
)
def test_padding_that_is_ignored_is_less(convention, padded):
    config = ModelConfig(motion=None, convention=convention)
    inputs = preprocess(random_frame(427, 640), None, config)
    assert tuple(inputs.size) in ((800, 1199), (800, 1200))
    assert inputs.image.shape == (*padded, 3)


def test_motion_is_resized_with_the_frame_but_not_normalised():
    motion = np.full((40, 60, 3), 7, np.float32)
    inputs = preprocess(random_frame(40, 60), motion, ModelConfig())
    height, width = inputs.size.astype(int)
    assert_array_equal(inputs.motion[:height, :width], 7)


def test_streams_a_model_lacks_are_left_out():
    motion_only = ModelConfig(appearance=None, motion=TrunkConfig())
    motion = np.ones((40, 60, 3), np.float32)
    assert preprocess(random_frame(40, 60), motion, motion_only).image is None
    assert preprocess(random_frame(40, 60), None, APPEARANCE).motion is None


def test_frames_of_a_batch_are_stacked():
    inputs = [preprocess(random_frame(40, 60), None, APPEARANCE)] * 3
    batch = stack(inputs)
    assert batch.image.shape == (3, *inputs[0].image.shape)
    assert batch.size.shape == (3, 2) and batch.motion is None


@pytest.mark.parametrize(
    "frame, motion, pad_to, message",
    [
        (np.zeros((4, 4), np.uint8), None, None, "uint8 .height, width, 3."),
        (np.zeros((4, 4, 3), np.float32), None, None, "got float32"),
        (np.zeros((0, 4, 3), np.uint8), None, None, "has no pixels"),
        (np.zeros((4, 4, 3), np.uint8), None, (32, 32), "does not fit into 32x32"),
    ],
)
def test_a_wrong_frame_is_an_input_error(frame, motion, pad_to, message):
    with pytest.raises(InputError, match=message):
        preprocess(frame, motion, APPEARANCE, pad_to=pad_to)


def test_flow_of_another_size_is_an_input_error():
    with pytest.raises(InputError, match=r"shape \[4, 5, 3\]"):
        preprocess(random_frame(4, 4), np.zeros((4, 5, 3), np.float32), ModelConfig())
    with pytest.raises(InputError, match="needs the encoded flow"):
        preprocess(random_frame(4, 4), None, ModelConfig())
