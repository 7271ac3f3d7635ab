"""Programs and their results do not depend on JAX's settings, whatever they are."""

import contextlib
import dataclasses
import re

import jax
import numpy as np
import pytest

from movseg_jax.config import CONVENTIONS, ModelConfig, TargetConfig, TrunkConfig
from movseg_jax.model.detector import Detector
from movseg_jax.model.parameters import fresh, parameter_shapes, run_key
from movseg_jax.train import parallel
from movseg_jax.train.loop import make_stage
from movseg_jax.train.objective import detection_losses
from movseg_jax.types import Batch, Inputs, Objects
from tests.oracles import hashed, random_params
from tests.test_train_loop import make_config

pytestmark = pytest.mark.usefixtures("quick_compilation")
slow = pytest.mark.slow  # Each of these traces or compiles a model for ten seconds.
every_convention = pytest.mark.parametrize(
    "convention",
    [
        pytest.param(name, marks=() if name == "continuous" else slow)
        for name in CONVENTIONS
    ],
)
TRUNK = TrunkConfig(depth=14, width=8, norm="group")
CONFIG = ModelConfig(
    appearance=TRUNK,
    motion=TRUNK,
    channels=96,  # Enough for Winograd's convolutions.
    box_head_width=8,
    static_branch=True,
    pre_nms=30,
    proposals=20,
    detections=10,
)
# Quick to compile.
SMALL = dataclasses.replace(CONFIG, motion=None, static_branch=False)
SIZE = (128, 192)
# Settings, and others than those that tests run with.
OTHERS = {
    "jax_default_matmul_precision": "bfloat16",
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_prng_impl": "rbg",
}


@contextlib.contextmanager
def settings(changes):
    before = {name: getattr(jax.config, name) for name in changes}
    for name, value in changes.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def make_inputs(batch=1):
    def row(*pair):
        return np.full((batch, 2), pair, np.float32)

    image = hashed("image", (batch, *SIZE, 3))
    motion = hashed("motion", (batch, *SIZE, 3))
    return Inputs(image, motion, row(120, 180), row(60, 90), row(2, 2))


