"""Tracks as other programs write them: read where that is plain, else refused."""

import copy
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movseg_jax import masks
from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.notes import notes_kept
from tests.content import content

SIZE = (6, 9)
COUNT = 12


def box(x, y=0, width=2):
    mask = np.zeros(SIZE, bool)
    mask[y : y + 3, x : x + width] = True
    return masks.encode(mask)


def tracks():
    """Frame i holds track 1 in column i % 7, every second one track 2 besides."""
    frames = []
    for i in range(COUNT):
        seen = [Sighting(1, box(i % 7), 0.25, True, 1.5)]
        if i % 2:
            seen.append(Sighting(2, box(5, 3), 0.75, False, math.nan))
        frames.append(TrackedFrame(f"{i:05d}", SIZE, None, tuple(seen)))
    return frames


def file_of(to, frames=None):
    """What we write ourselves, as JSON's values."""
    with tempfile.TemporaryDirectory() as folder:
        write_tracks(frames or tracks(), Path(folder) / "a.json", to=to)
        return json.loads((Path(folder) / "a.json").read_text())


COCO, YOUTUBE = file_of("coco"), file_of("tracks")
BOTH = pytest.mark.parametrize("data", [COCO, YOUTUBE], ids=["coco", "youtube-vis"])


@pytest.fixture
def read(tmp_path):
    """Reads JSON; its tracks, and the notes without the path."""

    def read(data, **options):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(data))
        with notes_kept() as notes:
            found = read_tracks(path, **options)
        return found, [note.removeprefix(f"{path}: ") for note in notes]

    return read


# Order of images ---------------------------------------------------------------------


def coco(*, index="frame_index", name=lambda i: f"{i:05d}.jpg"):
    data = copy.deepcopy(COCO)
    for i, row in enumerate(data["images"]):
        del row["frame_index"], row["time"]
        row["file_name"] = name(i)
        if index:
            row[index] = 5 * i + 3
    return data


@given(
    st.permutations(range(COUNT)),
    st.sampled_from(["frame_index", "frame_id", "frame_number", None]),
)
@settings(max_examples=50, deadline=None)
def test_frames_are_in_order_of_time_whatever_the_file_s_order(order, index):
    """By the frame's number, else by the names in natural order."""
    data = coco(index=index, name=lambda i: f"cam\\a\\frame_{i}.jpg")
    data["images"] = [data["images"][i] for i in order]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(data))
        with notes_kept() as notes:
            found = read_tracks(path)
            write_tracks(found, path.with_suffix(".npz"), to="npz")
    names = [f"frame_{i}" for i in range(COUNT)]
    expected = [
        frame._replace(name=name) for frame, name in zip(tracks(), names, strict=True)
    ]
    assert content(found) == content(expected)
    by = f'"{index}"' if index else "their names"
    shuffled = list(order) != sorted(order)
    said = f"images are not in order of time; they are read by {by}."
    assert any(said in note for note in notes) == shuffled


def test_where_nothing_says_the_order_it_is_not_guessed(read):
    words = ["tree", "sun", "sea", "sky", "ice", "ash", "oak", "elm", "fir", "bay"]
    data = coco(index=None, name=lambda i: f"{[*words, 'fog', 'dew'][i]}.jpg")
    with pytest.raises(InputError, match=r"differ not only in numbers.*frame_index"):
        read(data)
    data["images"].sort(key=lambda row: row["file_name"])  # Then it is plain.
    found, notes = read(data)
    assert [frame.name for frame in found] == sorted([*words, "fog", "dew"])
    assert notes == []
    data["images"][3]["frame_index"] = 7  # Of one alone it says nothing.
    assert content(read(data)[0]) == content(found)
    twice = coco()
    twice["images"][4]["frame_index"] = twice["images"][5]["frame_index"]
    with pytest.raises(InputError, match=r'images 4 and 5 both have "frame_index" 28'):
        read(twice)


def test_our_files_keep_an_order_that_is_not_that_of_names(read):
    frames = [frame._replace(name=f"{99 - i}") for i, frame in enumerate(tracks())]
    found, notes = read(file_of("coco", frames))
    assert content(found) == content(frames) and notes == []
    timed = [frame._replace(time=i / 3) for i, frame in enumerate(frames)]
    data = file_of("coco", timed)
    for row in data["images"]:
        del row["frame_index"]  # As in files of earlier versions.
    found, notes = read(data)
    assert content(found) == content(timed) and notes == []


