"""A video segmented: right, in memory or not, stopped or not; bad input refused."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
import sqlite3
import tempfile
from pathlib import Path

import av
import cv2
import jax
import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.flow.files import write_flow
from movseg_jax.flow.folder import FlowFolder
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.images import encode_png, read_ids
from movseg_jax.segment import run
from movseg_jax.segment.api import segment_video
from movseg_jax.segment.detecting import detect_frames
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.run_folder import WORK
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.atomic import locked
from movseg_jax.track.linking import link
from movseg_jax.track.links import TrackedFrames
from movseg_jax.video.reading import Frame, read_frames
from tests.content import content
from tests.fakes.square_detector import (
    RED,
    SIDE,
    SIZE,
    WHITE,
    background,
    make_detector,
    scene,
    square_mask,
    write_images,
    write_video,
)

COUNT = 6


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("shots"), scene(COUNT))


@pytest.fixture(scope="module")
def undisturbed(shots, tmp_path_factory):
    """Runs that nothing disturbs, by batch size."""
    folders = {}
    for batch in (1, 2):
        folders[batch] = tmp_path_factory.mktemp("undisturbed")
        segment(shots, folders[batch], batch_size=batch)
    return folders


def segment(source, out, detector=None, *, overwrite=False, allow=False, **settings):
    return segment_to_folder(
        str(source),
        out,
        detector or make_detector(),
        SegmentConfig(**settings),
        overwrite=overwrite,
        allow_truncated=allow,
    )


def results(folder):
    """What every file holds, but for those that tell one run from another."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ("run.json", ".lock")
    }


def about(folder):
    return json.loads((folder / "run.json").read_text())


def recorded_frames(record):
    """The number of frames in a record, also while another process writes to it."""
    with tempfile.TemporaryDirectory() as folder:
        for file in record.parent.glob(f"{record.name}*"):
            with contextlib.suppress(FileNotFoundError):  # A journal lives shortly.
                shutil.copy(file, folder)
        database = sqlite3.connect(Path(folder) / record.name)
        with contextlib.closing(database):
            try:
                [count] = database.execute("SELECT count(*) FROM frames").fetchone()
            except sqlite3.DatabaseError:  # Its tables are being made.
                return 0
            return count


def frame_count(video):
    return sum(1 for _ in read_frames(video))


# What is found ---------------------------------------------------------------------


def test_a_moving_square_is_track_1_in_every_file(shots, undisturbed):
    folder = undisturbed[1]
    names = [f"shot{index:03d}" for index in range(COUNT)]
    found = sorted(path.stem for path in (folder / "masks").iterdir())
    assert found == names
    for index, name in enumerate(names):
        ids = read_ids(folder / "masks" / f"{name}.png")
        np.testing.assert_array_equal(ids, square_mask(index))
    tracks = read_tracks(folder / "tracks.json")
    assert [frame.name for frame in tracks] == names
    for index, frame in enumerate(tracks):
        (sighting,) = frame.sightings
        assert sighting.id == 1 and sighting.moving == (index < COUNT - 1)
        np.testing.assert_array_equal(masks.decode(sighting.mask), square_mask(index))
    assert frame_count(folder / "overlay.mp4") == COUNT
    run = about(folder)
    assert (run["frames"], run["tracks"], run["damage"]) == (COUNT, 1, "")
    assert run["about"]["settings"]["flow"] == "dis"
    assert str(shots) in run["about"]["video"] and run["seconds"]["total"] > 0
    assert not (folder / WORK).exists() and (folder / "report.html").is_file()


def test_the_size_of_a_batch_changes_nothing_but_what_is_said_of_it(undisturbed):
    one, two = (results(undisturbed[batch]) for batch in (1, 2))
    differing = {name for name in one if one[name] != two[name]}
    assert one.keys() == two.keys() and differing <= {"tracks.json", "report.html"}
    a, b = (read_tracks(undisturbed[batch] / "tracks.json") for batch in (1, 2))
    assert content(a) == content(b)


