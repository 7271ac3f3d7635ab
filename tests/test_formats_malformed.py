"""Files of tracks that are damaged or hostile: a clear error, or valid frames."""

import copy
import functools
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import parsing
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.formats.survey import survey
from movseg_jax.results import Sighting, TrackedFrame

SIZE = (10, 12)
FILES = {"tracks": "a.json", "coco": "a.json", "mots": "a.txt", "npz": "a.npz"}


def tracks():
    rng = np.random.default_rng(1)
    rles = [masks.encode(rng.random(SIZE) < 0.3) for _ in range(3)]
    return [
        TrackedFrame(
            f"{i:05d}",
            SIZE,
            i / 8,
            tuple(Sighting(k + 1, rles[k], 0.5, True, 1.5) for k in range(i)),
        )
        for i in range(4)
    ]


@functools.cache
def real_file(to):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES.get(to, "")
        if to == "masks":
            write_tracks(tracks(), path / "a", to="masks")
            return (path / "a" / "00003.png").read_bytes()
        write_tracks(tracks(), path, to=to)
        return path.read_bytes()


def check(path):
    """Reads it all: what comes out can be written, or it is an InputError."""
    try:
        found = read_tracks(path)
        frames = list(found)
    except InputError as error:
        assert str(path) in str(error)
        return
    surveyed = survey(found, Path("out"))
    assert surveyed.frame_count == len(frames)
    assert set(surveyed.ids) == {s.id for frame in frames for s in frame.sightings}


def check_bytes(to, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILES.get(to, "00003.png")
        path.write_bytes(data)
        check(Path(folder) if to == "masks" else path)


@pytest.mark.filterwarnings("ignore::movseg_jax.errors.InputNote")
@pytest.mark.parametrize("to", [*FILES, "masks"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_and_cut_off_files_are_refused_or_valid(to, data):
    content = bytearray(real_file(to))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    check_bytes(to, bytes(content[:end]))


KEYS = ["size", "counts", "id", "track_id"]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2, 7, 2**31, 2**63, 10**30, 0.5, 1e300, 1e999, -0.0])
    | st.sampled_from(["", "a", "../a", "a/b.jpg", "\x00", "\ud800", "x" * 300, "00"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["size", "counts", "id", "track_id"]), inner, max_size=2
        )
    ),
    max_leaves=5,
)


def as_cvat_has_it(value):
    """COCO's JSON with what `dialects` reads besides."""
    for row in value["annotations"]:
        row["attributes"] = {"track_id": row.pop("track_id") - 1}
        row["score"] *= 100
    for row in value["images"]:
        row["video_id"], row["frame_id"] = 7, 2 * row.pop("frame_index")
        row["file_name"] = f"a\\b\\{row['file_name']}"
    value["annotations"].append(value["annotations"][-1])
    return {**value, "videos": [{"id": 7, "name": "bear"}]}


@pytest.mark.filterwarnings("ignore::movseg_jax.errors.InputNote")
@pytest.mark.parametrize("to", ["tracks", "coco", "cvat"])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_json_with_other_values_in_it_is_refused_or_valid(to, data):
    value = json.loads(real_file("coco" if to == "cvat" else to))
    value = as_cvat_has_it(value) if to == "cvat" else value
    for _ in range(data.draw(st.integers(1, 2))):
        place = value
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = data.draw(st.sampled_from(keys))
            inside = place[key]
            if not isinstance(inside, dict | list) or not inside:
                break
            if data.draw(st.integers(0, 3)) == 0:
                break
            place = inside
        action = data.draw(st.sampled_from(["replace", "delete", "repeat"]))
        if action == "replace":
            place[key] = data.draw(JUNK)
        elif action == "delete":
            del place[key]
        elif isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        if not value:
            break
    check_bytes("coco" if to == "cvat" else to, json.dumps(value).encode())


