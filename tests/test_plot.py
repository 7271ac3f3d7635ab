"""Curves from logs: what they say, and that nothing in a log can break the page."""

import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image

from movseg_jax.errors import InputError
from movseg_jax.train import plot
from movseg_jax.train.log import FILE

VOID = {"meta", "br"}


def write_rows(workdir, rows):
    workdir.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    (workdir / FILE).write_text("".join(lines))
    return workdir


def run_rows(count, every=20, scale=1.0):
    rng = np.random.default_rng(count)
    for i in range(1, count + 1):
        loss = scale * (math.exp(-i / count * 4) + 0.1 * rng.random())
        yield {
            "step": i * every,
            "loss": loss,
            "class": loss / 2,
            "gradient_norm": 10 ** rng.normal(),
            "learning_rate": 0.02,
            "images_per_second": 30 + rng.random(),
            "seconds": 0.6 * i,
        }
        if i % 10 == 0:
            yield {"step": i * every, "kind": "evaluation", "AP": i / count}


class Page(html.parser.HTMLParser):
    """Collects tags with their attributes, and text; fails where tags do not match."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.texts, self.styled = [], [], [], []
        self.feed(content.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if self.open[-1:] == ["text"]:
            self.styled.append((self.tags[-1][1].get("style", ""), data))


def page_of(*workdirs):
    out = workdirs[0] / "curves.html"
    plot.plot(workdirs)
    return Page(out.read_bytes())


def texts(page, tag):
    return [text for where, text in page.texts if where == tag]


# The page --------------------------------------------------------------------------


def titles(page):
    """The charts' titles: the bold texts."""
    return [text for style, text in page.styled if "font-weight: 700" in style]


def test_every_quantity_has_a_chart_losses_first(tmp_path):
    page = page_of(write_rows(tmp_path, run_rows(40)))
    assert titles(page) == [
        "loss",
        "class",
        "gradient norm (logarithmic scale)",
        "learning rate",
        "images per second",
        "evaluation: AP",
    ]
    assert texts(page, "text").count("step") == 6


def test_the_summary_says_what_was_drawn(tmp_path):
    runs = [write_rows(tmp_path / name, run_rows(30)) for name in "ab"]
    assert plot.plot(runs[:1]) == (
        f"1 run up to step 600, 6 charts: {runs[0] / 'curves.html'}"
    )
    out = tmp_path / "x.png"
    assert plot.plot(runs, out) == f"2 runs up to step 600, 6 charts: {out}"


def test_runs_are_overlaid_and_named(tmp_path):
    runs = [
        write_rows(tmp_path / "first", run_rows(300)),
        write_rows(tmp_path / "second", run_rows(200, scale=2.0)),
    ]
    page = page_of(*runs)
    first, second = (t for t in texts(page, "text") if "spent" in t)
    assert first.startswith("first: step 6000, loss ")
    assert second.startswith("second: step 4000, loss ")
    assert first.endswith("0:03:00 spent") and second.endswith("0:02:00 spent")
    loss, *_ = plot.draw([plot.read_run(run, run.name) for run in runs]).axes
    colours = [line.get_color() for line in loss.lines]
    assert colours == [c for c in plot.COLOURS[:2] for _ in range(2)]  # Thin, thick.


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    runs = [write_rows(tmp_path / name / "run", run_rows(3)) for name in "ab"]
    lines = [t for t in texts(page_of(*runs), "text") if "spent" in t]
    names = [line.split(": ")[0] for line in lines]
    assert names[0] != names[1]
    assert all(name.endswith("run") for name in names)


def test_nothing_is_fetched_and_nothing_is_run(tmp_path):
    run = write_rows(tmp_path, run_rows(300))
    page = page_of(run)
    content = (run / "curves.html").read_text()
    for address in re.findall(r'[\w:]+="https?:[^"]*"', content):
        assert address.startswith("xmlns")  # A name, which nobody fetches.
    assert not re.search(r"@import|<script|javascript|<!DOCTYPE svg", content)
    assert set(re.findall(r"url\((.)", content)) <= {"#"}
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base"}
        assert "src" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        assert all(
            value.startswith("#") for name, value in attrs.items() if "href" in name
        )
    assert "default-src 'none'" in content


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg><script>",
    "&lt;b&gt;",
    "{title} {0} %s",
    "a\nb\x1b[31m\x00c",
    "\ud800",
    "‮gnp",
    "</style>",
    "x" * 1000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_text_whatever_they_are(tmp_path, name):
    folder = re.sub(r"[/\x00]", "_", name)[:80].encode("utf-8", "replace").decode()
    rows = [
        {"step": 1, name: 1.5},
        {"step": 1, "kind": "evaluation", name: 2},
    ]
    run = write_rows(tmp_path / folder, rows)
    page = page_of(run)
    labels = titles(page)
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "p", "svg", "defs", "g"),
        *("path", "text", "use", "clippath", "rect"),
    }
    if name.isprintable() and len(name) <= 40:
        assert labels == [name.replace("_", " "), f"evaluation: {name}"]
        assert any(text.startswith(folder) for text in texts(page, "text"))
    assert all(label.isprintable() and len(label) <= 60 for label in labels)
    plot.plot([run], run / "curves.png")


