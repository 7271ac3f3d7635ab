"""Devices and rounded kernels of a detector do not change its results."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import TrainedDetector, load_detector, round_kernels
from movseg_jax.model.parameters import fresh
from movseg_jax.model.weights import Weights
from tests.fakes.narrow_model import MODEL


@pytest.fixture(scope="module")
def detector():
    return load_detector(Weights(fresh(MODEL, 0), MODEL, {}, "", "fresh"))


def frames(count):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 64, 64, 3), np.uint8)
    flows = rng.normal(0, 2, (count, 64, 64, 2)).astype(np.float32)
    return [make_inputs(*pair, MODEL) for pair in zip(images, flows, strict=True)]


@pytest.mark.slow
def test_devices_that_share_a_batch_find_what_one_device_finds(detector):
    inputs = frames(8)
    shared = detector(stack(inputs))
    assert shared.moving.boxes.devices() == {*jax.local_devices()}
    assert shared.moving.valid.any()
    pairs = [detector(stack(inputs[i : i + 2])) for i in range(0, 8, 2)]
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(detector.params))
    assert all(len(pair.moving.boxes.devices()) == 1 for pair in pairs)
    for name, found in shared.moving._asdict().items():
        alone = np.concatenate([getattr(pair.moving, name) for pair in pairs])
        assert_array_equal(found, alone, err_msg=name)


ROUNDED = dataclasses.replace(MODEL, static_branch=True, mask_fine=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fusion", ["residual", "cross_attention", "movseg_jax.nn.fusion:ResidualBlock"]
)
def test_kernels_that_are_rounded_once_find_the_same(fusion, quick_compilation):
    model = dataclasses.replace(ROUNDED, fusion=fusion)
    given = TrainedDetector(model, fresh(model, 0), "random", "", "", "bfloat16")
    rounded = round_kernels(given)
    inputs = stack(frames(1))
    expected, found = given(inputs), rounded(inputs)
    assert expected.moving.valid.any()
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert_array_equal(a, b)
    dtypes = jax.tree.map(lambda x: x.dtype, rounded.params)
    assert dtypes["box_head"]["fc1"]["kernel"] == jnp.bfloat16
    assert dtypes["mask_head"]["conv0"]["kernel"] == jnp.float32
    if fusion != "cross_attention":
        of_fusion = dtypes["fusion"]["conv1"]["kernel"]
        assert of_fusion == (jnp.float32 if ":" in fusion else jnp.bfloat16)


def test_only_kernels_that_are_rounded_anyway_are_rounded():
    params = {"fc1": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    for precision in ("default", "highest", None):
        given = TrainedDetector(MODEL, params, "any", "", "", precision)
        assert round_kernels(given) is given


@pytest.mark.parametrize("name", ["run", "run.safetensors"])
def test_weights_that_are_not_there_are_told_so(name, tmp_path):
    with pytest.raises(InputError, match=f"{name}: there is no such file or folder"):
        load_detector(tmp_path / name)
