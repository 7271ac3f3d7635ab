"""config_and_args.pkl of Detectron.pytorch: what it tells, and that it does no harm."""

import argparse
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax.convert.detectron_settings import find_settings, read_settings
from movseg_jax.convert.models import convert_weights
from movseg_jax.errors import InputError
from tests.test_convert import joint, written  # noqa: F401

# As PyYAML writes a config of nested `AttrDict`s: tags, and leaves in one line.
TAG = "!!python/object/new:utils.collections.AttrDict"
CFG = f"""{TAG}
dictitems:
  FAST_RCNN: {TAG}
    dictitems: {{INPUT_INDEX: -1, MLP_HEAD_DIM: 1024}}
    state: {{__immutable__: true}}
  FPN: {TAG}
    dictitems: {{FPN_ON: true, RPN_COLLECT_SCALE: 2.0, RPN_MAX_LEVEL: 6}}
    state: {{__immutable__: true}}
  KRCNN: {TAG}
    dictitems: {{INPUT_INDEX: 1}}
  MODEL: {TAG}
    dictitems: {{CONV_BODY: body_muxer.BodyMuxer_ConcatenateAdapt, NUM_CLASSES: 2}}
  MRCNN: {TAG}
    dictitems: {{CLS_SPECIFIC_MASK: true, INPUT_INDEX: 0, RESOLUTION: 28}}
  RPN: {TAG}
    dictitems: {{INPUT_INDEX: -1, ON: true}}
"""
ARGS = argparse.Namespace(dataset=["davis"], batch_size=16, lr=0.02, resume=False)


def write(path, cfg=CFG, protocol=4, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"cfg": cfg, "args": ARGS, **more}, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_settings_tell_the_number_of_proposals_and_what_heads_see(protocol, tmp_path):
    found = read_settings(write(tmp_path / "x.pkl", protocol=protocol))
    assert found.proposals == 2000
    assert found.features == {
        "rpn_features": "fused",
        "box_features": "fused",
        "mask_features": "appearance",
    }


@pytest.mark.parametrize(
    ("scale", "proposals"), [("1", 1000), ("0.5", 500), ("0.0004", 1), ("4.0", 4000)]
)
def test_proposals_are_rounded_as_detectron_does(scale, proposals, tmp_path):
    path = write(tmp_path / "x.pkl", CFG.replace("2.0", scale))
    assert read_settings(path).proposals == proposals


def test_models_of_one_stream_have_no_features_to_tell(tmp_path):
    path = write(tmp_path / "x.pkl", CFG.replace("body_muxer.BodyMuxer", "FPN.fpn"))
    assert read_settings(path).features == {}


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        (CFG.replace("2.0", "0"), "RPN_COLLECT_SCALE is 0, expected more than 0"),
        (CFG.replace("2.0", "1e99"), "no number FPN"),
        (CFG.replace("2.0", "999"), "at most 100"),
        (CFG.replace("2.0", "1.2.3"), "RPN_COLLECT_SCALE is"),
        ("", "no number FPN.RPN_COLLECT_SCALE"),
        (CFG.replace("INPUT_INDEX: 0", "INPUT_INDEX: 7"), "MRCNN.INPUT_INDEX is 7"),
        (7, "no settings of Detectron"),
    ],
)
def test_other_settings_are_refused(cfg, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_settings(write(tmp_path / "x.pkl", cfg))


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_nothing_in_settings_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="system"):
        read_settings(write(tmp_path / "x.pkl", harm=Harm()))
    with pytest.raises(InputError, match="Argument"):
        read_settings(write(tmp_path / "x.pkl", harm=argparse.ArgumentError(None, "")))
    assert not (tmp_path / "harmed").exists()


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_damaged_settings_are_input_errors(tmp_path_factory, junk, place):
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    data = pickle.dumps({"cfg": CFG, "args": ARGS}, 4)
    path.write_bytes(data[:place] + junk + data[place + len(junk) :])
    try:
        found = read_settings(path)
    except InputError:
        return
    assert found.proposals > 0


def test_a_two_stream_model_takes_its_settings_from_beside_it(written):  # noqa: F811
    arrays, _ = joint()
    weights = written(arrays)
    _, config, _, card = convert_weights(weights)
    assert config.proposals == 1000 and len(card["assumed"]) == 2
    settings = write(weights.parent / "config_and_args.pkl")
    assert find_settings(weights) == settings
    _, config, _, card = convert_weights(weights)
    assert (config.proposals, config.mask_features) == (2000, "appearance")
    assert card["settings"] == "config_and_args.pkl" and "assumed" not in card
    _, config, _, _ = convert_weights(weights, proposals=300)
    assert config.proposals == 300
    moved = settings.rename(weights.parent / "other.pkl")
    write(moved, CFG.replace("INPUT_INDEX: 0", "INPUT_INDEX: -1"))
    _, config, _, _ = convert_weights(weights, settings=moved)
    assert config.mask_features == "fused"
    with pytest.raises(InputError, match="`proposals` is 0"):
        convert_weights(weights, proposals=0)
