"""Rendered clips on disk, and the photographs and cut-outs that they are made of."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.flow.files import read_flow
from movseg_jax.images import encode_jpeg, read_ids, read_rgb
from movseg_jax.scenes.clips import write_clips
from movseg_jax.scenes.library import Library, read_library
from movseg_jax.scenes.render import render_frame
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.staging import make_scene
from tests.outside import needs, outside

CONFIG = SceneConfig(size=(48, 80), frames=3, movers=(1, 2), distractors=(0, 3))
BACKGROUNDS = "data/backgrounds"
CUTOUTS = "data/coco_subset/annotations/instances_train.json"


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def annotated(tmp_path):
    """A photograph with two things to cut out, beside its annotations."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    (tmp_path / "annotations").mkdir()
    picture = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    (tmp_path / "train" / "a.jpg").write_bytes(encode_jpeg(picture))
    outline = [20, 20, 70, 20, 70, 75, 20, 75]
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 90, "width": 120}],
        "annotations": [
            {"id": 1, "image_id": 1, "segmentation": [outline], "iscrowd": 0},
            {"id": 2, "image_id": 1, "segmentation": [outline], "iscrowd": 1},
        ],
    }
    file = tmp_path / "annotations" / "instances_train.json"
    file.write_text(json.dumps(data))
    return file, data


# Writing -------------------------------------------------------------------------


def test_written_clips_are_the_rendered_ones(tmp_path):
    assert write_clips(tmp_path / "out", 1, 7, CONFIG) == 1
    scene = make_scene(CONFIG, 7, 0)
    truth = json.loads((tmp_path / "out/Truth/clip000000.json").read_text())
    assert [o["moving"] for o in truth["objects"]] == scene.truth.moving.tolist()
    assert len(truth["camera"]) == len(truth["background_flow"]) == 3
    for t in range(3):
        rendered, name = render_frame(scene, t), f"clip000000/{t:05d}"
        image = read_rgb(tmp_path / f"out/JPEGImages/{name}.jpg")
        assert np.abs(image.astype(int) - rendered.image).mean() < 6
        ids = read_ids(tmp_path / f"out/Annotations/{name}.png")
        assert_array_equal(ids, rendered.ids)
        with np.load(tmp_path / f"out/Depth/{name}.npz") as depth:
            assert_array_equal(depth["depth"], rendered.depth)
        flow = tmp_path / f"out/Flow/{name}.flo"
        assert flow.exists() == (t < 2)
        if t < 2:
            assert_array_equal(read_flow(flow, frame_size=(48, 80)), rendered.flow)
            hidden = read_ids(tmp_path / f"out/Occlusions/{name}.png")
            assert_array_equal(hidden > 0, rendered.occluded)


def test_clips_have_the_same_bytes_for_any_number_of_workers(tmp_path):
    seen = []
    config = dataclasses.replace(CONFIG, frames=2)
    write_clips(tmp_path / "one", 3, 1, config)
    write_clips(
        tmp_path / "two", 3, 1, config, workers=2, progress=lambda *n: seen.append(n)
    )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_interrupted_run_is_taken_up_where_it_was(tmp_path):
    config = dataclasses.replace(CONFIG, frames=2)
    write_clips(tmp_path, 2, 1, config)
    whole = contents(tmp_path)
    (tmp_path / "Truth/clip000001.json").unlink()
    (tmp_path / "JPEGImages/clip000001/00001.jpg").unlink()
    (tmp_path / "JPEGImages/clip000001/00002.jpg").write_bytes(b"left over")
    assert write_clips(tmp_path, 2, 1, config) == 1
    assert contents(tmp_path) == whole
    assert write_clips(tmp_path, 2, 1, config) == 0
    assert write_clips(tmp_path, 3, 1, config) == 1


