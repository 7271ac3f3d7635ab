"""Prepared data sets: whole or not there, readable from anywhere, damage noticed."""

import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import images
from movseg_jax.data import prepared, selection
from movseg_jax.data.annotations import Objects, from_json, to_json
from movseg_jax.data.building import prepare, variant, write_source
from movseg_jax.data.sources import describe_layouts, open_source
from movseg_jax.errors import InputError
from movseg_jax.flow.estimators import get_estimator
from movseg_jax.flow.files import encode_kitti
from tests.fakes import layouts

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    layouts.davis2017(root)
    return root


@pytest.fixture(scope="module")
def written(davis, tmp_path_factory):
    """DAVIS 2017 train, prepared with flow of a folder."""
    out = tmp_path_factory.mktemp("written")
    flow = str(davis / "flow")  # As from a command line.
    (folder,) = prepare(
        "davis2017", davis, out, splits=["train"], flow=flow, progress=False
    )
    return folder


# Writing -----------------------------------------------------------------------------


def test_all_splits_are_prepared_unless_some_are_named(tmp_path):
    layouts.davis2016(tmp_path / "in")
    folders = prepare("davis2016", tmp_path / "in", tmp_path, progress=False)
    names = [folder.parent.name for folder in folders]
    assert names == ["davis2016-train", "davis2016-val"]
    assert not any(open_source("davis2016", "val", tmp_path).has_flow)


def test_what_is_there_is_not_overwritten_silently(davis, tmp_path):
    def again(**options):
        return prepare(
            "davis2017", davis, tmp_path, splits=["val"], progress=False, **options
        )

    (folder,) = again()
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    with pytest.raises(InputError, match=r"is prepared already. `overwrite=True`"):
        again()
    assert before == {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert again(overwrite=True) == [folder]
    assert len(open_source("davis2017", "val", tmp_path)) == 4
    assert {path.name for path in folder.parent.iterdir()} == {"1.0.0", ".lock"}


def test_a_data_set_that_is_damaged_is_not_prepared(tmp_path):
    layouts.davis2017(tmp_path / "in")
    bad = tmp_path / "in/JPEGImages/480p/cows/00003.jpg"
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"^{bad}: is a damaged|^{bad}: cannot be"):
        prepare("davis2017", tmp_path / "in", tmp_path, splits=["val"], progress=False)
    assert [path.name for path in tmp_path.glob("movseg/*/*")] == [".lock"]
    with pytest.raises(InputError, match="not found"):
        open_source("davis2017", "val", tmp_path)


def test_two_processes_do_not_prepare_one_data_set(davis, tmp_path):
    folder = tmp_path / "movseg" / "davis2017-val"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is writing there"):
            prepare("davis2017", davis, tmp_path, splits=["val"], progress=False)


PREPARE = """
import sys
from pathlib import Path
from movseg_jax.data import building

record = building._record
def slow(source, index, estimator):
    if index == 2:
        print("half", flush=True)
        sys.stdin.read()
    return record(source, index, estimator)
building._record = slow
building.prepare("davis2017", sys.argv[1], sys.argv[2], splits=["val"], progress=False)
"""


def test_what_a_killed_preparation_left_is_removed(davis, tmp_path):
    folder = tmp_path / "movseg" / "davis2017-val"
    layouts.write(folder / "writing" / "whole" / "metadata.json", "{}")
    layouts.write(folder / ".lock", "")
    with pytest.raises(InputError, match="not found"):
        open_source("davis2017", "val", tmp_path)
    prepare("davis2017", davis, tmp_path, splits=["val"], progress=False)
    assert {path.name for path in folder.iterdir()} == {"1.0.0", ".lock"}


