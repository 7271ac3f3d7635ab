import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.cli.arguments import load_model, make_importable
from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model.loading import load_detector
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.model.weights import save_weights
from movseg_jax.nn import fusion
from movseg_jax.nn.padding import real_cells

CHANNELS = 8
pytestmark = pytest.mark.usefixtures("quick_compilation")


def features(seed, shape=(2, 5, 6, CHANNELS)):
    return jax.random.normal(jax.random.key(seed), shape)


def run(fuse, appearance, motion, params=None, **kwargs):
    """Calls a function, or initialises (unless given) and applies a module."""
    if not isinstance(fuse, nn.Module):
        return fuse(appearance, motion), None
    if params is None:
        params = fuse.init(jax.random.key(7), appearance, motion)
    return fuse.apply(params, appearance, motion, **kwargs), params


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_every_fusion_keeps_the_cells_and_uses_both_streams(name):
    fuse = fusion.get_fusion(name)
    a, m = features(0), features(1)
    if name == "concat_conv":  # Its default starts as a copy of one stream.
        fuse = fusion.ConcatConv(start_from=None)
    fused, params = run(fuse, a, m)
    assert fused.shape == (*a.shape[:3], 2 * CHANNELS if name == "concat" else CHANNELS)
    for other in (run(fuse, a + 1, m, params)[0], run(fuse, a, m + 1, params)[0]):
        assert not np.allclose(fused, other)


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_every_fusion_has_finite_gradients_on_zeros(name):
    fuse = fusion.get_fusion(name)
    zeros = jnp.zeros((1, 3, 3, CHANNELS))
    _, params = run(fuse, zeros, zeros)

    def total(params, a, m):
        return run(fuse, a, m, params)[0].sum()

    for gradient in jax.grad(total, argnums=(1, 2))(params, zeros, zeros):
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    "name", ["concat_convs", "residual", "cross_attention", "gated"]
)
def test_padding_does_not_change_the_fused_image(name):
    fuse = fusion.get_fusion(name)
    a, m = features(0, (1, 4, 6, CHANNELS)), features(1, (1, 4, 6, CHANNELS))
    expected, params = run(fuse, a, m)
    # Parameters of zero would hide what leaks in.
    params = jax.tree.map(lambda p: p + 0.1, params)
    size = jnp.float32([[16, 24]])  # In pixels, at level 2.
    padded = [jnp.pad(x, [(0, 0), (0, 3), (0, 5), (0, 0)]) for x in (a, m)]

    class Fuse(nn.Module):
        fuse: nn.Module

        def __call__(self, a, m, size):
            return fusion.fuse_pyramids(self.fuse, {2: a}, {2: m}, size)[2]

    module = Fuse(fuse)
    params = {"params": {"fuse": params["params"]}}
    expected = module.apply(params, a, m, size)
    actual = module.apply(params, *padded, size)
    assert_allclose(actual[:, :4, :6], expected, atol=1e-5)
    assert_array_equal(actual[:, 4:], 0)


def test_the_papers_fusion_is_three_convolutions_with_relu():
    fuse = fusion.get_fusion("concat_convs")
    a, m = features(0), features(1)
    fused, params = run(fuse, a, m)
    x = np.concatenate([a, m], axis=-1).astype(np.float64)
    for i in range(3):
        kernel, bias = (
            np.float64(params["params"][f"conv{i}"][k]) for k in ("kernel", "bias")
        )
        x = np.maximum(convolution_by_loops(x, kernel) + bias, 0)
    assert list(params["params"]) == ["conv0", "conv1", "conv2"]
    assert_allclose(fused, x, atol=1e-5)


def convolution_by_loops(x, kernel):
    batch, height, width, _ = x.shape
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    out = np.zeros((batch, height, width, kernel.shape[-1]))
    for y, c, i, j in np.ndindex(height, width, 3, 3):
        out[:, y, c] += x[:, y + i, c + j] @ kernel[i, j]
    return out


@pytest.mark.parametrize("start_from", ["appearance", "motion"])
def test_one_convolution_starts_as_a_copy_of_a_stream(start_from):
    a, m = features(0), features(1)
    fused, _ = run(fusion.ConcatConv(start_from), a, m)
    assert_allclose(fused, {"appearance": a, "motion": m}[start_from], atol=1e-6)


def test_difference_is_zero_where_the_streams_agree():
    a = features(0)
    assert_array_equal(fusion.difference(a, a), 0)


