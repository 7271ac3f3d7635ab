import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from movseg_jax.config import OptimizerConfig
from movseg_jax.errors import InputError
from movseg_jax.train import parallel
from movseg_jax.train.freezing import join, paths, split, trains
from movseg_jax.train.losses import Term
from movseg_jax.train.optimizers import make_optimizer
from movseg_jax.train.step import Step, TrainState

OPTIMIZER = optax.sgd(0.1, momentum=0.9)
ALL = {"w": True, "v": True}


def objective(params, batch, keys):
    """Two terms; one is a mean over a number of examples that varies by device."""
    noise = jax.vmap(jax.random.normal)(keys)
    error = batch["x"] @ params["w"] + params["v"] - batch["y"] + noise
    positive = batch["y"] > 0
    return {
        "all": Term(jnp.sum(error**2), jnp.float32(error.size)),
        "positive": Term(
            jnp.sum(jnp.where(positive, jnp.abs(error), 0)),
            jnp.sum(positive, dtype=jnp.float32),
        ),
    }


def reference_step(params, batch, key, step=0):
    """The same update by plain JAX: one device, the whole batch, textbook means."""
    key = jax.random.fold_in(key, step)
    keys = jnp.stack([jax.random.fold_in(key, i) for i in range(len(batch["y"]))])

    def loss(params):
        return sum(t.sum / t.weight for t in objective(params, batch, keys).values())

    gradient = jax.grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(16, 3)).astype(np.float32),
        "y": rng.normal(size=16).astype(np.float32),
    }


def make_state(mask=ALL):
    params = {"w": jnp.arange(3.0), "v": jnp.ones(())}
    trained, _ = split(params, mask)
    step = jnp.zeros((), jnp.int32)
    # A copy, since all buffers are donated.
    return TrainState(
        step, params, OPTIMIZER.init(trained), jax.tree.map(jnp.copy, trained)
    )


def make_step(how, mask=ALL, **options):
    return parallel.data_parallel(Step(objective, OPTIMIZER, mask, **options), how)


both_ways = pytest.mark.parametrize("how", ["pmap", "shard_map"])


@both_ways
def test_many_devices_do_what_one_would(how, batch):
    key = jax.random.key(7)
    state = make_state()
    expected = reference_step(state.params, batch, key)
    new, metrics = make_step(how)(state, batch, key)
    for name in expected:
        assert_allclose(new.params[name], expected[name], rtol=1e-5)
    assert metrics["loss"].shape == () and new.step == 1


@both_ways
def test_devices_stay_equal(how, batch):
    state, step = make_state(), make_step(how)
    for _ in range(3):
        state, metrics = step(state, batch, jax.random.key(0))
    for leaf in jax.tree.leaves((state, metrics)):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        assert len(others) == jax.device_count() - 1
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_both_ways_do_the_same(batch):
    a, _ = make_step("pmap")(make_state(), batch, jax.random.key(0))
    b, _ = make_step("shard_map")(make_state(), batch, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@both_ways
def test_a_batch_that_does_not_split_is_refused(how, batch):
    with pytest.raises(InputError, match="to a multiple of 4"):
        make_step(how)(
            make_state(), jax.tree.map(lambda x: x[:6], batch), jax.random.key(0)
        )


@both_ways
def test_what_is_frozen_stays_and_has_no_optimizer_state(how, batch):
    mask = {"w": True, "v": False}
    state = make_state(mask)
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
    assert shapes == [(3,)]
    new, _ = make_step(how, mask)(state, batch, jax.random.key(0))
    assert new.params["v"] == 1 and (new.params["w"] != jnp.arange(3.0)).all()


def test_microbatches_average_their_gradients(batch):
    # Every part has the same weights here, so the mean of means is the mean.
    batch["y"] = np.tile(np.float32([1, -1]), 8)
    batch["x"][8:] = batch["x"][:8]
    whole, _ = make_step("pmap")(make_state(), batch, jax.random.key(0))
    parts, _ = make_step("pmap", microbatches=2)(make_state(), batch, jax.random.key(0))
    assert_allclose(whole.params["w"], parts.params["w"], rtol=1e-5)


def test_the_average_follows_what_trains(batch):
    new, _ = make_step("pmap", ema_decay=0.75)(make_state(), batch, jax.random.key(0))
    expected = 0.75 * jnp.arange(3.0) + 0.25 * new.params["w"]
    assert_allclose(new.average["w"], expected, rtol=1e-6)


PARAMS = {"appearance": {"fpn": {"kernel": 1, "bias": 2}}, "rpn": {"kernel": 3}}


def test_globs_name_what_is_frozen():
    mask = trains(PARAMS, ["appearance/*"])
    assert mask == {
        "appearance": {"fpn": {"kernel": False, "bias": False}},
        "rpn": {"kernel": True},
    }
    assert paths(PARAMS)[0] == "appearance/fpn/bias"


def test_globs_name_what_learns_slower():
    config = OptimizerConfig(
        learning_rate=1.0,
        warmup_factor=1.0,
        weight_decay=0.0,
        rates=(("appearance/*", 0.5), ("*/bias", 0.1)),
    )
    trained, _ = split(PARAMS, trains(PARAMS, ["rpn/*"]))
    gradients = jax.tree.map(jnp.float32, trained)
    optimizer = make_optimizer(config, steps=10)
    updates, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    fpn = updates["appearance"]["fpn"]  # Biases learn twice as fast as the rest.
    assert_allclose([fpn["kernel"], fpn["bias"]], [-1 * 0.5, -2 * 0.5 * 0.1 * 2])
    wrong = make_optimizer(dataclasses.replace(config, rates=(("rpn/*", 0.1),)), 10)
    with pytest.raises(InputError, match=r"rates: 'rpn/\*' matches .*appearance/fpn"):
        wrong.init(gradients)


def test_split_and_join_are_inverse():
    mask = trains(PARAMS, ["*/bias"])
    trained, frozen = split(PARAMS, mask)
    assert jax.tree.leaves(trained) == [1, 3] and jax.tree.leaves(frozen) == [2]
    assert join(trained, frozen) == PARAMS


@pytest.mark.parametrize(
    "globs, message",
    [
        (["apearance/*"], "'apearance/\\*' matches no parameter.*appearance/fpn"),
        (["*"], "nothing to train"),
    ],
)
def test_wrong_globs_are_refused(globs, message):
    with pytest.raises(InputError, match=message):
        trains(PARAMS, globs)
