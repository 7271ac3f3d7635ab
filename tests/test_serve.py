"""The page of `movseg serve`: what it does with clips, and what a browser shows."""

import importlib.util
import socket
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from movseg_jax.cli import app
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import read_tracks
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.serve.visits import EVERYTHING, Limits, Visit, Visits
from movseg_jax.system.progress import Stopped
from movseg_jax.video.reading import read_frames
from tests.browser import CHROMIUM, chromium
from tests.fakes.square_detector import (
    SIZE,
    WHITE,
    make_detector,
    square_mask,
    write_images,
    write_video,
)
from tests.fakes.square_detector import background as make_background

FRAMES = 10
TOPS = (4, 30)  # Of the two squares.


def two_squares():
    for index in range(FRAMES):
        image = make_background()
        for top in TOPS:
            image[square_mask(index, top=top)] = WHITE
        yield image


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(
        tmp_path_factory.mktemp("clip") / "two squares.mp4", two_squares()
    )


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path / "visit", Limits())


def quiet(*_):
    pass


def give(visit, clip, tmp_path):
    """Gives a visit a copy of the clip, as an upload."""
    upload = tmp_path / "upload" / clip.name
    upload.parent.mkdir(exist_ok=True)
    upload.write_bytes(clip.read_bytes())
    return visit.take(upload)


def images(path):
    return np.stack([frame.image for frame in read_frames(path)]).astype(int)


def test_tracks_are_switched_off_without_detecting_again(clip, visit, tmp_path):
    batches = []
    detector = make_detector(before=lambda: batches.append(1))
    taken = give(visit, clip, tmp_path)
    assert taken.is_relative_to(visit.folder)
    assert (
        visit.describe() == "two squares.mp4: 10 frames of 64x48 pixels, 25 per second."
    )
    assert visit.segment(detector, quiet) == "2 tracks in 10 frames."
    assert [track.id for track in visit.summaries()] == [1, 2]
    both = visit.overlay([1, 2], quiet)
    count = len(batches)
    one = visit.overlay([1], quiet)
    changed = np.abs(images(both) - images(one)).max((0, 2, 3)) > 60
    assert changed[TOPS[1] : TOPS[1] + 12].all() and not changed[: TOPS[1] - 12].any()
    none = visit.overlay([], quiet)
    assert np.abs(images(none) - images(taken)).max() < 60
    assert len(batches) == count
    assert both.is_file() and none.is_file() and not one.exists()


def test_pictures_and_downloads_are_of_the_tracks(clip, visit, tmp_path):
    give(visit, clip, tmp_path)
    visit.segment(make_detector(), quiet)
    tracks, flow = visit.pictures()
    assert [path.name for path, _ in tracks] == ["1.jpg", "2.jpg"]
    assert tracks[0][1].startswith("Track 1: frames 0–9, 3.0 pixels")
    assert all(path.is_file() for path, _ in tracks) and flow.is_file()
    everything = visit.export(EVERYTHING, [1])
    assert everything.name == "two squares_everything.zip"
    names = zipfile.ZipFile(everything).namelist()
    assert {"tracks.json", "overlay.mp4", "report.html", "run.json"} <= {*names}
    masks = visit.export("masks", [2])
    assert len(zipfile.ZipFile(masks).namelist()) == FRAMES
    assert not everything.exists()
    found = read_tracks(visit.export("tracks", [2]))
    assert {s.id for frame in found for s in frame.sightings} == {2}
    assert visit.export("alpha", [1, 2]).suffix == ".webm"


@pytest.mark.parametrize("name", ["nonsense.mp4", "empty.mp4", "picture.png"])
def test_a_bad_file_gives_the_error_of_the_command(name, visit, tmp_path):
    if name == "picture.png":
        bad = next(write_images(tmp_path / "a", two_squares()).iterdir())
        message = "is an image; expected a video"
    else:
        bad = tmp_path / name
        bad.write_bytes(b"nonsense" * 100 * (name != "empty.mp4"))
        with pytest.raises(InputError) as command:
            segment_to_folder(bad, tmp_path / "out", make_detector())
        message = str(command.value).removeprefix(f"{bad}: ")
    taken = give(visit, bad, tmp_path)
    for act in (visit.describe, lambda: visit.segment(make_detector(), quiet)):
        with pytest.raises(InputError) as page:
            act()
        assert str(page.value).startswith(f"{taken}: {message}")