def test_in_memory_the_tracks_are_those_of_the_folder(shots, undisturbed):
    tracks = segment_video(shots, make_detector())
    recorded = [*read_tracks(undisturbed[1] / "tracks.json")]
    assert len(tracks) == len(recorded) == COUNT
    for a, b in zip(tracks, recorded, strict=True):
        assert (a.name, a.size, len(a.sightings)) == (b.name, b.size, 1)
        assert a.sightings[0][:2] == b.sightings[0][:2]
        assert a.sightings[0].moving == b.sightings[0].moving
        assert a.sightings[0].motion == pytest.approx(
            b.sightings[0].motion, abs=0.01, nan_ok=True
        )
    frames = [Frame(i, f"{i:05d}", image, None) for i, image in enumerate(scene(3))]
    assert len(segment_video(iter(frames), make_detector())) == 3


def test_the_parts_can_be_put_together_in_a_few_lines(shots, undisturbed, tmp_path):
    frames = [*read_frames(shots)]
    found = [*detect_frames(frames, make_detector())]
    detections = [each.detections for each in found]
    names = [frame.name for frame in frames]
    tracks = TrackedFrames(detections, link(detections), names=names, size=SIZE)
    write_tracks(tracks, tmp_path / "masks", to="masks")
    assert results(tmp_path) == {
        name: data
        for name, data in results(undisturbed[1]).items()
        if name.startswith("masks")
    }


def test_outlines_follow_the_image_if_they_are_refined():
    """The detector gives the box of a disc; the filter takes some of its corners."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    discs = [(y - 24) ** 2 + (x - 20 - 3 * i) ** 2 < 15**2 for i in range(8)]
    video = [Frame(i, f"{i:05d}", background(), None) for i in range(len(discs))]
    for frame, disc in zip(video, discs, strict=True):
        frame.image[disc] = WHITE
    overlaps = {}
    for refined in (True, False):
        tracks = segment_video(video, make_detector(), refine_masks=refined)
        overlaps[refined] = [
            (frame.sightings[0].pixels & disc).sum()
            / (frame.sightings[0].pixels | disc).sum()
            for frame, disc in zip(tracks, discs, strict=True)
        ]
    for better, before in zip(overlaps[True], overlaps[False], strict=True):
        assert better > before + 0.01


@pytest.mark.parametrize(("platform", "queued"), [("cpu", 1), ("gpu", 2)])
def test_only_an_accelerator_has_a_batch_in_its_queue(
    shots, monkeypatch, platform, queued
):
    """A CPU's programs have their temporary memory when they are queued."""
    waiting, most = set(), []
    detect = make_detector()

    class Queue(type(detect)):
        def __call__(self, inputs, min_score=0.0):
            outputs = super().__call__(inputs, min_score)
            waiting.add(id(outputs))
            most.append(len(waiting))
            return outputs

    def waits(outputs):
        waiting.discard(id(outputs))
        return outputs

    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    for name in ("block_until_ready", "device_get"):
        monkeypatch.setattr(jax, name, waits)
    found = [*detect_frames(read_frames(shots), Queue(*detect))]
    assert len(most) == len(found) > 3
    assert max(most) == queued


def test_only_the_static_branch_is_asked_where_there_is_no_flow(tmp_path):
    def pictures():
        for picture in scene(3):
            picture[30:42, 40:52] = RED
            yield picture

    shots = write_images(tmp_path, pictures())
    found = [*detect_frames(read_frames(shots), make_detector(), batch_size=2)]
    counts = [(len(d.moving), len(d.static)) for *_, d in found]
    assert counts == [(1, 2), (1, 2), (0, 2)]
    assert [flow is None for _, flow, _ in found] == [False, False, True]
    last = found[-1].detections.static
    assert all(math.isnan(detection.motion) for detection in last)


# Motion ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panning(tmp_path_factory):
    """A square that moves (3, 2) against a scene that pans by (-2, 1), and one that
    moves with the scene; with exact flow, which is also there for the last frame."""
    folder = tmp_path_factory.mktemp("panning")
    size, count = (96, 128), 4
    wide = background((size[0] + 40, size[1] + 40))
    (folder / "flow").mkdir()

    def pictures():
        for index in range(count):
            x, y = 20 + 2 * index, 20 - index
            image = wide[y : y + size[0], x : x + size[1]].copy()
            flow = np.full((*size, 2), (-2, 1), np.float32)
            for left, top, (u, v) in ((20, 30, (1, 3)), (80, 50, (-2, 1))):
                rows = slice(top + v * index, top + v * index + SIDE)
                columns = slice(left + u * index, left + u * index + SIDE)
                image[rows, columns], flow[rows, columns] = WHITE, (u, v)
            write_flow(folder / "flow" / f"shot{index:03d}.flo", flow)
            yield image

    write_images(folder / "shots", pictures())
    return folder, make_detector(short_side=96, long_side=128)


