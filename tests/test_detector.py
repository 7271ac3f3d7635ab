"""What must hold of the whole detector, whatever its weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model.detector import Detector
from movseg_jax.types import Inputs, Proposals
from tests.oracles import random_params

TRUNK = TrunkConfig(depth=14, width=8, norm="group")
TINY = ModelConfig(
    appearance=TRUNK,
    motion=TRUNK,
    channels=16,
    box_head_width=32,
    short_side=64,
    long_side=96,
    anchor_size=4.0,
    pre_nms=100,
    proposals=50,
    detections=10,
    min_score=0.0,
    static_branch=True,
    mask_features="appearance",
    mask_fine=4,
)
ONE_STREAM = dataclasses.replace(
    TINY, motion=None, static_branch=False, mask_features="fused"
)


pytestmark = pytest.mark.usefixtures("quick_compilation")


def random_inputs(seed=0, batch=1, shape=(64, 96), size=None, frame_size=None):
    """Noise of a given size, at the top left of arrays of a given shape."""
    size = size or shape
    keys = jax.random.split(jax.random.key(seed), 2)
    noise = [jax.random.normal(key, (batch, *size, 3)) for key in keys]
    pad = [(0, 0), (0, shape[0] - size[0]), (0, shape[1] - size[1]), (0, 0)]
    image, motion = (jnp.pad(x, pad) for x in noise)
    size = np.float32(size)
    frame_size = np.float32(frame_size or size)
    rows = [
        jnp.asarray(np.tile(x, (batch, 1)))
        for x in (size, frame_size, size / frame_size)
    ]
    return Inputs(image, motion, *rows)


@pytest.fixture(scope="module")
def params():
    """Of `TINY`."""
    shapes = jax.eval_shape(Detector(TINY).init, jax.random.key(0), random_inputs())
    return random_params(shapes["params"])


@pytest.fixture(scope="module")
def traces():
    """The shapes of images that `detect` was traced for."""
    return []


@pytest.fixture(scope="module")
def detect(params, traces):
    @jax.jit
    def apply(params, inputs):
        traces.append(inputs.image.shape)
        return Detector(TINY).apply({"params": params}, inputs)

    return functools.partial(apply, params)


def apply(config, params):
    return jax.jit(Detector(config).apply)({"params": params}, random_inputs())


def apply_one_stream(params, **changes):
    """Detects by appearance alone, which compiles in half the time."""
    single = {k: params[k] for k in ("appearance", "rpn", "box_head", "mask_head")}
    return apply(dataclasses.replace(ONE_STREAM, **changes), single)


def test_outputs_have_fixed_shapes_and_marked_padding(detect):
    for found in detect(random_inputs(batch=3)):
        assert found.boxes.shape == (3, 10, 4)
        assert found.mask_logits.shape == (3, 10, 28, 28)
        assert found.valid.any()
        assert not found.boxes[~found.valid].any()
        assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
        assert all(jnp.isfinite(leaf).all() for leaf in found)


def test_boxes_are_within_the_frame_and_in_its_pixels(detect):
    inputs = random_inputs(size=(50, 70), frame_size=(100, 210))
    for found in detect(inputs):
        boxes = np.asarray(found.boxes[0])
        low, high = boxes[:, :2], boxes[:, 2:]
        assert (low >= 0).all() and (high <= np.float32([210, 100]) + 1e-3).all()
        assert high.max() > 100


def assert_within_rounding(actual, expected):
    """Sums may be taken in another order: equal but for 1e-4 of the largest value."""
    expected = np.asarray(expected)
    assert_allclose(actual, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_a_batch_equals_its_images_one_by_one(detect):
    singles = [random_inputs(seed) for seed in range(3)]
    batch = Inputs(*(jnp.concatenate(parts) for parts in zip(*singles, strict=True)))
    together = detect(batch)
    for i, inputs in enumerate(singles):
        alone = detect(inputs)
        row = jax.tree.map(lambda a: a[i : i + 1], together)  # noqa: B023
        jax.tree.map(assert_within_rounding, row, alone)


@pytest.mark.parametrize(
    "shape",
    [
        (96, 96),
        pytest.param((64, 80), marks=pytest.mark.slow),
        pytest.param((64, 128), marks=pytest.mark.slow),
        pytest.param((160, 192), marks=pytest.mark.slow),
    ],
)
def test_padding_to_a_bigger_bucket_changes_no_detection(detect, shape):
    size = (50, 70)
    expected = detect(random_inputs(size=size, shape=(64, 96)))
    actual = detect(random_inputs(size=size, shape=shape))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-3), actual, expected)


def test_one_compilation_per_size_of_input(detect, traces):
    for seed in range(3):
        detect(random_inputs(seed, size=(50 + seed, 70)))
        detect(random_inputs(seed, shape=(96, 96)))
    assert {(1, 64, 96, 3), (1, 96, 96, 3)} <= set(traces)
    assert len(traces) == len(set(traces))


def heads_of(detector, inputs, proposals):
    """Everything differentiable that comes out of the detector, for given boxes."""
    features = detector.features(inputs)
    outputs = detector.rpn(features["fused"])
    logits, deltas = detector.classify(
        detector.box_head, features["fused"], proposals.boxes, inputs
    )
    selected = detector.select(logits, deltas, proposals, inputs)
    mask_logits = detector.mask_logits(
        features["appearance"], selected.rois, selected.classes, inputs
    )
    return outputs, logits, deltas, selected.boxes, selected.scores, mask_logits


@pytest.fixture(scope="module")
def gradient():
    """Of the sum and the sum of squares of everything, for the parameters."""

    def loss(params, proposals):
        outputs = Detector(TINY).apply(
            {"params": params}, random_inputs(), proposals, method=heads_of
        )
        return sum(
            jnp.sum(leaf**2) + jnp.sum(leaf) for leaf in jax.tree.leaves(outputs)
        )

    return jax.jit(jax.grad(loss))


@pytest.mark.slow
@pytest.mark.parametrize(
    "boxes, valid",
    [
        pytest.param(np.zeros((8, 4)), False, id="padding only"),
        pytest.param(np.full((8, 4), 30.0), True, id="boxes of zero area"),
        pytest.param(np.tile([5.0, 5, 40, 30], (8, 1)), True, id="all equal"),
        pytest.param(np.tile([0.0, 0, 96, 64], (8, 1)), True, id="the whole image"),
        pytest.param(np.tile([90.0, 60, 20, 10], (8, 1)), True, id="inverted"),
    ],
)
@pytest.mark.parametrize("scores", ["different", "all equal"])
def test_gradients_are_finite_for(params, gradient, boxes, valid, scores):
    proposals = Proposals(
        jnp.float32(boxes)[None], jnp.full((1, 8), 0.5), jnp.full((1, 8), valid)
    )
    if scores == "all equal":
        params = jax.tree_util.tree_map_with_path(
            lambda path, p: 0 * p if path[-2].key in ("logits", "deltas") else p, params
        )
    gradients = gradient(params, proposals)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_gradients_of_the_whole_detector_are_finite_and_reach_both_trunks(params):
    @jax.jit
    @jax.grad
    def gradient(params):
        outputs = Detector(TINY).apply({"params": params}, random_inputs())
        found = outputs.moving
        return jnp.sum(found.scores) + jnp.sum(found.mask_logits) + jnp.sum(found.boxes)

    gradients = gradient(params)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))
    for stream in ("appearance", "motion"):
        assert any(g.any() for g in jax.tree.leaves(gradients[stream]))


def assert_empty(found):
    assert not found.valid.any()
    assert not found.boxes.any() and not found.scores.any()
    assert jnp.isfinite(found.mask_logits).all()


@pytest.mark.slow
def test_no_object_anywhere_is_an_empty_result(params):
    assert_empty(apply_one_stream(params, min_score=1.0).moving)


@pytest.mark.slow
def test_no_object_anywhere_is_an_empty_result_of_both_branches(params):
    for found in apply(dataclasses.replace(TINY, min_score=1.0), params):
        assert_empty(found)


@pytest.mark.slow
def test_padding_has_no_masks_and_the_others_are_the_same(params):
    every = apply(dataclasses.replace(TINY, detections=25), params)
    assert every.moving.valid.all()
    least = float(every.moving.scores[0, 12])
    config = dataclasses.replace(TINY, detections=25, min_score=least)
    some = apply(config, params)
    assert list(some.moving.valid[0]) == [True] * 12 + [False] * 13
    for found, all_found in zip(some, every, strict=True):
        count = int(found.valid.sum())
        for a, b in zip(found, all_found, strict=True):
            assert_within_rounding(a[0, :count], b[0, :count])
        assert not found.mask_logits[0, count:].any()


def test_the_static_branch_sees_appearance_only(params, detect):
    inputs = random_inputs()
    other = inputs._replace(motion=inputs.motion + 1)
    before, after = detect(inputs), detect(other)
    jax.tree.map(assert_array_equal, before.static, after.static)
    assert not np.array_equal(before.moving.scores, after.moving.scores)


@pytest.mark.slow
def test_two_streams_with_the_appearance_s_heads_are_the_appearance_model(params):
    """Every head on appearance features ignores motion: stage 1's model again."""
    config = dataclasses.replace(
        TINY,
        rpn_features="appearance",
        box_features="appearance",
        static_branch=False,
    )
    two = apply(config, params).moving
    one = apply_one_stream(params).moving
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-6), two, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "convention", ["continuous", "torchvision", "detectron2", "detectron"]
)
def test_every_convention_runs_with_several_classes(convention):
    config = dataclasses.replace(ONE_STREAM, convention=convention, classes=3)
    inputs = random_inputs(frame_size=(32, 48))
    detector = Detector(config)
    params = random_params(jax.eval_shape(detector.init, jax.random.key(0), inputs))
    found = jax.jit(detector.apply)(params, inputs).moving
    assert found.valid.any() and (found.classes < 3).all()
    assert (np.asarray(found.boxes)[..., 2:] <= [48 + 1e-3, 32 + 1e-3]).all()


