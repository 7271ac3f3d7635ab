"""Two equal runs end with the same weights, and a certificate says so."""

import json

import pytest

from movseg_jax.cli.app import main
from movseg_jax.config_files import load_config
from movseg_jax.errors import InputError
from movseg_jax.scenes.clips import write_clips
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.train.certify import certify

SMALL = (
    "--model.channels 8 --model.box-head-width 16 --model.short-side 64 "
    "--model.long-side 96 --data.workers 0 --train.frozen appearance/* motion/*"
).split()


@pytest.mark.slow
def test_two_runs_are_certified_to_be_the_same(tmp_path, capsys):
    write_clips(tmp_path / "rendered", 2, 0, SceneConfig(frames=3, size=(64, 96)))
    workdir = tmp_path / "run"
    command = ["train", "tiny", "--workdir", str(workdir), "--data-dir", str(tmp_path)]
    assert main([*command, "--certify", "2", *SMALL]) == 0
    assert "2 steps ended with the same weights" in capsys.readouterr().out
    assert [path.name for path in workdir.iterdir()] == ["certificate.json"]
    content = json.loads((workdir / "certificate.json").read_text())
    first, second = content["runs"]
    assert content["same"] and first == second and len(first["weights"]) == 64
    assert content["first_step_with_another_loss"] is None
    assert content["versions"]["jax"] and first["device"] == "cpu"


def test_no_steps_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one step"):
        certify(load_config("tiny"), tmp_path, tmp_path, 0)
