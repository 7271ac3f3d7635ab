"""Sections of videos: moments as FFmpeg has them, and frames with their own numbers."""

import json
import math
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax.cli import app
from movseg_jax.errors import InputError, InputNote
from movseg_jax.formats.conversion import read_tracks, write_tracks
from movseg_jax.segment.api import segment_video
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.section import Moment, find_section
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.segment.tracks import Tracks
from movseg_jax.video.overlay import draw_tracks, write_overlay
from movseg_jax.video.reading import read_frames
from tests.fakes.square_detector import (
    make_detector,
    scene,
    write_images,
    write_video,
)
from tests.test_segment import after, results

COUNT, FPS = 14, 10


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", scene(COUNT), FPS)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", (0.0, None)),
        ("12.5", (12.5, None)),
        ("90", (90.0, None)),
        ("1:30", (90.0, None)),
        ("01:02:03.25", (3723.25, None)),
        ("250f", (None, 250)),
    ],
)
def test_moments_are_times_or_frames(text, expected):
    assert Moment.parse(text) == expected


@given(st.text("0123456789:.f -٣", max_size=8))
def test_any_other_text_is_refused(text):
    try:
        moment = Moment.parse(text)
    except InputError as error:
        assert "is not a moment" in str(error)
        with pytest.raises(InputError, match=r"`end`: .* is not a moment"):
            SegmentConfig(end=text)
        return
    value = moment.frame if moment.seconds is None else moment.seconds
    assert text.isascii() and value is not None and 0 <= value < math.inf


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_a_time_has_the_same_value_however_it_is_written(hours, minutes, thousandths):
    seconds = f"{thousandths / 1000:06.3f}"
    total = 3600 * hours + 60 * minutes + thousandths / 1000
    written = Moment.parse(f"{hours}:{minutes:02}:{seconds}").seconds
    assert written == pytest.approx(total, abs=1e-9)
    assert Moment.parse(f"{total:.3f}").seconds == pytest.approx(total, abs=1e-6)


def is_from(frame, text, default=True):
    """Whether a frame is at a moment or later."""
    if text is None:
        return default
    moment = Moment.parse(text)
    if moment.seconds is None:
        return frame.index >= moment.frame
    return frame.time >= moment.seconds - 1e-6


MOMENTS = st.one_of(
    st.none(),
    st.integers(0, COUNT + 2).map(lambda n: f"{n}f"),
    st.integers(0, 10 * COUNT + 20).map(lambda n: f"{n / 100:.2f}"),
)


@given(MOMENTS, MOMENTS, st.none() | st.integers(1, COUNT))
def test_a_section_is_the_frames_with_these_times(video, start, end, most):
    """Those that a filter over all frames keeps."""
    frames = FRAMES.setdefault(video, list(read_frames(video)))
    kept = [f.index for f in frames if is_from(f, start) and not is_from(f, end, False)]
    kept = kept[:most]
    try:
        first, count = find_section(str(video), start, end, most)
    except InputError as error:
        assert "there is no frame" in str(error) and not kept
        return
    found = range(COUNT)[first : None if count is None else first + count]
    assert [*found] == kept


FRAMES = {}


def settings_of(folder):
    return json.loads((folder / "run.json").read_text())["about"]["settings"]


def test_what_has_no_times_is_cut_by_frames(tmp_path):
    shots = write_images(tmp_path / "shots", scene(5))
    assert find_section(str(shots), "2f", "4f", None) == (2, 2)
    with pytest.raises(InputError, match="have no times; give numbers of frames"):
        find_section(str(shots), "1", None, None)
    with pytest.raises(InputError, match="to 3f, there is no frame"):
        find_section(str(shots), "3f", "3f", None)


def test_the_frames_of_a_section_keep_their_numbers_and_times(video, tmp_path):
    config = SegmentConfig(start="0.3", end="1.1", min_frames=1)
    segment_to_folder(str(video), tmp_path / "out", make_detector(), config)
    tracks = read_tracks(tmp_path / "out" / "tracks.json")
    assert [frame.name for frame in tracks] == [f"{i:05d}" for i in range(3, 11)]
    assert [frame.time for frame in tracks] == pytest.approx(
        [i / 10 for i in range(3, 11)]
    )
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["about"][
        "settings"
    ]
    assert (settings["start"], settings["end"]) == ("0.3", "1.1")
    shown = [frame.time for frame in read_frames(tmp_path / "out" / "overlay.mp4")]
    assert shown == pytest.approx([index / 10 for index in range(8)])
    # What is segmented in memory is the same, and so is what a shorter video gives.
    alone = segment_video(video, make_detector(), config)
    assert [frame.sightings for frame in alone] == [frame.sightings for frame in tracks]


