"""A detector uses all devices of a machine, and its results do not depend on them."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import load_detector
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
