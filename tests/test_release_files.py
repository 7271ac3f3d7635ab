"""Files that release 0.1.0 wrote are read today, and mean what they meant.

`golden/release_0_1_0` holds the results of a video of a square, the config of a
training run and small weights with their card. A file that changes on purpose gets a
new format number and a fixture of its own beside these.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax import masks
from movseg_jax.config import Config, TrunkConfig
from movseg_jax.config_json import from_json, to_json
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.model.weights import load_weights
from movseg_jax.segment.run_folder import FORMAT, RunFolder
from movseg_jax.segment.settings import SegmentConfig
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


def test_a_run_s_settings_are_stored_as_they_were():
    about = json.loads((RELEASE / "run.json").read_text())["about"]
    settings = json.loads(json.dumps(dataclasses.asdict(SegmentConfig())))
    assert settings == about["settings"]
    model = json.loads(json.dumps(dataclasses.asdict(squares.make_detector().config)))
    assert model == about["model"]


def test_the_config_of_a_training_run_is_read():
    stored = (RELEASE / "config.json").read_text()
    config = from_json(Config, stored)
    assert config.model.appearance == TrunkConfig(depth=14, width=16, norm="group")
    assert contains(json.loads(to_json(config)), json.loads(stored))


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