def test_motion_is_relative_to_a_scene_that_pans(panning):
    folder, detector = panning
    flow = FlowFolder(folder / "flow")
    tracks = segment_video(folder / "shots", detector, flow=flow, min_motion=0.0)
    for frame in tracks[:-1]:
        first, second = sorted(frame.sightings, key=lambda s: s.id)
        assert first.motion == pytest.approx(math.hypot(3, 2), abs=0.05)
        assert math.isnan(second.motion)  # Its surroundings move as it does.
    assert all(math.isnan(s.motion) for s in tracks[-1].sightings)


@pytest.mark.parametrize("options", [{}, {"min_motion": 1.0, "min_frames": 1}])
def test_tracks_that_move_with_the_scene_are_left_out(panning, tmp_path, options):
    folder, detector = panning
    options = {"flow": str(folder / "flow"), **options}
    tracks = segment_video(folder / "shots", detector, **options)
    assert [[s.id for s in frame.sightings] for frame in tracks] == [[1]] * 4
    summary = segment(folder / "shots", tmp_path, detector, **options)
    assert summary.tracks == 1
    for frame in read_tracks(tmp_path / "tracks.json"):
        assert [s.id for s in frame.sightings] == [1]


def test_a_model_that_sees_no_motion_finds_what_rests(panning, tmp_path):
    folder, _ = panning
    blind = make_detector(short_side=96, long_side=128, motion=None)
    tracks = segment_video(folder / "shots", blind, flow=folder / "flow")
    assert [{s.id for s in frame.sightings} for frame in tracks] == [{1, 2}] * 4
    flow = str(folder / "flow")
    assert segment(folder / "shots", tmp_path / "all", blind, flow=flow).tracks == 2
    fast = segment(
        folder / "shots", tmp_path / "fast", blind, flow=flow, min_motion=1.0
    )
    assert fast.tracks == 1


def test_two_frames_are_enough_for_a_track(tmp_path):
    shots = write_images(tmp_path, scene(2))
    tracks = segment_video(shots, make_detector())
    assert [[s.id for s in frame.sightings] for frame in tracks] == [[1], [1]]


# Stopped, and gone on with -----------------------------------------------------------


class Died(Exception):
    pass


def after(batches, action):
    """Does something once, before the detector sees a batch, counted from 0."""
    left = [batches]

    def before():
        left[0] -= 1
        if left[0] == -1:
            action()

    return before


def die():
    raise Died


@pytest.mark.parametrize(
    ("batch", "batches"), [(1, 0), (1, 1), (1, 3), (1, 5), (2, 1), (2, 2)]
)
def test_a_run_that_died_goes_on_as_if_it_had_not(
    shots, undisturbed, tmp_path, batch, batches
):
    with pytest.raises(Died):
        segment(shots, tmp_path, make_detector(after(batches, die)), batch_size=batch)
    seen = []
    detector = make_detector(lambda: seen.append(1))
    assert segment(shots, tmp_path, detector, batch_size=batch).finished
    # The batch before the one at which it died was still at work.
    assert len(seen) == COUNT // batch - max(0, batches - 1)
    assert results(tmp_path) == results(undisturbed[batch])


def test_a_signal_stops_a_run_after_a_frame(shots, undisturbed, tmp_path):
    def stop():
        os.kill(os.getpid(), signal.SIGTERM)

    counts = []
    for batches in (1, 2):
        summary = segment(shots, tmp_path, make_detector(after(batches, stop)))
        assert not summary.finished
        counts.append(summary.frames)
    assert 0 < counts[0] < counts[1] < COUNT
    assert not (tmp_path / "run.json").exists()
    assert segment(shots, tmp_path).finished
    assert results(tmp_path) == results(undisturbed[1])


