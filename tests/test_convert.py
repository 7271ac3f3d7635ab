"""Every array of others lands where it should, and nothing is left over or left out.

The names are written down here once more, apart from the package's own tables.
"""

import hashlib
import pickle
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.convert import mapping
from movseg_jax.convert.models import convert_weights
from movseg_jax.errors import InputError
from movseg_jax.model.detector import Detector
from movseg_jax.types import Inputs
from tests.oracles import hashed
from tests.outside import needs, outside

GOLDEN = Path(__file__).parent / "golden"
IMAGENET = "data/weights/resnet50v2_imagenet_through_stage3.npz"
WIDTH, CHANNELS, HIDDEN, CLASSES = 4, 8, 6, 3
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
NORM = (".weight", ".bias", ".running_mean", ".running_var")


def torch_names(trunk, lateral, output, heads, masks, upconv, mask_logits, **more):
    conv, norm, shortcut, stem = trunk
    names = {"stem_conv": stem[0], "stem_norm": stem[1]}
    for level, count in BLOCKS.items():
        for block in range(count):
            ours = f"stage{level}_block{block}"
            for n in (1, 2, 3):
                names[f"{ours}/conv{n}"] = conv(level, block, n)
                names[f"{ours}/norm{n}"] = norm(level, block, n)
        names[f"stage{level}_block0/shortcut_conv"] = shortcut[0](level)
        names[f"stage{level}_block0/shortcut_norm"] = shortcut[1](level)
    names = {f"resnet/{ours}": theirs for ours, theirs in names.items()}
    for level in BLOCKS:
        names[f"fpn/lateral{level}"] = lateral(level)
        names[f"fpn/output{level}"] = output(level)
    parts = "rpn/conv rpn/logits rpn/deltas box_head/fc1 box_head/fc2 box_head/logits"
    names |= dict(zip([*parts.split(), "box_head/deltas"], heads.split(), strict=True))
    names |= {f"mask_head/conv{i}": masks(i) for i in range(4)}
    names |= {"mask_head/upconv": upconv, "mask_head/logits": mask_logits}
    more = {"background": 1, "suffixes": (".weight", ".bias"), "norm": NORM, **more}
    return SimpleNamespace(names=names, **more)


def resnet(prefix):
    block = lambda level, b: f"{prefix}layer{level - 1}.{b}"
    return (
        lambda level, b, n: f"{block(level, b)}.conv{n}",
        lambda level, b, n: f"{block(level, b)}.bn{n}",
        [
            lambda level: f"{block(level, 0)}.downsample.0",
            lambda level: f"{block(level, 0)}.downsample.1",
        ],
        (f"{prefix}conv1", f"{prefix}bn1"),
    )