def test_other_settings_in_a_folder_are_refused_unless_it_is_to_be_overwritten(
    tmp_path,
):
    write_clips(tmp_path / "out", 2, 1, CONFIG)
    shorter = dataclasses.replace(CONFIG, frames=2)
    for seed, config in ((2, CONFIG), (1, shorter)):
        with pytest.raises(InputError, match="another seed, config or library"):
            write_clips(tmp_path / "out", 1, seed, config)
    write_clips(tmp_path / "out", 1, 1, shorter, overwrite=True)
    write_clips(tmp_path / "new", 1, 1, shorter)
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_a_folder_with_something_else_is_never_written_to(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is not empty"):
            write_clips(tmp_path, 1, 0, CONFIG, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.tex": b"mine"}
    with pytest.raises(InputError, match="cannot be made"):
        write_clips(tmp_path / "thesis.tex", 1, 0, CONFIG)
    with pytest.raises(InputError, match="workers"):
        write_clips(tmp_path / "new", 1, 0, CONFIG, workers=0)


# Photographs and cut-outs --------------------------------------------------------


def test_clips_of_photographs_and_cutouts_are_exact_too(annotated):
    file, _ = annotated
    library = read_library(file.parents[1] / "train", file)
    assert len(library.cutouts) == 1  # Crowds are left out.
    rgba = library.cutout(np.random.default_rng(0))
    assert rgba is not None and rgba[30, 30, 3] == 255 and rgba[0, 0, 3] < 128
    config = dataclasses.replace(
        CONFIG, photographs=1.0, cutouts=1.0, nothing_moves=0.0, noise=0.0
    )
    for index in range(3):
        scene = make_scene(config, 0, index, library)
        rendered = render_frame(scene, 0)
        assert scene.kind == "photograph"
        static = rendered.ids == 0
        off = np.abs(rendered.flow - rendered.camera_flow)[static]
        assert off.max() <= 0.01 + 1e-3 * np.abs(rendered.flow[static]).max()


def test_a_library_of_its_own_is_another_setting(tmp_path, annotated):
    file, _ = annotated
    library = read_library(None, file)
    write_clips(tmp_path / "out", 1, 0, CONFIG, library)
    with pytest.raises(InputError, match="library"):
        write_clips(tmp_path / "out", 1, 0, CONFIG)


def test_folders_without_pictures_are_input_errors(tmp_path, annotated):
    file, _ = annotated
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        read_library(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        read_library(tmp_path / "missing")
    with pytest.raises(InputError, match="there is no such file"):
        read_library(None, tmp_path / "missing.json")
    (tmp_path / "train" / "a.jpg").write_bytes(b"no picture")
    library = read_library(tmp_path / "train", file)
    with pytest.raises(InputError, match=r"a\.jpg"):
        make_scene(dataclasses.replace(CONFIG, photographs=1.0), 0, 0, library)
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(InputError, match="is in none of"):
        read_library(None, file)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: [], "expected a JSON object"),
        (lambda d: d | {"images": 3}, "list of images"),
        (lambda d: d | {"images": [{"id": 1}]}, "file_name"),
        (lambda d: d | {"annotations": None}, "annotations"),
        (lambda d: d | {"annotations": []}, "no annotations"),
        (lambda d: d | {"annotations": [7]}, "annotation 0"),
        (
            lambda d: d | {"annotations": [{"segmentation": [[1]], "image_id": []}]},
            "id",
        ),
        (lambda d: d | {"annotations": [{"segmentation": [[1]], "image_id": 9}]}, "id"),
        (lambda d: d | {"images": [{"id": 1, "file_name": "../a.jpg"}]}, "plain path"),
    ],
)
def test_malformed_annotations_are_input_errors(annotated, change, message):
    file, data = annotated
    file.write_text(json.dumps(change(data)))
    with pytest.raises(InputError, match=message):
        read_library(None, file)


def test_a_malformed_outline_is_an_input_error_that_names_it(annotated):
    file, data = annotated
    data["annotations"][0]["segmentation"] = [[1, 2, 3]]
    file.write_text(json.dumps(data))
    library = read_library(None, file)
    with pytest.raises(InputError, match="annotation 0"):
        library.cutout(np.random.default_rng(0))


@given(data=st.data())
def test_a_damaged_file_of_annotations_is_read_or_an_input_error(
    tmp_path_factory, data
):
    folder = tmp_path_factory.mktemp("coco")
    (folder / "a.jpg").write_bytes(encode_jpeg(np.zeros((40, 40, 3), np.uint8)))
    valid = json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [{"image_id": 1, "segmentation": [[2, 2, 38, 2, 38, 38]]}],
        }
    ).encode()
    damaged = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(valid) - 1))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.integers(0, len(valid)))
    file = folder / "instances.json"
    file.write_bytes(bytes(damaged) if data.draw(st.booleans()) else valid[:cut])
    try:
        library = read_library(None, file)
        library.cutout(np.random.default_rng(0))
    except InputError as error:
        assert str(folder) in str(error)


@needs(BACKGROUNDS, CUTOUTS)
def test_real_photographs_and_cutouts_give_clips():
    library = read_library(outside(BACKGROUNDS), outside(CUTOUTS))
    assert isinstance(library, Library) and len(library.backgrounds) == 500
    config = SceneConfig(size=(96, 160), frames=2, photographs=1.0, cutouts=1.0)
    for index in range(3):
        rendered = render_frame(make_scene(config, 0, index, library), 0)
        assert rendered.image.std() > 5
