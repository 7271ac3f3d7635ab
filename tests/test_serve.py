"""The page of `movseg serve`: what it does with clips, and what a browser shows."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
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
from movseg_jax.serve import server
from movseg_jax.serve.policy import Policy, is_loopback
from movseg_jax.serve.visits import EVERYTHING, MOST_UPLOADS, Limits, Visit, Visits
from movseg_jax.system.progress import Stopped
from movseg_jax.video.reading import read_frames
from tests.browser import CHROMIUM, chromium
from tests.fakes.square_detector import (
    WHITE,
    background,
    make_detector,
    square_mask,
    write_images,
    write_video,
)

FRAMES = 10
ROOT = Path(__file__).parents[1]
SIZE = (96, 128)
TOPS = (20, 64)  # Of the two squares.


def two_squares():
    for index in range(FRAMES):
        image = background(SIZE)
        for top in TOPS:
            image[square_mask(index, SIZE, top=top)] = WHITE
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
        visit.describe() == f"{clip.name}: 10 frames of 128x96 pixels, 25 per second."
    )
    assert visit.segment(detector, quiet) == "2 tracks in 10 frames."
    assert [track.id for track in visit.summaries()] == [1, 2]
    both = visit.overlay([1, 2], quiet)
    count = len(batches)
    one = visit.overlay([1], quiet)
    changed = np.abs(images(both) - images(one)).max((0, 2, 3)) > 60
    assert changed[TOPS[1] + 1 : TOPS[1] + 11].all()
    assert not changed[: TOPS[0] + 12].any()
    none = visit.overlay([], quiet)
    assert np.abs(images(none) - images(taken)).max() < 60
    assert len(batches) == count
    assert both.is_file() and none.is_file() and not one.exists()


def test_pictures_and_downloads_are_of_the_tracks(clip, visit, tmp_path):
    give(visit, clip, tmp_path)
    visit.segment(make_detector(), quiet)
    tracks, flow = visit.pictures()
    assert [path.name for path, _ in tracks] == ["1.jpg", "2.jpg"]
    assert tracks[0][1].startswith("Track 1, frames 0\N{EN DASH}9, ")
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
    visit = Visit(tmp_path / "visit", Limits(max_seconds=0.3))
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
    assert not root.exists()


def test_what_nobody_uses_is_deleted_in_time(tmp_path):
    visits = Visits(tmp_path, Limits(keep_minutes=1.0))
    old, new = visits.of("old"), visits.of("new")
    old.used -= 61
    (tmp_path / "stray").mkdir()
    visits.close_old()
    assert {*tmp_path.iterdir()} == {new.folder, tmp_path / "stray"}
    visits.limits = Limits(keep_minutes=1e-9)
    visits.close_old()
    assert not [*tmp_path.iterdir()]


def test_what_is_removed_meanwhile_does_not_end_the_sweep(tmp_path, capsys):
    visits = Visits(tmp_path, Limits(keep_minutes=1e-9))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # `stat` does not find it.
    (tmp_path / "aborted upload").touch()
    (tmp_path / ".lock").touch()
    visits.close_old()
    assert {path.name for path in tmp_path.iterdir()} == {"gone", ".lock"}
    assert visits.has_room()
    server._sweep(visits)
    assert not capsys.readouterr().err
    visits.root = tmp_path / "nowhere"
    server._sweep(visits)
    assert "old clips cannot be deleted" in capsys.readouterr().err


def test_a_clip_that_two_visitors_uploaded_stays_until_both_have_left(clip, tmp_path):
    (tmp_path / "root").mkdir()
    visits = Visits(tmp_path / "root", Limits())
    first, second = visits.of("a"), visits.of("b")
    give(first, clip, tmp_path)
    upload = tmp_path / "upload" / clip.name
    taken = second.take(upload)
    assert second.take(upload) == taken  # Also in the place of itself.
    visits.leave("a")
    assert upload.is_file() and second.describe()
    visits.leave("b")
    assert not upload.exists()


@pytest.mark.parametrize("name", ["max_seconds", "max_mb", "keep_minutes"])
def test_limits_are_positive(name):
    with pytest.raises(InputError, match=f"`{name}` is 0"):
        Limits(**{name: 0.0})


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert app.main(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gradio" in line
    assert 'in your copy of the repository: pip install ".[demo]"' in line


HOME = {"host": "127.0.0.1:7860"}
FORM = {"content-length": "1000"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (FORM, None),  # A program that is no browser.
        (FORM | {"sec-fetch-site": "same-origin"}, None),
        (FORM | {"origin": "http://127.0.0.1:7860"}, None),
        # A proxy may have another name than the server.
        (FORM | {"origin": "http://b.example", "sec-fetch-site": "same-origin"}, None),
        (FORM | {"origin": "http://evil.example"}, 403),
        (FORM | {"origin": "http://127.0.0.1:3000"}, 403),
        (FORM | {"origin": "null"}, 403),
        (FORM | {"sec-fetch-site": "cross-site"}, 403),
        (FORM | {"sec-fetch-site": "same-site"}, 403),
        ({"content-length": str(2**20)}, None),
        ({"content-length": str(2**20 + 2**16 + 1)}, 413),
        ({"transfer-encoding": "chunked"}, 411),
        (FORM | {"host": "evil.example"}, 400),
        (FORM | {"host": "[::1]:7860"}, None),
        (FORM | {"host": "LOCALHOST"}, None),
    ],
)
def test_requests_of_other_sites_and_large_ones_are_refused(headers, status, tmp_path):
    layer = Policy(quiet, Visits(tmp_path, Limits(max_mb=1.0)), local=True)
    found = layer.refusal(request("POST", HOME | headers))
    assert (found and found.status) == status
    # Other sites may link to the page.
    reading = layer.refusal(request("GET", HOME | headers))
    assert (reading and reading.status) == (400 if status == 400 else None)


def request(method, headers):
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"method": method, "path": "/gradio_api/upload", "headers": lines}


def test_a_server_for_the_network_may_have_any_name(tmp_path):
    layer = Policy(quiet, Visits(tmp_path, Limits()), local=False)
    assert layer.refusal(request("GET", {"host": "pc.example:7860"})) is None


def test_uploads_together_are_limited_and_results_are_not(tmp_path):
    visits = Visits(tmp_path, Limits(max_mb=0.001))
    layer = Policy(quiet, visits, local=True)
    (visits.of("a").folder / "results").write_bytes(bytes(10**6))
    assert layer.refusal(request("POST", HOME | FORM)) is None
    for number in range(MOST_UPLOADS):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "clip.mp4").write_bytes(bytes(1048))
    assert layer.refusal(request("POST", HOME | FORM)).status == 507
    other = request("POST", HOME | FORM) | {"path": "/gradio_api/queue/join"}
    assert layer.refusal(other) is None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("pc.example", False),
    ],
)
def test_addresses_of_this_machine_are_known(host, local):
    assert is_loopback(host) == local


# The page itself ---------------------------------------------------------------------


# The command with its server and fakes for the detector, and for looking up addresses.
SERVER = """
import socket, sys
from movseg_jax.cli import app, serve
from tests.fakes.square_detector import make_detector