TORCHVISION = torch_names(
    resnet("backbone.body."),
    lambda level: f"backbone.fpn.inner_blocks.{level - 2}.0",
    lambda level: f"backbone.fpn.layer_blocks.{level - 2}.0",
    "rpn.head.conv.0.0 rpn.head.cls_logits rpn.head.bbox_pred "
    "roi_heads.box_head.fc6 roi_heads.box_head.fc7 "
    "roi_heads.box_predictor.cls_score roi_heads.box_predictor.bbox_pred",
    lambda i: f"roi_heads.mask_head.{i}.0",
    "roi_heads.mask_predictor.conv5_mask",
    "roi_heads.mask_predictor.mask_fcn_logits",
)
OLD_TORCHVISION = torch_names(
    resnet("backbone.body."),
    lambda level: f"backbone.fpn.inner_blocks.{level - 2}",
    lambda level: f"backbone.fpn.layer_blocks.{level - 2}",
    "rpn.head.conv rpn.head.cls_logits rpn.head.bbox_pred "
    "roi_heads.box_head.fc6 roi_heads.box_head.fc7 "
    "roi_heads.box_predictor.cls_score roi_heads.box_predictor.bbox_pred",
    lambda i: f"roi_heads.mask_head.mask_fcn{i + 1}",
    "roi_heads.mask_predictor.conv5_mask",
    "roi_heads.mask_predictor.mask_fcn_logits",
)
LAST = {2: 2, 3: 3, 4: 5, 5: 2}
DETECTRON = torch_names(
    (
        lambda level, b, n: f"res{level}_{b}_branch2{'abc'[n - 1]}",
        lambda level, b, n: f"res{level}_{b}_branch2{'abc'[n - 1]}_bn",
        [
            lambda level: f"res{level}_0_branch1",
            lambda level: f"res{level}_0_branch1_bn",
        ],
        ("conv1", "res_conv1_bn"),
    ),
    {
        5: "fpn_inner_res5_2_sum",
        4: "fpn_inner_res4_5_sum_lateral",
        3: "fpn_inner_res3_3_sum_lateral",
        2: "fpn_inner_res2_2_sum_lateral",
    }.get,
    lambda level: f"fpn_res{level}_{LAST[level]}_sum",
    "conv_rpn_fpn2 rpn_cls_logits_fpn2 rpn_bbox_pred_fpn2 fc6 fc7 cls_score bbox_pred",
    lambda i: f"_[mask]_fcn{i + 1}",
    "conv5_mask",
    "mask_fcn_logits",
    suffixes=("_w", "_b"),
    norm=("_s", "_b"),
)
C2 = "backbone.bottom_up."
DETECTRON2 = torch_names(
    (
        lambda level, b, n: f"{C2}res{level}.{b}.conv{n}",
        lambda level, b, n: f"{C2}res{level}.{b}.conv{n}.norm",
        [
            lambda level: f"{C2}res{level}.0.shortcut",
            lambda level: f"{C2}res{level}.0.shortcut.norm",
        ],
        (f"{C2}stem.conv1", f"{C2}stem.conv1.norm"),
    ),
    lambda level: f"backbone.fpn_lateral{level}",
    lambda level: f"backbone.fpn_output{level}",
    "proposal_generator.rpn_head.conv proposal_generator.rpn_head.objectness_logits "
    "proposal_generator.rpn_head.anchor_deltas roi_heads.box_head.fc1 "
    "roi_heads.box_head.fc2 roi_heads.box_predictor.cls_score "
    "roi_heads.box_predictor.bbox_pred",
    lambda i: f"roi_heads.mask_head.mask_fcn{i + 1}",
    "roi_heads.mask_head.deconv",
    "roi_heads.mask_head.predictor",
    background=0,
)


def paper(body):
    return torch_names(
        (
            lambda level, b, n: f"{body}conv_body.res{level}.{b}.conv{n}",
            lambda level, b, n: f"{body}conv_body.res{level}.{b}.bn{n}",
            [
                lambda level: f"{body}conv_body.res{level}.0.downsample.0",
                lambda level: f"{body}conv_body.res{level}.0.downsample.1",
            ],
            (f"{body}conv_body.res1.conv1", f"{body}conv_body.res1.bn1"),
        ),
        {
            5: f"{body}conv_top",
            4: f"{body}topdown_lateral_modules.0.conv_lateral",
            3: f"{body}topdown_lateral_modules.1.conv_lateral",
            2: f"{body}topdown_lateral_modules.2.conv_lateral",
        }.get,
        {5: f"{body}posthoc_modules.0", 4: f"{body}posthoc_modules.1",
         3: f"{body}posthoc_modules.2", 2: f"{body}posthoc_modules.3"}.get,
        "RPN.FPN_RPN_conv RPN.FPN_RPN_cls_score RPN.FPN_RPN_bbox_pred "
        "Box_Head.fc1 Box_Head.fc2 Box_Outs.cls_score Box_Outs.bbox_pred",
        {0: "Mask_Head.conv_fcn.0", 1: "Mask_Head.conv_fcn.2",
         2: "Mask_Head.conv_fcn.4", 3: "Mask_Head.conv_fcn.6"}.get,
        "Mask_Head.upconv",
        "Mask_Outs.classify",
        norm=(".weight", ".bias"),
    )  # fmt: skip