def test_a_section_that_was_stopped_resumes(video, tmp_path):
    config = SegmentConfig(start="2f", end="1.2")
    for name, limit in (("whole", math.inf), ("parts", 4)):
        detector = make_detector(after(limit, stop))
        summary = segment_to_folder(str(video), tmp_path / name, detector, config)
        assert summary.finished == (name == "whole")
    summary = segment_to_folder(str(video), tmp_path / "parts", make_detector(), config)
    assert summary.finished and summary.frames == 10
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    with pytest.raises(InputError, match=r"settings.start was '2f', is '3f'"):
        other = SegmentConfig(start="3f", end="1.2")
        segment_to_folder(str(video), tmp_path / "parts", make_detector(), other)


def test_a_section_is_told_from_the_whole_video(video, tmp_path):
    section, out = SegmentConfig(end="3f"), tmp_path / "out"
    segment_to_folder(str(video), out, make_detector(), section)
    with pytest.raises(InputError, match=r"settings.end was '3f', is None"):
        segment_to_folder(str(video), out, make_detector(), SegmentConfig())


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


PARTS = {
    "section": {"start": "2f", "end": "1.2"},
    "section by time": {"start": "0.3"},
    "end": {"end": "10f"},
    "frames": {"max_frames": 10},
}


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A video whose end is missing. Its index is in front, so it can be read."""
    path = write_video(tmp_path_factory.mktemp("cut_off") / "v.mp4", scene(30), FPS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    return path


@pytest.fixture(params=[*PARTS, "truncated"])
def part(request, video, cut_off, tmp_path):
    """A video, and the folder of the results of a part of it."""
    source = cut_off if request.param == "truncated" else video
    settings = {**PARTS.get(request.param, {}), "min_frames": 1, "save": ("vggt",)}
    config = SegmentConfig(**settings)
    detector, out = make_detector(), tmp_path / "out"
    summary = segment_to_folder(
        str(source), out, detector, config, allow_truncated=True
    )
    assert summary.tracks == 1
    return source, out


def convert(tracks, video, out):
    command = ["convert-tracks", str(tracks), "--to", "vggt"]
    return app.main([*command, "--out", str(out), "--video", str(video)])


def test_the_tracks_of_a_part_are_converted_with_the_frames_of_the_part(part, tmp_path):
    video, out = part
    assert convert(out, video, tmp_path / "again") == 0
    assert results(tmp_path / "again") == results(out / "vggt")
    # Also after corrections, which are written to another file.
    edited = tmp_path / "edited.json"
    command = ["convert-tracks", str(out), "--keep=1", "--to=tracks", f"--out={edited}"]
    assert app.main(command) == 0
    assert convert(edited, video, tmp_path / "edited") == 0
    assert results(tmp_path / "edited") == results(out / "vggt")


def test_the_tracks_of_a_part_are_drawn_on_the_frames_of_the_part(part, tmp_path):
    video, out = part
    stored = read_tracks(out)
    frames = list(read_frames(video, allow_truncated=True))
    frames = [frame for frame in frames if frame.name in {f.name for f in stored}]
    assert len(frames) == len(stored)
    tracks = Tracks(stored, video)
    for index in (0, 4):
        expected = draw_tracks(frames[index], stored[index])
        assert_array_equal(tracks.show(index), expected)
    tracks.to_video(tmp_path / "a.mp4", fps=FPS)
    write_overlay(frames, stored, tmp_path / "b.mp4", FPS)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_tracks_in_memory_say_of_which_part_they_are(video, tmp_path):
    tracks = segment_video(video, make_detector(), start="3f", max_frames=8)
    write_tracks(tracks, tmp_path / "tracks.json", to="tracks")
    again = Tracks(read_tracks(tmp_path / "tracks.json"), video)
    assert [frame.number for frame in again] == [*range(3, 11)]
    assert_array_equal(again.show(2), tracks.show(2))


def test_tracks_that_do_not_say_where_they_start_are_not_taken_for_others(
    video, tmp_path, capsys
):
    config, out = SegmentConfig(start="3f"), tmp_path / "out"
    segment_to_folder(str(video), out, make_detector(), config)
    assert convert(out / "masks", video, tmp_path / "a") == 2
    assert "the tracks.json of `movseg segment` says" in capsys.readouterr().err
    tracks = Tracks(read_tracks(out / "masks"), video)
    with pytest.warns(InputNote, match="tracks of frame 00003 are drawn on frame 0000"):
        tracks.show(0)
    assert_array_equal(
        Tracks(read_tracks(out / "masks"), video, first=3).show(0),
        Tracks(read_tracks(out), video).show(0),
    )


def test_the_tracks_of_a_whole_video_need_a_video_as_long_as_they_are(
    video, tmp_path, capsys
):
    segment_to_folder(str(video), tmp_path / "out", make_detector(), SegmentConfig())
    longer = write_video(tmp_path / "longer.mp4", scene(COUNT + 1), FPS)
    assert convert(tmp_path / "out", longer, tmp_path / "a") == 2
    assert f"tracks end after {COUNT} frames" in capsys.readouterr().err
    assert "first_frame" not in (tmp_path / "out" / "tracks.json").read_text()
