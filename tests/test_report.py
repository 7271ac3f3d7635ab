"""The page that shows a segmented video: what it holds, what a browser makes of it."""

import json
import math
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.report.page import MAX_FRAMES, chosen_frames, write_report
from movseg_jax.results import Sighting, TrackedFrame

SIZE = (60, 80)
HOSTILE = "</script><img src=x onerror=alert(1)>\ud800 & \"'"
VOID = {"meta", "input", "rect", "line", "path", "circle", "br", "img", "link", "hr"}
CHROMIUM = shutil.which("chromium")


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
        elif tag not in ("script", "style"):
            self.words.append(data)


def test_the_page_is_well_formed_and_says_what_was_found(tmp_path):
    outline = Outline(report(tmp_path / "report.html", make_tracks(5)))
    words = " ".join(" ".join(outline.words).split())
    assert "2 objects in 5 frames" in words and "video.mp4" in words
    assert "track.max_gap" in words
    assert outline.json.keys() == {"video", *(f"frame-{i}" for i in range(5))}
    first = outline.json["frame-0"]
    assert first["flow"] and not outline.json["frame-1"]["flow"]
    sizes = [masks.area(masks.Rle(SIZE, t["mask"].encode())) for t in first["tracks"]]
    assert sizes == [400, 256]


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


@pytest.mark.parametrize("count", [1, 299, 300, 301, 5000])
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

    few, many = make_tracks(300), Repeated(make_tracks(1)[0])
    peak(few[:2])
    assert peak(many) < 1.2 * peak(few) + 2**20
    assert (tmp_path / "report.html").stat().st_size < 32_000_000


# In a browser ------------------------------------------------------------------------


def open_page(path, fragment):
    """What the page looks like to a script: attributes of its canvas, and all of it."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000",
        "--enable-logging=stderr", "--dump-dom", f"file://{path}#{fragment}",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in result.stderr, result.stderr
    (tag,) = re.findall("<canvas [^>]*>", result.stdout)
    canvas = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
    painted = [pair.split(":") for pair in canvas.get("data-painted", "").split()]
    return canvas, {int(track): int(count) for track, count in painted}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_frames_and_switches_tracks_off(tmp_path):
    path = tmp_path / "report.html"
    report(path, make_tracks(20), title=HOSTILE)
    canvas, painted = open_page(path, "")
    assert canvas["data-frame"] == "0" and painted == {1: 400, 3: 256}
    # Track 1 has moved under track 3, which hides a part of it.
    canvas, painted = open_page(path, "frame=16")
    assert canvas["data-frame"] == "16" and painted == {1: 400 - 120, 3: 256}
    _, painted = open_page(path, "frame=16&off=3")
    assert painted == {1: 400}
    canvas, painted = open_page(path, "frame=16&off=1,3&view=flow")
    assert canvas["data-view"] == "flow" and painted == {}