look_up = socket.getaddrinfo
def record(host, *arguments, **options):
    if host not in ("127.0.0.1", "::1", "localhost"):
        print("looked up", host, flush=True)
    return look_up(host, *arguments, **options)

socket.getaddrinfo = record
serve.load_model = lambda *_, **__: make_detector()
sys.exit(app.main())
"""


@contextlib.contextmanager
def serving(temporary, port, *options):
    """Runs the command; gives the process."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, "serve", f"--port={port}", *options],
        env=os.environ | {"TMPDIR": str(temporary)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the command serves the page; it leaves nothing behind."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs gradio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tmp_path_factory.mktemp("temporary")
    (temporary / "movseg-serve-killed").mkdir()
    with serving(temporary, port, "--max-mb=0.1") as process:
        first = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in first, first + process.stdout.read()
        assert len([*temporary.iterdir()]) == 1
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
        assert "looked up" not in output
        assert output.endswith("movseg: interrupted.\n")
        assert process.wait() == 130
        assert not [*temporary.iterdir()]


def status(address, data=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_page_gives_no_file_and_fetches_no_address(address):
    assert status(address) == 200
    assert status(address, Host="other.example") == 400
    assert status(address, b"", Origin="http://other.example") == 403
    api = f"{address}/gradio_api"
    for path in (__file__, "/etc/passwd", "http://other.example/clip.mp4"):
        assert status(f"{api}/file={path}") in (400, 403), path
    file = {"path": "http://other.example/clip.mp4", "orig_name": "clip.mp4"}
    file["meta"] = {"_type": "gradio.FileData"}
    call = json.dumps({"data": [file], "fn_index": 0, "session_hash": "a"})
    form = {"Content_Type": "application/json"}
    assert status(f"{api}/run/predict", call.encode(), **form) == 500
    large = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"'
    large += b"\r\n\r\n" + bytes(2**17) + b"\r\n--x--\r\n"
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    assert status(f"{api}/upload", large, **form) == 413


@pytest.mark.slow
def test_the_page_is_served_at_an_address_of_ipv6(tmp_path):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs gradio")
    try:
        with socket.socket(socket.AF_INET6) as free:
            free.bind(("::1", 0))
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("needs IPv6")
    with serving(tmp_path, port, "--host=::1") as process:
        assert f"http://[::1]:{port}" in process.stdout.readline()
        assert status(f"http://[::1]:{port}") == 200


@pytest.fixture
def browser(tmp_path, address):
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with chromium(tmp_path / "profile") as page:
        page.visit(address)
        page.wait_for("!!document.querySelector('input[type=file]')")
        yield page
        others = [url for url in page.requested if not url.startswith(address)]
        assert {url.partition(":")[0] for url in others} <= {"blob", "data", "about"}
        # The only thing that fails is gradio's FFmpeg, which the policy keeps out.
        thrown = [
            p["exceptionDetails"] for p in page.problems if "exceptionDetails" in p
        ]
        values = [details["exception"].get("value", "") for details in thrown]
        assert all("dynamically imported module: blob:" in value for value in values)


def click(browser, text):
    found = (
        f"[...document.querySelectorAll('button')].find(b => b.innerText === '{text}')"
    )
    browser.evaluate(f"{found}.click()")


def wait_for_note(browser, start, kind=""):
    text = f"document.querySelector('.note{kind}')?.innerText"
    browser.wait_for(f"{text}?.startsWith({start!r})")


PIXEL = """
(async () => {
  const video = document.querySelector("#overlay video");
  video.pause();
  video.currentTime = 0.02;
  await new Promise((done) => video.addEventListener("seeked", done, { once: true }));
  const copy = new OffscreenCanvas(1, 1).getContext("2d");
  copy.drawImage(video, 8, %d, 1, 1, 0, 0, 1, 1);
  return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
})()
"""


@pytest.mark.slow
def test_a_browser_shows_the_tracks_of_a_clip_and_switches_one_off(
    clip, address, browser, tmp_path
):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nonsense")
    browser.upload(bad)
    wait_for_note(browser, "bad.mp4: ", kind=".problem")
    browser.wait_for("!!document.querySelector('input[type=file]')")
    browser.upload(clip)
    wait_for_note(browser, "two squares.mp4: 10 frames of 128x96 pixels")
    click(browser, "Find what moves")
    browser.wait_for("document.querySelectorAll('#tracks input').length === 2")
    wait_for_note(browser, "2 tracks in 10 frames.")
    browser.wait_for(
        "document.querySelectorAll('.gallery-item, .thumbnail-item').length >= 2"
    )
    middles = [PIXEL % (top + 6) for top in TOPS]
    browser.wait_for("document.querySelector('#overlay video')?.readyState >= 2")
    before = [browser.evaluate(pixel) for pixel in middles]
    source = "document.querySelector('#overlay video')?.src"
    shown = browser.evaluate(source)
    browser.evaluate("document.querySelectorAll('#tracks input')[1].click()")
    browser.wait_for(f"{source} !== {shown!r}")
    browser.wait_for("document.querySelector('#overlay video')?.readyState >= 2")
    after = [browser.evaluate(pixel) for pixel in middles]
    assert np.abs(np.subtract(before[0], after[0])).max() < 10
    assert np.abs(np.subtract(before[1], after[1])).max() > 60 and min(after[1]) > 220
    click(browser, "Prepare the file")
    link = browser.wait_for("document.querySelector('#file a[href]')?.href")
    assert status(link) == 200
    # Who leaves the page takes everything along.
    browser.visit("about:blank")
    deadline = time.monotonic() + 20
    while status(link) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
