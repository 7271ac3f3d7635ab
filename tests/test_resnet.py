from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from safetensors.numpy import save_file

from movseg_jax.config import CONVENTIONS, TrunkConfig
from movseg_jax.convert.models import convert_weights
from movseg_jax.errors import InputError
from movseg_jax.nn.fpn import FPN, LEVELS, Trunk, upsample
from movseg_jax.nn.resnet import ResNet
from tests.oracles import (
    hashed_image,
    hashed_weights,
    random_params,
    unpack_shapes,
)
from tests.outside import needs, outside

GOLDEN = Path(__file__).parent / "golden"
BACKGROUNDS = "data/backgrounds"
IMAGENET = "data/weights/resnet50v2_imagenet_through_stage3.npz"
SMALL = {
    "v1, stride in the 3x3": TrunkConfig(depth=14, width=8),
    "v1, stride in the 1x1": TrunkConfig(depth=26, width=8, stride_in="1x1"),
    "v1, group norm": TrunkConfig(depth=14, width=8, norm="group"),
    "v2": TrunkConfig(version="v2", depth=14, width=8),
    "v2 to level 4, group norm": TrunkConfig("v2", 14, 8, last_level=4, norm="group"),
}
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("quick_compilation")
small = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
some_fast = pytest.mark.parametrize(
    "config",
    [
        pytest.param(
            config,
            id=name,
            marks=() if name in ("v1, group norm", "v2") else pytest.mark.slow,
        )
        for name, config in SMALL.items()
    ],
)


def test_resnet50_equals_torchvisions(tmp_path):
    golden = np.load(GOLDEN / "resnet50.npz")
    weights = hashed_weights(unpack_shapes(golden["weights"]))
    save_file(weights, tmp_path / "resnet50.safetensors")
    params = convert_weights(tmp_path / "resnet50.safetensors").params
    features = jax.jit(ResNet(TrunkConfig()).apply)(
        {"params": params["appearance"]["resnet"]}, jnp.asarray(hashed_image())
    )
    for level in range(2, 6):
        expected = golden[f"level{level}"]
        actual = features[level][..., :: 2 ** (level + 2)]
        assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def photographs(n=6):
    paths = sorted(outside(BACKGROUNDS).glob("*.jpg"))[:: 500 // n]
    images = [cv2.imread(str(path))[:320, :320, ::-1] for path in paths]
    images = [image for image in images if image.shape == (320, 320, 3)]
    continuous = CONVENTIONS["continuous"]
    images = np.float32(np.stack(images)) - np.float32(continuous.mean)
    return jnp.asarray(images / np.float32(continuous.std))


@needs(IMAGENET, BACKGROUNDS)
def test_imagenet_v2_activations_have_the_statistics_of_its_batch_norms():
    """A norm's output, less its offset and over its scale, is of mean 0, variance 1."""
    path = outside(IMAGENET)
    converted = convert_weights(path)
    params = converted.params["appearance"]["resnet"]
    trunk = ResNet(TrunkConfig("v2", last_level=4))
    _, state = jax.jit(
        lambda p, x: trunk.apply({"params": p}, x, capture_intermediates=True)
    )(params, photographs())
    raw = np.load(path)
    checked = 0
    for stage in range(3):
        for block in range((3, 4, 6)[stage]):
            for norm in (2, 3):
                name = f"stage{stage + 2}_block{block}"
                (output,) = state["intermediates"][name][f"norm{norm}"]["__call__"]
                gamma, beta = gluon_norm(raw, stage + 1, 3 * block + norm - 1)
                normalised = (np.asarray(output) - beta) / gamma
                mean, std = normalised.mean((0, 1, 2)), normalised.std((0, 1, 2))
                used = np.abs(gamma) > 1e-2
                assert np.abs(np.median(mean[used])) < 0.2
                assert 0.7 < np.median(std[used]) < 1.3
                assert np.mean(np.abs(mean[used])) < 0.5
                checked += 1
    assert checked == 26


def gluon_norm(raw, stage, index):
    """Scale and offset of the index-th norm of a Gluon stage."""
    prefix = next(
        key.removesuffix("_gamma")
        for key in raw.files
        if key.endswith(f"stage{stage}_batchnorm{index}_gamma")
    )
    return raw[f"{prefix}_gamma"], raw[f"{prefix}_beta"]


@small
def test_levels_halve_the_resolution_and_double_the_channels(config):
    image = jnp.zeros((1, 64, 96, 3))
    features = jax.eval_shape(
        ResNet(config).init_with_output, jax.random.key(0), image
    )[0]
    assert {level: f.shape for level, f in features.items()} == {
        level: (1, 64 >> level, 96 >> level, config.width * 2**level)
        for level in range(2, config.last_level + 1)
    }


@some_fast
def test_padding_an_image_does_not_change_its_pyramid(config):
    trunk = Trunk(config, channels=16)
    image = jax.random.normal(jax.random.key(0), (1, 50, 70, 3))
    size = jnp.float32([[50, 70]])
    pad = lambda h, w: jnp.pad(image, [(0, 0), (0, h - 50), (0, w - 70), (0, 0)])
    params = random_params(jax.eval_shape(trunk.init, KEY, pad(64, 96), size))
    apply = jax.jit(trunk.apply)
    expected = apply(params, pad(64, 96), size)
    actual = apply(params, pad(128, 160), size)
    for level in LEVELS:
        height, width = expected[level].shape[1:3]
        rows, columns = -(-50 // 2**level), -(-70 // 2**level)
        inside = actual[level][:, :height, :width]
        assert_allclose(inside, expected[level], atol=2e-5 * jnp.abs(inside).max())
        assert not actual[level][:, rows:].any()
        assert not actual[level][:, :, columns:].any()


@some_fast
def test_bfloat16_is_close_to_float32_and_keeps_float32_parameters(config):
    image = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    params = random_params(jax.eval_shape(Trunk(config, 16).init, KEY, image))
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))
    exact = jax.jit(Trunk(config, 16).apply)(params, image)
    half = jax.jit(Trunk(config, 16, jnp.bfloat16).apply)(params, image)
    for level in LEVELS:
        assert half[level].dtype == jnp.bfloat16
        error = np.asarray(half[level], np.float32) - np.asarray(exact[level])
        assert np.abs(error).max() < 0.1 * np.abs(exact[level]).max()


