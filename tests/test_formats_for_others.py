"""Files for other programs, read as those programs define them."""

import json

import av
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from pycocotools import mask as coco_mask

from movseg_jax import masks
from movseg_jax.cli import app
from movseg_jax.formats import FORMATS, output_path, result_name
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.formats.prompts import points_inside
from movseg_jax.formats.survey import paint, visible
from movseg_jax.images import encode_png
from movseg_jax.results import Sighting, TrackedFrame

SIZE = (24, 32)


def box(y0, x0, y1, x1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return masks.encode(mask)


def make_tracks():
    """Track 1 moves from the left to behind track 2, which never moves."""
    still = Sighting(2, box(4, 14, 20, 24), 0.75, False, 0.0)
    moving = [(6, 2, 12, 12), (6, 5, 12, 15), (6, 13, 12, 25), None]
    return [
        TrackedFrame(
            f"{i:05d}",
            SIZE,
            None,
            (still,) if at is None else (Sighting(1, box(*at), 0.5, True, 3.0), still),
        )
        for i, at in enumerate(moving)
    ]


def open_video():
    yield from np.random.default_rng(0).integers(1, 256, (4, *SIZE, 3), np.uint8)


def write(out, to, **options):
    if FORMATS[to].needs_frames:
        options["frames"] = open_video
    write_tracks(make_tracks(), out, to=to, **options)
    return out


# MOTS --------------------------------------------------------------------------------


def read_as_trackeval(path, class_id, first_frame, count):
    """Reads masks by frame and id, as TrackEval's datasets of MOTS read a tracker.

    Its `_load_raw_file` takes the rows by the text of their frame, refuses frames that
    are not in the video and masks that overlap; `get_preprocessed_seq_data` then takes
    the rows of a class.
    """
    rows = {str(frame + first_frame): [] for frame in range(count)}
    for line in path.read_text().splitlines():
        time, *row = line.split(" ")
        rows[time].append(row)
    frames = []
    for found in rows.values():
        rles = [
            {"size": [int(h), int(w)], "counts": rle.encode()}
            for _, _, h, w, rle in found
        ]
        if len(rles) > 1:
            assert coco_mask.area(coco_mask.merge(rles, intersect=True)) == 0
        decoded = [coco_mask.decode(rle).astype(bool) for rle in rles]
        frames.append(
            {
                int(row[0]) % 1000: mask
                for row, mask in zip(found, decoded, strict=True)
                if int(row[1]) == class_id == int(row[0]) // 1000
            }
        )
    return frames


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "options, class_id, first_frame",
    [
        ({}, 2, 1),  # MOTSChallenge evaluates pedestrians, and counts from 1.
        ({"class_id": 1, "first_frame": 0}, 1, 0),  # KITTI MOTS: cars, from 0.
    ],
)
def test_mots_is_read_as_trackeval_reads_it(options, class_id, first_frame, tmp_path):
    out = write(tmp_path / "0001.txt", "mots", **options)
    found = read_as_trackeval(out, class_id, first_frame, 4)
    for frame, by_id in zip(make_tracks(), found, strict=True):
        shown = {s.id: masks.decode(s.mask) for s in visible(frame).sightings}
        assert by_id.keys() == shown.keys()
        for track, mask in by_id.items():
            assert_array_equal(mask, shown[track])
    # Our own reader understands both.
    own = [[s.id for s in frame.sightings] for frame in read_tracks(out)]
    assert own == [[1, 2], [1, 2], [1, 2], [2]]


# Masks for reconstruction ------------------------------------------------------------


def test_nerfstudio_finds_masks_by_the_names_of_images(tmp_path):
    out = write(tmp_path / "masks", "nerfstudio", dilate=1)
    for index, frame in enumerate(make_tracks()):
        # Its parser of COLMAP's models looks for the image's path with this suffix, and
        # reads every value but 0 as a pixel to train on.
        mask_path = (out / f"{frame.name}.jpg").with_suffix(".png")
        with Image.open(mask_path) as image:
            kept = np.array(image).astype(bool)
        moving = [s for s in frame.sightings if s.id == 1]
        expected = np.ones(SIZE, bool)
        for s in moving:
            ys, xs = np.nonzero(masks.decode(s.mask))
            for y, x in np.ndindex(*SIZE):
                expected[y, x] = ((ys - y) ** 2 + (xs - x) ** 2).min() > 1
        assert_array_equal(kept, expected)
        assert kept.all() == (index == 3)
    # COLMAP's names have the image's suffix, too; the content is the same.
    colmap = write(tmp_path / "colmap", "colmap", dilate=1)
    for name in (out / "00000.png", out / "00003.png"):
        assert name.read_bytes() == (colmap / f"{name.stem}.jpg.png").read_bytes()


@pytest.mark.parametrize("dilate", [0, 9])
def test_frames_for_vggt_are_black_in_the_boxes_of_what_moves(dilate, tmp_path):
    out = write(tmp_path / "images", "vggt", dilate=dilate)
    for frame, image in zip(make_tracks(), open_video(), strict=True):
        with Image.open(out / f"{frame.name}.png") as opened:
            found = np.array(opened.convert("RGB"))
        expected = image.copy()
        for s in frame.sightings:
            if s.id == 1:
                x0, y0, x1, y1 = masks.tight_box(masks.decode(s.mask)).astype(int)
                for y, x in np.ndindex(*SIZE):
                    near_y = y0 - dilate <= y < y1 + dilate
                    if near_y and x0 - dilate <= x < x1 + dilate:
                        expected[y, x] = 0
        assert_array_equal(found, expected)