@pytest.mark.slow
def test_a_preparation_that_is_killed_leaves_nothing_and_can_be_repeated(
    davis, tmp_path
):
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE, davis, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("movseg/*/writing/*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.glob("movseg/*/writing/*"))
    with pytest.raises(InputError):
        open_source("davis2017", "val", tmp_path)
    (folder,) = prepare("davis2017", davis, tmp_path, splits=["val"], progress=False)
    assert {path.name for path in folder.parent.iterdir()} == {"1.0.0", ".lock"}
    assert len(open_source("davis2017", "val", tmp_path)) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_flow_is_estimated_between_frames_that_follow_on_disk(tmp_path, workers):
    layouts.youtube_vos(tmp_path / "in", ["003234408d"])
    (folder,) = prepare(
        "youtube_vos", tmp_path / "in", tmp_path, splits=["train"], flow="farneback",
        flow_cache=tmp_path / "cache", workers=workers, progress=False,
    )  # fmt: skip
    assert folder.parent.name == "youtube_vos-train-flow_farneback"
    source = open_source("youtube_vos", "train", tmp_path)
    assert source.has_flow == [True, True]
    videos = tmp_path / "in/train_all_frames/JPEGImages/003234408d"
    pair = [images.read_rgb(videos / f"{i:05d}.jpg") for i in (5, 6)]
    expected = get_estimator("farneback")(*pair)
    assert_allclose(source[1].flow, np.clip(expected, -512, 512), atol=1 / 128)
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2


def test_the_last_frame_has_no_estimated_flow(tmp_path):
    layouts.davis2016(tmp_path / "in", [("val", ("cows",))])
    prepare("davis2016", tmp_path / "in", tmp_path, splits=["val"], flow="dis",
            progress=False)  # fmt: skip
    source = open_source("davis2016", "val", tmp_path)
    assert source.has_flow == [True, True, True, False]
    assert source[3].flow is None


def test_images_have_no_flow_to_prepare(tmp_path):
    layouts.coco(tmp_path)
    with pytest.raises(InputError, match="coco is of images, which have no flow"):
        prepare("coco", tmp_path, tmp_path, flow="dis")


def test_any_source_can_be_written(davis, tmp_path):
    parts = [open_source("davis2017", split, davis) for split in ("train", "val")]
    source = selection.subset(selection.join(parts), [1, 2, 9])
    described = {"name": "folder", "split": "mine", "options": {}, "flow": None}
    again = write_source(source, tmp_path / "out", described, progress=False)
    assert [again[i].name for i in range(3)] == [source[i].name for i in range(3)]
    assert again.encoded_image(2) == parts[1].encoded_image(1)
    assert list(again.sequences) == ["davis2017/train/bear", "davis2017/val/cows"]


def test_data_larger_than_memory_are_written_in_parts(davis, tmp_path, monkeypatch):
    """And without TensorFlow, to whose files TFDS turns for what it shuffles."""
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 1)
    monkeypatch.setattr("movseg_jax.data.building.SHARD", 3)
    source = open_source("davis2017", "train", davis)
    described = {"name": "folder", "split": "mine", "options": {}, "flow": None}
    again = write_source(source, tmp_path / "out", described, progress=False)
    assert len(list(tmp_path.glob("out/*.array_record-*"))) == -(-len(source) // 3)
    assert [again[i].name for i in range(len(again))] == [
        source[i].name for i in range(len(source))
    ]


def test_a_source_of_arrays_is_written_as_png(davis, tmp_path):
    class Arrays:
        """A source without the methods of sources that have files."""

        def __init__(self, source):
            self.source = source
            self.name, self.classes = source.name, source.classes
            self.sequences, self.sizes = source.sequences, source.sizes
            self.has_flow = source.has_flow

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return self.source[index]

    source = selection.subset(open_source("davis2017", "val", davis), [1])
    described = {"name": "folder", "split": "mine", "options": {}, "flow": None}
    again = write_source(Arrays(source), tmp_path / "out", described, progress=False)
    assert again.encoded_image(0).startswith(b"\x89PNG")
    assert_array_equal(again[0].image, source[0].image)


def test_metadata_tells_where_records_come_from_and_no_paths(written, davis):
    text = (written / "metadata.json").read_text()
    metadata = json.loads(text)
    assert metadata["options"] == {"resolution": "480p", "task": None}
    assert metadata["flow"] == "folder"
    assert metadata["object_counts"] == [2] * 8
    assert metadata["sequences"] == [["bear", 4], ["dogs-jump", 4]]
    assert metadata["versions"].keys() >= {"tensorflow-datasets", "movseg-jax"}
    assert str(davis) not in text


def test_folders_are_named_for_options_that_are_not_the_default():
    described = {
        "name": "davis2016", "split": "val", "flow": "dis",
        "options": {"resolution": "270p", "instances": True},
    }  # fmt: skip
    expected = "davis2016-val-resolution_270p-instances_True-flow_dis"
    assert variant(described) == expected


# Finding -----------------------------------------------------------------------------


def test_options_choose_among_prepared_data_sets(tmp_path):
    layouts.davis2017(tmp_path / "in")
    for options in ({}, {"empty": False}):
        layouts.coco(tmp_path / "in")
        prepare("coco", tmp_path / "in", tmp_path, splits=["val"], progress=False,
                **options)  # fmt: skip
    assert len(open_source("coco", "val", tmp_path)) == 3
    assert len(open_source("coco", "val", tmp_path, empty=False)) == 2
    with pytest.raises(InputError, match=r"unlabelled='ignore'.*but there is none"):
        open_source("coco", "val", tmp_path, unlabelled="ignore")
    with pytest.raises(InputError, match=r"there is none(.|\n)*coco-val/1.0.0: coco/v"):
        open_source("davis2017", "val", tmp_path)


def test_several_prepared_flows_are_told_apart_by_folder_or_flow(tmp_path):
    layouts.davis2016(tmp_path / "in", [("val", ("cows",))])
    for flow in (None, "farneback"):
        folders = prepare("davis2016", tmp_path / "in", tmp_path, splits=["val"],
                          flow=flow, progress=False)  # fmt: skip
    with pytest.raises(InputError, match=r"there are several(.|\n)*flow='farneback'"):
        open_source("davis2016", "val", tmp_path)
    assert any(open_source("davis2016", "val", folders[0]).has_flow)
    assert any(open_source("davis2016", "val", tmp_path, flow="farneback").has_flow)
    with pytest.raises(InputError, match=r"flow='dis'\), but there is none"):
        open_source("davis2016", "val", tmp_path, flow="dis")


def test_another_format_is_refused(written, tmp_path):
    layouts.write(tmp_path / "metadata.json", '{"format": 99}')
    with pytest.raises(InputError, match=r"format 99, expected 1"):
        prepared.open_prepared(tmp_path)


# Reading -----------------------------------------------------------------------------


def test_threads_read_the_same(written):
    source = prepared.open_prepared(written)
    expected = [prepared.open_prepared(written)[i] for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: (i % 8, source[i % 8]), range(80)))
    for i, example in read:
        assert example.name == expected[i].name
        assert_array_equal(example.image, expected[i].image)
        assert_array_equal(example.flow, expected[i].flow) if i % 4 != 3 else None


FORK = """
import os, sys
from pathlib import Path
from movseg_jax.data import building, checking, sources
from movseg_jax.data.prepared import open_prepared
from movseg_jax.errors import InputError
source = open_prepared(Path(sys.argv[1]))
source[0]
assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)
child = os.fork()
if not child:
    try:
        open_prepared(Path(sys.argv[1]))[0]
    except InputError as error:
        os._exit(7 if "spawn" in str(error) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
source[1]
"""


def test_a_fork_that_would_hang_is_refused_and_nothing_heavy_is_imported(written):
    """array_record's threads do not survive a fork."""
    command = [sys.executable, "-c", FORK, written]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)


def test_a_pickle_holds_no_open_files_and_is_small(written):
    source = prepared.open_prepared(written)
    source[0]
    data = pickle.dumps(source)
    assert len(data) < 5000
    assert pickle.loads(data)[3].name == source[3].name


def test_indices_are_those_of_a_sequence(written):
    source = prepared.open_prepared(written)
    assert source[-1].name == source[7].name
    with pytest.raises(IndexError):
        source[8]


@pytest.mark.parametrize(
    "name", ["metadata.json", "dataset_info.json", "features.json"]
)
def test_json_that_is_missing_or_damaged_is_noticed(written, tmp_path, name):
    for change in (lambda data: data[: len(data) // 2], None):
        copy = tmp_path / f"copy{bool(change)}"
        copy.mkdir()
        for file in written.iterdir():
            if file.name != name or change:
                data = file.read_bytes()
                (copy / file.name).write_bytes(
                    change(data) if change and file.name == name else data
                )
        with pytest.raises(InputError):
            prepared.open_prepared(copy)[0]


def test_a_flipped_byte_never_gives_other_examples(written, tmp_path):
    """array_record checks its chunks; a byte of padding may not matter."""
    (file,) = written.glob("*.array_record-*")
    data = bytearray(file.read_bytes())
    used = len(bytes(data).rstrip(b"\0"))
    original = [prepared.open_prepared(written)[i] for i in range(8)]
    refused = 0
    for k, place in enumerate(np.linspace(70, used - 1, 12).astype(int).tolist()):
        copy = tmp_path / str(k)
        copy.mkdir()
        for other in written.iterdir():
            if other != file:
                os.link(other, copy / other.name)
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        (copy / file.name).write_bytes(damaged)
        for i in range(8):
            try:
                read = prepared.open_prepared(copy)[i]
            except InputError as error:
                refused += 1
                assert str(copy) in str(error)
            else:
                assert_array_equal(read.image, original[i].image)
                assert_array_equal(read.masks, original[i].masks)
    assert refused


def test_a_file_that_is_cut_off_is_noticed(written, tmp_path):
    (file,) = written.glob("*.array_record-*")
    for other in written.iterdir():
        if other != file:
            os.link(other, tmp_path / other.name)
    (tmp_path / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="Prepare the data set anew"):
        prepared.open_prepared(tmp_path)[0]


# Objects and flow as text and bytes --------------------------------------------------


@settings(max_examples=30)
@given(st.data())
def test_objects_survive_json(data):
    height, width, count = (data.draw(st.integers(low, 9)) for low in (1, 1, 0))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    objects = Objects(
        masks=rng.random((count, height, width)) < rng.choice([0, 0.5, 1]),
        classes=rng.integers(0, 90, count, np.int32),
        ids=rng.integers(1, 2**31, count, np.int32),
        ignore=rng.random(count) < 0.5,
        moving=rng.random(count) < 0.5,
    )
    again = from_json(to_json(objects), (height, width), source="x")
    for name, value in vars(objects).items():
        assert_array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype


TEXT = to_json(Objects(
    masks=np.eye(6, dtype=bool)[None], classes=np.zeros(1, np.int32),
    ids=np.ones(1, np.int32), ignore=np.zeros(1, bool), moving=np.ones(1, bool),
))  # fmt: skip


@settings(max_examples=150)
@given(st.integers(0, len(TEXT) - 1), st.binary(max_size=4), st.booleans())
def test_damaged_objects_are_an_input_error_or_objects(place, junk, cut):
    damaged = TEXT.encode()[:place] + junk
    damaged += b"" if cut else TEXT.encode()[place + len(junk) :]
    try:
        objects = from_json(damaged, (6, 6), source="record 3")
    except InputError as error:
        assert str(error).startswith("record 3")
    else:
        assert objects.masks.shape[1:] == (6, 6)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.floats(0.01, 3000))
def test_flow_survives_to_half_a_step_or_is_clipped(seed, magnitude):
    flow = np.random.default_rng(seed).normal(0, magnitude, (5, 7, 2))
    flow = flow.astype(np.float32)
    again = prepared.decode_flow(encode_kitti(flow), (5, 7), source="x")
    assert_allclose(again, np.clip(flow, -512, 512 - 1 / 64), atol=1 / 128, rtol=0)


def test_flow_of_another_size_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(prepared, "read_deep_rgb", pytest.fail)
    data = encode_kitti(np.zeros((5, 7, 2), np.float32))
    with pytest.raises(InputError, match="x: is of 5x7 pixels"):
        prepared.decode_flow(data, (5, 8), source="x")


def test_the_list_of_data_sets_names_their_options():
    text = describe_layouts()
    assert "resolution=480p: text" in text
    assert "unlabelled=background: 'background' or 'ignore'" in text
