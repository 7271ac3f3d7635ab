"""Flow networks against PyTorch and plain loops, their weights, and their use."""

import functools
import json
import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from movseg_jax.cli.app import main
from movseg_jax.config import FlowNetworkConfig
from movseg_jax.convert.models import convert_weights
from movseg_jax.data.sources import open_source
from movseg_jax.errors import InputError
from movseg_jax.flow.cache import cached
from movseg_jax.flow.estimators import estimate_flows
from movseg_jax.flow.export import write_flows
from movseg_jax.flow.networks.correlation import (
    correlate_all,
    lookup_features,
    lookup_volume,
    pool_features,
)
from movseg_jax.flow.networks.estimator import load_network, network_shapes
from movseg_jax.flow.networks.flownet2 import enlarge_flow
from movseg_jax.flow.networks.raft import (
    SMALL,
    Raft,
    upsample_bilinear,
    upsample_convex,
)
from movseg_jax.flow.networks.resampling import correlate_near, up_conv4, warp
from movseg_jax.model.weights import BUNDLED, load_weights
from movseg_jax.segment.api import segment_video
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from tests.fakes import layouts
from tests.fakes.flow_network import (
    GOLDEN,
    foreign_weights,
    replace_network,
    shrink_flownet2,
    write_weights,
)
from tests.fakes.square_detector import make_detector, scene, write_images
from tests.oracles import hashed, pair_of_blobs, pair_of_even_blobs, random_params

LEVELS, RADIUS = 3, 2


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The file of a small RAFT's weights."""
    return write_weights(tmp_path_factory.mktemp("small"))


# Against torchvision --------------------------------------------------------------


@pytest.mark.parametrize(
    "network", ["raft_small", pytest.param("raft_large", marks=pytest.mark.slow)]
)
def test_flow_after_twelve_updates_equals_torchvisions(tmp_path, network):
    estimator = load_network(write_weights(tmp_path, network))
    flow = estimator(*pair_of_blobs())
    expected = np.load(GOLDEN)[network]
    error = np.abs(flow[::3, ::3] - expected).max()
    assert error < 1e-4 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["liteflownet", "flownet2"])
def test_flow_equals_that_of_the_same_network_in_pytorch(
    tmp_path, monkeypatch, network
):
    shrink_flownet2(monkeypatch)
    weights = write_weights(tmp_path, network)
    with pytest.raises(InputError, match=f"{network} has no steps"):
        load_network(weights, updates=3)
    flow = load_network(weights)(*pair_of_even_blobs(network))
    expected = np.load(GOLDEN)[network]
    error = np.abs(flow[::3, ::3] - expected).max()
    assert error < 1e-4 * np.abs(expected).max()