# Prompts -----------------------------------------------------------------------------


def read_prompts(path):
    data = json.loads(path.read_text())
    assert data["info"] == {"description": "prompts by movseg_jax", "format": 1}
    assert data["video"] == {"width": 32, "height": 24, "length": 4}
    return data["prompts"]


def test_prompts_are_in_the_frames_that_show_most(tmp_path):
    found = read_prompts(write(tmp_path / "a.json", "prompts"))
    # Track 1 is as large in the frame after, but there track 2 hides a part of it.
    assert [(p["frame"], p["name"], p["track"]) for p in found] == [
        (0, "00000", 1),
        (0, "00000", 2),
    ]
    # Columns 2 to 11 and rows 6 to 11, both included.
    assert found[0]["box"] == [2, 6, 11, 11] and found[0]["labels"] == [1]


def test_points_of_prompts_are_in_their_objects_and_in_no_other(tmp_path):
    options = {"positive_points": 5, "negative_points": True}
    out = write(tmp_path / "a.json", "prompts", prompt_frames=[1, 2, 3], **options)
    found = read_prompts(out)
    tracks = [(p["frame"], p["track"]) for p in found]
    assert tracks == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]
    for prompt in found:
        ids = paint(make_tracks()[prompt["frame"]])
        rows, columns = np.nonzero(ids == prompt["track"])
        ends = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert prompt["box"] == ends
        points = [tuple(point) for point in prompt["points"]]
        assert len({*points}) == len(points) == len(prompt["labels"])
        assert prompt["labels"].count(1) == 5
        for (x, y), label in zip(points, prompt["labels"], strict=True):
            assert (ids[y, x] == prompt["track"]) == (label == 1)
            assert ends[0] <= x <= ends[2] and ends[1] <= y <= ends[3]
    # Where another object is in the box, one negative point is in it.
    assert [p["labels"].count(0) for p in found] == [0, 0, 1, 0, 0]


def test_the_first_point_is_the_one_farthest_from_the_outline():
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = rng.random((9, 11)) < 0.8
        away = np.zeros(mask.shape)
        outside = [(y, x) for y, x in np.ndindex(11, 13) if not np.pad(mask, 1)[y, x]]
        for y, x in np.argwhere(mask):
            away[y, x] = min((y + 1 - a) ** 2 + (x + 1 - b) ** 2 for a, b in outside)
        ((x, y),) = points_inside(mask, 1)
        assert away[y, x] == away.max()
    assert points_inside(np.zeros((3, 3), bool), 4) == []
    assert len(points_inside(np.ones((1, 3), bool), 100)) == 3


# Names and rates ---------------------------------------------------------------------


def test_no_two_formats_have_the_same_name_among_results():
    names = [result_name(form) for form in FORMATS]
    assert len({*names}) == len(names)
    assert result_name("npz") == "masks.npz" and result_name("mot") == "mot.txt"


@pytest.mark.parametrize("to", FORMATS)
def test_a_path_without_a_suffix_gets_that_of_the_format(to, tmp_path):
    suffix = FORMATS[to].suffix
    assert output_path(tmp_path / "a.v2", to) == tmp_path / f"a.v2{suffix}"
    assert output_path(tmp_path / f"a{suffix}", to) == tmp_path / f"a{suffix}"
    among = tmp_path / result_name(to) if suffix else tmp_path
    assert output_path(tmp_path, to) == among


def test_the_command_names_files_as_segmenting_does(tmp_path, capsys):
    tracks = write(tmp_path / "tracks.json", "tracks")
    folder = tmp_path / "results"
    folder.mkdir()
    command = ["convert-tracks", str(tracks), "--out"]
    assert app.main([*command, str(folder), "--to", "mot"]) == 0
    assert app.main([*command, str(tmp_path / "c_mot"), "--to", "mot"]) == 0
    assert (folder / "mot.txt").read_text() == (tmp_path / "c_mot.txt").read_text()
    capsys.readouterr()
    assert app.main([*command, str(tmp_path / "c_mot"), "--to", "mot"]) == 2
    assert "c_mot.txt: exists already" in capsys.readouterr().err


def test_alpha_of_frames_without_times_has_the_rate_of_all_else(tmp_path):
    tracks = write(tmp_path / "tracks.json", "tracks")
    frames = tmp_path / "frames"
    frames.mkdir()
    for index, image in enumerate(open_video()):
        (frames / f"{index:05d}.png").write_bytes(encode_png(image))
    out = tmp_path / "alpha.mov"
    command = ["convert-tracks", str(tracks), "--out", str(out), "--to", "alpha"]
    assert app.main([*command, "--video", str(frames)]) == 0
    write(tmp_path / "b.mov", "alpha")
    for path in (out, tmp_path / "b.mov"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == 25