def test_a_log_without_rows_says_so(tmp_path):
    run = write_rows(tmp_path, [])
    assert "Nothing has been logged yet." in texts(page_of(run), "p")
    plot.plot([run], tmp_path / "empty.png")
    with Image.open(tmp_path / "empty.png") as picture:
        assert picture.height < 200 and np.array(picture).min() < 100


def test_one_row_is_a_dot_in_each_chart(tmp_path):
    drawn = charts_of(tmp_path, run_rows(1))
    assert len(drawn) == 5
    for chart in drawn:
        (line,) = chart.lines
        assert line.get_marker() == "o" and line.get_markevery() == [0]


def test_values_that_were_not_finite_are_gaps(tmp_path):
    rows = [{"step": i, "loss": None if i == 4 else 1.0 + i} for i in range(1, 9)]
    rows += [{"step": 9, "loss": 1, "class": None}]
    page = page_of(write_rows(tmp_path, rows))
    assert "no finite value" in texts(page, "text")
    loss, _ = charts_of(tmp_path, rows)
    (line,) = loss.lines
    assert np.isnan(line.get_ydata()).tolist() == [i == 3 for i in range(9)]
    assert line.get_markevery() == []


def test_a_torn_last_line_is_not_drawn(tmp_path):
    run = write_rows(tmp_path, run_rows(5))
    path = run / FILE
    path.write_bytes(path.read_bytes()[:-5])
    assert any(": step 80, " in text for text in texts(page_of(run), "text"))


# What goes wrong -------------------------------------------------------------------


def test_a_malformed_row_is_named_by_its_line(tmp_path):
    run = write_rows(tmp_path, run_rows(5))
    path = run / FILE
    path.write_text(path.read_text().replace('"loss": 0', '"loss": zero', 3))
    with pytest.raises(InputError, match=r"log\.jsonl: line \d: .* is not a row"):
        plot.plot([run])
    assert not (run / "curves.html").exists()


def test_a_folder_without_a_log_is_named(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a training run"):
        plot.plot([tmp_path])


@pytest.mark.parametrize("name", ["curves", "curves.pdf", "curves.html.gz"])
def test_the_name_decides_the_format(tmp_path, name):
    run = write_rows(tmp_path, run_rows(5))
    with pytest.raises(InputError, match=r"ends in \.html, \.svg or \.png"):
        plot.plot([run], tmp_path / name)


def test_only_the_default_file_is_replaced_unasked(tmp_path):
    run = write_rows(tmp_path, run_rows(5))
    out = tmp_path / "mine.png"
    out.write_bytes(b"a photo")
    with pytest.raises(InputError, match="`overwrite=True` replaces it"):
        plot.plot([run], out)
    assert out.read_bytes() == b"a photo"
    plot.plot([run], out, overwrite=True)
    assert out.read_bytes().startswith(b"\x89PNG")
    plot.plot([run])
    plot.plot([run])


@pytest.mark.parametrize("count", [0, 9])
def test_the_number_of_runs_is_that_of_the_colours(tmp_path, count):
    with pytest.raises(InputError, match=rf"{count} runs to plot, expected 1 to 8"):
        plot.plot([tmp_path] * count)


def test_a_log_of_too_many_quantities_is_refused(tmp_path):
    run = write_rows(tmp_path, [{"step": 1} | {f"a{i}": i for i in range(201)}])
    with pytest.raises(InputError, match=r"more than 200 .*plot\.MAX_QUANTITIES"):
        plot.plot([run])


def test_runs_of_too_many_quantities_together_are_refused(tmp_path):
    runs = [
        write_rows(
            tmp_path / name, [{"step": 1} | {f"{name}{i}": i for i in range(101)}]
        )
        for name in "ab"
    ]
    with pytest.raises(InputError, match=r"202 quantities together"):
        plot.plot(runs)


# Charts ----------------------------------------------------------------------------


def charts_of(tmp_path, rows):
    run = write_rows(tmp_path, rows)
    return plot.draw([plot.read_run(run, "run")]).axes


def rows_of(name, values, **more):
    return [{"step": i + 1, name: float(v), **more} for i, v in enumerate(values)]


def test_a_curve_is_where_its_values_are(tmp_path):
    (chart,) = charts_of(tmp_path, rows_of("loss", [3.0, 1.0, 2.0]))
    (line,) = chart.lines
    assert_allclose(line.get_xdata(), [1, 2, 3])
    assert_allclose(line.get_ydata(), [3, 1, 2])
    assert chart.get_ylim()[0] == 0 and chart.get_ylim()[1] > 3


@pytest.mark.parametrize(
    "name, kind, values, log",
    [
        ("loss", None, [1, 99], False),
        ("loss", None, [1, 101], True),
        ("AP", "evaluation", [1, 101], False),
        ("images_per_second", None, [1, 101], False),
        ("loss", None, [0, 101], False),
        ("loss", None, [-1, 101], False),
        ("loss", None, [1e-300, 1e300], True),
    ],
)
def test_the_scale_is_logarithmic_beyond_two_decades(tmp_path, name, kind, values, log):
    rows = rows_of(name, values, **({"kind": kind} if kind else {}))
    (chart,) = charts_of(tmp_path, rows)
    assert chart.get_yscale() == ("log" if log else "linear")
    assert ("logarithmic" in chart.get_title("left")) == log


def test_ticks_of_a_logarithmic_scale_are_numbers(tmp_path):
    write_rows(tmp_path, rows_of("loss", [0.01, 1, 1000]))
    assert {"0.1", "10", "1000"} <= set(texts(page_of(tmp_path), "text"))


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=40), st.data())
def test_the_moving_average_equals_the_loop(values, data):
    radius = data.draw(st.integers(0, 20))
    values = np.array(values, np.float64)
    expected = []
    for i, value in enumerate(values):
        near = values[max(i - radius, 0) : i + radius + 1]
        near = near[~np.isnan(near)]
        expected.append(math.nan if math.isnan(value) else near.mean())
    assert_allclose(plot.moving_average(values, radius), expected, atol=1e-8)


