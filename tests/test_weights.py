"""Our own weight files: exact, never half, never silently wrong."""

import hashlib
import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.errors import InputError
from movseg_jax.model import weights
from movseg_jax.model.weights import load_weights, save_weights

CONFIG = ModelConfig(motion=None, appearance=TrunkConfig(depth=14, width=8))
PARAMS = {
    "rpn": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "box_head": {"fc1": {"kernel": np.ones((2, 2), np.float32), "bias": np.zeros(0)}},
}
CARD = {"source": "a test", "licence": "none"}


@pytest.fixture
def saved(tmp_path):
    save_weights(tmp_path / "tiny.safetensors", PARAMS, CONFIG, CARD)
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_what_was_saved_is_loaded(suffix, saved):
    params, config, card, sha256, _ = load_weights(saved.with_suffix(suffix))
    assert config == CONFIG and card == CARD
    assert sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    kernel = params["rpn"]["conv"]["kernel"]
    assert_array_equal(kernel, PARAMS["rpn"]["conv"]["kernel"])
    assert set(params) == {"rpn", "box_head"}
    assert set(params["box_head"]["fc1"]) == {"kernel", "bias"}
    assert kernel.dtype == np.float32 and not kernel.flags.writeable


def test_a_card_does_not_choose_what_code_runs(tmp_path):
    config = ModelConfig(fusion="evil.module:fuse")
    save_weights(tmp_path / "w.safetensors", {"w": np.ones(1)}, config, {})
    with pytest.raises(InputError, match=r"fusion is code, 'evil.module:fuse'"):
        load_weights(tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors", fusion="evil.module:fuse")
    assert loaded.config == config


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_parameters_stored_in_another_precision_load_as_float32(dtype, tmp_path):
    values = np.linspace(-1, 1, 7).astype(dtype)
    save_weights(tmp_path / "w.safetensors", {"w": values}, CONFIG, {})
    loaded = load_weights(tmp_path / "w.safetensors").params["w"]
    assert loaded.dtype == np.float32
    assert_array_equal(loaded, values.astype(np.float32))


def test_the_card_says_what_and_how_many(saved):
    card = json.loads(saved.with_suffix(".json").read_text())
    assert card["format"] == weights.FORMAT
    assert card["parameters"] == 10
    assert card["model"]["appearance"]["depth"] == 14
    assert len(card["sha256"]) == 64


def test_equal_parameters_give_equal_bytes_in_any_order(saved, tmp_path):
    turned = {
        "box_head": {"fc1": dict(reversed(PARAMS["box_head"]["fc1"].items()))},
        "rpn": {"conv": {"kernel": np.asfortranarray(PARAMS["rpn"]["conv"]["kernel"])}},
    }
    again = tmp_path / "again.safetensors"
    save_weights(again, turned, CONFIG, dict(reversed(CARD.items())))
    assert again.read_bytes() == saved.read_bytes()
    cards = [p.with_suffix(".json").read_bytes() for p in (again, saved)]
    assert cards[0] == cards[1]


def test_existing_files_are_kept_unless_told_otherwise(saved):
    before = saved.read_bytes()
    with pytest.raises(InputError, match="overwrite=True"):
        save_weights(saved, {"w": np.ones(1)}, CONFIG, CARD)
    assert saved.read_bytes() == before
    save_weights(saved, {"w": np.ones(1)}, CONFIG, CARD, overwrite=True)
    assert set(load_weights(saved).params) == {"w"}


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_either_file_alone_is_not_overwritten(suffix, saved):
    saved.with_suffix(suffix).unlink()
    with pytest.raises(InputError, match="overwrite=True"):
        save_weights(saved, PARAMS, CONFIG, CARD)


def test_a_failing_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save_weights(tmp_path / "w.safetensors", PARAMS, CONFIG, CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_between_the_two_files_is_seen(saved, monkeypatch):
    write = weights.write_file

    def crash(path, data):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(weights, "write_file", crash)
    with pytest.raises(KeyboardInterrupt):
        save_weights(saved, {"w": np.ones(1)}, CONFIG, CARD, overwrite=True)
    with pytest.raises(InputError, match=r"tiny\.safetensors: damaged"):
        load_weights(saved)


def test_a_flipped_byte_anywhere_in_the_weights_is_seen(saved):
    data = bytearray(saved.read_bytes())
    for i in range(len(data)):
        data[i] ^= 1
        saved.write_bytes(data)
        with pytest.raises(InputError, match=r"tiny\.safetensors: damaged"):
            load_weights(saved)
        data[i] ^= 1


@pytest.mark.parametrize("end", [0, 1, 100, -1])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_file_cut_off_is_named(suffix, end, saved):
    path = saved.with_suffix(suffix)
    path.write_bytes(path.read_bytes()[: end if end >= 0 else -2])
    with pytest.raises(InputError, match=rf"tiny\{suffix}"):
        load_weights(saved)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "has format 2; this version .* reads format 1"),
        ({"format": "1"}, "has format '1'"),
        ({"sha256": None}, "`sha256` is missing"),
        ({"model": []}, "`model` is missing or not a dict"),
        ({"model": {"colour": 1}}, "`model`: ModelConfig has no field 'colour'"),
        ({"sha256": "0" * 64}, r"tiny\.safetensors: damaged"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(change, message, saved):
    path = saved.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        load_weights(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 10**5, '{"a": 1', "\x00", "1e999"]
)
def test_what_is_no_card_is_an_input_error(text, saved):
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(InputError, match=r"tiny\.json"):
        load_weights(saved)


@settings(max_examples=80, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=6))
def test_a_mutated_card_is_an_error_or_changes_no_parameter(
    where, new, tmp_path_factory
):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    save_weights(path, PARAMS, CONFIG, CARD, overwrite=True)
    card = path.with_suffix(".json")
    data = card.read_bytes()
    at = int(where * len(data))
    card.write_bytes(data[:at] + new + data[at + len(new) :])
    try:
        params = load_weights(path).params
    except InputError as error:
        assert "mutated" in str(error)
    else:
        expected = PARAMS["rpn"]["conv"]["kernel"]
        assert_array_equal(params["rpn"]["conv"]["kernel"], expected)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"w": np.array([1.0, np.nan])}, "w is not finite"),
        ({"a": {"w": np.array([1, 2])}}, "a/w has dtype int64"),
        ({"a/b": np.ones(1)}, "'a/b' is not a parameter's name"),
        ({"a": {"": np.ones(1)}}, "a/'' is not a parameter's name"),
        ({"a": {1: np.ones(1)}}, "a/1 is not a parameter's name"),
        ({"w": "text"}, "w has dtype"),
    ],
)
def test_parameters_that_cannot_be_saved_are_named(params, message, tmp_path):
    with pytest.raises(InputError, match=message):
        save_weights(tmp_path / "w.safetensors", params, CONFIG, CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_is_not_json_is_refused(tmp_path):
    for card in ({"path": Path("x")}, {"score": float("nan")}):
        with pytest.raises(InputError, match="not JSON"):
            save_weights(tmp_path / "w.safetensors", PARAMS, CONFIG, card)
    assert list(tmp_path.iterdir()) == []


def test_the_name_has_to_be_that_of_weights(tmp_path):
    for use in (load_weights, lambda p: save_weights(p, PARAMS, CONFIG, CARD)):
        with pytest.raises(InputError, match=r"ends in \.safetensors"):
            use(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="there is no such file"):
        load_weights(tmp_path / "missing.safetensors")
    (tmp_path / "no folder").touch()
    with pytest.raises(InputError, match="no folder: cannot be made"):
        save_weights(tmp_path / "no folder" / "w.safetensors", PARAMS, CONFIG, CARD)
    save_weights(tmp_path / "new" / "one" / "w.safetensors", PARAMS, CONFIG, CARD)
    load_weights(tmp_path / "new" / "one" / "w.safetensors")


def test_a_parameter_beyond_float32_is_refused(tmp_path):
    params = {"a": np.array([1e300])}
    with pytest.raises(InputError, match="a is not finite"):
        save_weights(tmp_path / "w.safetensors", params, ModelConfig(), {})