def test_only_the_first_seconds_are_segmented(clip, tmp_path):
    visit = Visit(tmp_path / "visit", Limits(seconds=0.3))
    give(visit, clip, tmp_path)
    text = visit.segment(make_detector(), quiet)
    assert " 8 frames." in text and "The rest of the clip was left out" in text
    assert len(visit.tracks) == 8


def test_a_run_can_be_stopped_and_leaves_the_clip(clip, visit, tmp_path):
    give(visit, clip, tmp_path)
    with pytest.raises(Stopped):
        visit.segment(make_detector(before=visit.stop), quiet)
    assert not visit.tracks
    assert visit.segment(make_detector(), quiet) == "2 tracks in 10 frames."


def test_who_leaves_stops_the_run_and_leaves_nothing(clip, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    visits = Visits(root, Limits())
    visit = visits.of("a")
    assert visits.of("a") is visit and visits.of("b") is not visit
    give(visit, clip, tmp_path)
    begun, outcome = threading.Event(), []

    def run():
        try:
            visit.segment(make_detector(before=begun.set), lambda *_: time.sleep(0.01))
        except Stopped as stopped:
            outcome.append(stopped)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    visits.leave("a")
    thread.join()
    assert outcome
    assert [*root.iterdir()] == [visits.of("b").folder]
    assert not [*(tmp_path / "upload").iterdir()]
    visits.close()
    assert not [*root.iterdir()]


def test_what_nobody_uses_is_deleted_in_time(tmp_path):
    visits = Visits(tmp_path, Limits(minutes=1))
    old, new = visits.of("old"), visits.of("new")
    old.used -= 61
    (tmp_path / "stray").mkdir()
    visits.close_old()
    assert {*tmp_path.iterdir()} == {new.folder, tmp_path / "stray"}
    visits.limits = Limits(minutes=1e-9)
    visits.close_old()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["max_seconds", "max_megabytes", "keep_minutes"])
def test_limits_are_positive(name):
    with pytest.raises(InputError, match=f"`{name}` is 0"):
        Limits(**{name.split("_")[1]: 0})


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert app.main(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gradio" in line and 'pip install "movseg-jax[demo]"' in line


# The page itself ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def looked_up():
    """The names of machines that were looked up, except this one."""
    names = []
    with pytest.MonkeyPatch.context() as patch:
        look_up = socket.getaddrinfo

        def record(host, *arguments, **options):
            if host not in ("127.0.0.1", "localhost"):
                names.append(host)
            return look_up(host, *arguments, **options)

        patch.setattr(socket, "getaddrinfo", record)
        yield names


@pytest.fixture(scope="module")
def page(tmp_path_factory, looked_up):
    """Address of a page with the detector of squares, and its visits."""
    pytest.importorskip("gradio", reason="needs gradio")
    from movseg_jax.serve.server import served

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = Limits(megabytes=0.1)
    with served(make_detector(), limits, host="127.0.0.1", port=port) as visits:
        yield f"http://127.0.0.1:{port}", visits
    assert not visits.root.exists()
    assert not looked_up


def status(address, **headers):
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


gradio_warns = pytest.mark.filterwarnings("ignore")


@pytest.mark.slow
@gradio_warns
def test_the_page_gives_no_file_and_fetches_no_address(page):
    address, _ = page
    assert status(address) == 200
    assert status(address, Host="other.example") == 400
    files = f"{address}/gradio_api/file="
    for path in (__file__, "/etc/passwd", "http://other.example/clip.mp4"):
        assert status(files + path) in (400, 403), path