def test_the_moving_average_of_what_is_positive_is_positive():
    values = np.array([1e300, 1e300, *[1e-300] * 50])
    assert (plot.moving_average(values, 2) > 0).all()


def test_extremes_survive_and_many_rows_are_few_points(tmp_path):
    values = np.sin(np.arange(100_000))
    values[12_345] = 7.0
    run = write_rows(tmp_path, rows_of("loss", values))
    (chart,) = plot.draw([plot.read_run(run, "run")]).axes
    assert chart.get_ylim()[1] > 7
    plot.plot([run])
    assert (run / "curves.html").stat().st_size < 400_000


def test_no_thick_line_is_behind_a_thin_one(tmp_path):
    noise = np.random.default_rng(0).random((2, 200))
    runs = [
        write_rows(tmp_path / str(i), rows_of("loss", n)) for i, n in enumerate(noise)
    ]
    (chart,) = plot.draw([plot.read_run(run, run.name) for run in runs]).axes
    order = sorted(chart.lines, key=lambda line: line.get_zorder())
    widths = [line.get_linewidth() for line in order]
    assert widths == sorted(widths) and len(set(widths)) == 2


ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["loss", "class", "learning_rate", "seconds"]),
        st.none() | st.floats(-1e300, 1e300) | st.integers(0, 9),
    ),
    max_size=9,
)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, evaluations=ROWS)
def test_every_valid_log_can_be_drawn(tmp_path, rows, evaluations):
    rows = [row | {"step": i} for i, row in enumerate(rows)]
    rows += [r | {"step": i, "kind": "evaluation"} for i, r in enumerate(evaluations)]
    run = write_rows(tmp_path, rows)
    page_of(run)
    assert plot.read_run(run, "a").step == max([row["step"] for row in rows] or [0])


# The picture -----------------------------------------------------------------------


def test_the_picture_shows_every_run_in_its_colour(tmp_path):
    runs = [
        write_rows(tmp_path / "first", run_rows(120)),
        write_rows(tmp_path / "second", run_rows(120, scale=3.0)),
    ]
    plot.plot(runs, tmp_path / "curves.png")
    with Image.open(io.BytesIO((tmp_path / "curves.png").read_bytes())) as picture:
        pixels = np.array(picture)
    assert pixels.shape[1] == 2640
    for colour in plot.COLOURS[:2]:
        parts = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
        assert (pixels[..., :3] == parts).all(axis=-1).sum() > 300
    third = np.frombuffer(bytes.fromhex(plot.COLOURS[2][1:]), np.uint8)
    assert not (pixels[..., :3] == third).all(axis=-1).any()


def test_colours_can_be_told_from_what_is_behind_them():
    """WCAG asks for a contrast of 3 for graphics."""

    def luminance(colour):
        parts = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for colour in plot.COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) > 3


def test_equal_logs_give_equal_files(tmp_path):
    run = write_rows(tmp_path / "run", run_rows(30))
    for suffix in (".html", ".svg", ".png"):
        outs = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for out in outs:
            plot.plot([run], out)
        assert outs[0].read_bytes() == outs[1].read_bytes()


def test_no_file_is_left_where_drawing_fails(tmp_path):
    run = write_rows(tmp_path / "run", run_rows(5))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be made"):
        plot.plot([run], tmp_path / "file" / "x.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]
    plot.plot([run], tmp_path / "new" / "x.html")
    assert (tmp_path / "new" / "x.html").is_file()
