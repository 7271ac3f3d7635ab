"""Tracks in scripts and notebooks: shown, drawn, written, and progress on the way."""

import re
from base64 import b64decode
from itertools import groupby
from pathlib import Path

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

import movseg_jax as ms
from movseg_jax.errors import InputError
from movseg_jax.images import read_rgb
from movseg_jax.segment.tracks import MOST_PREVIEWS, Previews
from movseg_jax.system.progress import progress_bar
from tests.content import content
from tests.fakes.square_detector import (
    SIZE,
    make_detector,
    scene,
    square_mask,
    write_images,
    write_video,
)

COUNT = 8
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", scene(COUNT))


@pytest.fixture(scope="module")
def tracks(video):
    return ms.segment_video(str(video), make_detector())


def test_tracks_say_what_was_found(tracks):
    assert tracks.counts == {1: COUNT}
    assert repr(tracks) == "Tracks(1 track in 8 frames of 64x48; 1: 8 frames)"
    assert_array_equal(tracks[3].sightings[0].pixels, square_mask(3))
    assert content(tracks[2:4]) == content([tracks[2], tracks[3]])


def test_a_frame_is_shown_as_the_video_has_it(tracks, video, tmp_path):
    frames = [*ms.read_frames(video)]
    for index in (0, 5, -1):
        shown = tracks.show(index)
        assert_array_equal(shown, ms.draw_tracks(frames[index], tracks[index]))
        assert (np.asarray(shown) != frames[index].image).any()
    stored = tmp_path / "tracks.json"
    ms.write_tracks(tracks, str(stored), to="tracks")
    again = ms.Tracks(ms.read_tracks(str(stored)), video)
    assert_array_equal(again.show(5), tracks.show(5))
    for index in (COUNT, -COUNT - 1):
        with pytest.raises(InputError, match=f"frame {index}: expected -8 to 7"):
            tracks.show(index)


def test_the_video_of_tracks_is_their_overlay(tracks, video, tmp_path):
    tracks.to_video(str(tmp_path / "a.mp4"))
    ms.write_overlay(ms.read_frames(video), tracks, tmp_path / "b.mp4", None)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_images_without_times_are_written_at_25_frames_per_second(tmp_path):
    folder = write_images(tmp_path / "shots", scene(3))
    tracks = ms.segment_video(folder, make_detector())
    tracks.to_video(tmp_path / "a.mp4")
    assert ms.video.probe(tmp_path / "a.mp4").fps == 25


def test_frames_in_memory_are_shown_and_those_of_an_iterator_are_not(tmp_path, tracks):
    frames = [
        ms.video.Frame(i, f"{i:05d}", image, None) for i, image in enumerate(scene(4))
    ]
    found = ms.segment_video(frames, make_detector())
    assert_array_equal(found.show(2), ms.draw_tracks(frames[2], found[2]))
    found.to_video(tmp_path / "a.mp4")
    found = ms.segment_video(iter(frames), make_detector())
    for use in (lambda: found.show(2), lambda: found.to_video(tmp_path / "b.mp4")):
        with pytest.raises(InputError, match="cannot be read again"):
            use()
    assert "<img" in found._repr_html_()
    assert "<img" not in ms.Tracks(found)._repr_html_()


def test_a_notebook_shows_a_contact_sheet(tracks):
    text = tracks._repr_html_()
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="Frame (\d+)"', text)
    assert [int(number) for _, number in found] == [0, 1, 3, 4, 6, 7]
    for data, number in found:
        picture = read_rgb(b64decode(data), source="sheet").astype(int)
        assert picture.shape == (*SIZE, 3)
        drawn = np.asarray(tracks.show(int(number))).astype(int)
        assert np.abs(picture - drawn).mean() < 6