PAPER = paper("Conv_Body.")
SINGLE = {
    "torchvision_mask_rcnn": TORCHVISION,
    "detectron_mask_rcnn": DETECTRON,
    "detectron2_mask_rcnn": DETECTRON2,
    "paper_single": PAPER,
}


def shape_of(ours, background):
    """Shape of a kernel in the files: [out, in, h, w] or [out, in]."""
    part, layer = ours.rsplit("/", 1)
    if part.startswith("resnet/stage"):
        level, block = int(part[12]), int(part[19:])
        inner = WIDTH * 2 ** (level - 2)
        first = WIDTH if level == 2 else 2 * inner
        inputs = first if block == 0 else 4 * inner
        return {
            "conv1": (inner, inputs, 1, 1),
            "conv2": (inner, inner, 3, 3),
            "conv3": (4 * inner, inner, 1, 1),
            "shortcut_conv": (4 * inner, inputs, 1, 1),
        }[layer]
    return {
        "resnet/stem_conv": (WIDTH, 3, 7, 7),
        "rpn/logits": (3, CHANNELS, 1, 1),
        "rpn/deltas": (12, CHANNELS, 1, 1),
        "box_head/fc1": (HIDDEN, CHANNELS * 49),
        "box_head/fc2": (HIDDEN, HIDDEN),
        "box_head/logits": (CLASSES + 1, HIDDEN),
        "box_head/deltas": (4 * (CLASSES + background), HIDDEN),
        "mask_head/upconv": (CHANNELS, CHANNELS, 2, 2),
        "mask_head/logits": (CLASSES + background, CHANNELS, 1, 1),
        "fusion/conv0": (CHANNELS, 2 * CHANNELS, 3, 3),
        **{
            f"fpn/lateral{level}": (CHANNELS, WIDTH * 2**level, 1, 1)
            for level in BLOCKS
        },
    }.get(ours, (CHANNELS, CHANNELS, 3, 3))


def state(family):
    """A file's arrays; every value follows from the array's name."""
    arrays = {}
    for ours, theirs in family.names.items():
        if "norm" in ours:
            conv = ours.replace("norm", "conv")
            shapes = [shape_of(conv, family.background)[:1]] * len(family.norm)
            suffixes = family.norm
        else:
            shape = shape_of(ours, family.background)
            shapes, suffixes = [shape, shape[:1]], family.suffixes
            if ours.startswith("resnet"):
                shapes, suffixes = shapes[:1], suffixes[:1]
        for suffix, shape in zip(suffixes, shapes, strict=True):
            value = hashed(theirs + suffix, shape)
            arrays[theirs + suffix] = np.abs(value) if "var" in suffix else value
    return arrays


def lookup(params, path):
    for key in path.split("/"):
        params = params[key]
    return params


