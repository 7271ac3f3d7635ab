"""Products of rounded factors, and where they are used."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.config import ModelConfig
from movseg_jax.model import loading
from movseg_jax.nn.heads import BoxHead
from movseg_jax.nn.layers import Conv, UpConv, direct_conv
from movseg_jax.nn.products import dot
from movseg_jax.nn.winograd import winograd_conv
from movseg_jax.system.devices import multiplies_bfloat16


def random(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def rounded(x):
    return np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float64)


def test_factors_are_rounded_and_sums_are_not():
    a, b = random((30, 200)), random((200, 40), seed=1)
    product = dot(a, b, "bfloat16")
    assert product.dtype == jnp.float32
    assert_allclose(product, rounded(a) @ rounded(b), atol=1e-4)
    assert np.abs(product - np.float64(a) @ np.float64(b)).max() > 1e-2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("precision", ["default", "highest"])
def test_other_precisions_are_those_of_jax(precision, dtype):
    a, b = random((30, 20)).astype(dtype), random((20, 40), seed=1).astype(dtype)
    assert_array_equal(dot(a, b, precision), jax.lax.dot(a, b, precision=precision))


def test_bfloat16_numbers_stay_what_they_are():
    a, b = random((3, 20)).astype(jnp.bfloat16), jnp.ones((20, 4), jnp.bfloat16)
    assert_array_equal(dot(a, b, "bfloat16"), dot(a, b, "default"))


@pytest.mark.parametrize(
    "make",
    [
        lambda precision: Conv(8, precision=precision),
        lambda precision: UpConv(8, precision=precision),
    ],
    ids=["1x1 convolution", "transposed convolution"],
)
def test_layers_round_their_input_and_kernel(make):
    x = random((2, 5, 6, 16))
    layer = make("bfloat16")
    params = layer.init(jax.random.key(1), x)["params"]
    exact = jax.tree.map(lambda each: jnp.float32(rounded(each)), params)
    expected = make("highest").apply({"params": exact}, jnp.float32(rounded(x)))
    assert_allclose(layer.apply({"params": params}, x), expected, atol=1e-5)


def test_the_box_head_rounds_within_its_layers():
    crops = random((5, 7, 7, 16))
    params = BoxHead(width=64).init(jax.random.key(1), crops)
    expected = BoxHead(width=64).apply(params, crops)
    actual = BoxHead(width=64, precision="bfloat16").apply(params, crops)
    for own, other in zip(actual, expected, strict=True):
        error = np.abs(own - other).max() / np.abs(other).max()
        assert 0 < error < 0.02


def test_winograd_s_error_with_rounded_factors_is_small():
    x, kernel = random((1, 24, 32, 96)), random((3, 3, 96, 96), seed=1)
    exact = direct_conv(x, kernel, precision="highest")
    error = winograd_conv(x, kernel, "bfloat16") - exact
    share = float(jnp.sqrt(jnp.mean(error**2) / jnp.mean(exact**2)))
    assert 2e-3 < share < 2e-2


def test_gradients_are_those_of_exact_products_but_for_rounding():
    x, kernel = random((1, 12, 16, 8)), random((3, 3, 8, 8), seed=1)

    def loss(x, kernel, precision):
        return jnp.sum(winograd_conv(x, kernel, precision) ** 2)

    gradients = jax.grad(loss, (0, 1))
    for own, other in zip(
        gradients(x, kernel, "bfloat16"),
        gradients(x, kernel, "default"),
        strict=True,
    ):
        assert own.dtype == jnp.float32
        assert np.linalg.norm(own - other) < 0.05 * np.linalg.norm(other)


# Which machines have them -----------------------------------------------------------


@pytest.mark.parametrize(
    "flags, has",
    [
        ("fpu sse2 avx512f", False),
        ("fpu avx512f avx512_bf16 avx2", True),
        ("amx_bf16", True),
        ("avx512_bf16x", False),
    ],
)
def test_the_processor_s_flags_tell(flags, has, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: amx_bf16\nflags\t\t: {flags}\n\n")
    assert multiplies_bfloat16(info) == has


@given(st.binary(max_size=50))
def test_any_other_file_means_no(tmp_path_factory, data):
    info = tmp_path_factory.mktemp("cpu") / "cpuinfo"
    info.write_bytes(data)
    assert not multiplies_bfloat16(info)
    assert not multiplies_bfloat16(info.parent / "missing")


@pytest.mark.parametrize(
    "convention, has, expected",
    [
        ("continuous", True, "bfloat16"),
        ("continuous", False, "default"),
        ("detectron", True, "highest"),
    ],
)
def test_only_what_the_convention_leaves_to_the_device_is_rounded(
    convention, has, expected, monkeypatch
):
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: has)
    config = dataclasses.replace(ModelConfig(), convention=convention)
    assert loading.fastest_precision(config) == expected


def test_a_gpu_keeps_its_own_default(monkeypatch):
    monkeypatch.setattr(loading, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert loading.fastest_precision(ModelConfig()) == "default"
