"""The page that shows a segmented video: what it holds, what a browser makes of it."""

import base64
import io
import json
import math
import re
import tracemalloc
from collections.abc import Sequence
from html.parser import HTMLParser

import av
import cv2
import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.report.page import (
    MAX_FRAMES,
    UNFOLDED,
    chosen_frames,
    report_writer,
)
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.video.overlay import paired
from tests.browser import CHROMIUM, chromium
from tests.oracles import top_of_largest_piece

SIZE = (60, 80)
HOSTILE = "</script><img src=x onerror=alert(1)>\ud800 & \"'"
VOID = {"meta", "input", "rect", "line", "path", "circle", "br", "img", "link", "hr"}


def box(x, y, side):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return masks.encode(mask)


def make_tracks(count, name="{:05d}"):
    """Track 1 moves to the right over all frames, 3 stands still and is over it."""
    tracks = []
    for i in range(count):
        right = Sighting(1, box(min(2 * i, 60), 10, 20), 0.95, True, 2.0)
        still = Sighting(3, box(40, 20, 16), 0.8, False, math.nan)
        tracks.append(TrackedFrame(name.format(i), SIZE, None, (right, still)))
    return tracks


def write_report(path, tracks, frames, flows, **options):
    with report_writer(path, tracks, flows, **options) as add:
        for image, frame in paired(frames, tracks, source=str(path)):
            add(image, frame)


def report(path, tracks, **options):
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in tracks)
    flows = {0: np.full((30, 40, 3), 200, np.uint8)}
    settings = {"flow": "dis", "track": {"max_gap": 10}, "odd": HOSTILE}
    options = {"title": "video.mp4", "settings": settings, "fps": 25.0} | options
    write_report(path, tracks, frames, flows, **options)
    return path.read_text("utf-8")