def check_layer(family, ours, arrays, layer):
    """Compares a layer with the file, one value at a time, at some random places."""
    theirs = family.names[ours]
    rng = np.random.default_rng(0)
    if "norm" in ours:
        scale, shift, *statistics = (
            np.float64(arrays[theirs + s]) for s in family.norm
        )
        mean, variance = statistics or (0, 1 - 1e-5)
        x = rng.normal(size=scale.shape)
        expected = (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
        assert set(layer) == {"scale", "bias"}
        assert_allclose(
            x * layer["scale"] + layer["bias"], expected, rtol=1e-4, atol=1e-5
        )
        return
    kernel = arrays[theirs + family.suffixes[0]]
    assert ("bias" in layer) == (not ours.startswith("resnet"))
    assert layer["kernel"].size == kernel[skipped(ours, family) :].size
    for _ in range(20):
        *space, i, o = (int(rng.integers(n)) for n in layer["kernel"].shape)
        row = source_row(ours, o, family)
        if ours == "mask_head/upconv":
            expected = kernel[i, o, space[0], space[1]]
        elif ours == "box_head/fc1":
            y, x, c = np.unravel_index(i, (7, 7, CHANNELS))
            expected = kernel[o].reshape(CHANNELS, 7, 7)[c, y, x]
        else:
            expected = kernel[(row, i, *space)]
        assert layer["kernel"][(*space, i, o)] == expected
        if "bias" in layer:
            assert layer["bias"][o] == arrays[theirs + family.suffixes[1]][row]


def skipped(ours, family):
    return {"box_head/deltas": 4, "mask_head/logits": 1}.get(
        ours, 0
    ) * family.background


def source_row(ours, output, family):
    """Which row of the file makes an output of ours."""
    if ours == "box_head/logits" and not family.background:
        return CLASSES if output == 0 else output - 1  # Their background is last.
    return output + skipped(ours, family)


def assert_fits(params, config):
    """The parameters are the detector's: the same names, shapes and dtypes."""
    b, h, w = 1, 64, 64
    frame = np.zeros((b, h, w, 3), np.float32)
    pair = np.ones((b, 2), np.float32)
    inputs = Inputs(
        frame if config.appearance else None,
        frame if config.motion else None,
        pair * 64, pair * 64, pair,
    )  # fmt: skip
    shapes = jax.eval_shape(Detector(config).init, jax.random.key(0), inputs)["params"]
    described = lambda tree: jax.tree.map(lambda a: (a.shape, str(a.dtype)), tree)
    assert described(params) == described(shapes)


@pytest.fixture
def written(tmp_path):
    def write(arrays, name="weights.safetensors"):
        save_file(arrays, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("stream", ["appearance", "motion"])
@pytest.mark.parametrize("kind", SINGLE)
def test_every_value_of_a_mask_rcnn_lands_where_it_should(kind, stream, written):
    family = SINGLE[kind]
    arrays = state(family)
    params, config, found, card = convert_weights(written(arrays), stream=stream)
    assert found == card["kind"] == kind
    assert card["mapped"] == len(arrays) and not card["partial"]
    for ours in family.names:
        prefix = f"{stream}/" if ours.startswith(("resnet", "fpn")) else ""
        check_layer(family, ours, arrays, lookup(params, prefix + ours))
    assert_fits(params, config)
    assert config.classes == CLASSES
    assert config.streams == (stream,)


def test_the_old_spelling_of_torchvision_gives_the_same(written):
    new, old = state(TORCHVISION), state(OLD_TORCHVISION)
    for theirs, other in zip(new, old, strict=True):
        old[other] = new[theirs]
    assert_trees_equal(
        convert_weights(written(new)).params, convert_weights(written(old)).params
    )


def assert_trees_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(assert_array_equal, a, b)


@pytest.mark.parametrize(
    "kind, convention, stride_in",
    [
        ("torchvision_mask_rcnn", "torchvision", "3x3"),
        ("detectron_mask_rcnn", "detectron", "1x1"),
        ("detectron2_mask_rcnn", "detectron2", "1x1"),
        ("paper_single", "detectron", "1x1"),
    ],
)
def test_the_config_is_that_of_the_kind(kind, convention, stride_in, written):
    config = convert_weights(written(state(SINGLE[kind]))).config
    assert config == ModelConfig(
        appearance=TrunkConfig(width=WIDTH, stride_in=stride_in),
        motion=None,
        channels=CHANNELS,
        classes=CLASSES,
        box_head_width=HIDDEN,
        convention=convention,
    )


def joint(convs=3):
    """The two-stream file of the paper, and where its layers belong."""
    arrays, layers = {}, {}
    for i, stream in enumerate(("appearance", "motion")):
        family = paper(f"Conv_Body.bodies.{i}.")
        arrays |= state(family)
        layers[stream] = family
    names = (
        ["Conv_Body.conv"]
        if convs == 1
        else [f"Conv_Body.adaptor.{i}" for i in (0, 2, 4)]
    )
    for i, name in enumerate(names):
        shape = shape_of(f"fusion/conv{i}", 1)
        arrays[f"{name}.weight"] = hashed(f"{name}.weight", shape)
        arrays[f"{name}.bias"] = hashed(f"{name}.bias", shape[:1])
        layers["motion"].names[f"fusion/conv{i}"] = name
    return arrays, layers


@pytest.mark.parametrize("convs, fusion", [(3, "concat_convs"), (1, "concat_conv")])
def test_the_two_stream_model_of_the_paper(convs, fusion, written):
    arrays, layers = joint(convs)
    params, config, kind, _ = convert_weights(written(arrays))
    assert kind == "paper_joint"
    for stream, family in layers.items():
        for ours in family.names:
            prefix = f"{stream}/" if ours.startswith(("resnet", "fpn")) else ""
            check_layer(family, ours, arrays, lookup(params, prefix + ours))
    assert_fits(params, config)
    assert config.fusion == fusion and not config.static_branch
    assert (config.rpn_features, config.mask_features) == ("fused", "appearance")
    assert config.flow_encoding == "paper"  # As its authors trained it.


def test_the_static_branch_has_the_heads_of_the_appearance_model(written):
    arrays, _ = joint()
    heads = {k: -v for k, v in state(PAPER).items()}
    params, config, _, card = convert_weights(
        written(arrays), appearance_heads=written(heads, "appearance.safetensors")
    )
    assert config.static_branch
    for ours in PAPER.names:
        if ours.startswith(("rpn", "box_head")):
            check_layer(PAPER, ours, heads, lookup(params["static"], ours))
            check_layer(PAPER, ours, arrays, lookup(params, ours))
    assert_fits(params, config)
    assert card["appearance_heads"]["source"] == "appearance.safetensors"
    assert "Mask_Outs.classify.bias" in str(card["appearance_heads"]["ignored"])


@pytest.mark.parametrize("stream", ["appearance", "motion"])
@pytest.mark.parametrize("kind", ["torchvision_resnet", "detectron_resnet"])
def test_a_classifier_gives_the_trunk_to_start_training_from(kind, stream, written):
    whole = DETECTRON if "detectron" in kind else TORCHVISION
    trunk = {k: v.removeprefix("backbone.body.") for k, v in whole.names.items()}
    trunk = {k: v for k, v in trunk.items() if k.startswith("resnet")}
    family = SimpleNamespace(**{**vars(whole), "names": trunk})
    arrays = state(family)
    if kind == "torchvision_resnet":
        ignored = {"fc.weight": (5, 9), "fc.bias": (5,), "bn1.num_batches_tracked": ()}
    else:
        ignored = {"fc1000_w": (5, 9), "fc1000_b": (5,)}
    arrays |= {name: np.zeros(shape, np.float32) for name, shape in ignored.items()}
    params, config, found, card = convert_weights(written(arrays), stream=stream)
    assert found == kind and card["partial"]
    assert set(params) == {stream} and set(params[stream]) == {"resnet"}
    assert getattr(config, stream).version == "v1"
    for ours in trunk:
        check_layer(family, ours, arrays, lookup(params[stream], ours))
    assert {n for names in card["ignored"].values() for n in names} == set(ignored)


# ResNet v2 of Gluon.


def gluon(stages=4, prefix="resnetv24_"):
    """Names and arrays of a v2 ResNet-50, by playing through its construction."""
    arrays, ours = {}, {}

    def norm(name, target, n):
        for suffix in ("gamma", "beta", "running_mean", "running_var"):
            value = hashed(f"{name}_{suffix}", (n,))
            arrays[f"{prefix}{name}_{suffix}"] = np.abs(value) + ("var" in suffix)
        ours[target] = name

    def conv(name, target, *shape):
        arrays[f"{prefix}{name}_weight"] = hashed(name, shape)
        ours[target] = name

    norm("batchnorm0", "input_norm", 3)
    conv("conv0", "stem_conv", WIDTH, 3, 7, 7)
    norm("batchnorm1", "stem_norm", WIDTH)
    inputs = WIDTH
    for stage in range(1, stages + 1):
        inner, convs, norms = WIDTH * 2 ** (stage - 1), 0, 0
        for block in range(BLOCKS[stage + 1]):
            where = f"stage{stage + 1}_block{block}"
            shapes = [
                (inner, inputs, 1, 1),
                (inner, inner, 3, 3),
                (4 * inner, inner, 1, 1),
            ]
            for n, shape in enumerate(shapes, 1):
                target = (
                    f"{where}/norm{n}" if (block, n) != (0, 1) else f"preact{stage + 1}"
                )
                norm(f"stage{stage}_batchnorm{norms}", target, shape[1])
                conv(f"stage{stage}_conv{convs}", f"{where}/conv{n}", *shape)
                convs, norms = convs + 1, norms + 1
            if block == 0:
                shape = (4 * inner, inputs, 1, 1)
                conv(f"stage{stage}_conv{convs}", f"{where}/shortcut_conv", *shape)
                convs += 1
            inputs = 4 * inner
    norm("batchnorm2", f"preact{stages + 2}" if stages == 4 else "unused", inputs)
    if stages < 4:
        norm(f"stage{stages + 1}_batchnorm0", f"preact{stages + 2}", inputs)
        conv(f"stage{stages + 1}_conv0", "unused", 2 * WIDTH, inputs, 1, 1)
    ours.pop("unused", None)
    return arrays, ours


@pytest.mark.parametrize("prefix", ["", "resnetv24_"])
@pytest.mark.parametrize("stages", [4, 3, 2])
def test_a_pre_activation_resnet_whole_or_cut_off(stages, prefix, written):
    arrays, ours = gluon(stages, prefix)
    params, config, kind, card = convert_weights(written(arrays))
    assert kind == "gluon_resnet_v2" and card["partial"]
    assert config.appearance == TrunkConfig("v2", width=WIDTH, last_level=stages + 1)
    resnet = params["appearance"]["resnet"]
    for target, name in ours.items():
        layer = lookup(resnet, target)
        if "conv" in target:
            expected = arrays[f"{prefix}{name}_weight"]
            assert_array_equal(layer["kernel"], np.einsum("oiyx->yxio", expected))
        else:
            gamma, beta, mean, variance = (
                np.float64(arrays[f"{prefix}{name}_{s}"])
                for s in ("gamma", "beta", "running_mean", "running_var")
            )
            at_mean = mean * layer["scale"] + layer["bias"]
            assert_allclose(at_mean, beta, rtol=1e-5, atol=1e-5)
            assert_allclose(layer["scale"], gamma / np.sqrt(variance + 1e-5), rtol=1e-6)
    count = sum(len(resnet[k]) if "block" in k else 1 for k in resnet)
    assert count == len(ours)


@needs(IMAGENET)
def test_the_real_pre_activation_resnet_converts():
    path = outside(IMAGENET)
    params, config, _, card = convert_weights(path, stream="motion")
    assert config.motion == TrunkConfig("v2", depth=50, width=64, last_level=4)
    assert set(params) == {"motion"}
    with np.load(path) as arrays:
        kernel = arrays["stage3_conv17_weight"].astype(np.float32)
        count = sum(len(names) for names in card["ignored"].values())
        assert card["mapped"] + count == len(arrays.files)
        ignored = {name for names in card["ignored"].values() for name in names}
        mapped = [n for n in arrays.files if n not in ignored and "running" not in n]
        size = sum(arrays[name].size for name in mapped)
    ours = params["motion"]["resnet"]["stage4_block5"]["conv2"]["kernel"]
    assert_array_equal(ours, np.einsum("oiyx->yxio", kernel))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size


def test_torchvisions_own_names_are_all_known(written):
    """Of the models that `scripts/make_golden.py` ran; the values are all zero."""
    for name, kind in [
        ("mask_rcnn", "torchvision_mask_rcnn"),
        ("resnet50", "torchvision_resnet"),
    ]:
        with np.load(GOLDEN / f"{name}.npz") as golden:
            lines = [line.split() for line in golden["weights"]]
        arrays = {
            n: np.zeros([int(s) for s in shape], np.float16) for n, *shape in lines
        }
        assert convert_weights(written(arrays)).kind == kind


# What does not fit.


@pytest.mark.parametrize("kind", SINGLE)
def test_a_missing_an_unknown_and_a_misshapen_array_are_named(kind, written):
    arrays = state(SINGLE[kind])
    for missing in list(arrays)[:: len(arrays) // 12]:
        rest = {k: v for k, v in arrays.items() if k != missing}
        with pytest.raises(InputError) as error:
            convert_weights(written(rest))
        assert repr(missing) in str(error.value) or f"{missing} is missing" in str(
            error.value
        )
    some = list(arrays)[-1]
    with pytest.raises(InputError, match=r"extra\.weight is unknown"):
        convert_weights(written({**arrays, "extra.weight": np.zeros(2, np.float32)}))
    with pytest.raises(InputError, match=r"has shape \[7\], expected"):
        convert_weights(written({**arrays, some: np.zeros(7, np.float32)}))
    with pytest.raises(InputError, match="is not finite"):
        convert_weights(written({**arrays, some: np.full_like(arrays[some], np.nan)}))


def test_all_that_is_wrong_is_in_one_message(written):
    arrays = state(TORCHVISION)
    arrays = {k: v for k, v in arrays.items() if "mask_head.0.0" not in k}
    arrays["typo.weight"] = np.zeros(2, np.float32)
    with pytest.raises(InputError) as error:
        convert_weights(path := written(arrays))
    assert str(error.value) == (
        f"{path}: looks like a torchvision_mask_rcnn, but roi_heads.mask_head.0.0."
        f"weight is missing; roi_heads.mask_head.0.0.bias is missing; typo.weight is "
        f"unknown. Every name has to be known and every layer to be there."
    )


def test_sizes_claimed_by_one_small_array_take_no_memory(written):
    arrays = state(TORCHVISION)
    arrays["backbone.body.conv1.weight"] = np.zeros((10**6, 1), np.float32)
    with pytest.raises(InputError, match="has shape"):
        convert_weights(written(arrays))


def test_the_files_torchvision_released_have_no_epsilon(written, monkeypatch):
    arrays = state(TORCHVISION)
    arrays["backbone.body.bn1.running_var"] = np.full(WIDTH, 1e-5, np.float32)
    path = written(arrays)
    start = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    usual = convert_weights(path).params["appearance"]["resnet"]["stem_norm"]
    monkeypatch.setitem(mapping.EPSILON_OF_FILES, start, 0.0)
    exact = convert_weights(path).params["appearance"]["resnet"]["stem_norm"]
    assert_allclose(exact["scale"], usual["scale"] * np.float32(2**0.5), rtol=1e-6)


def test_a_variance_below_zero_is_named(written):
    arrays = state(TORCHVISION)
    arrays["backbone.body.bn1.running_var"] = -np.ones(WIDTH, np.float32)
    with pytest.raises(InputError, match=r"backbone\.body\.bn1 has a variance"):
        convert_weights(written(arrays))


def test_a_resnet_of_another_depth_is_refused(written):
    arrays = {k: v for k, v in state(TORCHVISION).items() if ".layer3.5." not in k}
    with pytest.raises(InputError, match=r"\[3, 4, 5, 3\] blocks"):
        convert_weights(written(arrays))


def test_detectron2_with_other_preprocessing_is_refused(written):
    arrays = state(DETECTRON2)
    mean = np.float32([103.53, 116.28, 123.675]).reshape(3, 1, 1)
    arrays |= {"pixel_mean": mean, "pixel_std": np.ones((3, 1, 1), np.float32)}
    card = convert_weights(written(arrays)).card
    assert "pixel_mean" in str(card["ignored"])
    arrays["pixel_std"] = 57 * arrays["pixel_std"]
    with pytest.raises(InputError, match=r"pixel_std is \[57"):
        convert_weights(written(arrays))


def test_optimizers_and_counters_are_ignored_by_name(tmp_path):
    arrays = state(DETECTRON)
    momentum = {f"{k}_momentum": v for k, v in arrays.items()}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"cfg": "x", "blobs": arrays | momentum}, 2))
    card = convert_weights(path).card
    assert card["mapped"] == len(arrays) == len(card["ignored"]["the optimizer's"])
    assert card["ignored"]["not an array of the model"] == ["cfg"]