@pytest.mark.slow
def test_detectron_returns_detections_in_the_order_of_its_proposals(params):
    found = apply_one_stream(params, convention="detectron").moving
    scores = found.scores[0][found.valid[0]]
    assert len(scores) > 2 and (np.diff(scores) > 0).any()


def test_a_function_passed_in_fuses_the_streams(params):
    without = {k: v for k, v in params.items() if k != "fusion"}
    detector = Detector(TINY, fuse=lambda a, m: jnp.maximum(a, m))
    features = jax.jit(
        lambda params, inputs: detector.apply(
            {"params": params}, inputs, method=Detector.features
        )
    )(without, random_inputs())
    expected = jnp.maximum(features["appearance"][3], features["motion"][3])
    assert_array_equal(features["fused"][3], expected)


@pytest.mark.slow
def test_bfloat16_finds_about_the_same(params, detect):
    config = dataclasses.replace(TINY, compute_dtype="bfloat16")
    exact, half = detect(random_inputs()).moving, apply(config, params).moving
    assert half.mask_logits.dtype == half.boxes.dtype == jnp.float32
    assert_allclose(half.scores[0, :3], exact.scores[0, :3], atol=0.1)


def test_missing_flow_is_an_input_error(params):
    inputs = random_inputs()._replace(motion=None)
    with pytest.raises(InputError, match="stream for motion"):
        Detector(TINY).apply({"params": params}, inputs)


def test_configs_that_cannot_be_built_are_input_errors():
    with pytest.raises(InputError, match="has no such stream"):
        ModelConfig(motion=None, mask_features="motion")
    with pytest.raises(InputError, match="No convention"):
        ModelConfig(convention="metric")
    with pytest.raises(InputError, match="needs `appearance`, `motion` or both"):
        ModelConfig(appearance=None, motion=None)