class Outline(HTMLParser):
    """Checks that elements close in order; collects their attributes and JSON."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.json, self.words = [], [], {}, []
        self.movie = b""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if attributes.get("type") == "application/json":
            self.json[attributes["id"]] = json.loads(data)
        elif attributes.get("id") == "movie":
            self.movie = base64.b64decode(data)
        elif tag not in ("script", "style"):
            self.words.append(data)


def test_the_page_is_well_formed_and_says_what_was_found(tmp_path):
    outline = Outline(report(tmp_path / "report.html", make_tracks(5)))
    words = " ".join(" ".join(outline.words).split())
    assert "2 objects in 5 frames" in words and "video.mp4" in words
    assert "track.max_gap" in words
    assert outline.json.keys() == {"video", *(f"frame-{i}" for i in range(5))}
    first = outline.json["frame-0"]
    assert first["flow"] is True and outline.json["frame-1"]["flow"] is False
    sizes = [masks.area(masks.Rle(SIZE, t["mask"].encode())) for t in first["tracks"]]
    assert sizes == [400, 256]


def decoded(page):
    with av.open(io.BytesIO(page.movie)) as container:
        frames = container.decode(video=0)
        return [(f.time, f.to_ndarray(format="rgb24").astype(int)) for f in frames]


def test_the_movie_holds_each_shown_frame_and_its_flow(tmp_path):
    """The page looks for frame i in the middle of its time, and for flow below it."""
    frames = [np.full((*SIZE, 3), 20 * i, np.uint8) for i in range(10)]
    flows = {i: np.full((30, 40, 3), 250 - 20 * i, np.uint8) for i in range(0, 10, 2)}
    options = {"title": "", "settings": {}, "fps": 25.0}
    write_report(tmp_path / "r.html", make_tracks(10), frames, flows, **options)
    page = Outline((tmp_path / "r.html").read_text())
    about = page.json["video"]
    (height, width), (high, wide) = about["size"], about["flow"]
    shown = decoded(page)
    assert [time * about["rate"] for time, _ in shown] == pytest.approx(range(10))
    for i, (_, picture) in enumerate(shown):
        assert np.abs(picture[:height, :width] - 20 * i).max() < 12
        below = picture[height + about["gap"] :, :wide]
        assert below.shape == (high, wide, 3)
        if page.json[f"frame-{i}"]["flow"]:
            assert np.abs(below - (250 - 20 * i)).max() < 12
    write_report(tmp_path / "r.html", make_tracks(10), frames, {}, **options)
    page = Outline((tmp_path / "r.html").read_text())
    assert page.json["video"]["flow"] is None
    assert decoded(page)[0][1].shape == (height, width, 3)


def test_the_licence_of_the_weights_is_said_if_it_is_known(tmp_path):
    def words(**options):
        page = Outline(report(tmp_path / "r.html", make_tracks(1), **options))
        return " ".join(page.words)

    assert "CC BY <NC>" in words(licence="CC BY <NC>")
    assert "Licence" in words() and "CC" not in words()


def test_the_page_refers_to_nothing_outside_of_it(tmp_path):
    text = report(tmp_path / "report.html", make_tracks(3))
    for tag, attributes in Outline(text).elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|url\(", text)
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text


def test_names_and_settings_cannot_break_out(tmp_path):
    tracks = make_tracks(2, name=HOSTILE.replace("{", "") + "{}")
    text = report(tmp_path / "report.html", tracks, title=HOSTILE)
    outline = Outline(text)
    assert not any(tag == "img" for tag, _ in outline.elements)
    assert "<img src=x onerror=alert(1)>" in "".join(outline.words)
    assert outline.json["frame-0"]["name"].startswith("</script><img")


@pytest.mark.parametrize("count", [1, 4])
def test_a_video_without_tracks_has_a_page(tmp_path, count):
    tracks = [frame._replace(sightings=()) for frame in make_tracks(count)]
    words = " ".join(Outline(report(tmp_path / "report.html", tracks)).words)
    assert "No object" in words


def test_equal_arguments_give_equal_files(tmp_path):
    texts = {report(tmp_path / f"{i}.html", make_tracks(3)) for i in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize("count", [1, 599, 600, 601, 5000])
def test_every_nth_frame_is_shown(count):
    chosen = chosen_frames(count)
    assert chosen[0] == 0 and chosen[-1] < count and len(chosen) <= MAX_FRAMES
    steps = set(np.diff(chosen).tolist())
    assert len(steps) <= 1 and (count > MAX_FRAMES or len(chosen) == count)


def test_a_page_without_frames_or_with_too_few_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one"):
        report(tmp_path / "report.html", [])
    with pytest.raises(InputError, match="frames"):
        write_report(
            tmp_path / "report.html", make_tracks(2), [np.zeros((*SIZE, 3), np.uint8)],
            {}, title="", settings={}, fps=25.0,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


class Repeated(Sequence):
    """A long video whose frames are all the same."""

    def __init__(self, frame):
        self.frame = frame

    def __len__(self):
        return 3000

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError
        return self.frame


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path):
    def peak(tracks):
        tracemalloc.start()
        try:
            report(tmp_path / "report.html", tracks)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = make_tracks(600), Repeated(make_tracks(1)[0])
    peak(few[:2])
    assert peak(many) < 1.2 * peak(few) + 2**20
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


# In a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page
        assert not page.problems


def canvas_of(browser, frame):
    """What a script sees of the canvas when it shows a frame."""
    canvas = "document.getElementById('canvas')"
    browser.wait_for(f"{canvas}.dataset.frame === '{frame}'")
    seen = browser.evaluate(f"({{...{canvas}.dataset}})")
    painted = [pair.split(":") for pair in seen.get("painted", "").split()]
    return seen, {int(track): int(count) for track, count in painted}


@pytest.mark.slow
def test_a_browser_shows_frames_and_switches_tracks_off(tmp_path, browser):
    path = tmp_path / "report.html"
    report(path, make_tracks(20), title=HOSTILE)
    browser.open(path)
    assert canvas_of(browser, 0)[1] == {1: 400, 3: 256}
    # Track 1 has moved under track 3, which hides a part of it.
    browser.open(path, "frame=16")
    assert canvas_of(browser, 16)[1] == {1: 400 - 120, 3: 256}
    browser.open(path, "frame=15&off=3")
    assert canvas_of(browser, 15)[1] == {1: 400}
    browser.open(path, "frame=14&off=1,3&view=flow")
    seen, painted = canvas_of(browser, 14)
    assert seen["view"] == "flow" and painted == {}


@pytest.mark.slow
def test_a_label_is_at_the_largest_piece_as_in_the_overlay(tmp_path, browser):
    rng = np.random.default_rng(0)
    tracks, expected = [], []
    for i in range(12):  # From specks to blobs with holes.
        noise = cv2.GaussianBlur(rng.normal(size=SIZE), (0, 0), 0.5 + i / 4)
        mask = noise > np.quantile(noise, 0.5 + i % 4 / 8)
        found = Sighting(2, masks.encode(mask), 0.9, True, 1.0)
        tracks.append(TrackedFrame(str(i), SIZE, None, (found,)))
        expected.append("2:{},{}".format(*top_of_largest_piece(mask)))
    path = tmp_path / "report.html"
    report(path, tracks)
    browser.open(path)
    for i, place in enumerate(expected):
        browser.evaluate(f"location.hash = 'frame={i}'")
        assert canvas_of(browser, i)[0]["labels"] == place, i


def brightness(browser):
    return browser.evaluate(
        "(() => { const copy = new OffscreenCanvas(1, 1).getContext('2d');"
        "copy.drawImage(canvas, 5, canvas.height - 5, 1, 1, 0, 0, 1, 1);"
        "return copy.getImageData(0, 0, 1, 1).data[0]; })()"
    )


@pytest.mark.slow
def test_a_browser_shows_exactly_the_frame_that_is_asked_for(tmp_path, browser):
    """Also in the order of a reader who jumps about, and while the video plays."""
    count = 40
    frames = (np.full((*SIZE, 3), 6 * i, np.uint8) for i in range(count))
    path = tmp_path / "report.html"
    write_report(
        path, make_tracks(count), frames, {}, title="", settings={}, fps=25.0
    )  # fmt: skip
    browser.open(path)
    for frame in (39, 0, 13, 12, 25, 26, 1):
        browser.evaluate(f"location.hash = 'frame={frame}'")
        canvas_of(browser, frame)
        assert abs(brightness(browser) - 6 * frame) <= 2, frame
    browser.evaluate("document.getElementById('play').click()")
    browser.wait_for("canvas.dataset.frame > 4")
    browser.evaluate("document.getElementById('play').click()")
    browser.wait_for("location.hash !== '#frame=1'")
    frame = int(browser.evaluate("location.hash").removeprefix("#frame="))
    canvas_of(browser, frame)
    assert abs(brightness(browser) - 6 * frame) <= 2


@pytest.mark.slow
def test_many_tracks_are_folded_until_they_are_asked_for(tmp_path, browser):
    sightings = [Sighting(i, box(i, i, 9), 0.9, True, 1.0) for i in range(1, 42)]
    tracks = [TrackedFrame("0", SIZE, None, tuple(sightings))] * 3
    path = tmp_path / "report.html"
    report(path, tracks)
    shown = "document.querySelectorAll('#list tr:not([hidden])').length"
    browser.open(path)
    assert browser.wait_for(shown) == UNFOLDED
    browser.evaluate("document.getElementById('fold').click()")
    assert browser.evaluate(shown) == 41
    for width in (390, 1280):
        browser.resize(width, 844, phone=width < 400)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
