"""Tracks in files against slow readers, others' readers and their own way back."""

import gc
import hashlib
import json
import math
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from movseg_jax import masks
from movseg_jax.data.frames import IdImage
from movseg_jax.errors import InputError
from movseg_jax.evaluation.truth import read_folders
from movseg_jax.formats import conversion, survey, youtube_vis
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.formats.pictures import sightings_of
from movseg_jax.formats.spool import Spool
from movseg_jax.images import encode_jpeg, encode_png, palette, read_ids
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.notes import notes_kept
from tests.content import content
from tests.fakes import layouts

FORMATS = list(conversion.FORMATS)
SIZE = (18, 24)


def box(y0, x0, y1, x1, size=SIZE):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return masks.encode(mask)


def make_tracks(*, numbered=False):
    """Six frames; in the third the tracks overlap, in two nothing is."""
    sightings = {
        1: [Sighting(3, box(0, 0, 5, 6), 0.5, True, 2.25)],
        2: [
            Sighting(1, box(2, 2, 12, 12), 0.875, True, 1.5),
            Sighting(3, box(1, 1, 6, 7), 0.75, True, math.nan),
            Sighting(2, box(8, 8, 18, 24), 0.1, False, 0.0),
        ],
        3: [Sighting(2, box(9, 9, 18, 24), 1 / 3, False, 0.125)],
        5: [
            Sighting(2, box(9, 9, 18, 24), 0.25, False, math.nan),
            Sighting(1, box(3, 3, 13, 13), 1.0, False, math.nan),
        ],
    }
    return [
        TrackedFrame(
            f"{i:05d}" if numbered else f"im age-{i + 7}",
            SIZE,
            None if numbered else i / 30,
            tuple(sightings.get(i, ())),
        )
        for i in range(6)
    ]


def open_video():
    rng = np.random.default_rng(0)
    for _ in range(6):
        yield rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def write(tracks, folder, to, **options):
    suffix = conversion.FORMATS[to].suffix
    out = folder / f"out{suffix}"
    needs = {"frames": open_video} if conversion.FORMATS[to].needs_frames else {}
    write_tracks(tracks, out, to=to, **needs, **options)
    return out


def written(out):
    files = sorted(out.rglob("*")) if out.is_dir() else [out]
    return {
        str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file()
    }


def painted(tracks, *, until=None):
    """What pictures hold: the visible part of each track, as if by hand."""
    frames = []
    for frame in list(tracks)[:until]:
        ids = np.zeros(frame.size, int)
        for sighting in frame.sightings:
            for y, x in np.argwhere(masks.decode(sighting.mask)):
                ids[y, x] = sighting.id
        shown = [
            Sighting(i, masks.encode(ids == i), 1.0, True, math.nan)
            for i in range(1, ids.max() + 1)
            if (ids == i).any()
        ]
        frames.append((frame.name, frame.size, tuple(shown)))
    return frames


# There and back ----------------------------------------------------------------------


@pytest.mark.parametrize("to", ["tracks", "coco"])
@pytest.mark.parametrize("numbered", [True, False])
def test_json_holds_all_of_a_track(to, numbered, tmp_path):
    tracks = make_tracks(numbered=numbered)
    found = read_tracks(write(tracks, tmp_path, to))
    assert content(found) == content(tracks)
    assert content([found[-1], *found[1:3]]) == content([tracks[-1], *tracks[1:3]])


@pytest.mark.parametrize("to", ["masks", "npz", "mots"])
def test_pictures_hold_what_is_visible(to, tmp_path):
    tracks = make_tracks(numbered=True)
    found = read_tracks(write(tracks, tmp_path, to))
    frames = [
        (f.name, f.size, tuple(sorted(f.sightings, key=lambda s: s.id))) for f in found
    ]
    assert content(frames) == content(painted(tracks))