WRAPPERS = ["module.", "model.", "_orig_mod.", "ema_model.module.", "lit.net.model."]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("kind", SINGLE)
def test_a_wrapper_around_the_whole_model_does_not_matter(kind, wrapper, written):
    arrays = state(SINGLE[kind])
    wrapped = {f"{wrapper}{k}": v for k, v in arrays.items()}
    wrapped["n_averaged"] = np.array(7, np.int64)  # Of torch's AveragedModel.
    found = convert_weights(written(wrapped))
    expected = convert_weights(written(arrays))
    assert_trees_equal(found.params, expected.params)
    assert found.config == expected.config
    reason = f"its name does not begin with {wrapper!r}"
    assert found.card["ignored"] == expected.card["ignored"] | {reason: ["n_averaged"]}


@pytest.mark.parametrize("key", ["state_dict", "model_ema", "ema", "model_state_dict"])
def test_checkpoints_of_trainers_hold_the_model_among_other_things(key, tmp_path):
    arrays = state(TORCHVISION)
    moments = {"state": {0: {"exp_avg": np.ones(3, np.float32)}}}
    content = {
        "epoch": 3,
        "optimizer": moments,
        key: {f"model.{k}": v for k, v in arrays.items()},
    }
    path = tmp_path / "last.ckpt"
    path.write_bytes(pickle.dumps(content, 2))
    converted = convert_weights(path)
    assert converted.card["mapped"] == len(arrays)
    assert converted.card["ignored"]["not an array of the model"] == [
        "epoch",
        "optimizer",
    ]


