import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movseg_jax.config import (
    CONVENTIONS,
    Config,
    ModelConfig,
    TrunkConfig,
    from_json,
    load_config,
    to_json,
)
from movseg_jax.errors import InputError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_loads_and_survives_json(path):
    config = load_config(path)
    assert from_json(Config, to_json(config)) == config
    assert path.read_text().startswith('"""')


def test_the_paper_s_final_model():
    config = load_config(next(p for p in CONFIGS if p.stem == "joint_davis")).model
    assert config.streams == ("appearance", "motion")
    assert config.fusion == "concat_convs"
    assert config.rpn_features == config.box_features == "fused"
    assert config.mask_features == "appearance"


trunks = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["v1", "v2"]),
        "depth": st.integers(1, 200),
        "norm": st.sampled_from(["affine", "group"]),
    }
)
models = st.fixed_dictionaries(
    {
        "convention": st.sampled_from(sorted(CONVENTIONS)),
        "min_score": st.floats(0, 1),
        "anchor_ratios": st.lists(st.floats(0.1, 10), min_size=1).map(tuple),
    }
)


@given(models, trunks, st.none() | trunks)
def test_json_is_lossless(fields, appearance, motion):
    trunk = TrunkConfig(**motion) if motion else None
    config = ModelConfig(appearance=TrunkConfig(**appearance), motion=trunk, **fields)
    assert from_json(ModelConfig, to_json(config)) == config


@pytest.mark.parametrize(
    "change, message",
    [
        ({"depht": 50}, "ModelConfig has no field 'depht'"),
        ({"channels": "many"}, "config.channels: expected int, got 'many'"),
        ({"channels": 1.5}, "config.channels: expected int"),
        ({"classes": True}, "config.classes: expected int"),
        ({"static_branch": 1}, "config.static_branch: expected bool"),
        ({"appearance": {"version": "v3"}}, "expected one of 'v1', 'v2', got 'v3'"),
        ({"appearance": 7}, "config.appearance: expected an object"),
        ({"convention": "metric"}, "No convention 'metric'"),
        ({"appearance": None, "motion": None}, "needs `appearance`"),
    ],
)
def test_a_wrong_field_is_an_input_error_that_names_it(change, message):
    fields = dataclasses.asdict(ModelConfig()) | change
    with pytest.raises(InputError, match=message):
        from_json(ModelConfig, json.dumps(fields))


@given(st.text() | st.binary().map(lambda b: b.decode("latin1")))
def test_text_that_is_no_config_is_an_input_error(text):
    try:
        from_json(ModelConfig, text)
    except InputError:
        return
    assert json.loads(text) == {}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TrunkConfig(last_level=6), "last_level is 6, expected 2 to 5"),
        (lambda: TrunkConfig(width=0), "TrunkConfig.width is 0, expected at least 1"),
        (lambda: ModelConfig(proposals=-1), "ModelConfig.proposals is -1"),
    ],
)
def test_a_wrong_value_is_an_input_error_in_python_too(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_value_that_is_no_choice_is_an_input_error_in_python_too():
    # In a process of its own: here, beartype would be faster.
    code = "from movseg_jax import TrunkConfig; TrunkConfig(norm='batch')"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    message = (
        "InputError: TrunkConfig.norm is 'batch', expected one of 'affine', 'group'."
    )
    assert message in result.stderr


def test_deep_json_is_an_input_error():
    with pytest.raises(InputError, match="not JSON"):
        from_json(ModelConfig, "[" * 100_000)


def test_config_files_that_are_missing_or_empty_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="defines no `get_config"):
        load_config(tmp_path / "empty.py")