def make_batch(batch=1):
    boxes = np.float32([[8, 8, 60, 60], [50, 20, 150, 100], [0, 0, 0, 0]])
    shape = (batch, len(boxes))
    return Batch(
        make_inputs(batch),
        Objects(
            np.broadcast_to(boxes, (batch, *boxes.shape)).copy(),
            np.full((*shape, 112, 112), 255, np.uint8),
            np.zeros(shape, np.int32),
            np.broadcast_to([True, True, False], shape).copy(),
            np.zeros((batch, SIZE[0] // 8, SIZE[1] // 8), np.uint8),
        ),
    )


def detecting(config):
    """A new function each time, since JAX keeps the programs of functions."""
    apply = Detector(config).apply
    return lambda params, inputs: apply({"params": params}, inputs)


def learning(config):
    detector = Detector(dataclasses.replace(config, static_branch=False))
    targets = TargetConfig(anchors=32, rois=16)

    def loss(params, batch, key):
        keys = jax.random.split(key, 1)
        terms = detection_losses(params, batch, keys, detector=detector, config=targets)
        return sum(term.sum for term in terms.values())

    return jax.grad(loss)


def program(function, *arguments, platforms=("cpu",)):
    """What is lowered for the platforms, as text."""
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=platforms).as_text()


# Settings ------------------------------------------------------------------------


def programs():
    """Of detecting and of learning, for every platform."""
    shapes, batch = parameter_shapes(SMALL), make_batch()
    everywhere = ("cpu", "cuda", "tpu")
    return (
        program(detecting(SMALL), shapes, batch.inputs, platforms=everywhere),
        program(learning(SMALL), shapes, batch, run_key(0), platforms=everywhere),
    )


@pytest.mark.slow
def test_programs_do_not_depend_on_settings():
    usual = programs()
    with settings(OTHERS):
        assert programs() == usual


def equal(a, b):
    """Bit for bit, and of the same dtypes."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@slow
@pytest.mark.parametrize("convention", ["continuous", "detectron"])
def test_detections_are_the_same_with_64_bits(convention):
    config = dataclasses.replace(SMALL, convention=convention)
    params = random_params(parameter_shapes(config))
    expected = jax.jit(detecting(config))(params, make_inputs())
    assert expected.moving.valid.any()
    with jax.enable_x64(True):
        equal(jax.jit(detecting(config))(params, make_inputs()), expected)


@pytest.mark.slow
@every_convention
def test_with_64_bits_nothing_is_computed_in_them(convention):
    config = dataclasses.replace(SMALL, convention=convention)
    shapes = parameter_shapes(config)
    with jax.enable_x64(True):
        batch = make_batch()
        text = program(detecting(config), shapes, batch.inputs)
        text += program(learning(config), shapes, batch, run_key(0))
    # Python's numbers come in as such, and are converted.
    passing = r"stablehlo\.(constant|convert|return)|func\.func|call @|\breturn\b"
    for line in text.splitlines():
        assert "f64" not in line or re.search(passing, line), line


@slow
def test_fresh_parameters_are_the_same_with_64_bits():
    expected = fresh(SMALL, 3)
    with jax.enable_x64(True):
        equal(fresh(SMALL, 3), expected)
        assert parameter_shapes(SMALL) == jax.eval_shape(lambda: expected)


# Training ------------------------------------------------------------------------


def train(config, steps=2):
    stage = make_stage(config)
    shapes = parameter_shapes(config.model)
    state = stage.make_state(random_params(shapes))
    key, batch = run_key(0), make_batch(jax.device_count())
    for _ in range(steps):
        state, metrics = stage.step(state, batch, key)
    return jax.device_get((state, metrics))


@slow
def test_steps_are_the_same_with_64_bits():
    config = make_config(ema_decay=0.5)
    # SGD has nothing that AdamW has not.
    chosen = dataclasses.replace(config.train.optimizer, name="adamw")
    changed = dataclasses.replace(config.train, optimizer=chosen)
    config = dataclasses.replace(config, train=changed)
    # Optax's own arithmetic promotes: `decay**count` of a float and an integer.
    with jax.numpy_dtype_promotion("standard"):
        expected = train(config)
        with jax.enable_x64(True):
            equal(train(config), expected)


@slow
@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_a_step_moves_nothing_between_host_and_devices_by_itself(how):
    stage = make_stage(make_config(parallel=how))
    shapes = parameter_shapes(make_config().model)
    state = parallel.replicate(stage.make_state(random_params(shapes)))
    key, batch = parallel.replicate(run_key(0)), make_batch(jax.device_count())
    state, _ = stage.step(state, batch, key)
    with jax.transfer_guard("disallow"):
        state, metrics = stage.step(state, batch, key)
        metrics = jax.device_get(metrics)
    assert np.isfinite(metrics["loss"]) and state.step == 2


# Precision -----------------------------------------------------------------------


@pytest.mark.slow
@every_convention
def test_products_state_the_precision_that_their_weights_need(convention):
    config = dataclasses.replace(CONFIG, convention=convention)
    shapes, batch = parameter_shapes(config), make_batch()
    accelerators = ("cuda", "tpu")
    text = program(detecting(config), shapes, batch.inputs, platforms=accelerators)
    key = run_key(0)
    text += program(learning(config), shapes, batch, key, platforms=accelerators)
    expected = "DEFAULT" if convention == "continuous" else "HIGHEST"
    convolutions = re.findall(r"stablehlo\.convolution.*", text)
    products = re.findall(r"stablehlo\.dot_general.*", text)
    assert len(convolutions) > 50 and len(products) > 20
    for line in (*convolutions, *products):
        stated = set(re.findall(r"\b(DEFAULT|HIGHEST|HIGH)\b", line))
        assert stated == {expected}, line