# Numbers of tracks -------------------------------------------------------------------


@pytest.mark.parametrize("key", ["track_id", "instance_id"])
@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_tracks_are_where_other_programs_have_them(key, within, first, read):
    """CVAT: in "attributes", from 0."""
    data = copy.deepcopy(COCO)
    for row in data["annotations"]:
        track = row.pop("track_id") - 1 + first
        (row.setdefault("attributes", {"occluded": False}) if within else row)[key] = (
            track
        )
    found, notes = read(data)
    added = max(first, 1) - 1
    expected = [
        frame._replace(
            sightings=tuple(s._replace(id=s.id + added) for s in frame.sightings)
        )
        for frame in tracks()
    ]
    assert content(found) == content(expected)
    said = [f'tracks are read from "attributes" "{key}".'] * within
    zero = "tracks are numbered from 0; 1 is added, as 0 is the background."
    assert notes == said + [zero] * (first == 0)


def test_an_annotation_without_a_track_is_refused(read):
    data = copy.deepcopy(COCO)
    for row in data["annotations"]:
        row["attributes"] = {"track_id": row.pop("track_id")}
    del data["annotations"][3]["attributes"]["track_id"]
    with pytest.raises(InputError, match=r"annotation 3: .* Every annotation needs"):
        read(data)


def test_youtube_vis_ids_may_begin_with_zero(read):
    data = copy.deepcopy(YOUTUBE)
    for row in [*data["annotations"], *data["videos"]]:
        row["id"] -= 1
    for row in data["annotations"]:
        row["video_id"] = 0
    data["videos"][0]["order"] = None
    found, notes = read(data)
    assert content(found) == content(tracks())
    assert notes == ["tracks are numbered from 0; 1 is added, as 0 is the background."]


def test_numbers_may_be_written_with_a_point(read):
    data = copy.deepcopy(COCO)
    for row in data["annotations"]:
        row["track_id"], row["image_id"] = float(row["track_id"]), row["image_id"] / 1
    assert content(read(data)[0]) == content(tracks())
    data["annotations"][0]["track_id"] = 1.5
    with pytest.raises(InputError, match=r'annotation 0: "track_id" is 1\.5'):
        read(data)


# Pieces, scores, names ---------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=54, max_size=54))
@settings(max_examples=50, deadline=None)
def test_pieces_of_a_track_in_an_image_are_one_object(pixels):
    """Pieces 1 and 2 are of one track, 3 is of another; in COCO and in MOTS."""
    parts = np.reshape(pixels, SIZE)
    rows = [
        {
            "image_id": 1,
            "track_id": 1 + (part == 3),
            "score": part / 4,
            "segmentation": masks.to_json(masks.encode(parts == part)),
        }
        for part in (1, 3, 2)
    ]
    lines = [
        f"1 {1000 + row['track_id']} 1 6 9 {row['segmentation']['counts']}"
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, text = Path(folder) / "a.json", Path(folder) / "a.txt"
        path.write_text(json.dumps({**COCO, "annotations": rows}))
        text.write_text("\n".join(lines))
        for file, scores in ((path, [0.5, 0.75]), (text, [1.0, 1.0])):
            with notes_kept() as notes:
                one, other = read_tracks(file)[0].sightings
            assert (one.id, other.id) == (1, 2)
            assert [one.score, other.score] == scores
            np.testing.assert_array_equal(
                masks.decode(one.mask), (parts == 1) | (parts == 2)
            )
            np.testing.assert_array_equal(masks.decode(other.mask), parts == 3)
            assert ["read as pieces of one object" in note for note in notes] == [True]


def test_pieces_in_mots_do_not_overlap(tmp_path):
    rle = box(1).counts.decode()
    path = tmp_path / "a.txt"
    path.write_text(f"1 1001 1 6 9 {rle}\n1 1001 1 6 9 {rle}\n")
    with pytest.raises(InputError, match="object 1001: is there twice, with pixels"):
        read_tracks(path)


@BOTH
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.floats(0.03, 1))
@settings(max_examples=30, deadline=None)
def test_scores_in_percent_are_read_as_such(data, scores, most):
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder) / "a.json", []
        for unit in (1, 100):
            changed = copy.deepcopy(data)
            for i, row in enumerate(changed["annotations"]):
                row["score"] = unit * (most if i == 0 else most * scores[i % 8])
                row.pop("scores", None)
            if "videos" in changed:
                changed["videos"][0]["order"] = None
            path.write_text(json.dumps(changed))
            with notes_kept() as notes:
                read = read_tracks(path)
            found.append([s.score for frame in read for s in frame.sightings])
            assert len(notes) == (unit == 100)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@BOTH