def test_operators_equal_pytorchs():
    shapes = {"first": (1, 5, 6, 4), "second": (1, 5, 6, 4)}
    shapes |= {"dense": (4, 4, 4, 3), "single": (4, 4, 1, 4)}

    @jax.jit
    def run(first, second, dense, single):
        return {
            "warp_zero": warp(first, 4 * first[..., :2]),
            "warp_border": warp(first, 4 * first[..., :2], "border"),
            "correlate_1": correlate_near(first, second, 2),
            "correlate_2": correlate_near(first, second, 1, step=2),
            "up_dense": up_conv4(first, dense),
            "up_single": up_conv4(first, single, groups=4),
            "linear": enlarge_flow(first, "linear"),
            "nearest": enlarge_flow(first, "nearest"),
        }

    found = run(**{name: hashed(name, shape) for name, shape in shapes.items()})
    for name, result in found.items():
        assert_allclose(result, np.load(GOLDEN)[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "network, parameters",
    [
        ("raft_small", 990_162),
        pytest.param("raft_large", 5_257_536, marks=pytest.mark.slow),
        pytest.param("liteflownet", 5_381_969, marks=pytest.mark.slow),
        pytest.param("flownet2", 162_518_834, marks=pytest.mark.slow),
    ],
)
def test_networks_have_as_many_parameters_as_the_originals(network, parameters):
    leaves = jax.tree.leaves(network_shapes(network))
    assert sum(leaf.size for leaf in leaves) == parameters


# Against plain loops --------------------------------------------------------------


def maps(seed=0):
    """Features of two frames with odd sides, and a point for each pixel."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 9, 11, 6)).astype(np.float32)
    points = rng.uniform(-4, 14, (99, 2)).astype(np.float32)
    points[:3] = [(3, 2), (0, 0), (1e9, -1e9)]
    return first, second, points


def loops(first, second, points):
    """Looks correlations up as RAFT's paper defines it, in float64."""
    first, second = first.astype(np.float64).reshape(99, 6), second.astype(np.float64)
    found = []
    for pixel, (x, y) in enumerate(points.astype(np.float64)):
        level, row = second, []
        for scale in range(LEVELS):
            correlations = level @ first[pixel] / np.sqrt(6)
            for right in range(-RADIUS, RADIUS + 1):
                for down in range(-RADIUS, RADIUS + 1):
                    at = y / 2**scale + down, x / 2**scale + right
                    row.append(interpolate(correlations, *at))
            height, width = (side // 2 * 2 for side in level.shape[:2])
            even = level[:height, :width]
            level = (even[::2] + even[1::2]) / 2
            level = (level[:, ::2] + level[:, 1::2]) / 2
        found.append(row)
    return np.array(found)


def interpolate(values, y, x):
    """Interpolates linearly; values outside are 0."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < values.shape[0] and 0 <= column < values.shape[1]:
                total += (
                    values[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
                )
    return total


def test_both_lookups_equal_a_loop_over_pixels():
    expected = loops(*maps())
    first, second, points = map(jnp.asarray, maps())
    pyramid = pool_features(second, LEVELS)
    volumes = correlate_all(first, pyramid)
    look_up = jax.jit(lookup_volume, static_argnums=2)
    assert_allclose(look_up(volumes, points, RADIUS), expected, atol=1e-5)
    look_up = jax.jit(lookup_features, static_argnums=3)
    assert_allclose(look_up(first, pyramid, points, RADIUS), expected, atol=1e-5)


def test_bilinear_upsampling_keeps_corners_and_slopes():
    y, x = np.mgrid[:5, :7].astype(np.float32)
    flow = np.stack([0.5 * x + y, 2 * x - y], -1)[None]
    large = jax.jit(upsample_bilinear)(flow)
    y, x = np.mgrid[0:4:40j, 0:6:56j]
    expected = 8 * np.stack([0.5 * x + y, 2 * x - y], -1)[None]
    assert_allclose(large, expected, atol=1e-4)


def test_convex_upsampling_weighs_the_nine_neighbours():
    rng = np.random.default_rng(0)
    flow = rng.normal(size=(1, 3, 4, 2)).astype(np.float32)
    weights = rng.normal(size=(1, 3, 4, 9 * 64)).astype(np.float32)
    large = np.asarray(jax.jit(upsample_convex)(flow, weights))
    padded = np.pad(flow[0], ((1, 1), (1, 1), (0, 0)))
    for row, column in [(0, 0), (9, 13), (23, 31)]:
        (y, inner_y), (x, inner_x) = divmod(row, 8), divmod(column, 8)
        logits = weights[0, y, x].reshape(9, 8, 8)[:, inner_y, inner_x]
        share = np.exp(logits) / np.exp(logits).sum()
        expected = 8 * share @ padded[y : y + 3, x : x + 3].reshape(9, 2)
        assert_allclose(large[0, row, column], expected, atol=1e-5)


@pytest.mark.slow
def test_flow_is_the_same_if_correlations_are_not_kept():
    params = random_params(network_shapes("raft_small"))
    image = jnp.asarray(pair_of_blobs()[0])[None]
    # Any features will do, and the network that computes them need not be compiled.
    features = [jnp.asarray(hashed(name, (1, 17, 23, 128))) for name in "ab"]
    flows = [
        jax.jit(functools.partial(Raft(SMALL, limit).apply, updates=3))(
            {"params": params}, image, *features
        )
        for limit in (2**30, 0)
    ]
    assert np.abs(flows[0]).max() > 1
    assert_allclose(*flows, atol=1e-4 * float(np.abs(flows[0]).max()))


# Converting ------------------------------------------------------------------------

# Names of RAFT's authors, by those of torchvision; written down apart from the package.
RENAMED = [
    (r"feature_encoder", "fnet"),
    (r"context_encoder", "cnet"),
    (r"net\.convnormrelu\.0", "net.conv1"),
    (r"net\.convnormrelu\.1", "net.norm1"),
    (r"net\.conv\.", "net.conv2."),
    (r"convnormrelu(\d)\.0", r"conv\1"),
    (r"convnormrelu(\d)\.1", r"norm\1"),
    (r"motion_encoder\.conv(c|f)\w+(\d)\.0", r"encoder.conv\1\2"),
    (r"motion_encoder\.conv\.0", "encoder.conv"),
    (r"recurrent_block\.convgru(\d)\.conv(\w)", r"gru.conv\2\1"),
    (r"mask_predictor\.convrelu\.0", "update_block.mask.0"),
    (r"mask_predictor\.conv", "update_block.mask.2"),
]


def authors_weights(network):
    """The weights of `foreign_weights` as RAFT's authors would save them."""
    weights = {}
    for name, array in foreign_weights(network).items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if network == "raft_small":  # It has one recurrent unit, without a number.
            name = re.sub(r"gru\.conv(\w)1", r"gru.conv\1", name)
        weights[f"module.{name}"] = array
        if re.match(r"cnet\.layer\d\.0\.downsample\.1", name):
            weights[f"module.{name.replace('downsample.1', 'norm3')}"] = array
    return weights


@pytest.mark.parametrize("network", ["raft_small", "raft_large"])
def test_files_of_the_authors_and_of_torchvision_give_the_same(tmp_path, network):
    save_file(foreign_weights(network), tmp_path / "a.safetensors")
    save_file(authors_weights(network), tmp_path / "b.safetensors")
    ours = [convert_weights(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert [one.kind for one in ours] == ["torchvision_raft", "princeton_raft"]
    assert ours[0].config == ours[1].config == FlowNetworkConfig(network)
    jax.tree.map(assert_array_equal, ours[0].params, ours[1].params)
    shapes = jax.tree.map(lambda leaf: leaf.shape, network_shapes(network))
    assert jax.tree.map(lambda leaf: leaf.shape, ours[0].params) == shapes


@pytest.mark.parametrize(
    "change, message",
    [
        ({"module.update_block.gru.convz2.weight": None}, "convz2.weight is missing"),
        ({"module.fnet.norm1.weight": np.ones(64)}, "fnet.norm1.weight is unknown"),
        ({"module.cnet.layer2.0.norm3.bias": np.ones(96)}, "differs from cnet.layer2"),
        ({"module.fnet.conv2.bias": np.ones(255)}, r"\[255\], expected \[256\]"),
    ],
)
def test_files_with_other_arrays_are_refused(tmp_path, change, message):
    weights = authors_weights("raft_large") | change
    weights = {name: array for name, array in weights.items() if array is not None}
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=message):
        convert_weights(tmp_path / "a.safetensors")


# As an estimator ------------------------------------------------------------------


def frames_of(*values, size=(40, 60)):
    return [np.full((*size, 3), value, np.uint8) for value in values]


def test_a_frames_features_serve_both_of_its_pairs(small, monkeypatch):
    done = replace_network(monkeypatch)
    flows = [*estimate_flows(frames_of(10, 12, 15, 15), load_network(small))]
    assert flows.pop() is None
    assert [float(flow[5, 5, 0]) for flow in flows] == [2, 3, 0]
    assert len(done.features) == 4 and len(done.pairs) == 3
    # A frame that is changed in place is another frame.
    estimator, (frame, other) = load_network(small), frames_of(10, 12)
    estimator(other, frame)
    frame += 1
    assert estimator(frame, other)[0, 0, 0] == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (130, 131), (128, 136)])
def test_frames_of_any_size_have_flow(small, monkeypatch, size):
    done = replace_network(monkeypatch)
    flow = load_network(small, working_side=136)(*frames_of(1, 3, size=size))
    assert flow.shape == (*size, 2)
    ((_, *padded, _),) = done.pairs
    assert all(side % 8 == 0 and side >= 128 for side in padded)
    if size[1] != 200:  # Flow of frames that are reduced is enlarged.
        assert_array_equal(flow, 2)


def test_threads_may_share_an_estimator(small, monkeypatch):
    replace_network(monkeypatch)
    estimator, found = load_network(small), {}

    def run(value):
        for _ in range(20):
            pair = frames_of(value, 2 * value)
            found.setdefault(value, []).append(float(estimator(*pair)[0, 0, 0]))

    threads = [threading.Thread(target=run, args=(value,)) for value in (1, 5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {value: [value] * 20 for value in (1, 5, 9)}


def test_a_cache_knows_the_weights_and_the_number_of_updates(
    small, tmp_path, monkeypatch
):
    done = replace_network(monkeypatch)
    other = write_weights(tmp_path, change=0.5)
    pair = frames_of(1, 2)
    for arguments in [(small,), (other,), (small,)]:
        for updates in (None, 5):
            network = load_network(*arguments, updates=updates)
            cached(network, tmp_path / "cache", name=repr(network))(*pair)
    assert len(done.pairs) == 4
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 4


def test_exported_flow_resumes_with_the_same_weights_only(small, tmp_path, monkeypatch):
    done = replace_network(monkeypatch)
    frames = [(f"{i}", frame) for i, frame in enumerate(frames_of(1, 2, 4))]

    def export(file):
        network = load_network(file)
        return [*write_flows(frames, tmp_path / "a", source="v", estimator=network)]

    assert export(small)[-1].written == 2
    assert export(small)[-1].skipped == 2 and len(done.pairs) == 2
    with pytest.raises(InputError, match="other settings"):
        export(write_weights(tmp_path, change=0.5))


# In a run -------------------------------------------------------------------------


def test_a_run_uses_a_network_and_knows_its_weights(tmp_path, monkeypatch):
    done = replace_network(monkeypatch)
    weights, out = write_weights(tmp_path), tmp_path / "out"
    video = str(write_images(tmp_path / "video", scene(4)))
    config = SegmentConfig(flow="raft_small", flow_weights=str(weights))
    segment_to_folder(video, out, make_detector(), config)
    assert len(done.features) == 4 and len(done.pairs) == 3
    about = json.loads((out / "run.json").read_text())["about"]
    assert load_network(weights).sha256 in about["flow_network"]
    assert segment_to_folder(video, out, make_detector(), config).already
    segment_video(video, make_detector(), config)
    assert len(done.pairs) == 6
    write_weights(tmp_path, change=0.5)  # The same name, other weights.
    with pytest.raises(InputError, match="flow_network"):
        segment_to_folder(video, out, make_detector(), config)


def test_a_data_set_is_prepared_with_a_network(small, tmp_path, monkeypatch):
    replace_network(monkeypatch)
    layouts.davis2016(tmp_path / "in", [("val", ("cows",))])
    arguments = ["davis2016", "--manual-dir", tmp_path / "in", "--data-dir", tmp_path]
    arguments += ["--splits", "val", "--flow", "raft_small", "--quiet"]
    arguments += ["--flow-cache", tmp_path / "cache"]
    assert main(["data", "prepare", *map(str, arguments)]) == 2
    arguments += ["--flow-weights", small]
    assert main(["data", "prepare", *map(str, arguments)]) == 0
    source = open_source("davis2016", "val", tmp_path)
    assert source.has_flow == [True, True, True, False]
    expected = load_network(small)(source[0].image, source[1].image)
    assert_allclose(source[0].flow, expected, atol=1 / 64)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 3


def test_the_command_writes_flow_of_a_network(small, tmp_path, monkeypatch, capsys):
    replace_network(monkeypatch)
    video = write_images(tmp_path / "video", scene(3))
    arguments = ["flow", video, "--out", tmp_path / "out", "--quiet"]
    arguments += ["--flow", "raft_small"]
    assert main([*map(str, arguments)]) == 2
    assert "--flow-weights" in capsys.readouterr().err
    assert main([*map(str, arguments), "--flow-weights", str(small)]) == 0
    assert len(list((tmp_path / "out").glob("*.flo"))) == 2


def test_weights_and_networks_that_do_not_fit_are_refused(small, tmp_path):
    for weights, network, message in [
        (None, "raft_small", "raft_small needs weights, and the package has none"),
        (
            small,
            "raft_large",
            "are weights of raft_small, expected those of raft_large",
        ),
        (BUNDLED, "raft_small", "are weights of a detector, expected .* flow network"),
        (tmp_path / "no.safetensors", "raft_small", "there is no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            load_network(weights, network)
    with pytest.raises(InputError, match=r"weights of a flow network, expected .* det"):
        load_weights(small)
    with pytest.raises(InputError, match="updates is 0, expected at least 1"):
        load_network(small, updates=0)
    config = SegmentConfig(flow="dis", flow_weights=str(small))
    with pytest.raises(InputError, match="'dis' takes neither `flow_weights`"):
        segment_video([], make_detector(), config)
