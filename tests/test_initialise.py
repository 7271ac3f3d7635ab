"""Weights of earlier stages put together."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest

from movseg_jax.config import ModelConfig, StartConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model.parameters import parameter_shapes
from movseg_jax.model.weights import read_config, save_weights
from movseg_jax.train.freezing import paths
from movseg_jax.train.initialise import find, read_weights, start

TRUNK = TrunkConfig(depth=14, width=8, last_level=2)
JOINT = ModelConfig(
    appearance=TRUNK,
    motion=TRUNK,
    channels=8,
    box_head_width=16,
    static_branch=True,
    mask_features="appearance",
)
PLAIN = dataclasses.replace(JOINT, static_branch=False, mask_features="fused")
APPEARANCE = dataclasses.replace(PLAIN, motion=None)
MOTION = dataclasses.replace(PLAIN, appearance=None)
COCO = dataclasses.replace(APPEARANCE, classes=3)
RESIDUAL = dataclasses.replace(MOTION, flow_encoding="residual")
MODELS = {
    "appearance": APPEARANCE,
    "motion": MOTION,
    "coco": COCO,
    "joint": JOINT,
    "residual": RESIDUAL,
}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation")]


@functools.cache
def shapes_of(config):
    return parameter_shapes(config)


def random(config, seed):
    """Parameters that no initialiser gives, so that what is taken shows."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes_of(config)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of each of MODELS, and of a trunk alone, as ImageNet's are."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, (name, config) in enumerate(MODELS.items()):
        card = {"licence": f"{name}'s"}
        save_weights(folder / f"{name}.safetensors", random(config, seed), config, card)
    trunk = {"appearance": {"resnet": random(APPEARANCE, 9)["appearance"]["resnet"]}}
    save_weights(folder / "trunk.safetensors", trunk, APPEARANCE, {})
    return folder


@pytest.fixture
def begin(folder):
    """Finds what to start from in weights named by their file's stem."""

    def begin(config, **sources):
        # Neither of these changes a shape.
        plain = {"convention": "continuous", "flow_encoding": "direct"}
        shapes = dataclasses.replace(config, **plain)
        named = _name(folder, sources)
        return find(config, StartConfig(**named), shapes_of(shapes), read_weights)

    return begin


def _name(folder, sources) -> dict[str, Any]:
    return {
        key: value if key == "heads" else str(folder / f"{value}.safetensors")
        for key, value in sources.items()
    }


def flat(tree, prefix):
    return {f"{prefix}/{path}": at(tree, path) for path in paths(tree)}


def at(params, path):
    for name in path.split("/"):
        params = params[name]
    return params


def assert_found(found, expected):
    """`expected` is by path; what is not there is to be fresh."""
    assert found.keys() == expected.keys()
    for path, (array, _) in found.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


def heads_of(params, *heads, below=""):
    return {k: v for h in heads for k, v in flat(params[h], below + h).items()}


HEADS = ("rpn", "box_head", "mask_head")


def test_without_sources_all_is_fresh(begin):
    assert begin(JOINT) == ({}, [])


def test_the_joint_model_takes_trunks_heads_and_static_branch(begin):
    found, unused = begin(JOINT, appearance="appearance", motion="motion")
    appearance, motion = random(APPEARANCE, 0), random(MOTION, 1)
    expected = flat(appearance["appearance"], "appearance")
    expected |= flat(motion["motion"], "motion") | heads_of(appearance, *HEADS)
    expected |= heads_of(appearance, "rpn", "box_head", below="static/")
    assert_found(found, expected)
    fresh = set(paths(shapes_of(JOINT))) - found.keys()
    assert {path.split("/")[0] for path in fresh} == {"fusion"} and not unused


def test_start_fills_in_what_is_fresh_and_reports_all(folder):
    sources = _name(folder, {"appearance": "appearance", "motion": "motion"})
    params, report, licence = start(JOINT, StartConfig(**sources), 0)
    assert paths(params) == paths(shapes_of(JOINT))
    appearance, motion = random(APPEARANCE, 0), random(MOTION, 1)
    for part, expected in {
        "appearance": appearance["appearance"],
        "motion": motion["motion"],
        "mask_head": appearance["mask_head"],
    }.items():
        jax.tree.map(np.testing.assert_array_equal, params[part], expected)
    kernel = params["fusion"]["conv0"]["kernel"]
    assert 0 < np.abs(kernel).max() <= 1 / np.sqrt(9 * 16)
    lines = dict(line.split(": ", 1) for line in report)
    assert lines.keys() == {"fresh", *(f"from {source}" for source in sources.values())}
    listed, _, _ = lines[f"from {sources['appearance']}"].rpartition(" (")
    expected = {"appearance/fpn", "static/rpn", "mask_head/conv0"}
    assert expected <= set(listed.split(", "))
    assert "motion/resnet" in lines[f"from {sources['motion']}"]
    assert lines["fresh"].startswith("fusion/conv0")
    assert lines["fresh"].endswith(" arrays)")
    assert licence == "appearance's and motion's"


def test_what_is_all_from_one_place_is_a_line():
    begun = start(APPEARANCE, StartConfig(), 0)
    assert begun.report == (
        f"fresh: everything ({len(paths(shapes_of(APPEARANCE)))} arrays)",
    )
    assert begun.licence == ""


def test_the_model_in_the_package_is_a_start():
    weights = read_weights("bundled")
    assert weights.config == read_config("bundled") and weights.name == "bundled"


def test_heads_can_be_those_of_motion_or_fresh(begin):
    sources = {"appearance": "appearance", "motion": "motion"}
    found, _ = begin(PLAIN, **sources, heads="motion")
    heads = heads_of(random(MOTION, 1), *HEADS)
    assert_found({path: found[path] for path in heads}, heads)
    without, _ = begin(PLAIN, **sources, heads="fresh")
    assert without.keys() == found.keys() - heads.keys()


