"""Layers against loops in float64, and Winograd's convolution against them too."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.nn import layers, winograd
from movseg_jax.nn.layers import (
    Affine,
    Conv,
    UpConv,
    interleave,
    max_pool_3x3_s2,
)


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


def check_gradients(function, *args, eps=0.1):
    """For functions that are linear in each argument, unless `eps` is small."""
    # `check_grads` hands NumPy arrays to the function, which takes JAX's.
    check_grads(
        lambda *args: function(*jax.tree.map(jnp.asarray, args)),
        args, order=1, modes=["rev"], eps=eps,
    )  # fmt: skip


def conv_by_loops(x, kernel, stride=1):
    """The definition, in float64: one pixel of the result at a time."""
    x, kernel = np.float64(x), np.float64(kernel)
    size, batch, height, width = len(kernel), *x.shape[:3]
    reach = (size - 1) // 2
    x = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    out = np.zeros((batch, -(-height // stride), -(-width // stride), kernel.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
        out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


def assert_within_rounding(actual, expected, tolerance):
    """The error's and the largest error's size, relative to the expected's RMS."""
    error = np.asarray(actual, np.float64) - expected
    scale = np.sqrt(np.mean(np.square(expected)))
    assert np.sqrt(np.mean(np.square(error))) <= tolerance * scale
    assert np.abs(error).max() <= 10 * tolerance * scale


def apply_conv(compiled, x, kernel, stride=1, bias=None, dtype=None):
    module = Conv(
        kernel.shape[-1], kernel.shape[:2], stride, bias is not None, dtype=dtype
    )
    params = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
    return compiled(module.apply)({"params": jax.tree.map(jnp.asarray, params)}, x)


@pytest.fixture
def always_winograd(monkeypatch):
    monkeypatch.setattr(layers, "WINOGRAD_PIXELS", 1)
    monkeypatch.setattr(layers, "WINOGRAD_CHANNELS", 64)


@pytest.mark.parametrize("size, stride", [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("height, width", [(8, 12), (7, 9), (1, 2)])
def test_convolution_equals_the_loop(size, stride, height, width, compiled):
    x, kernel = normal(2, height, width, 5), normal(size, size, 5, 6, seed=1)
    bias = normal(6, seed=2)
    actual = apply_conv(compiled, x, kernel, stride, bias)
    expected = conv_by_loops(x, kernel, stride) + np.float64(bias)
    assert actual.shape == expected.shape
    assert_within_rounding(actual, expected, 1e-6)


def test_convolution_has_the_documented_parameters():
    params = Conv(6, (3, 3)).init(jax.random.key(0), jnp.zeros((1, 4, 4, 5)))
    shapes = jax.tree.map(jnp.shape, params["params"])
    assert shapes == {"kernel": (3, 3, 5, 6), "bias": (6,)}
    params = Conv(6, use_bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 5)))
    assert list(params["params"]) == ["kernel"]


@pytest.mark.parametrize("size", [1, 3])
def test_convolution_in_bfloat16_keeps_float32_parameters(size):
    x, module = normal(1, 6, 5, 64), Conv(64, (size, size), dtype=jnp.bfloat16)
    params = module.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    actual = module.apply(params, x)
    assert actual.dtype == jnp.bfloat16
    expected = conv_by_loops(x, params["params"]["kernel"])
    assert_within_rounding(actual.astype(jnp.float32), expected, 1e-2)


@pytest.mark.parametrize("size, stride", [(1, 2), (3, 1), (3, 2)])
def test_convolution_has_the_right_gradient(size, stride):
    check_gradients(
        lambda x, kernel: layers.conv(x, kernel, stride),
        normal(1, 5, 6, 3), normal(size, size, 3, 4),
    )  # fmt: skip


# Shapes that are one chunk, that are cut by rows, and that are cut by images.
WINOGRAD_SHAPES = [
    pytest.param((1, 12, 20), id="one chunk"),
    pytest.param((2, 7, 9), id="odd size"),
    pytest.param((2, 3, 1), id="smaller than a tile"),
    pytest.param((2, 33, 70), id="rows"),
    pytest.param((11, 14, 14), id="images"),
]


@pytest.fixture(params=["cut as usual", "cut finely"])
def cut(request, monkeypatch):
    if request.param == "cut finely":
        monkeypatch.setattr(winograd, "UNCUT", 0)
        monkeypatch.setattr(winograd, "CHUNK", 40)