@pytest.mark.parametrize("part", ["link_moving", "write_tracks", "overlay_writer"])
def test_a_signal_also_stops_linking_and_writing(
    shots, undisturbed, tmp_path, monkeypatch, part
):
    original = getattr(run, part)

    def signalled(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **options)

    monkeypatch.setattr(run, part, signalled)
    summary = segment(shots, tmp_path)
    assert not summary.finished and summary.frames == COUNT
    monkeypatch.undo()
    assert segment(shots, tmp_path, make_detector(die)).finished
    assert results(tmp_path) == results(undisturbed[1])


def test_what_was_killed_while_writing_leaves_nothing_behind(
    shots, undisturbed, tmp_path
):
    with pytest.raises(Died):
        segment(shots, tmp_path, make_detector(after(2, die)))
    (tmp_path / "masks").mkdir()
    left = (".overlay.mp4.0123abcd.tmp", "masks/.shot000.png.0123abcd.tmp")
    kept = (".mine.0123abcd.tmp", ".overlay.mp4.tmp")
    for name in (*left, *kept):
        (tmp_path / name).write_bytes(b"half")
    segment(shots, tmp_path)
    assert results(tmp_path).keys() == {*results(undisturbed[1]), *kept}


# Whose folder it is ------------------------------------------------------------------


def test_a_finished_run_says_so_and_changes_nothing(shots, undisturbed):
    folder = undisturbed[1]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    summary = segment(shots, folder, make_detector(die))
    assert summary.already and summary.finished
    assert (summary.frames, summary.tracks) == (COUNT, 1)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("finished", [True, False])
def test_another_run_is_refused_and_the_difference_named(
    shots, undisturbed, tmp_path, finished
):
    folder = undisturbed[1]
    if not finished:
        folder = tmp_path / "out"
        with pytest.raises(Died):
            segment(shots, folder, make_detector(die))
    before = results(folder)
    with pytest.raises(InputError, match=r"settings.max_frames was None, is 3"):
        segment(shots, folder, max_frames=3)
    with pytest.raises(InputError, match=r"settings.track.min_iou was 0.1, is 0.5"):
        segment(shots, folder, track=TrackConfig(min_iou=0.5))
    other = write_images(tmp_path / "other", scene(2))
    with pytest.raises(InputError, match=r"video was '.*shots.*', is '.*other"):
        segment(other, folder)
    weights = make_detector()._replace(digest="1" * 64)
    with pytest.raises(InputError, match=r"weights.sha256 was '0+', is '1+'"):
        segment(shots, folder, weights)
    assert results(folder) == before


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_an_earlier_version_is_refused_as_such(finished, shots, tmp_path):
    """Its hash of the weights was another one, also where all is the same."""
    if finished:
        segment(shots, tmp_path)
    else:
        with pytest.raises(Died):
            segment(shots, tmp_path, make_detector(die))
    file = tmp_path / ("run.json" if finished else f"{WORK}/run.json")
    run = json.loads(file.read_text())
    del run["about"]["versions"]["run.json"]
    file.write_text(json.dumps(run))
    with pytest.raises(InputError, match=r"run.json has format 1 instead of 2.*`over"):
        segment(shots, tmp_path)
    assert segment(shots, tmp_path, overwrite=True).finished