WORDS = st.sampled_from(
    ["0", "1", "2", "1001", "10000", "999999999", "9999999999", "-1", "", "x", "10",
     "12", "٣", "1e3", "\x00", "W3", "PPPP"]
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::movseg_jax.errors.InputNote")
@given(st.lists(st.lists(WORDS, max_size=7), max_size=4))
@settings(max_examples=100, deadline=None)
def test_text_of_any_words_is_refused_or_valid(lines):
    good = real_file("mots").decode().splitlines()
    text = "\n".join([*good[:2], *(" ".join(words) for words in lines)])
    check_bytes("mots", text.encode())


def archive(path, array_bytes, *, name="segmentation.npy", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr(name, array_bytes)


def header(descr, shape, *, fortran=False):
    text = str({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    text += b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


ARRAYS = {
    "10^12 frames": (header("|u1", (10**12, 2, 2)), "has 1000000000000 frames"),
    "huge frames": (header("|u1", (2, 10**6, 10**6)), "images.MAX_PIXELS"),
    "no pixels": (header("|u1", (2, 0, 5)), "at least 1x1"),
    "negative sides": (header("|u1", (2, -2, -2)), "cut off|at least 1x1|expected"),
    "objects": (header("|O", (2, 2, 2)), "expected whole numbers of shape"),
    "text": (header("<U4", (2, 2, 2)), "expected whole numbers of shape"),
    "a picture": (header("|u1", (2, 2)), "expected whole numbers of shape"),
    "Fortran's order": (header("|u1", (1, 2, 2), fortran=True), "Fortran"),
    "too little": (header("|u1", (2, 2, 2)) + b"\0" * 7, "is cut off"),
    "too much": (header("|u1", (1, 2, 2)) + b"\0" * 5, "more than its header"),
    "fractions": (
        header("<f8", (1, 1, 2)) + np.float64([1, 0.5]).tobytes(),
        "whole numbers from 0 to 65535",
    ),
    "NaN": (
        header("<f8", (1, 1, 2)) + np.float64([1, np.nan]).tobytes(),
        "whole numbers from 0 to 65535",
    ),
    "nothing": (b"", "is no whole .npz"),
}


@pytest.mark.parametrize("content, message", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_npz_is_refused_that_holds(content, message, tmp_path):
    archive(tmp_path / "a.npz", content)
    with pytest.raises(InputError, match=message):
        read_tracks(tmp_path / "a.npz")


def test_an_npz_is_refused_whose_compression_knows_no_bound(tmp_path):
    path = tmp_path / "a.npz"
    content = header("|u1", (1, 1, 1)) + b"\1"
    archive(path, content, method=zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match="by deflate"):
        read_tracks(path)
    archive(path, content, name="other.txt")
    with pytest.raises(InputError, match="expected one array"):
        read_tracks(path)


JSON = {
    "deep lists": ("[" * 100_000, "is not JSON"),
    "NaN": ('{"images": [NaN]}', "no JSON"),
    "long numbers": ("[" + "9" * 5000 + "]", "is not JSON"),
    "a number": ("7", '"annotations" is None'),
    "nothing": ("", "is not JSON"),
    "no videos": ('{"videos": [], "annotations": []}', "is of 0 videos"),
    "a video of many pixels": (
        '{"videos": [{"id": 1, "width": 100000, "height": 100000, "file_names": '
        '["a"]}], "annotations": []}',
        "masks.MAX_PIXELS",
    ),
    "no track_id": (
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 2, "height": 2}], '
        '"annotations": [{"id": 1, "image_id": 1}]}',
        'annotation 0: "track_id" is None',
    ),
    "a name that leads out": (
        '{"images": [{"id": 1, "file_name": "..", "width": 2, "height": 2}], '
        '"annotations": []}',
        "not a plain path",
    ),
    "an image of nobody": (
        '{"images": [{"id": 1, "file_name": "a", "width": 2, "height": 2}], '
        '"annotations": [{"image_id": 2}]}',
        "annotation 0: there is no image 2",
    ),
}


@pytest.mark.parametrize("text, message", JSON.values(), ids=JSON.keys())
def test_json_is_refused_that_holds(text, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_tracks(path)


def test_polygons_that_would_take_minutes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parsing, "MAX_OUTLINE", 1000.0)
    path = tmp_path / "a.json"
    polygon = [[0, 0, 100, 0, 100, 100]]  # Of 400 pixels, along the axes.
    for count, refused in ((2, False), (3, True)):
        row = {"video_id": 1, "segmentations": [polygon] * count}
        video = {"id": 1, "width": 9, "height": 9, "file_names": ["a", "b", "c"]}
        video["file_names"] = video["file_names"][:count]
        path.write_text(json.dumps({"videos": [video], "annotations": [row]}))
        if refused:
            with pytest.raises(InputError, match=r"frame 2: .*reading\.MAX_OUTLINE"):
                read_tracks(path)
        else:
            assert len(read_tracks(path)) == count


def test_a_line_of_a_frame_far_away_takes_no_memory(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("900000 1001 1 2 2 4\n")
    found = read_tracks(path)
    assert len(found) == 900_000 and found[-1].sightings and not found[0].sightings
    path.write_text("999999999 1001 1 2 2 4\n")
    with pytest.raises(InputError, match=r"reading\.MAX_FRAMES"):
        read_tracks(path)


def test_what_is_no_file_of_tracks_is_refused(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)  # Reading it would wait for ever.
    for name in ("pipe.json", "missing.json", "missing.npz", "missing.txt"):
        with pytest.raises(InputError, match=name):
            read_tracks(tmp_path / name)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="has no format that is read"):
        read_tracks(tmp_path / "a.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="has no images"):
        read_tracks(tmp_path / "folder")
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="max_text_bytes"):
        read_tracks(path, max_text_bytes=1)


def test_pictures_of_two_sizes_are_refused_when_they_are_read(tmp_path):
    write_tracks(tracks(), tmp_path, to="masks")
    small = [TrackedFrame("00002", (3, 3), None, ())]
    write_tracks(small, tmp_path, to="masks")
    found = read_tracks(tmp_path)
    assert len(found[:2]) == 2
    with pytest.raises(InputError, match=r"00002.png: is of size \(3, 3\)"):
        found[2]