@given(st.integers(1, 3000))
def test_the_frames_of_a_contact_sheet_are_few_and_evenly_spaced(count):
    previews = Previews()
    image = np.zeros((2, 2, 3), np.uint8)
    for index in range(count):
        previews.add(index, image)
    kept = [index for index, _ in previews.choose(MOST_PREVIEWS)]
    steps = {*np.diff(kept).tolist()} or {1}
    assert len(steps) == 1 and len(kept) <= MOST_PREVIEWS
    # More than half of the room is used, and no end of the video is left out.
    assert len(kept) > min(count, MOST_PREVIEWS) / 2
    assert kept[0] == 0 and count - kept[-1] <= max(steps)


# Progress ----------------------------------------------------------------------------


class Told:
    """Remembers what a progress function is told."""

    def __init__(self):
        self.calls = []

    def __call__(self, done, total, phase):
        self.calls.append((phase, done, total))

    def phases(self):
        """The phases in order; each goes up to its end."""
        names = []
        for name, calls in groupby(self.calls, key=lambda call: call[0]):
            done = [count for _, count, _ in calls]
            assert done == sorted(done) and done[-1] == COUNT, (name, done)
            names.append(name)
        assert {total for _, _, total in self.calls} == {COUNT}
        return names


def test_progress_goes_through_all_phases(video, tmp_path):
    told = Told()
    tracks = ms.segment_video(video, make_detector(), progress=told)
    assert told.phases() == ["detect", "track"]
    assert len(told.calls) >= COUNT + 2
    told = Told()
    tracks.to_video(tmp_path / "a.mp4", progress=told)
    assert told.phases() == ["write overlay"]
    told = Told()
    ms.segment.segment_to_folder(
        str(video), str(tmp_path / "out"), make_detector(), progress=told
    )
    written = ["write tracks", "write masks", "write overlay and report"]
    assert told.phases() == ["detect", "track", "check", *written]
    for phase in ("track", "write overlay and report"):
        counts = {done for name, done, _ in told.calls if name == phase}
        assert len(counts) > COUNT / 2, phase


def test_each_phase_has_a_bar_of_its_own(capsys):
    with progress_bar("frame") as show:
        for phase in ("detect", "write overlay"):
            for done in range(11):
                show(done, 10, phase)
    *_, detect, overlay = capsys.readouterr().err.strip().split("\n")
    assert "detect: 100%" in detect and "10/10" in detect
    assert "write overlay: 100%" in overlay and "10/10" in overlay


def test_progress_can_be_shown_or_not(video, capsys):
    ms.segment_video(video, make_detector())
    assert capsys.readouterr().err == ""
    ms.segment_video(video, make_detector(), progress=True)
    assert "detect: 100%" in (shown := capsys.readouterr().err) and "track" in shown


# The pages' examples -----------------------------------------------------------------


def examples(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


def test_the_first_example_of_the_page_runs(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("video.mp4").write_bytes(video.read_bytes())
    monkeypatch.setattr(ms, "load_detector", make_detector)
    monkeypatch.setattr("movseg_jax.model.loading.load_detector", make_detector)
    first, second, *_ = examples("python.md")
    exec((first + second).replace("40", "4"), names := {})
    with Image.open("frame.png") as picture:
        assert picture.size == SIZE[::-1]
    assert Path("overlay.mp4").exists() and Path("tracks.json").exists()
    assert names["mask"].dtype == bool


class Camera:
    """Gives the frames of the scene, then fails, as one that is unplugged."""

    def __init__(self, number):
        self.pictures = scene(COUNT)

    def isOpened(self):
        return True

    def read(self):
        image = next(self.pictures, None)
        return image is not None, image if image is None else image[..., ::-1].copy()

    def release(self):
        pass


def test_the_example_of_a_camera_shows_each_frame_with_its_tracks(monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(ms, "load_detector", lambda max_side: make_detector())
    shown = []
    monkeypatch.setattr(
        plt, "pause", lambda _: shown.append(np.array(plt.gci().get_array()))
    )
    (example,) = (text for text in examples("python.md") if "read_frames(0)" in text)
    assert len(example.strip().split("\n")) <= 12
    with pytest.raises(InputError, match="stopped after"):
        exec(example, {})
    plt.close("all")
    assert len(shown) >= COUNT - 2
    label = ms.video.track_colour(1)
    assert all((picture == label).all(axis=-1).any() for picture in shown)
