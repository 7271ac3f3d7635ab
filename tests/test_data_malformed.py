"""What others wrote, damaged in every way: an `InputError` that names the file."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from movseg_jax import images
from movseg_jax.data import annotations, selection
from movseg_jax.data.datasets import listings
from movseg_jax.data.datasets.fbms_def import read_definition
from movseg_jax.data.datasets.flyingthings3d import read_index
from movseg_jax.data.sources import open_layout, open_source
from movseg_jax.errors import InputError
from movseg_jax.system import bounded
from tests.fakes import layouts

DEFINITION = layouts.DEFINITION.format("cars1_01", "cars1_04", "pgm")
FUZZ = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged(draw, data):
    """Bytes with some replaced, removed or repeated, or cut off."""
    data = data.encode() if isinstance(data, str) else data
    start = draw(st.integers(0, len(data) - 1))
    stop = draw(st.integers(start, min(len(data), start + 40)))
    kind = draw(st.sampled_from(["cut", "remove", "replace", "repeat", "number"]))
    if kind == "cut":
        return data[:start]
    if kind == "remove":
        return data[:start] + data[stop:]
    if kind == "repeat":
        return data[:stop] + data[start:stop] * 3 + data[stop:]
    if kind == "number":
        number = draw(st.sampled_from([b"-1", b"0", b"99999999999", b"1e9", b"NaN"]))
        return data[:start] + number + data[stop:]
    return data[:start] + draw(st.binary(max_size=6)) + data[stop:]


# Def.dat -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda text: text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\n".join(line for line in text.split("\n") if line),
    lambda text: text.replace("\n\n", "\n\n\n"),
    lambda text: text.rstrip("\n"),
    lambda text: text.replace("Confusion penality", "Confusion Penalty"),
    lambda text: text.replace("0 1 1\n1 0 1\n", "0.0 1.5 1 1 0 1\n"),
    lambda text: "\ufeff" + text,
])  # fmt: skip
def test_definitions_are_read_however_their_lines_are_broken(tmp_path, change):
    file = layouts.write(tmp_path / "xDef.dat", change(DEFINITION))
    definition = read_definition(file)
    assert definition.colours == layouts.COLOURS
    assert definition.frame_count == 5
    assert definition.frame_numbers == (0, 3)
    assert definition.label_files == ("cars1_01_gt.pgm", "cars1_04_gt.pgm")
    assert definition.input_files == ("cars1_01.ppm", "cars1_04.ppm")


def test_a_definition_may_lack_the_names_of_input_files(tmp_path):
    text = DEFINITION.replace("cars1_01.ppm\n", "").replace("cars1_04.ppm\n", "\n")
    definition = read_definition(layouts.write(tmp_path / "Def.dat", text))
    assert definition.input_files == ("", "")


@pytest.mark.parametrize("old, new, message", [
    ("regions:\n3", "regions:\n0", "has no regions"),
    ("regions:\n3", "regions:\n9999", r"line 4 is '9999', expected the number of reg"),
    ("16711680", "16777216", r"line 10 is '16777216', expected a region's colour, 0"),
    ("regions:\n3", "regions:\n2", r"line 9 is 'Scale of region 2:', expected \"Conf"),
    ("shot:\n2", "shot:\n6", "line 20 is '6', expected the number of labelled"),
    ("shot:\n2", "shot:\n3", 'is cut off; expected "Frame number"'),
    ("number:\n3", "number:\n0", r"lists a frame twice: \[0, 0\]"),
    ("1 1 0\n", "1 1\n", "expected a row of the confusion"),
])  # fmt: skip
def test_a_wrong_line_of_a_definition_is_named(tmp_path, old, new, message):
    assert old in DEFINITION
    file = layouts.write(tmp_path / "Def.dat", DEFINITION.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_definition(file)
    assert str(error.value).startswith(str(file))


@FUZZ
@given(damaged(DEFINITION))
@example(b"")
@example(b"\xff\xfe\x00")
def test_a_damaged_definition_is_an_input_error_or_a_definition(tmp_path, data):
    file = layouts.write(tmp_path / "Def.dat", data)
    try:
        definition = read_definition(file)
    except InputError as error:
        assert str(file) in str(error)
    else:
        count = len(definition.frame_numbers)
        assert len(definition.label_files) == len(definition.input_files) == count
        assert all(0 <= colour < 2**24 for colour in definition.colours)


@pytest.mark.parametrize("name", ["../x_gt.pgm", "/etc/x_gt.pgm", "a\\b_gt.pgm"])
def test_labels_outside_of_their_folder_are_refused(tmp_path, name):
    layouts.fbms(tmp_path)
    file = tmp_path / "TrainingSet/cars1/GroundTruth/cars1Def.dat"
    file.write_text(file.read_text().replace("cars1_01_gt.pgm", name))
    with pytest.raises(InputError, match=r"cars1Def.dat: .* is not a plain path"):
        open_source("fbms", "train", tmp_path)


# Lists and JSON ----------------------------------------------------------------------

DAVIS_LIST = "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png \n" * 3


@FUZZ
@given(damaged(DAVIS_LIST) | damaged("bear\nbmx-bumps\n# no\n\nboat\n") | st.binary())
def test_a_damaged_list_is_an_input_error_or_plain_names(tmp_path, data):
    file = layouts.write(tmp_path / "train.txt", data)
    try:
        names = listings.read_names(file)
    except InputError as error:
        assert str(file) in str(error)
    else:
        assert names and all("/" not in name and ".." != name for name in names)


@pytest.mark.parametrize(
    "line", ["../up", "/JPEGImages/480p/../x.jpg", "a/b", "/x", ""]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, line):
    file = layouts.write(tmp_path / "train.txt", line + "\n")
    with pytest.raises(InputError, match=r"train\.txt"):
        listings.read_names(file)


def test_a_list_that_is_too_long_is_refused(tmp_path, monkeypatch):
    file = layouts.write(tmp_path / "train.txt", "bear\n" * 10)
    with pytest.raises(InputError, match="has 50 bytes, expected at most 9"):
        bounded.read_text(file, 9, "limit")


META = json.dumps({"videos": {"003234408d": {"objects": {"1": {"category": "x"}}}}})


@FUZZ
@given(damaged(META) | st.sampled_from([b"[]", b"{}", b'{"videos": {}}', b"[" * 10**5]))
def test_a_damaged_meta_json_is_an_input_error_or_names(tmp_path, data):
    file = layouts.write(tmp_path / "train" / "meta.json", data)
    try:
        names = open_layout("youtube_vos", "train", tmp_path).sequences()
    except InputError as error:
        assert str(file) in str(error)
    else:
        assert names and all("/" not in name for name in names)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    layouts.coco(root)
    return root


@FUZZ
@given(damaged(json.dumps(layouts.coco_json(), separators=(",", ":"))))
def test_a_damaged_coco_json_is_an_input_error_or_examples(coco, data):
    file = layouts.write(coco / "annotations" / "instances_val2017.json", data)
    for name in ("coco", "coco_classes"):
        try:
            source = open_source(name, "val", coco)
            for i in range(len(source)):
                example = source[i]
                assert example.masks.shape == (len(example.ids), *source.sizes[i])
        except InputError as error:
            assert str(file) in str(error) or str(coco / "val2017") in str(error)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "size", "counts"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@FUZZ
@given(
    st.sampled_from(["images", "annotations", "categories"]),
    st.sampled_from(["id", "file_name", "height", "width", "image_id", "category_id",
                     "iscrowd", "segmentation", "name", None]),
    JUNK,
)  # fmt: skip
@example("categories", "id", [])
@example("annotations", "iscrowd", [])
@example("annotations", "category_id", True)
@example("images", "height", 2**70)
def test_junk_anywhere_in_a_coco_json_is_an_input_error_or_examples(
    coco, rows, key, junk
):
    data = layouts.coco_json()
    if key is None:
        data[rows][0] = junk
    else:
        data[rows][0][key] = junk
    file = coco / "annotations" / "instances_val2017.json"
    layouts.write(file, json.dumps(data))
    try:
        source = open_source("coco_classes", "val", coco)
        for i in range(len(source)):
            assert source[i].image.shape == (*layouts.SIZE, 3)
    except InputError as error:
        assert str(file) in str(error) or str(coco / "val2017") in str(error)


# Rendered clips ----------------------------------------------------------------------


def rendered(root, truth):
    layouts.folder(root)
    if truth is not None:
        layouts.write(root / "Truth" / "b.json", json.dumps(truth))
    source = open_source("rendered", "all", root)
    return source[source.sequences["b"][1]]  # Frame 2.


def test_rendered_clips_say_what_moves(tmp_path):
    flags = [
        {"id": 1, "moving": [True, True, False, True]},
        {"id": 2, "moving": [False, False, True, False]},
    ]
    assert rendered(tmp_path, {"objects": flags}).moving.tolist() == [False, True]
    assert rendered(tmp_path / "2", None).moving.tolist() == [True, True]


@pytest.mark.parametrize("truth, message", [
    ({}, 'expected {"objects"'),
    ({"objects": [{"id": "1", "moving": []}]}, "object 0 is not"),
    ({"objects": [{"id": 1, "moving": [1]}]}, "object 0 is not"),
    ({"objects": [3]}, "object 0 is not"),
    ({"objects": [{"id": 1, "moving": [True]}]}, "1 flags of motion, .* at least 3"),
])  # fmt: skip
def test_wrong_truth_of_a_rendered_clip_is_named(tmp_path, truth, message):
    with pytest.raises(InputError, match=rf"b.json: .*{message}"):
        rendered(tmp_path, truth)


# Indices of FlyingThings3D -----------------------------------------------------------


def test_indices_are_stored_from_the_bottom_up(tmp_path):
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    file = layouts.write(tmp_path / "x.pfm", b"Pf\n3 2\n1.0\n" + values.tobytes())
    assert read_index(file).tolist() == [[3, 4, 5], [0, 1, 2]]


@FUZZ
@given(damaged(b"Pf\n3 2\n-1\n" + np.arange(6, dtype="<f4").tobytes()))
@example(b"Pf\n999999 999999\n-1\n")
@example(b"Pf\n1 1\n-1\n\x00\x00\xc0\x7f")
def test_damaged_indices_are_an_input_error_or_indices(tmp_path, data):
    file = layouts.write(tmp_path / "x.pfm", data)
    try:
        index = read_index(file)
    except InputError as error:
        assert str(file) in str(error)
    else:
        assert index.size and (index >= 0).all()


# Files that are made to be slow, endless or large --------------------------------


def test_long_words_are_refused_at_once(tmp_path):
    word = "1" * 200_000 + "x"
    definition = DEFINITION.replace("0 1 1\n1 0 1", word)
    index = b"Pf 1 1 " + word.encode()
    start = time.process_time()
    for name, data, read in (
        ("Def.dat", definition, read_definition), ("x.pfm", index, read_index),
    ):  # fmt: skip
        with pytest.raises(InputError, match=name):
            read(layouts.write(tmp_path / name, data))
    assert time.process_time() - start < 2  # A minute if it were quadratic.


@pytest.mark.parametrize("number", ["1.", "-1.5", ".5", "0", "1" * 40])
def test_penalties_are_numbers_of_all_spellings(tmp_path, number):
    text = DEFINITION.replace("0 1 1\n", f"0 {number} 1\n")
    assert read_definition(layouts.write(tmp_path / "Def.dat", text)).frame_count == 5


@pytest.mark.parametrize("number", ["-", ".", "1.2.3", "1" * 41, "1e3"])
def test_penalties_are_nothing_but_numbers(tmp_path, number):
    text = DEFINITION.replace("0 1 1\n", f"0 {number} 1\n")
    with pytest.raises(InputError, match="expected a row of the confusion"):
        read_definition(layouts.write(tmp_path / "Def.dat", text))


def test_a_definition_that_is_too_long_names_its_limit(tmp_path):
    file = layouts.write(tmp_path / "Def.dat", b" " * (2**22 + 1))
    with pytest.raises(InputError, match=r"4194305 bytes.*fbms_def.MAX_BYTES"):
        read_definition(file)


def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for read in (listings.read_names, bounded.read_json, read_index):
            with pytest.raises(InputError, match=f"{name}: is not a file"):
                read(tmp_path / name)


def test_files_that_have_no_size_are_read_to_their_limit():
    file = Path("/proc/self/maps")
    if not file.exists():
        pytest.skip("needs /proc")
    with pytest.raises(InputError, match="has 10 bytes, expected at most 9"):
        bounded.read_text(file, 9, "limit")


@pytest.mark.parametrize("name", ["coco", "prepared"])
def test_more_masks_than_memory_are_refused_before_they_are_decoded(
    tmp_path, monkeypatch, name
):
    layouts.coco(tmp_path)
    example = open_source("coco", "val", tmp_path)[0]
    text = annotations.to_json(annotations.stack(
        example.masks, layouts.SIZE, source="x", ids=example.ids.tolist()
    ))  # fmt: skip
    monkeypatch.setattr(annotations, "MAX_MASK_BYTES", 2 * 12 * 20)
    monkeypatch.setattr(annotations.masks, "decode", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"3 masks of 12x20.*\.MAX_MASK_BYTES"):
        if name == "coco":
            open_source("coco", "val", tmp_path)[0]
        else:
            annotations.from_json(text, layouts.SIZE, source="x")


@pytest.mark.parametrize("height", [10**400, 2**26], ids=["no float", "large"])
def test_images_of_coco_that_are_too_large_are_refused(tmp_path, height):
    layouts.coco(tmp_path)
    data = layouts.coco_json()
    data["images"][1]["height"] = height
    layouts.write(tmp_path / "annotations/instances_val2017.json", json.dumps(data))
    with pytest.raises(InputError, match=r"image 25 has more than .*MAX_PIXELS"):
        open_source("coco", "val", tmp_path)


# Selections --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    layouts.davis2017(root)
    empty = images.encode_ids(np.zeros(layouts.SIZE, np.uint8))
    void = images.encode_ids(np.full(layouts.SIZE, 255, np.uint8))
    folder = root / "Annotations/480p/dogs-jump"
    (folder / "00001.png").write_bytes(empty)
    (folder / "00002.png").write_bytes(void)
    return root


def test_examples_without_flow_are_left_out(davis):
    source = open_source("davis2017", "train", davis, flow=davis / "flow")
    chosen = selection.with_flow(source)
    assert len(chosen) == 6 and all(chosen.has_flow)
    assert dict(chosen.sequences) == {"bear": range(3), "dogs-jump": range(3, 6)}
    assert chosen.name == source.name and chosen[3].name == source[4].name


def test_examples_without_objects_are_left_out(davis):
    source = selection.annotated(open_source("davis2017", "train", davis))
    assert dict(source.sequences) == {"bear": range(4), "dogs-jump": range(4, 6)}
    assert [source[i].name[-1] for i in (4, 5)] == ["0", "3"]
    assert list(source.sizes) == [layouts.SIZE] * 6


def test_sources_are_joined_in_their_order(davis):
    parts = [open_source("davis2017", split, davis) for split in ("train", "val")]
    joined = selection.join(parts)
    assert len(joined) == 12
    assert joined.name == "davis2017/train+davis2017/val"
    assert joined.sequences["davis2017/val/cows"] == range(8, 12)
    names = [source[i].name for source in parts for i in range(len(source))]
    assert [joined[i].name for i in range(12)] == names
    assert joined[-1].name == names[-1]
    assert selection.next_image(joined, 8) == parts[1].next_image(0)
    with pytest.raises(IndexError):
        joined[12]


def test_selections_that_make_no_sense_are_refused(davis, coco):
    layouts.coco(coco)  # The tests above damaged it.
    source = open_source("davis2017", "train", davis)
    with pytest.raises(InputError, match="has no example 8; expected 0 to 7"):
        selection.subset(source, [0, 8])
    with pytest.raises(InputError, match="in a row"):
        selection.subset(source, [0, 4, 1])
    with pytest.raises(InputError, match="at least one source"):
        selection.join([])
    with pytest.raises(InputError, match="cannot be joined"):
        selection.join([source, source])
    with pytest.raises(InputError, match="cannot be joined"):
        selection.join([source, open_source("coco_classes", "val", coco)])
