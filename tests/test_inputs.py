"""What the detector gets when a video is segmented, against what it was trained on."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.config import ModelConfig
from movseg_jax.data import batches, transforms
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import WAYS, encode_flow
from movseg_jax.flow.global_motion import homography_flow
from movseg_jax.model.inputs import make_inputs, preprocess, resized_size
from tests.fakes.memory_source import MemorySource

MODEL = ModelConfig(short_side=48, long_side=64)


@pytest.mark.parametrize("way", WAYS)
def test_motion_is_what_training_makes_of_the_same_frame(way):
    model = dataclasses.replace(MODEL, flow_encoding=way)
    example = MemorySource([(90, 120)])[0]
    size, _ = resized_size((90, 120), model)
    trained, _ = batches.to_training(
        transforms.resize(example, size), model, (64, 64), 5
    )
    inputs = make_inputs(example.image, example.flow, model, pad_to=(64, 64))
    assert_array_equal(inputs.motion, trained.motion)
    # Training rounds the resized frame to whole grey levels.
    level = np.divide(1, model.arithmetic.std)
    assert (np.abs(inputs.image - trained.image) <= level).all()


@pytest.mark.parametrize("way", ["residual", "vectors"])  # No angles of almost 0.
def test_the_camera_s_motion_is_resized_with_the_flow(way):
    model = dataclasses.replace(MODEL, flow_encoding=way)
    frame = MemorySource([(90, 120)])[0].image
    camera = np.array([[1.01, 0.02, 3], [-0.01, 0.98, -2], [1e-4, 0, 1]])
    moved = homography_flow(camera, (90, 120))
    moved[30:60, 40:80] += (5, 3)
    given = make_inputs(frame, moved, model, camera=camera).motion
    estimated = make_inputs(frame, moved, model).motion
    assert_allclose(given, estimated, atol=0.1 if way == "vectors" else 0.02)
    other = make_inputs(frame, moved, model, camera=np.eye(3)).motion
    assert np.abs(other - estimated).max() > 0.1


def test_the_authors_convention_resizes_the_encoding():
    model = dataclasses.replace(MODEL, convention="detectron", flow_encoding="paper")
    example = MemorySource([(90, 120)])[0]
    expected = preprocess(example.image, encode_flow(example.flow, "paper"), model)
    inputs = make_inputs(example.image, example.flow, model)
    assert_array_equal(inputs.motion, expected.motion)


def test_a_model_without_motion_stream_does_not_look_at_flow():
    model = dataclasses.replace(MODEL, motion=None)
    frame = MemorySource([(90, 120)])[0].image
    inputs = make_inputs(frame, None, model)
    assert inputs.motion is None
    assert_array_equal(inputs.image, preprocess(frame, None, model).image)


@pytest.mark.parametrize("value, size", [(np.nan, (90, 120)), (0.0, (45, 60))])
def test_flow_that_is_none_of_the_frame_is_refused(value, size):
    frame = MemorySource([(90, 120)])[0].image
    with pytest.raises(InputError, match="flow"):
        make_inputs(frame, np.full((*size, 2), value, np.float32), MODEL)