@pytest.mark.parametrize("score", [1.001, 1.9, 100.5, -3.0, 1e9])
def test_scores_that_could_be_anything_are_refused(data, score, read):
    data = copy.deepcopy(data)
    for row in data["annotations"]:
        row.pop("scores", None)
        row["score"] = score
    with pytest.raises(InputError, match=r"the score is .* expected a number from 0"):
        read(data)


@BOTH
def test_names_may_be_paths_of_windows(data, read):
    text = json.dumps(data)
    for name in [frame.name for frame in tracks()]:
        text = text.replace(f'"{name}.jpg"', rf'"D:\\videos\\bear\\{name}.jpg"')
    found, notes = read(json.loads(text))
    assert content(found) == content(tracks())
    assert ["paths of Windows" in note for note in notes] == [True]


# Several videos ----------------------------------------------------------------------


def two_videos(kind):
    """The tracks in video 4, "bear", and nothing in video 7, "dog"."""
    if kind == "youtube-vis":
        data = copy.deepcopy(YOUTUBE)
        for row in data["annotations"]:
            row["video_id"] = 4
        video = data["videos"][0] | {"id": 4}
        names = video["file_names"]
        data["videos"] = [
            video | {"file_names": [f"bear/{name}" for name in names]},
            video | {"id": 7, "file_names": [f"dog/{name}" for name in names]},
        ]
        data["videos"][1].pop("order")
        return data
    data = copy.deepcopy(COCO)
    images = data["images"]
    data["images"] = [
        row | {"id": row["id"] + 100 * k, "file_name": f"{folder}{row['file_name']}"}
        for k, folder in enumerate(["bear/", "dog/"])
        for row in images
    ]
    if kind == "video_id":
        for row in data["images"]:
            row["video_id"] = 4 if row["id"] < 100 else 7
        data["videos"] = [{"id": 4, "name": "bear"}, {"id": 7, "name": "dog"}]
    return data


@pytest.mark.parametrize("kind", ["youtube-vis", "video_id", "folders"])
def test_of_several_videos_one_is_chosen_by_id_or_name(kind, read):
    data = two_videos(kind)
    shown = r"\(bear, dog\)" if kind == "folders" else r"\(4: bear, 7: dog\)"
    with pytest.raises(InputError, match=f"is of 2 videos {shown}; expected one"):
        read(data)
    ids = (["bear"], ["dog"]) if kind == "folders" else ([4, "4", "bear"], [7, "dog"])
    for names, expected in zip(ids, (True, False), strict=True):
        for name in names:
            found, _ = read(data, sequence=name)
            assert len(found) == COUNT
            if expected:
                assert content(found) == content(tracks())
            else:
                assert not any(frame.sightings for frame in found)
    with pytest.raises(InputError, match="none or several are 'cat'"):
        read(data, sequence="cat")


@pytest.mark.filterwarnings("default::movseg_jax.errors.InputNote")
def test_the_command_chooses_a_video_and_says_how_it_read(tmp_path, capsys):
    data = two_videos("youtube-vis")
    for row in data["annotations"]:
        row["id"] -= 1
    data["videos"][0]["order"] = None
    source, out = tmp_path / "a.json", tmp_path / "b.npz"
    source.write_text(json.dumps(data))
    command = ["convert-tracks", str(source), "--to", "npz", "--out", str(out)]
    assert app.main(command) == 2
    error = capsys.readouterr().err
    assert "(4: bear, 7: dog)" in error and error.count("\n") == 1
    assert app.main([*command, "--sequence", "bear"]) == 0
    assert capsys.readouterr().err == (
        f"movseg: note: {source}: tracks are numbered from 0; 1 is added, as 0 is the "
        "background.\n"
    )
    found = [frame.sightings for frame in read_tracks(out)]
    assert [[s.id for s in there] for there in found] == [
        [s.id for s in frame.sightings] for frame in tracks()
    ]
    with pytest.raises(InputError, match="holds one video"):
        read_tracks(out, sequence="bear")


def test_a_list_of_coco_s_results_is_refused_as_such(read):
    with pytest.raises(InputError, match="is a list of COCO's results"):
        read(COCO["annotations"])