def test_of_several_models_in_a_file_one_is_to_be_chosen(written):
    """Such as a model and its moving average in a checkpoint of Lightning."""
    arrays = state(TORCHVISION)
    average = {k: 2 * v for k, v in arrays.items()}
    path = written(
        {f"model.{k}": v for k, v in arrays.items()}
        | {f"ema.model.{k}": v for k, v in average.items()}
    )
    with pytest.raises(InputError, match=r"2 models, .* with 'ema.model.', 'model.';"):
        convert_weights(path)
    found = convert_weights(path, prefix="ema.model.")
    assert len(found.card["ignored"]["its name does not begin with 'ema.model.'"]) == (
        len(arrays)
    )
    assert_trees_equal(found.params, convert_weights(written(average)).params)
    with pytest.raises(InputError, match=r"no array's name begins with 'teacher\.'"):
        convert_weights(path, prefix="teacher.")


def test_arrays_beside_the_model_are_not_lost_without_a_word(written):
    wrapped = {f"model.{k}": v for k, v in state(TORCHVISION).items()}
    path = written(wrapped | {"decoder.weight": np.ones((3, 2), np.float32)})
    with pytest.raises(InputError, match=r"decoder\.weight does not begin with 'model"):
        convert_weights(path)
    assert convert_weights(path, prefix="model.").card["mapped"] == len(wrapped)


@pytest.mark.parametrize(
    "arrays, options, message",
    [
        ({"w": np.zeros(2, np.float32)}, {}, "none of the kinds"),
        (joint()[0], {"stream": "motion"}, "no stream 'motion'"),
        (state(PAPER), {"appearance_heads": "x"}, "two-stream"),
        (joint()[0], {"appearance_heads": "missing.pth"}, "no such file"),
    ],
    ids=["unknown", "stream of two", "heads of one", "no heads"],
)
def test_what_cannot_be_meant_is_refused(arrays, options, message, written):
    with pytest.raises(InputError, match=message):
        convert_weights(written(arrays), **options)
