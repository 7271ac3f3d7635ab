import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.nn.heads import BoxHead, MaskHead, RPNHead

pytestmark = pytest.mark.usefixtures("quick_compilation")


def random(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_the_rpn_head_s_rows_are_in_the_order_of_the_anchors():
    pyramid = {2: random((2, 4, 6, 8)), 3: random((2, 2, 3, 8))}
    head = RPNHead(3)
    params = head.init(jax.random.key(1), pyramid)
    outputs = head.apply(params, pyramid)
    logits, deltas = outputs[2]
    assert logits.shape == (2, 72) and deltas.shape == (2, 72, 4)
    # By the definition, for one cell and one anchor.
    y, x, anchor = 2, 5, 1
    window = np.pad(np.asarray(pyramid[2][0], np.float64), [(1, 1), (1, 1), (0, 0)])
    p = jax.tree.map(np.float64, params["params"])
    patch = window[y : y + 3, x : x + 3]
    hidden = np.einsum("ijc,ijco->o", patch, p["conv"]["kernel"]) + p["conv"]["bias"]
    hidden = np.maximum(hidden, 0)
    row = (y * 6 + x) * 3 + anchor
    expected = hidden @ p["logits"]["kernel"][0, 0] + p["logits"]["bias"]
    assert_allclose(logits[0, row], expected[anchor], atol=1e-6)
    expected = hidden @ p["deltas"]["kernel"][0, 0] + p["deltas"]["bias"]
    assert_allclose(deltas[0, row], expected[4 * anchor : 4 * anchor + 4], atol=1e-6)


def test_the_box_head_follows_its_definition():
    crops = random((5, 7, 7, 4))
    head = BoxHead(classes=3, width=16)
    params = head.init(jax.random.key(1), crops)
    logits, deltas = head.apply(params, crops)
    p = jax.tree.map(np.float64, params["params"])
    x = np.float64(crops).reshape(5, -1)
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ p[name]["kernel"] + p[name]["bias"], 0)
    expected = x @ p["logits"]["kernel"] + p["logits"]["bias"]
    assert_allclose(logits, expected, atol=1e-5)
    expected = (x @ p["deltas"]["kernel"]).reshape(5, 3, 4)
    assert_allclose(deltas, expected, atol=1e-6)


def test_the_mask_head_doubles_the_resolution_for_each_class():
    crops = random((2, 14, 14, 8))
    head = MaskHead(classes=3)
    logits, params = head.init_with_output(jax.random.key(1), crops)
    assert logits.shape == (2, 28, 28, 3)
    assert sorted(params["params"]) == [
        "conv0",
        "conv1",
        "conv2",
        "conv3",
        "logits",
        "upconv",
    ]


def test_the_fine_part_of_the_mask_head_corrects_logits():
    crops, fine = random((2, 3, 3, 8)), random((2, 6, 6, 4), seed=1)
    head = MaskHead(classes=2, fine=4)
    level = random((1, 5, 5, 8), seed=2)

    def both(head, level, crops, fine):
        return head.fine_features(level), head(crops, fine)

    params = head.init(jax.random.key(1), level, crops, fine, method=both)["params"]
    plain = {k: v for k, v in params.items() if not k.startswith("fine_")}
    expected = MaskHead(classes=2).apply({"params": plain}, crops)
    actual = head.apply({"params": params}, crops, fine)
    assert_array_equal(actual, expected)  # It starts without an effect.

    kernel = random((1, 1, 4, 2), seed=3)
    params["fine_logits"] = {"kernel": kernel, "bias": jnp.ones(2)}
    features, actual = head.apply({"params": params}, level, crops, fine, method=both)
    p = jax.tree.map(np.float64, params)
    assert_allclose(
        features,
        np.float64(level) @ p["fine_input"]["kernel"][0, 0] + p["fine_input"]["bias"],
        atol=1e-5,
    )
    # The coarse features, seen through logits that are the identity.
    see = {**plain, "logits": params["fine_coarse"]}
    coarse = MaskHead(classes=4).apply({"params": see}, crops)
    x = np.concatenate([coarse, fine], axis=-1)
    for layer in ("fine_conv0", "fine_conv1"):
        x = np.maximum(correlate(x, p[layer]["kernel"]) + p[layer]["bias"], 0)
    expected = expected + x @ kernel[0, 0] + 1
    assert_allclose(actual, expected, atol=1e-5)


def correlate(x, kernel):
    """A 3x3 convolution, written out."""
    height, width = x.shape[1:3]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def test_heads_return_float32_when_they_compute_in_bfloat16():
    crops = random((2, 7, 7, 8))
    pyramid = {2: random((1, 4, 4, 8))}
    outputs = [
        BoxHead(dtype=jnp.bfloat16).init_with_output(jax.random.key(0), crops),
        MaskHead(dtype=jnp.bfloat16).init_with_output(jax.random.key(0), crops),
        RPNHead(dtype=jnp.bfloat16).init_with_output(jax.random.key(0), pyramid),
    ]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(outputs))


def test_no_rois_give_no_outputs():
    logits, deltas = BoxHead().init_with_output(
        jax.random.key(0), jnp.zeros((0, 7, 7, 4))
    )[0]
    assert logits.shape == (0, 2) and deltas.shape == (0, 1, 4)