def test_a_folder_of_others_is_refused_and_left_as_it_was(shots, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="not empty"):
        segment(shots, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_overwriting_never_replaces_what_no_run_wrote(shots, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "truth.png").write_bytes(b"by hand")
    (tmp_path / "run.json").write_text('{"of": "another program"}')
    with pytest.raises(InputError, match=r"has masks, run.json, but not of a run"):
        segment(shots, tmp_path, overwrite=True)
    assert results(tmp_path) == {"masks/truth.png": b"by hand"}
    assert not (tmp_path / ".lock").exists()


def test_overwriting_leaves_no_file_of_the_run_before(shots, undisturbed, tmp_path):
    longer = write_images(tmp_path / "longer", scene(COUNT + 2))
    out = tmp_path / "out"
    segment(longer, out, save=("mots", "cutouts", "foreground"))
    (out / "notes.txt").write_text("mine")
    assert segment(shots, out, overwrite=True).finished
    notes = {"notes.txt": b"mine"}
    assert results(out) == results(undisturbed[1]) | notes
    # Of an unfinished run too, which was itself stopped while it was replacing one.
    with pytest.raises(Died):
        segment(longer, out, make_detector(die), overwrite=True)
    assert segment(shots, out, overwrite=True).finished
    assert results(out) == results(undisturbed[1]) | notes


def test_a_run_killed_while_it_removes_another_can_be_started_again(
    shots, undisturbed, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    segment(write_images(tmp_path / "longer", scene(COUNT + 2)), out)
    removed = []

    def dying(path, **_):
        removed.append(path)
        raise Died

    monkeypatch.setattr("movseg_jax.segment.run_folder.shutil.rmtree", dying)
    with pytest.raises(Died):
        segment(shots, out, overwrite=True)
    monkeypatch.undo()
    assert removed
    with pytest.raises(InputError, match="unfinished run"):
        segment(shots, out)
    segment(shots, out, overwrite=True)
    assert results(out) == results(undisturbed[1])


def test_two_processes_never_write_to_one_folder(shots, tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another process"):
        segment(shots, tmp_path)


# Bad input ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", scene(30), fps=5)


@pytest.fixture
def cut_video(whole_video, tmp_path):
    path = tmp_path / "cut.mkv"
    with av.open(str(whole_video)) as source, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def test_of_a_video_that_is_cut_off_there_is_what_is_before(cut_video, tmp_path):
    out = tmp_path / "out"
    summary = segment(cut_video, out)
    assert summary.finished and 2 < summary.frames < 30 and "seconds" in summary.damage
    assert len([*(out / "masks").iterdir()]) == summary.frames
    assert frame_count(out / "overlay.mp4") == summary.frames
    again = segment(cut_video, out)
    assert again.already and again.damage == summary.damage
    assert segment(cut_video, out, allow=True).damage == ""
    # Stopped when all frames are there, it still finds out.
    other = tmp_path / "other"
    with pytest.raises(Died):
        segment(cut_video, other, make_detector(after(summary.frames - 1, die)))
    assert segment(cut_video, other).damage == summary.damage
    assert results(other) == results(out)


def test_an_unreadable_image_ends_the_video(tmp_path):
    shots = write_images(tmp_path / "shots", scene(5))
    (shots / "shot003.png").write_bytes(b"no image")
    summary = segment(shots, tmp_path / "out")
    assert summary.frames == 3 and "shot003.png" in summary.damage
    assert len([*(tmp_path / "out" / "masks").iterdir()]) == 3
    (shots / "shot000.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"shot000.png"):
        segment(shots, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_frames_of_another_size_end_the_video_wherever_it_was_stopped(
    tmp_path, monkeypatch
):
    shots = write_images(tmp_path / "shots", scene(3))
    for index in (3, 4):
        picture = encode_png(background((40, 64)))
        (shots / f"shot{index:03d}.png").write_bytes(picture)
    first = segment(shots, tmp_path / "first")
    assert first.frames == 3 and "64x40" in first.damage
    # Gone on with where the size changes, which is then not seen by the reader.
    out = tmp_path / "second"
    with pytest.raises(Died):
        segment(shots, out, make_detector(after(2, die)))
    record = out / WORK / run.RECORD
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(run, "link_moving", lambda *_, **__: die())
        segment(shots, out)
    assert recorded_frames(record) == 3
    second = segment(shots, out)
    assert second.frames == 3 and "64x40" in second.damage
    assert results(out) == results(tmp_path / "first")


def write_stream(path, count, size):
    """H.264 without a container, which may be joined to others."""
    with av.open(str(path), "w", format="h264") as file:
        stream = file.add_stream("libx264", 25, {"tune": "zerolatency"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for picture in scene(count, size):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path.read_bytes()


def test_a_video_that_changes_its_size_ends_there(tmp_path):
    streams = [
        write_stream(tmp_path / "part.h264", count, size)
        for count, size in ((4, (48, 64)), (3, (80, 64)))
    ]
    (tmp_path / "both.h264").write_bytes(b"".join(streams))
    for allow in (False, True):
        out = tmp_path / str(allow)
        summary = segment(tmp_path / "both.h264", out, allow=allow)
        assert summary.frames == 4 and frame_count(out / "overlay.mp4") == 4
        assert "64x80" in about(out)["damage"]
        assert bool(summary.damage) == (not allow)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (47, 63), (300, 2)])
def test_frames_of_any_size_are_segmented(tmp_path, size):
    pictures = [background(size, seed) for seed in range(3)]
    pictures[1][:] = WHITE
    shots = write_images(tmp_path / "shots", pictures)
    assert segment(shots, tmp_path / "out").frames == 3
    for file in (tmp_path / "out" / "masks").iterdir():
        assert read_ids(file).shape == size
    assert frame_count(tmp_path / "out" / "overlay.mp4") == 3


def test_one_frame_is_a_video(tmp_path):
    shots = write_images(tmp_path / "shots", scene(1))
    assert segment(shots, tmp_path / "out")[:3] == (True, 1, 0)


def test_pixels_are_limited(tmp_path, monkeypatch):
    shots = write_images(tmp_path / "shots", scene(2))
    monkeypatch.setattr("movseg_jax.images.MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="MAX_PIXELS"):
        segment(shots, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_frames": 0}, "max_frames is 0"),
        ({"min_motion": -1.0}, "min_motion is -1.0"),
        ({"min_motion": math.nan}, "min_motion is nan"),
        ({"min_frames": -1}, "min_frames is -1"),
        ({"fps": 0.0}, "fps is 0.0"),
        (
            {"flow": "disc"},
            "flow 'disc': there is no such folder; .* dis, dis_fast, farneback",
        ),
    ],
)
def test_settings_are_checked_before_anything_is_written(
    shots, tmp_path, settings, message
):
    with pytest.raises(InputError, match=message):
        segment(shots, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_frame_whose_name_no_result_can_have_is_refused_at_once(tmp_path):
    shots = write_images(tmp_path / "shots", scene(2))
    (shots / "shot001.png").rename(shots / "a\\b.png")
    with pytest.raises(InputError, match="plain path"):
        segment(shots, tmp_path / "out", make_detector(die))


def test_names_that_are_no_text_are_no_trouble(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)
    shots = write_images(tmp_path / "shots", scene(2))
    for file in shots.iterdir():
        file.rename(os.fsdecode(folder + b"/\xfd" + file.name.encode()))
    summary = segment(os.fsdecode(folder), tmp_path / "out", save=("coco", "colmap"))
    assert summary.finished and len([*(tmp_path / "out" / "masks").iterdir()]) == 2


def test_missing_flow_is_named_and_may_be_added(panning, tmp_path):
    folder, detector = panning
    flow = tmp_path / "flow"
    flow.mkdir()
    for name in ("shot000.flo", "shot002.flo"):
        (flow / name).write_bytes((folder / "flow" / name).read_bytes())
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no flow of the frame 'shot001'"):
        segment(folder / "shots", out, detector, flow=str(flow))
    name = "shot001.flo"
    (flow / name).write_bytes((folder / "flow" / name).read_bytes())
    assert segment(folder / "shots", out, detector, flow=str(flow)).frames == 4


def test_a_flow_function_that_is_wrong_is_named_with_its_frames(shots):
    def wrong(frame, _):
        return np.zeros((*frame.shape[:2], 3), np.float32)

    def unknown(frame, _):
        return np.full((*frame.shape[:2], 2), np.nan, np.float32)

    for flow in (wrong, unknown):
        with pytest.raises(InputError, match=r"'shot000' and 'shot001': the flow"):
            segment_video(shots, make_detector(), flow=flow)
    with pytest.raises(InputError, match="batch_size"):
        segment_video(shots, make_detector(), batch_size=0)
    with pytest.raises(InputError, match="no frames"):
        segment_video([], make_detector())


@pytest.mark.parametrize("name", ["file/out", "file", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_made_is_an_input_error(shots, tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        segment(shots, tmp_path / name)


def test_times_that_no_video_can_have_do_not_matter(shots, tmp_path, monkeypatch):
    def timeless(*args, **options):
        for frame in read_frames(*args, **options):
            yield dataclasses.replace(frame, time=frame.index * 1e-6)

    monkeypatch.setattr(run, "read_frames", timeless)
    assert segment(shots, tmp_path).finished
    assert frame_count(tmp_path / "overlay.mp4") == COUNT


@pytest.mark.parametrize("pattern", ["", "*", "shot*.png"])
def test_results_are_named_as_the_images_they_are_of(shots, tmp_path, pattern):
    segment(shots / pattern, tmp_path, save=("colmap",))
    found = sorted(path.name for path in (tmp_path / "colmap").iterdir())
    assert found == [f"shot{index:03d}.png.png" for index in range(COUNT)]
    text = (tmp_path / "tracks.json").read_text()
    assert "shot000.png" in text and "shot000.jpg" not in text


# A camera ----------------------------------------------------------------------------


class Camera:
    """Films the scene, and tells when it has shown so many frames."""

    def __init__(self, size, count, action):
        self._pictures = scene(10**6, size)
        self._left, self._action, self.released = count, action, False

    def isOpened(self):
        return True

    def read(self):
        self._left -= 1
        if self._left == 0:
            self._action()
        picture = next(self._pictures)
        return True, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)

    def release(self):
        self.released = True


@pytest.mark.parametrize("size", [(48, 200), (47, 201)])
def test_a_camera_is_recorded_until_a_signal_comes(tmp_path, monkeypatch, size):
    def stop():
        os.kill(os.getpid(), signal.SIGINT)

    cameras = []

    def opened(_):
        cameras.append(Camera(size, 12, stop))
        return cameras[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", opened)
    summary = segment("0", tmp_path / "out")
    assert summary.finished and 12 <= summary.frames < 30 and not summary.damage
    assert all(camera.released for camera in cameras)
    out = tmp_path / "out"
    assert frame_count(out / "overlay.mp4") == summary.frames
    tracks = read_tracks(out / "tracks.json")
    assert len(tracks) == summary.frames and not (out / WORK).exists()
    times = [frame.time for frame in tracks]
    assert times == sorted(times) and times[0] == 0
    # What was recorded is what is drawn over; compression changes it a little.
    pictures = zip(read_frames(out / "overlay.mp4"), scene(5, size), strict=False)
    for frame, picture in pictures:
        seen = frame.image[: size[0], : size[1]].astype(int) - picture
        assert np.median(np.abs(seen)) < 12


def test_a_camera_that_breaks_leaves_what_it_saw(tmp_path, monkeypatch):
    class Broken(Camera):
        def read(self):
            return (False, None) if self._left == 1 else super().read()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Broken(SIZE, 6, die))
    summary = segment("0", tmp_path / "out")
    assert summary.frames == 5 and "camera 0: stopped" in summary.damage


def test_a_detector_that_dies_lets_go_of_the_camera(tmp_path, monkeypatch):
    camera = []

    def opened(_):
        camera.append(Camera(SIZE, -1, die))
        return camera[-1]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", opened)
    with pytest.raises(Died):
        segment("0", tmp_path / "out", make_detector(after(3, die)))
    assert camera[0].released
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix] == []


# Frames of one's own -----------------------------------------------------------------


def test_the_first_of_the_given_frames_may_be_chosen(shots):
    frames = [*read_frames(shots)]
    few = segment_video(frames, make_detector(), max_frames=2)
    assert len(few) == 2
    endless = segment_video(itertools.cycle(frames), make_detector(), max_frames=3)
    assert len(endless) == 3
    for section in ({"start": "0"}, {"end": "1"}):
        with pytest.raises(InputError, match="`start` and `end`"):
            segment_video(frames, make_detector(), **section)


@pytest.mark.parametrize("find_cuts", [True, False])
@pytest.mark.parametrize("other", [(96, 128), (48, 80)])
def test_frames_of_several_sizes_are_refused(find_cuts, other):
    pictures = [*scene(2), background(other), background(other, 1)]
    frames = [Frame(i, str(i), image, None) for i, image in enumerate(pictures)]
    message = f"Frames 0 and 2 have different sizes, 64x48 and {other[1]}x{other[0]}"
    with pytest.raises(InputError, match=message):
        segment_video(frames, make_detector(), find_cuts=find_cuts)


def test_a_video_is_closed_also_after_an_interruption(shots, monkeypatch):
    """Although the traceback, which a notebook keeps, holds all variables."""
    closed = []

    def read(*arguments, **settings):
        try:
            yield from read_frames(*arguments, **settings)
        finally:
            closed.append(True)

    def interrupt(done, total, phase):
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("movseg_jax.segment.api.read_frames", read)
    with pytest.raises(KeyboardInterrupt) as kept:
        segment_video(shots, make_detector(), progress=interrupt)
    assert closed and kept.tb
