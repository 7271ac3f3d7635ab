"""Files that release 0.1.0 wrote are read today, and mean what they meant.

`golden/release_0_1_0` holds the results of a video of a square, a training run that is
half done, the config of another, and small weights with their card. A file that changes
on purpose gets a new format number and a fixture of its own beside these.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import masks
from movseg_jax.config import Config, TrunkConfig
from movseg_jax.config_json import from_json, to_json
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.model.weights import load_weights
from movseg_jax.segment.run_folder import FORMAT, RunFolder
from movseg_jax.train.log import read_log
from tests.fakes import square_detector as squares

RELEASE = Path(__file__).parent / "golden" / "release_0_1_0"


@pytest.fixture
def tracks():
    return read_tracks(RELEASE / "tracks.json")


def test_tracks_are_read(tracks):
    assert [frame.name for frame in tracks] == [f"shot{i:03d}" for i in range(8)]
    for index, frame in enumerate(tracks):
        (sighting,) = frame.sightings
        assert sighting.id == 1 and frame.size == squares.SIZE
        assert sighting.moving == (index < 7)  # The last frame has no flow.
        found, truth = masks.decode(sighting.mask), squares.square_mask(index)
        assert (found & truth).sum() > 0.8 * (found | truth).sum()


def test_tracks_are_written_as_they_were(tracks, tmp_path):
    stored = json.loads((RELEASE / "tracks.json").read_text())
    provenance = stored["info"]["provenance"]
    write_tracks(
        tracks,
        tmp_path / "tracks.json",
        to="tracks",
        provenance=provenance,
        image_suffix=".png",
    )
    written = json.loads((tmp_path / "tracks.json").read_text())
    assert written["info"].pop("format") == 1  # Which files of before do not say.
    assert written == stored


def test_a_finished_run_is_recognised_and_another_is_told_apart(tmp_path):
    stored = json.loads((RELEASE / "run.json").read_text())
    assert stored["about"]["versions"]["run.json"] == FORMAT
    shutil.copy(RELEASE / "run.json", tmp_path)
    folder = RunFolder(tmp_path)
    assert folder.claim(stored["about"], overwrite=False) == stored
    other = {**stored["about"], "device": "another"}
    with pytest.raises(InputError, match="device was 'cpu', is 'another'"):
        folder.claim(other, overwrite=False)


def test_results_under_their_names_of_before_are_replaced_with_their_run(tmp_path):
    about = {"settings": {"save": ["npz"]}, "versions": {"run.json": FORMAT}}
    (tmp_path / "run.json").write_text(json.dumps({"about": about}))
    (tmp_path / "npz.npz").touch()
    folder = RunFolder(tmp_path)
    assert folder.result("npz").name == "masks.npz"
    folder.claim({**about, "device": "another"}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [".movseg"]


def test_the_config_of_a_training_run_is_read():
    stored = (RELEASE / "config.json").read_text()
    config = from_json(Config, stored)
    assert config.model.appearance == TrunkConfig(depth=14, width=16, norm="group")
    assert contains(json.loads(to_json(config)), json.loads(stored))


@pytest.mark.slow
def test_a_training_run_that_is_half_done_resumes(tmp_path):
    """The release trained the four steps of this config; its checkpoint is of step 2.

    Its two other steps, which are in the log, have the same losses now. Releases of
    JAX may round differently.
    """
    run = tmp_path / "run"
    with zipfile.ZipFile(RELEASE / "training_run.zip") as archive:
        archive.extractall(run)
    by_release = list(read_log(run))
    config = from_json(Config, (run / "config.json").read_text())
    (tmp_path / "stage.py").write_text(
        "from movseg_jax.config import Config\n"
        "from movseg_jax.config_json import from_json\n\n\n"
        "def get_config() -> Config:\n"
        f"    return from_json(Config, open({str(run / 'config.json')!r}).read())\n"
    )
    data = tmp_path / "data"
    scene = ("--scene.frames", "3", "--scene.size", "64", "64")
    movseg("synth", "--out", data / "rendered", "--clips", "2", *scene)
    said = movseg("train", tmp_path / "stage.py", "--workdir", run, "--data-dir", data)
    assert "Resumes from step 2." in said
    rows = list(read_log(run))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 4]  # The last: evaluation.
    assert rows[:2] == by_release[:2]
    for row, known in zip(rows[2:4], by_release[2:4], strict=True):
        assert_allclose(row["loss"], known["loss"], rtol=1e-3)
        assert_allclose(row["gradient_norm"], known["gradient_norm"], rtol=1e-2)
    assert load_weights(run / "weights.safetensors").config == config.model


def movseg(*arguments):
    """Runs a command, in a process with JAX's own settings; returns what it prints."""
    command = [sys.executable, "-m", "movseg_jax", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def contains(new, old):
    """Whether all of the old values are there; newer versions may add fields."""
    if isinstance(old, dict):
        return all(key in new and contains(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return new == old


def test_weights_and_their_card_are_read():
    weights = load_weights(RELEASE / "weights.safetensors")
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert_array_equal(weights.params["fusion"]["kernel"], expected)
    assert weights.card == {"run": "example"}
    assert weights.config.appearance == TrunkConfig(depth=14, width=8)
    assert json.loads((RELEASE / "weights.json").read_text())["format"] == 1


def test_files_of_a_newer_format_are_refused(tmp_path):
    with pytest.raises(InputError, match="has format 2"):
        from_json(Config, to_json(Config()).replace('"format": 1', '"format": 2'))
    stored = json.loads((RELEASE / "tracks.json").read_text())
    stored["info"]["format"] = 2
    (tmp_path / "tracks.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="has format 2"):
        read_tracks(tmp_path / "tracks.json")