PIXELS = st.lists(st.booleans(), min_size=20, max_size=20)
SIGHTINGS = st.builds(
    lambda i, pixels, score, moving, motion: Sighting(
        i, masks.encode(np.array(pixels).reshape(4, 5)), score, moving, motion
    ),
    st.integers(1, 6),
    PIXELS,
    st.floats(0, 1),
    st.booleans(),
    st.floats(0, 1e3) | st.just(math.nan),
)
ANY_TRACKS = st.lists(
    st.lists(SIGHTINGS, max_size=4, unique_by=lambda sighting: sighting.id),
    min_size=1,
    max_size=5,
)


@given(ANY_TRACKS)
@settings(max_examples=30, deadline=None)
def test_any_tracks_come_back(rows):
    tracks = [
        TrackedFrame(f"{i:05d}", (4, 5), i / 3, tuple(row))
        for i, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for to in ("tracks", "coco"):
            found = read_tracks(write(tracks, Path(folder), to))
            assert content(found) == content(tracks)
        found = read_tracks(write(tracks, Path(folder), "npz"))
        frames = [(f.name, f.size, f.sightings) for f in found]
        assert content(frames) == content(painted(tracks))


@given(
    st.lists(
        st.lists(st.sampled_from([0, 1, 2, 254, 255, 256]), min_size=6, max_size=6),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=60, deadline=None)
def test_pictures_of_any_tracks_numbers_come_back(rows):
    """255 too, which in images of 8 bits is void beside other numbers."""
    tracks = [
        TrackedFrame(f"{i:05d}", (2, 3), None, sightings_of(np.reshape(row, (2, 3))))
        for i, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for to in ("masks", "npz"):
            out = write(tracks, Path(folder), to)
            assert content(read_tracks(out)) == content(tracks)


VOID = np.uint8([[[0, 255], [1, 2]], [[255, 255], [0, 0]]])
DEEP = VOID.astype(np.uint16)
MASKS = {  # Frames of numbers, and the tracks in each.
    "void in a frame and alone in another": (VOID, [[1, 2], []], True),
    "void beside an object in another frame": (VOID[[1, 0]], [[], [1, 2]], True),
    "one object, as in DAVIS 2016": (VOID[[1, 1]], [[255], [255]], False),
    "16 bits": (DEEP, [[1, 2, 255], [255]], False),
    "truth values": (VOID > 0, [[1], [1]], False),
}


@pytest.mark.parametrize("ids, tracks, void", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("to", ["masks", "npz"])
def test_what_255_means_is_decided_by_the_whole_video(to, ids, tracks, void, tmp_path):
    path = tmp_path / ("a.npz" if to == "npz" else "a")
    if to == "npz":
        np.savez(path, segmentation=ids)
    else:
        path.mkdir()
        for i, frame in enumerate(ids):
            Image.fromarray(frame).save(path / f"{i:05d}.png")
    with notes_kept() as notes:
        found = [[s.id for s in frame.sightings] for frame in read_tracks(path)]
    assert found == tracks
    expected = f"{path}: 255 is read as void, beside other objects' numbers: "
    assert [note.startswith(expected) for note in notes] == [True] * void


def test_masks_are_refused_alike_whatever_reads_them(tmp_path):
    """The same words from the reader of tracks, of truth and of predictions."""
    sound = np.zeros((60, 80), np.uint8)
    sound[10:40, 20:60] = 255
    blurred = cv2.GaussianBlur(sound, (0, 0), 2)
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "00000.png"
    jpeg = encode_jpeg(np.repeat(sound[..., None], 3, 2))
    np.savez(tmp_path / "a.npz", segmentation=blurred[None])
    nothing = TrackedFrame("00000", (60, 80), None, ())
    for data, words in (
        (encode_png(blurred), "as after resizing with interpolation"),
        (jpeg, "compressed with loss"),
    ):
        file.write_bytes(data)
        truth = read_folders(tmp_path, ["a"]).sequences[0] if data != jpeg else None
        for use in (
            lambda: list(read_tracks(tmp_path / "a")),
            lambda truth=truth: (
                truth.frames[0].compare(nothing) if truth else read_ids(file)
            ),
            lambda: IdImage(file, "auto").read((60, 80)),
            lambda: read_ids(file),
        ):
            with pytest.raises(InputError, match=words):
                use()
    with pytest.raises(InputError, match="compressed with loss"):
        read_folders(tmp_path, ["a"])
    with pytest.raises(InputError, match="as after resizing with interpolation"):
        read_tracks(tmp_path / "a.npz")


# Each command's status, and what it printed. In a process of its own, as in this one
# jaxtyping looks into sequences before the command does.
EACH_COMMAND = """
import contextlib, io, json, sys
from movseg_jax.cli import app
results = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = app.main(command.split())
    results.append([status, output.getvalue(), errors.getvalue()])
print(json.dumps(results))
"""
COMMANDS = [
    "convert-tracks wrong/a --to tracks --out a.json",
    "eval masks --pred wrong --gt right --quiet --workers 1",
    "eval masks --pred right --gt wrong --quiet --workers 1 --foreground",
    "data check folder --manual-dir data --split all",
]


@pytest.mark.parametrize("kind", ["a JPEG", "blurred", "void"])
def test_every_command_decides_alike_about_masks(kind, tmp_path):
    sound = np.zeros((60, 80), np.uint8)
    sound[10:40, 20:60] = 1
    marked = sound.copy()
    marked[50:] = 255
    blurred = cv2.GaussianBlur(sound * np.uint8(255), (0, 0), 2)
    jpeg = encode_jpeg(np.repeat(sound[..., None] * np.uint8(255), 3, 2))
    ending, content, words = {
        "a JPEG": ("jpg", jpeg, "compressed with loss"),
        "blurred": ("png", encode_png(blurred), "as after resizing"),
        "void": ("png", encode_png(marked), ""),
    }[kind]
    for i in range(3):
        for folder in ("wrong/a", "data/Annotations/a"):
            layouts.write(tmp_path / folder / f"{i:05d}.{ending}", content)
        layouts.write(tmp_path / "right/a" / f"{i:05d}.png", encode_png(sound))
        layouts.write(tmp_path / "data/JPEGImages/a" / f"{i:05d}.jpg", jpeg)
    command = [sys.executable, "-c", EACH_COMMAND, json.dumps(COMMANDS)]
    done = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    for status, output, errors in json.loads(done.stdout):
        assert status == (2 if words else 0), errors
        assert words in errors and bool(output) != bool(words)
    if not words:
        found = [s.id for f in read_tracks(tmp_path / "a.json") for s in f.sightings]
        assert found == [1, 1, 1]


@pytest.mark.parametrize("to", FORMATS)
def test_equal_tracks_give_equal_bytes(to, tmp_path):
    options = {"fps": 30.0} if to == "alpha" else {}
    for name in ("a", "b"):
        write(make_tracks(), tmp_path / name, to, **options)
    first, second = (written(tmp_path / name) for name in ("a", "b"))
    assert first and first == second


@pytest.mark.parametrize("to", FORMATS)
def test_videos_without_objects_can_be_written(to, tmp_path):
    tracks = [frame._replace(sightings=()) for frame in make_tracks()]
    out = write(tracks, tmp_path, to)
    assert out.exists()
    if conversion.FORMATS[to].reader and to != "mots":
        found = read_tracks(out)
        assert len(found) == 6 and not any(frame.sightings for frame in found)


def test_three_hundred_tracks_fit_into_16_bits(tmp_path):
    size, sightings = (128, 160), []
    for i in range(1, 301):
        y, x = 8 * (i // 20), 8 * (i % 20)
        mask = box(y, x, y + 8, x + 8, size)
        sightings.append(Sighting(i, mask, 1.0, True, math.nan))
    tracks = [TrackedFrame("00000", size, None, tuple(sightings))]
    out = write(tracks, tmp_path, "npz")
    with np.load(out) as arrays:
        assert arrays["segmentation"].dtype == np.uint16
        assert_array_equal(np.unique(arrays["segmentation"])[1:], np.arange(1, 301))
    assert content(read_tracks(out)) == content(tracks)
    (tmp_path / "masks").mkdir()
    pictures = write(tracks, tmp_path / "masks", "masks")
    assert content(read_tracks(pictures)) == content(tracks)


# Pictures ----------------------------------------------------------------------------


def test_masks_are_palette_images_of_the_tracks_numbers(tmp_path):
    out = write(make_tracks(), tmp_path, "masks")
    assert [file.name for file in sorted(out.iterdir())] == sorted(
        f"{frame.name}.png" for frame in make_tracks()
    )
    ids = read_ids(out / "im age-9.png")
    assert ids[3, 3] == 3 and ids[11, 11] == 2 and ids[8, 3] == 1 and ids[0, 23] == 0
    with Image.open(out / "im age-9.png") as image:
        assert image.mode == "P"
        assert_array_equal(np.array(image.convert("RGB")), palette()[ids])


def test_the_foreground_is_every_track_that_ever_moves(tmp_path):
    out = write(make_tracks(), tmp_path, "foreground")
    with Image.open(out / "im age-12.png") as image:
        values = np.array(image)
    # Track 1 stands still in that frame, track 2 in all.
    assert_array_equal(values == 255, masks.decode(box(3, 3, 13, 13)))
    assert set(np.unique(values)) == {0, 255}


@pytest.mark.parametrize("dilate", [0, 1, 3])
def test_colmap_s_masks_are_black_around_what_moves(dilate, tmp_path):
    out = write(make_tracks(), tmp_path, "colmap", image_suffix=".JPG", dilate=dilate)
    with Image.open(out / "im age-8.JPG.png") as image:
        values = np.array(image)
    moving = np.argwhere(masks.decode(box(0, 0, 5, 6)))
    for y, x in np.ndindex(*SIZE):
        near = ((moving - (y, x)) ** 2).sum(axis=1).min() <= dilate**2
        assert values[y, x] == (0 if near else 255)
    with Image.open(out / "im age-7.JPG.png") as image:
        assert (np.array(image) == 255).all()


def test_cutouts_lie_where_they_were_cut_out(tmp_path):
    out = write(make_tracks(), tmp_path, "cutouts")
    files = {str(f.relative_to(out)) for f in out.rglob("*.png")}
    assert files == {
        f"{sighting.id}/{frame.name}.png"
        for frame in make_tracks()
        for sighting in frame.sightings
    }
    for frame, image in zip(make_tracks(), open_video(), strict=True):
        for sighting in frame.sightings:
            file = out / str(sighting.id) / f"{frame.name}.png"
            data = file.read_bytes()
            place = data.index(b"oFFs") + 4
            x, y, unit = struct.unpack(">iiB", data[place : place + 9])
            with Image.open(file) as opened:
                opened.load()
                cut = np.array(opened)
            pasted = np.zeros((*SIZE, 4), np.uint8)
            pasted[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
            mask = masks.decode(sighting.mask)
            assert unit == 0 and cut[..., 3].any(axis=1).all()
            assert_array_equal(pasted[..., 3], mask * 255)
            assert_array_equal(pasted[..., :3], image * mask[..., None])


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
@pytest.mark.parametrize("fps", [None, 25.0])
def test_the_alpha_video_shows_what_moves(suffix, fps, tmp_path):
    size = (32, 48)
    frame = TrackedFrame(
        "a", size, 0.0, (Sighting(1, box(8, 8, 24, 32, size), 1.0, True, 1.0),)
    )
    tracks = [frame, frame._replace(name="b", time=0.5, sightings=())]
    grey = np.full((*size, 3), 128, np.uint8)
    out = tmp_path / f"out{suffix}"
    write_tracks(tracks, out, to="alpha", frames=lambda: iter([grey, grey]), fps=fps)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        if suffix == ".webm":  # FFmpeg's own decoder drops alpha.
            context = av.CodecContext.create("libvpx-vp9", "r")
            decoded = [f for p in container.demux(stream) for f in context.decode(p)]
        else:
            decoded = list(container.decode(stream))
        alphas = [f.to_ndarray(format="rgba")[..., 3] > 127 for f in decoded]
        seconds = [float(f.pts * stream.time_base) for f in decoded]
    assert_array_equal(alphas[0], masks.decode(frame.sightings[0].mask))
    assert not alphas[1].any()
    assert seconds == pytest.approx([0, 0.5 if fps is None else 0.04], abs=2e-3)


# JSON --------------------------------------------------------------------------------


def strict_json(path):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(path.read_text("ascii"), parse_constant=refuse)


def test_coco_s_own_api_reads_our_file_as_annotations_and_as_results(tmp_path, capsys):
    tracks = make_tracks()
    out = write(tracks, tmp_path, "coco", provenance={"weights": "sha", "x": math.inf})
    data = strict_json(out)
    assert data["info"]["provenance"] == {"weights": "sha", "x": None}
    truth = COCO(str(out))
    results = truth.loadRes(truth.dataset["annotations"])
    for api in (truth, results):
        for number, frame in enumerate(tracks, start=1):
            found = api.loadAnns(api.getAnnIds(imgIds=number))
            assert [a["track_id"] for a in found] == [s.id for s in frame.sightings]
            for annotation, sighting in zip(found, frame.sightings, strict=True):
                rle = api.annToRLE(annotation)
                assert rle["counts"].encode() == sighting.mask.counts
                assert_array_equal(annotation["bbox"], coco_mask.toBbox(rle))
                assert annotation["area"] == coco_mask.area(rle)
                assert annotation["score"] == sighting.score
    assert "Done" in capsys.readouterr().out


def test_tracks_json_is_as_youtube_vis_has_it(tmp_path):
    """Each list has an entry per frame; what a slow search finds is in it."""
    tracks = make_tracks()
    data = strict_json(write(tracks, tmp_path, "tracks", image_suffix=".png"))
    (video,) = data["videos"]
    assert video["id"] == 1 and (video["height"], video["width"]) == SIZE
    assert video["length"] == 6
    assert video["file_names"] == [f"{frame.name}.png" for frame in tracks]
    assert [c["id"] for c in data["categories"]] == [1]
    assert [a["id"] for a in data["annotations"]] == [1, 2, 3]
    for row in data["annotations"]:
        assert (row["video_id"], row["category_id"], row["iscrowd"]) == (1, 1, 0)
        seen = {}
        for index, frame in enumerate(tracks):
            for sighting in frame.sightings:
                if sighting.id == row["id"]:
                    seen[index] = sighting
        assert (row["first"], row["last"]) == (min(seen), max(seen))
        scores = [sighting.score for sighting in seen.values()]
        assert row["score"] == pytest.approx(sum(scores) / len(scores), rel=1e-12)
        for key in youtube_vis.LISTS:
            assert len(row[key]) == 6
        for index in range(6):
            entries = [row[key][index] for key in youtube_vis.LISTS]
            if index not in seen:
                assert entries == [None] * 6
                continue
            sighting, rle = seen[index], entries[0]
            assert rle["size"] == list(SIZE)
            assert_array_equal(coco_mask.toBbox(rle), entries[1])
            assert coco_mask.area(rle) == entries[2] == masks.area(sighting.mask)
            assert entries[3:5] == [sighting.score, sighting.moving]
            nan = math.isnan(sighting.motion)
            assert entries[5] == (None if nan else sighting.motion)


def test_results_and_ground_truth_of_youtube_vis_can_be_read(tmp_path):
    full = masks.to_json(box(0, 0, 18, 24))
    rows = [
        {"video_id": 4, "score": 0.25, "category_id": 9, "segmentations": [full, None]},
        {"video_id": 4, "score": 0.75, "category_id": 9, "segmentations": [full, full]},
        {"video_id": 7, "score": 0.75, "category_id": 9, "segmentations": [full]},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    found = read_tracks(path, sequence=4)
    assert [(f.name, [(s.id, s.score) for s in f.sightings]) for f in found] == [
        ("00000", [(1, 0.25), (2, 0.75)]),
        ("00001", [(2, 0.75)]),
    ]
    with pytest.raises(InputError, match=r"of 2 videos \(4, 7\); expected one"):
        read_tracks(path)
    truth = {
        "videos": [
            {
                "id": 4,
                "width": 24,
                "height": 18,
                "length": 2,
                "file_names": ["0043f/00000.jpg", "0043f/00005.jpg"],
            },
        ],
        "annotations": [
            {
                "id": 12,
                "video_id": 4,
                "iscrowd": 0,
                "segmentations": [None, [[0, 0, 24, 0, 24, 18, 0, 18]]],
            },
        ],
    }
    path.write_text(json.dumps(truth))
    first, second = read_tracks(path)
    assert (first.name, second.name) == ("00000", "00005")
    assert not first.sightings
    (sighting,) = second.sightings
    assert sighting[:4] == (12, box(0, 0, 18, 24), 1.0, True)


def test_a_file_that_is_not_finished_is_not_there(tmp_path):
    class Damaged(Sequence):
        passes = 0

        def __len__(self):
            return 6

        def __getitem__(self, index):  # Of which beartype tries some.
            return make_tracks()[index]

        def __iter__(self):
            self.passes += 1
            yield from make_tracks()[:4]
            if self.passes > 1:  # The first is the survey.
                raise InputError("frame 4 is damaged")
            yield from make_tracks()[4:]

    for to in ("tracks", "coco", "mots", "mot", "fbms", "npz", "alpha"):
        with pytest.raises(InputError, match="frame 4 is damaged"):
            write(Damaged(), tmp_path, to)
    assert list(tmp_path.iterdir()) == []


# Text --------------------------------------------------------------------------------


def test_mots_lines_are_of_masks_that_do_not_overlap(tmp_path):
    out = write(make_tracks(), tmp_path, "mots")
    lines = [line.split(" ") for line in out.read_text().splitlines()]
    assert [(int(f), int(i), int(c)) for f, i, c, *_ in lines] == [
        (2, 2003, 2), (3, 2001, 2), (3, 2003, 2), (3, 2002, 2), (4, 2002, 2),
        (6, 2002, 2), (6, 2001, 2),
    ]  # fmt: skip
    covered = np.zeros(SIZE, int)
    for frame, _, _, height, width, counts in lines:
        assert (int(height), int(width)) == SIZE
        if frame == "3":
            covered += masks.decode(masks.Rle(SIZE, counts.encode()))
    assert covered.max() == 1


def test_mots_files_of_others_keep_their_ids_unless_all_are_of_one_class(tmp_path):
    rle = box(0, 0, 9, 9).counts.decode()
    path = tmp_path / "0001.txt"
    path.write_text(
        f"0 1005 1 18 24 {rle}\n2 2005 2 18 24 {rle}\n2 10000 10 18 24 {rle}\n"
    )
    found = read_tracks(path)  # From frame 0, as in KITTI MOTS.
    assert [[s.id for s in frame.sightings] for frame in found] == [[1005], [], [2005]]
    path.write_text(f"1 2005 2 18 24 {rle}\n")
    assert read_tracks(path)[0].sightings[0].id == 5


def test_mot_boxes_count_from_one(tmp_path):
    out = write(make_tracks(), tmp_path, "mot")
    assert out.read_text().splitlines()[:3] == [
        "2,3,1,1,6,5,0.500000,-1,-1,-1",
        "3,1,3,3,10,10,0.875000,-1,-1,-1",
        "3,3,2,2,6,5,0.750000,-1,-1,-1",
    ]


def test_fbms_tracks_are_the_pixels_of_labelled_frames(tmp_path):
    out = write(make_tracks(numbered=True), tmp_path, "fbms", labelled=[2, 5])
    numbers = [[int(n) for n in line.split()] for line in out.read_text().splitlines()]
    assert numbers[:2] == [[6], [2 * 18 * 24]]
    read = {2: np.full(SIZE, -1), 5: np.full(SIZE, -1)}
    for start in range(2, len(numbers), 3):
        (label,), (length,), (x, y, frame) = numbers[start : start + 3]
        assert length == 1 and read[frame][y, x] == -1
        read[frame][y, x] = label
    for frame, labels in read.items():
        assert_array_equal(labels, survey.paint(make_tracks()[frame]))
    with pytest.raises(InputError, match="expected some of 0 to 5"):
        write(make_tracks(), tmp_path, "fbms", labelled=[6])


def test_fbms_labels_have_no_gaps(tmp_path):
    """Neither where a tracker left some, nor where tracks are in other frames only."""
    written = []
    for ids in ((1, 2, 3), (2, 7, 300)):
        tracks = [
            frame._replace(
                sightings=tuple(s._replace(id=ids[s.id - 1]) for s in frame.sightings)
            )
            for frame in make_tracks(numbered=True)
        ]
        for labelled in ([1, 3], [2, 5]):
            folder = tmp_path / f"{ids}{labelled}"
            folder.mkdir()
            out = write(tracks, folder, "fbms", labelled=labelled)
            written.append(out.read_text())
    assert written[:2] == written[2:]
    labels = [{*text.splitlines()[2::3]} for text in written[:2]]
    assert labels == [{"0", "1", "2"}, {"0", "1", "2", "3"}]


def test_the_authors_float_arrays_can_be_read(tmp_path):
    tracks = make_tracks(numbered=True)
    own = read_tracks(write(tracks, tmp_path, "npz"))
    ids = np.stack([survey.paint(frame) for frame in tracks])
    for number, dtype in enumerate([np.float64, np.int32, ">u2"]):
        path = tmp_path / f"{number}.npz"
        np.savez_compressed(path, **{"anything": ids.astype(dtype)})
        assert content(read_tracks(path)) == content(own)
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        assert archive.namelist() == ["segmentation.npy"]


# What is checked before anything is written ------------------------------------------

EMPTY = TrackedFrame("a", SIZE, None, ())
SEEN = Sighting(1, box(0, 0, 2, 2), 0.5, True, 0.0)
WRONG = {
    "no frames": ([], "no frames to write"),
    "two sizes": ([EMPTY, EMPTY._replace(size=(3, 3))], "the first of"),
    "equal names": ([EMPTY, EMPTY], "two frames have the same name"),
    "a way out": ([EMPTY._replace(name="../a")], "not a plain path"),
    "a folder": ([EMPTY._replace(name="b/a")], "not a frame's name"),
    "no name": ([EMPTY._replace(name="")], "not a plain path"),
    "a hidden name": ([EMPTY._replace(name=".a")], "not a frame's name"),
    "a track twice": ([EMPTY._replace(sightings=(SEEN, SEEN))], "each once"),
    "track 0": ([EMPTY._replace(sightings=(SEEN._replace(id=0),))], "from 1"),
    "a score of NaN": (
        [EMPTY._replace(sightings=(SEEN._replace(score=math.nan),))],
        "expected 0 to 1",
    ),
    "a small mask": (
        [EMPTY._replace(sightings=(SEEN._replace(mask=box(0, 0, 1, 1, (2, 2))),))],
        "but the mask of track 1",
    ),
}


@pytest.mark.parametrize("tracks, message", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("to", ["tracks", "masks", "mots", "cutouts"])
def test_nothing_is_written_of_tracks_with(to, tracks, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write(tracks, tmp_path, to)
    assert list(tmp_path.iterdir()) == []


def test_the_video_must_be_that_of_the_tracks(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="the video ends after 6 frames"):
        more = [*make_tracks(), EMPTY]
        write_tracks(more, out, to="cutouts", frames=open_video)
    with pytest.raises(InputError, match="the tracks end after 5 frames"):
        write_tracks(make_tracks()[:5], out, to="cutouts", frames=open_video)
    small = [np.zeros((2, 2, 3), np.uint8)] * 6
    with pytest.raises(InputError, match="the size of its tracks"):
        write_tracks(make_tracks(), out, to="cutouts", frames=lambda: iter(small))
    with pytest.raises(InputError, match="hand in the video"):
        write_tracks(make_tracks(), out, to="cutouts")


def test_options_out_of_range_are_refused(tmp_path):
    tracks = make_tracks()
    with pytest.raises(InputError, match="`dilate` is -1"):
        write(tracks, tmp_path, "colmap", dilate=-1)
    with pytest.raises(InputError, match="`image_suffix` is"):
        write(tracks, tmp_path, "colmap", image_suffix=".mp4")
    with pytest.raises(InputError, match="the provenance is not JSON"):
        write(tracks, tmp_path, "coco", provenance={"a": b"bytes"})
    many = [EMPTY._replace(sightings=(SEEN._replace(id=1000),))]
    with pytest.raises(InputError, match="MOTS has 1 to 999"):
        write(many, tmp_path, "mots")
    with pytest.raises(InputError, match="expected 1 to 65535"):
        write([EMPTY._replace(sightings=(SEEN._replace(id=65536),))], tmp_path, "npz")
    with pytest.raises(InputError, match="`class_id` is 10"):
        write(tracks, tmp_path, "mots", class_id=10)
    with pytest.raises(InputError, match="`first_frame` is 2"):
        write(tracks, tmp_path, "mots", first_frame=2)
    with pytest.raises(InputError, match="`positive_points` is 0"):
        write(tracks, tmp_path, "prompts", positive_points=0)
    with pytest.raises(InputError, match="`prompt_frames` has 6"):
        write(tracks, tmp_path, "prompts", prompt_frames=[0, 6])
    with pytest.raises(InputError, match="no option dilated"):
        write(tracks, tmp_path, "colmap", dilated=1)
    assert list(tmp_path.iterdir()) == []


# Long videos -------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=9)), max_size=40))
@settings(max_examples=30, deadline=None)
def test_a_spool_gives_back_the_rows_of_each_key_in_order(rows):
    with Spool(Path(".")) as spool:
        for key, row in rows:
            spool.append(key, row)
        for key in range(4):
            for _ in range(2):
                assert list(spool.rows(key)) == [row for k, row in rows if k == key]


class LongVideo(Sequence):
    """Frames made when they are asked for; notes the memory at the end of each pass."""

    def __init__(self, count):
        self.count, self.memory = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            gc.collect()  # Frees what Python keeps of small tuples, too.
            self.memory.append(tracemalloc.get_traced_memory()[0])
            raise IndexError
        sightings = tuple(
            Sighting((index + i) % 10 + 1, RLES[i], 0.5, True, 1.0) for i in range(3)
        )
        return TrackedFrame(f"{index:05d}", SIZE, index / 30, sightings)


RLES = [box(i, i, 10 + i, 10 + i) for i in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["tracks", "coco", "mots", "npz"])
def test_memory_grows_by_a_few_bytes_a_frame(to, tmp_path):
    def memory(count):
        video = LongVideo(count)
        tracemalloc.start()
        write(video, tmp_path, to)
        tracemalloc.stop()
        return max(video.memory)

    memory(20)  # Fills caches.
    # Threads that earlier tests have left may take memory, too, so the least counts.
    short, long = (min(memory(count) for _ in range(3)) for count in (300, 1300))
    # A sighting would take 200. Names are 8, as long as they are compared.
    assert long - short < 1000 * 30


def test_cuts_are_kept_in_tracks_json(tmp_path):
    tracks = [f._replace(cut=i in (2, 5)) for i, f in enumerate(make_tracks())]
    out = write(tracks, tmp_path, "tracks")
    assert [f.cut for f in read_tracks(out)] == [f.cut for f in tracks]
    text = json.loads(out.read_text())
    for wrong in ([0], [6], ["2"], [2.5], 3):
        text["videos"][0]["cuts"] = wrong
        out.write_text(json.dumps(text))
        with pytest.raises(InputError, match=r'"cuts" is .* a list of frames'):
            read_tracks(out)


def test_numbers_in_the_video_are_kept_in_tracks_json(tmp_path):
    tracks = [f._replace(number=250 + i) for i, f in enumerate(make_tracks())]
    out = write(tracks, tmp_path, "tracks")
    assert [f.number for f in read_tracks(out)] == [f.number for f in tracks]
    text = json.loads(out.read_text())
    for wrong in (-1, 2.5, "250", [250]):
        text["videos"][0]["first_frame"] = wrong
        out.write_text(json.dumps(text))
        with pytest.raises(InputError, match=r'"first_frame" is .* whole number'):
            read_tracks(out)