@pytest.mark.parametrize("shape", WINOGRAD_SHAPES)
def test_winograd_equals_the_loop(shape, cut, compiled):
    x, kernel = normal(*shape, 8), normal(3, 3, 8, 6, seed=1)
    actual = compiled(winograd.winograd_conv)(x, kernel)
    assert_within_rounding(actual, conv_by_loops(x, kernel), 3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", WINOGRAD_SHAPES)
def test_gradient_of_winograd_equals_that_of_the_convolution(shape, cut):
    x, kernel = normal(*shape, 6), normal(3, 3, 6, 5, seed=1)
    gradient = normal(*shape, 5, seed=2)
    _, pullback = jax.vjp(winograd.winograd_conv, x, kernel)
    with jax.enable_x64(True):
        exact = [jnp.asarray(np.float64(a)) for a in (x, kernel, gradient)]
        _, exact_pullback = jax.vjp(layers.direct_conv, *exact[:2])
        expected = [np.asarray(a) for a in exact_pullback(exact[2])]
    for actual, wanted in zip(pullback(gradient), expected, strict=True):
        assert_within_rounding(actual, wanted, 3e-6)


def test_error_of_winograd_with_256_channels_is_a_rounding_error():
    """As in the FPN, after a ReLU, where errors of the transforms do not cancel."""
    x = nn.relu(normal(1, 24, 36, 256))
    kernel = 0.02 * normal(3, 3, 256, 256, seed=1)
    actual = jax.jit(winograd.winograd_conv)(x, kernel)
    assert_within_rounding(actual, conv_by_loops(x, kernel), 3e-6)


def test_module_that_uses_winograd_equals_the_loop(always_winograd, compiled):
    x, kernel, bias = normal(2, 7, 9, 64), normal(3, 3, 64, 80, seed=1), normal(80)
    actual = apply_conv(compiled, x, kernel, bias=bias)
    assert_within_rounding(actual, conv_by_loops(x, kernel) + np.float64(bias), 3e-6)


@pytest.mark.slow
def test_winograd_batches_with_vmap(always_winograd):
    x, kernel = normal(2, 1, 9, 8, 64), normal(3, 3, 64, 64, seed=1)
    batched = jax.vmap(lambda image: layers.conv(image, kernel))(x)
    assert_within_rounding(batched[1], conv_by_loops(x[1], kernel), 3e-6)


@pytest.mark.parametrize(
    "shape, channels, stride, dtype, pays",
    [
        ((1, 120, 216), 256, 1, jnp.float32, True),
        ((100, 14, 14), 256, 1, jnp.float32, True),
        ((1, 15, 27), 512, 1, jnp.float32, False),
        ((1, 120, 216), 256, 2, jnp.float32, False),
        ((1, 120, 216), 3, 1, jnp.float32, False),
        ((1, 120, 216), 256, 1, jnp.bfloat16, False),
    ],
)
def test_winograd_is_used_where_it_pays(shape, channels, stride, dtype, pays):
    x = jax.ShapeDtypeStruct((*shape, channels), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 256), dtype)
    function = jax.jit(lambda x, kernel: layers.conv(x, kernel, stride))
    text = function.lower(x, kernel).as_text()
    assert ("stablehlo.convolution" in text) is not pays


def test_transposed_convolution_equals_the_loop(compiled):
    x, module = normal(2, 3, 4, 5), UpConv(6, bias_init=nn.initializers.normal(1))
    params = module.init(jax.random.key(0), x)
    kernel, bias = (np.float64(params["params"][key]) for key in ("kernel", "bias"))
    assert kernel.shape == (2, 2, 5, 6)
    expected = np.zeros((2, 6, 8, 6))
    for y, u, i, j in np.ndindex(3, 4, 2, 2):
        pixel = np.float64(x[:, y, u])
        expected[:, 2 * y + i, 2 * u + j] = pixel @ kernel[i, j] + bias
    actual = compiled(lambda params, x: interleave(module.apply(params, x)))(params, x)
    assert_within_rounding(actual, expected, 1e-6)


def test_transposed_convolution_has_the_right_gradient():
    x, module = normal(1, 3, 2, 3), UpConv(2)
    params = module.init(jax.random.key(0), x)
    check_gradients(module.apply, params, x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_affine_scales_and_shifts_each_channel(dtype, compiled):
    x = jnp.ones((1, 2, 3, 2), dtype)
    params = {"params": {"scale": jnp.float32([2, 3]), "bias": jnp.float32([-1, 4])}}
    actual = compiled(Affine().apply)(params, x)
    assert actual.dtype == dtype
    expected = np.broadcast_to(np.float32([1, 7]), x.shape)
    assert_array_equal(actual.astype(jnp.float32), expected)


def test_affine_starts_as_the_identity():
    x = normal(1, 2, 3, 4)
    actual, _ = Affine().init_with_output(jax.random.key(0), x)
    assert_array_equal(actual, x)


@pytest.mark.parametrize("height, width", [(8, 10), (7, 9), (1, 1), (2, 5)])
def test_max_pool_equals_the_loop_and_ignores_the_border(height, width, compiled):
    x = normal(2, height, width, 3) - 100  # Zeros for padding would win.
    actual = compiled(max_pool_3x3_s2)(x)
    expected = np.zeros((2, -(-height // 2), -(-width // 2), 3), np.float32)
    for i, j in np.ndindex(expected.shape[1:3]):
        rows = slice(max(2 * i - 1, 0), 2 * i + 2)
        columns = slice(max(2 * j - 1, 0), 2 * j + 2)
        expected[:, i, j] = x[:, rows, columns].max(axis=(1, 2))
    assert_array_equal(actual, expected)


def test_max_pool_sends_the_gradient_to_the_maximum():
    x = normal(1, 7, 6, 2)
    check_gradients(max_pool_3x3_s2, x, eps=1e-3)
    gradient = jax.grad(lambda x: max_pool_3x3_s2(x).sum())(x)
    assert_allclose(gradient.sum(), 4 * 3 * 2)


def test_a_stem_of_three_channels_is_the_definition():
    """XLA gets four, of which the last is 0."""
    x, kernel = normal(1, 9, 12, 3), normal(7, 7, 3, 32, seed=1)
    found = layers.conv(x, kernel, 2)
    assert_allclose(found, conv_by_loops(x, kernel, 2), atol=1e-4)