def test_cross_attention_attends_to_its_neighbours_only():
    fuse = fusion.CrossAttention(heads=2)
    a, m = features(0, (1, 7, 7, CHANNELS)), features(1, (1, 7, 7, CHANNELS))
    _, params = run(fuse, a, m)
    changed = run(fuse, a, m.at[0, 3, 3].add(5), params)[0] - run(fuse, a, m, params)[0]
    reach = np.abs(changed[0]).max(axis=-1) > 1e-6
    expected = np.zeros((7, 7), bool)
    expected[2:5, 2:5] = True
    assert_array_equal(reach, expected)


def test_levels_share_a_modules_parameters():
    module = fusion.ConcatConvs()

    class Fuse(nn.Module):
        fuse: nn.Module

        def __call__(self, a, m):
            return fusion.fuse_pyramids(self.fuse, a, m)

    a, m = ({2: features(i), 3: features(i)[:, :2, :3]} for i in range(2))
    params = Fuse(module).init(jax.random.key(0), a, m)["params"]
    assert list(params) == ["fuse"]
    assert list(params["fuse"]) == ["conv0", "conv1", "conv2"]


def test_a_lambda_is_a_fusion():
    pyramid = {2: features(0)}
    fused = fusion.fuse_pyramids(lambda a, m: a * m, pyramid, pyramid)
    assert_allclose(fused[2], pyramid[2] ** 2, rtol=1e-6)


def test_a_fusion_that_changes_the_resolution_is_refused():
    pyramid = {2: features(0)}
    with pytest.raises(InputError, match="must keep batch, height and width"):
        fusion.fuse_pyramids(lambda a, m: a[:, ::2], pyramid, pyramid)


def test_a_class_named_by_its_import_path_is_instantiated():
    fuse = fusion.get_fusion("movseg_jax.nn.fusion:Gated")
    assert run(fuse, features(0), features(1))[0].shape == features(0).shape


def test_the_papers_convolutions_start_as_pytorchs_do():
    _, params = run(fusion.ConcatConvs(), features(0), features(1))
    for i, inputs in enumerate((2 * CHANNELS, CHANNELS, CHANNELS)):
        for values in params["params"][f"conv{i}"].values():
            bound = 1 / np.sqrt(9 * inputs)
            assert np.abs(values).max() <= bound
            assert 0.3 * bound < np.std(values) < 0.9 * bound


def test_heads_that_do_not_divide_the_channels_are_an_input_error():
    with pytest.raises(InputError, match="8 channels cannot be split among 3 heads"):
        run(fusion.CrossAttention(heads=3), features(0), features(1))


def test_a_fusion_can_be_named_by_its_import_path():
    assert fusion.get_fusion("movseg_jax.nn.fusion:average") is fusion.average


@pytest.mark.parametrize(
    "name", ["magic", "nowhere:fuse", "movseg_jax.nn.fusion:magic"]
)
def test_an_unknown_fusion_is_an_input_error(name):
    with pytest.raises(InputError, match=r"magic|nowhere"):
        fusion.get_fusion(name)


def test_real_cells_are_those_an_image_reaches_into():
    real = real_cells(jnp.float32([[9, 4]]), 2, (4, 3))
    expected = np.zeros((4, 3), bool)
    expected[:3, :1] = True
    assert_array_equal(real[0, :, :, 0], expected)


def test_a_fusion_in_the_current_folder_is_found_if_it_is_asked_for(
    tmp_path, monkeypatch
):
    (tmp_path / "my_fusions.py").write_text("def mean(a, m):\n    return (a + m) / 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", ".")])
    make_importable("gated")
    with pytest.raises(InputError, match="my_fusions"):
        fusion.get_fusion("my_fusions:mean")
    make_importable("my_fusions:mean")
    assert fusion.get_fusion("my_fusions:mean")(1, 3) == 2


def test_weights_whose_fusion_is_code_are_loaded_if_it_is_named(tmp_path):
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    name = "movseg_jax.nn.fusion:average"
    config = ModelConfig(trunk, trunk, name, channels=16, box_head_width=16)
    shapes = parameter_shapes(config)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    save_weights(tmp_path / "a.safetensors", params, config, card={})
    with pytest.raises(InputError, match="the model's fusion is code"):
        load_detector(tmp_path / "a.safetensors")
    for load in (load_detector, load_model):
        assert load(tmp_path / "a.safetensors", fusion=name).config == config