def test_whole_weights_are_taken_whole_and_parts_replace_theirs(begin):
    joint = random(JOINT, 3)
    expected = heads_of(joint, *joint)
    assert_found(begin(JOINT, weights="joint")[0], expected)
    found, _ = begin(JOINT, weights="joint", motion="motion")
    assert_found(found, expected | flat(random(MOTION, 1)["motion"], "motion"))


def test_another_number_of_classes_gives_fresh_outputs_only(begin, folder):
    found, _ = begin(JOINT, appearance="coco", motion="motion")
    fresh = {path for path, (array, _) in found.items() if array is None}
    assert {path.rpartition("/")[0] for path in fresh} == {
        "box_head/logits",
        "box_head/deltas",
        "mask_head/logits",
        "static/box_head/logits",
        "static/box_head/deltas",
    }
    origin = f"fresh, since {folder / 'coco.safetensors'} has other classes"
    assert {found[path][1] for path in fresh} == {origin}
    coco = random(COCO, 2)
    heads = heads_of(coco, *HEADS) | heads_of(coco, *HEADS[:2], below="static/")
    for path in heads.keys() - fresh:
        np.testing.assert_array_equal(found[path][0], heads[path])


@pytest.mark.parametrize("config", [APPEARANCE, MOTION])
def test_either_stream_starts_from_a_trunk_without_heads(begin, config):
    (stream,) = config.streams
    found, unused = begin(config, **{stream: "trunk"})
    resnet = random(APPEARANCE, 9)["appearance"]["resnet"]
    assert_found(found, flat(resnet, f"{stream}/resnet"))
    assert not unused


def test_a_joint_model_gives_one_of_its_streams(begin):
    found, _ = begin(MOTION, motion="joint")
    assert_found(found, flat(random(JOINT, 3)["motion"], "motion"))


def test_arrays_are_taken_from_weights_whose_fusion_is_code_that_is_not_run(tmp_path):
    theirs = dataclasses.replace(MOTION, fusion="no_such_module:fuse")
    params = random(MOTION, 5)
    save_weights(tmp_path / "own.safetensors", params, theirs, {})
    begun = start(MOTION, StartConfig(weights=str(tmp_path / "own.safetensors")), 0)
    for name in paths(params):
        np.testing.assert_array_equal(at(begun.params, name), at(params, name))


def test_what_has_no_place_is_named(begin):
    found, unused = begin(PLAIN, weights="joint")
    assert unused == ["static/box_head", "static/rpn"]
    assert found.keys() == set(paths(shapes_of(PLAIN)))


def changed(config, field=None, **changes):
    """The config with a change, of the trunks if a stream is named."""
    if field is None:
        return dataclasses.replace(config, **changes)
    return dataclasses.replace(
        config, **{field: dataclasses.replace(getattr(config, field), **changes)}
    )


@pytest.mark.parametrize(
    ("config", "sources", "message"),
    [
        (APPEARANCE, {"motion": "motion"}, "has no stream for motion"),
        (MOTION, {"appearance": "appearance"}, "has no stream for appearance"),
        (JOINT, {"appearance": "motion"}, "motion.safetensors: has no 'appearance'"),
        (JOINT, {"motion": "motion", "heads": "motion"}, None),
        (JOINT, {"appearance": "appearance", "heads": "motion"}, "names no weights"),
        (changed(PLAIN, channels=16), {"appearance": "appearance"}, "has shape"),
        (changed(PLAIN, box_head_width=8), {"weights": "joint"}, "has shape"),
        (
            changed(PLAIN, "appearance", stride_in="1x1"),
            {"appearance": "appearance"},
            r"Set model\.appearance.stride_in to '3x3'",
        ),
        (
            changed(PLAIN, "motion", norm="group"),
            {"weights": "joint"},
            "Set model.motion.norm to 'affine'",
        ),
        (
            changed(PLAIN, "motion", depth=26),
            {"motion": "motion"},
            "motion.depth to 14",
        ),
        (
            changed(PLAIN, convention="detectron2"),
            {"appearance": "appearance"},
            "Set model.convention",
        ),
        (
            changed(PLAIN, flow_encoding="residual"),
            {"motion": "motion"},
            "Set model.flow_encoding",
        ),
    ],
)
def test_what_does_not_fit_is_refused(begin, config, sources, message):
    if message is None:
        begin(config, **sources)
        return
    with pytest.raises(InputError, match=message):
        begin(config, **sources)


@pytest.mark.parametrize("name", ["nothing.safetensors", "nothing"])
def test_missing_weights_are_changed(tmp_path, name):
    with pytest.raises(InputError, match=r"no such file|neither weights"):
        read_weights(str(tmp_path / name))


def test_a_stream_that_is_replaced_may_have_been_another(begin):
    """Only what is taken has to fit: here, another encoding of flow was seen before."""
    model = changed(JOINT, flow_encoding="residual")
    with pytest.raises(InputError, match=r"Set model\.flow_encoding"):
        begin(model, weights="joint")
    found, unused = begin(model, weights="joint", motion="residual")
    expected = flat(random(JOINT, 3), "") | flat(
        random(RESIDUAL, 4)["motion"], "motion"
    )
    assert_found(found, {path.strip("/"): array for path, array in expected.items()})
    assert not unused


def test_motion_may_see_flow_encoded_otherwise_than_colours(begin):
    """A backbone that saw colours has no encoding of flow to keep."""
    found, unused = begin(changed(MOTION, flow_encoding="residual"), motion="trunk")
    resnet = random(APPEARANCE, 9)["appearance"]["resnet"]
    assert_found(found, flat(resnet, "motion/resnet"))
    assert not unused