def test_an_unknown_depth_is_an_input_error():
    with pytest.raises(InputError, match="No ResNet of depth 34"):
        ResNet(TrunkConfig(depth=34)).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_upsampling_repeats_cells_and_cuts_to_an_odd_shape():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    expected = np.arange(6.0).reshape(2, 3).repeat(2, 0).repeat(2, 1)[:3, :5]
    assert_allclose(upsample(x, (3, 5))[0, :, :, 0], expected)


def test_level_6_is_every_second_cell_of_level_5():
    features = {
        level: jax.random.normal(
            jax.random.key(level), (1, 64 >> level, 96 >> level, 4)
        )
        for level in range(2, 6)
    }
    pyramid, _ = jax.jit(FPN(8).init_with_output)(jax.random.key(0), features)
    assert_allclose(pyramid[6], pyramid[5][:, ::2, ::2])


def test_kernels_of_the_fpn_start_as_detectron_s():
    """Uniform within the root of 3 / inputs ("XavierFill"), and biases are zero."""
    features = {level: jnp.zeros((1, 4, 4, 48)) for level in (2, 3, 4, 5)}
    params = FPN(64).init(KEY, features)["params"]
    assert len(params) == 8
    for name, layer in params.items():
        kernel = np.asarray(layer["kernel"])
        limit = np.sqrt(3 / np.prod(kernel.shape[:3]))
        found = scipy.stats.kstest(kernel.ravel(), "uniform", (-limit, 2 * limit))
        assert found.pvalue > 1e-3 and abs(kernel).max() <= limit, name
        assert not layer["bias"].any()


def test_levels_a_trunk_lacks_are_strided_convolutions():
    features = {
        level: jnp.ones((1, 64 >> level, 96 >> level, 4)) for level in range(2, 5)
    }
    pyramid, params = FPN(8).init_with_output(jax.random.key(0), features)
    assert pyramid[6].shape == (1, 1, 2, 8)
    assert {"coarser5", "coarser6"} <= params["params"].keys()
    assert "lateral5" not in params["params"]
