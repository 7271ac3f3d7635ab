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
from movseg_jax.train import charts, plot
from movseg_jax.train.charts import Chart, Curve, Line, Strip, Text
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
        self.open, self.tags, self.texts = [], [], []
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


def page_of(*workdirs):
    out = workdirs[0] / "curves.html"
    plot.plot(workdirs)
    return Page(out.read_bytes())


def texts(page, tag):
    return [text for where, text in page.texts if where == tag]


# The page --------------------------------------------------------------------------


def test_every_quantity_has_a_chart_losses_first(tmp_path):
    page = page_of(write_rows(tmp_path, run_rows(40)))
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert labels == [
        "loss",
        "class",
        "gradient norm",
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
    assert texts(page, "th") == ["first", "second"]
    assert "step 6000" in texts(page, "td") and "0:03:00 spent" in texts(page, "td")
    styles = [attrs["class"] for tag, attrs in page.tags if tag == "polyline"]
    for style in ("raw c0", "raw c1", "curve c0", "curve c1"):
        assert styles.count(style) >= 4
    pointed, *_ = (t for t in texts(page, "title") if t.startswith("first, step 60: "))
    assert re.fullmatch(r"first, step 60: \S+\nsecond, step 60: \S+", pointed)


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    runs = [write_rows(tmp_path / name / "run", run_rows(3)) for name in "ab"]
    names = texts(page_of(*runs), "th")
    assert names[0] != names[1]
    assert all(name.endswith("run") for name in names)


def test_nothing_is_fetched_and_nothing_is_run(tmp_path):
    run = write_rows(tmp_path, run_rows(300))
    page = page_of(run)
    content = (run / "curves.html").read_text()
    assert not re.search(r"https?:|//|url\(|@import|<script|javascript", content)
    for tag, attrs in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "use"}
        assert not {"src", "href", "style"} & attrs.keys()
        assert not any(name.startswith("on") for name in attrs)
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
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "table", "tr", "th"),
        *("td", "span", "p", "div", "svg", "text", "polyline", "circle", "rect"),
    }
    if name.isprintable() and len(name) <= 40:
        assert labels == [name.replace("_", " "), f"evaluation: {name}"]
        assert texts(page, "th") == [folder]
    assert all(label.isprintable() and len(label) <= 60 for label in labels)
    plot.plot([run], run / "curves.png")


def test_a_log_without_rows_says_so(tmp_path):
    run = write_rows(tmp_path, [])
    assert "Nothing has been logged yet." in texts(page_of(run), "p")
    plot.plot([run], tmp_path / "empty.png")
    with Image.open(tmp_path / "empty.png") as picture:
        assert picture.height < 200 and np.array(picture).min() < 100


def test_one_row_is_a_dot_in_each_chart(tmp_path):
    page = page_of(write_rows(tmp_path, run_rows(1)))
    charts_drawn = [tag for tag, _ in page.tags if tag == "svg"]
    dots = [attrs for tag, attrs in page.tags if tag == "circle"]
    assert len(dots) == len(charts_drawn) == 5
    for dot in dots:
        assert charts.LEFT < float(dot["cx"]) < charts.RIGHT
        assert charts.TOP < float(dot["cy"]) < charts.BOTTOM


def test_values_that_were_not_finite_are_gaps(tmp_path):
    rows = [{"step": i, "loss": None if i == 4 else 1.0 + i} for i in range(1, 9)]
    rows += [{"step": 9, "loss": 1, "class": None}]
    page = page_of(write_rows(tmp_path, rows))
    pieces = [attrs for tag, attrs in page.tags if tag == "polyline"]
    counts = [len(p["points"].split()) for p in pieces if "curve" in p["class"]]
    assert counts == [3, 5]
    assert "no finite value" in texts(page, "text")
    assert any("step 4: not finite" in text for text in texts(page, "title"))


def test_a_torn_last_line_is_not_drawn(tmp_path):
    run = write_rows(tmp_path, run_rows(5))
    path = run / FILE
    path.write_bytes(path.read_bytes()[:-5])
    assert "step 80" in texts(page_of(run), "td")


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


@pytest.mark.parametrize("name", ["curves", "curves.svg", "curves.html.gz"])
def test_the_name_decides_the_format(tmp_path, name):
    run = write_rows(tmp_path, run_rows(5))
    with pytest.raises(InputError, match=r"ends in \.html or \.png"):
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


def curve(values, steps=None, run=0):
    values = np.asarray(values, np.float64)
    steps = np.arange(1.0, len(values) + 1) if steps is None else np.float64(steps)
    return Curve(run, f"run {run}", steps, values)


def inside(shapes):
    for shape in shapes:
        if isinstance(shape, Line):
            x, y = shape.points.T
            assert charts.LEFT - 1e-6 <= x.min() and x.max() <= charts.RIGHT + 1e-6
            assert charts.TOP - 1e-6 <= y.min() and y.max() <= charts.BOTTOM + 5
        elif isinstance(shape, Text):
            assert 0 <= shape.x <= charts.WIDTH and 0 <= shape.y <= charts.HEIGHT
        else:
            assert shape.text and shape.width > 0


def tick_labels(shapes, anchor):
    return [s.text for s in shapes if isinstance(s, Text) and s.anchor == anchor]


def test_a_curve_is_where_its_values_are():
    """A line from (0, 0) to (100, 10), both round, is the diagonal of the axes."""
    shapes = charts.lay_out(Chart("a", [curve([0, 10], [0, 100])], style="exact"))
    (line,) = [s for s in shapes if isinstance(s, Line) and s.style == "curve"]
    assert_allclose(line.points[0], [charts.LEFT, charts.BOTTOM])
    # Four hundredths of the height stay free above.
    top = charts.BOTTOM + (charts.TOP - charts.BOTTOM) / 1.04
    assert_allclose(line.points[1], [charts.RIGHT, top])
    assert tick_labels(shapes, "end") == ["0", "5", "10"] or tick_labels(
        shapes, "end"
    ) == ["0", "2", "4", "6", "8", "10"]


def test_a_tick_is_where_its_value_is():
    values = np.geomspace(0.01, 900, 6)
    chart = Chart("a", [curve(values)], rates=True, style="exact")
    shapes = charts.lay_out(chart)
    assert shapes[0].text == "a (logarithmic scale)"
    (line,) = [s for s in shapes if isinstance(s, Line) and s.style == "curve"]
    heights = {
        s.text: s.y - 4 for s in shapes if isinstance(s, Text) and s.anchor == "end"
    }
    expected = np.interp(
        np.log10([0.1, 1, 10, 100]), np.log10(values), line.points[:, 1]
    )
    assert_allclose([heights[t] for t in ("0.1", "1", "10", "100")], expected)


@pytest.mark.parametrize(
    "values, rates, log",
    [
        ([1, 99], True, False),
        ([1, 101], True, True),
        ([1, 101], False, False),
        ([0, 101], True, False),
        ([-1, 101], True, False),
        ([1e-300, 1e300], True, True),
        ([5e-324, 1.0], True, True),
    ],
)
def test_the_scale_is_logarithmic_beyond_two_decades(values, rates, log):
    shapes = charts.lay_out(Chart("a", [curve(values)], rates=rates))
    assert ("logarithmic" in shapes[0].text) == log
    inside(shapes)


@pytest.mark.parametrize(
    "low, high, labels",
    [
        (0, 90_000, "0 20k 40k 60k 80k"),
        (0, 1, "0 0.2 0.4 0.6 0.8 1"),
        (0, 0.02, "0 0.005 0.01 0.015 0.02"),
        (-3, 4, "-2 0 2 4"),
        (0, 3e6, "0 1M 2M 3M"),
        (0, 700, "0 200 400 600"),
        (0, 2400, "0 500 1000 1500 2000"),
        (0.69, 0.7, "0.69 0.692 0.694 0.696 0.698 0.7"),
        (10_000, 10_010, "10000 10002 10004 10006 10008 10010"),
        (0, 3e-5, "0 1e-05 2e-05 3e-05"),
        (0, 4e15, "0 1e+15 2e+15 3e+15 4e+15"),
    ],
)
def test_ticks_are_at_round_numbers(low, high, labels):
    ticks = charts.linear_ticks(float(low), float(high), 5)
    assert [label for _, label in ticks] == labels.split()
    for value, label in ticks:
        number = label.replace("k", "e3").replace("M", "e6")
        assert_allclose(value, float(number), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "low, high, labels",
    [
        (-1, 1.5, "0.1 0.2 0.5 1 2 5 10 20"),
        (-3.5, 2.2, "0.001 0.01 0.1 1 10 100"),
        (-12, 12, "1e-12 1e-09 1e-06 0.001 1 1000 1e+06 1e+09 1e+12"),
    ],
)
def test_ticks_of_a_logarithmic_scale_are_at_round_numbers(low, high, labels):
    assert [
        label for _, label in charts.log_ticks(float(low), float(high))
    ] == labels.split()


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=40), st.data())
def test_the_moving_average_equals_the_loop(values, data):
    radius = data.draw(st.integers(0, 20))
    values = np.array(values, np.float64)
    expected = []
    for i, value in enumerate(values):
        near = values[max(i - radius, 0) : i + radius + 1]
        near = near[~np.isnan(near)]
        expected.append(math.nan if math.isnan(value) else near.mean())
    assert_allclose(charts.moving_average(values, radius), expected, atol=1e-8)


def test_the_moving_average_of_what_is_positive_is_positive():
    values = np.array([1e300, 1e300, *[1e-300] * 50])
    assert (charts.moving_average(values, 2) > 0).all()


def test_extremes_survive_thinning_and_a_million_rows_are_few_points():
    values = np.sin(np.arange(1e6))
    values[123_456] = 7.0
    values[700_000:710_000] = math.nan
    shapes = charts.lay_out(Chart("a", [curve(values)]))
    raw = [s.points for s in shapes if isinstance(s, Line) and s.style == "raw"]
    assert len(raw) == 2
    assert sum(map(len, raw)) <= 2 * charts.WIDTH
    highest = min(points[:, 1].min() for points in raw)
    assert highest < charts.TOP + 0.05 * (charts.BOTTOM - charts.TOP)
    inside(shapes)


def test_no_thick_line_is_behind_a_thin_one():
    noise = np.random.default_rng(0).random((2, 200))
    shapes = charts.lay_out(Chart("a", [curve(n, run=i) for i, n in enumerate(noise)]))
    styles = [s.style for s in shapes if isinstance(s, Line)]
    assert max(i for i, s in enumerate(styles) if s == "raw") < styles.index("curve")


FLOATS = st.floats(-1e300, 1e300) | st.just(math.nan) | st.floats(0, 10)
STEPS = st.lists(st.integers(0, 2**53) | st.integers(0, 50), unique=True, min_size=1)


@settings(max_examples=150)
@given(
    data=st.data(),
    rates=st.booleans(),
    style=st.sampled_from(["noisy", "exact", "dots"]),
)
def test_whatever_the_numbers_all_is_drawn_inside(data, rates, style):
    curves = []
    for run in range(data.draw(st.integers(1, 3))):
        steps = sorted(data.draw(STEPS))
        values = data.draw(
            st.lists(FLOATS, min_size=len(steps), max_size=len(steps))
            | st.just([data.draw(FLOATS)] * len(steps))
        )
        repeats = data.draw(st.sampled_from([1, 1, 40]))  # Enough to be smoothed.
        values = values * repeats
        if repeats > 1:
            steps = range(len(values))
        curves.append(curve(values, steps, run))
    shapes = charts.lay_out(Chart("a", curves, rates=rates, style=style))
    inside(shapes)
    if any(np.isfinite(c.values).any() for c in curves):
        assert 1 <= len(tick_labels(shapes, "end")) <= 10
        assert len(set(tick_labels(shapes, "end"))) == len(tick_labels(shapes, "end"))
        assert sum(isinstance(s, Strip) for s in shapes) >= 1


ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["loss", "class", "learning_rate", "seconds"]),
        st.none() | st.floats(-1e300, 1e300) | st.integers(0, 9),
    ),
    max_size=9,
)


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
    assert pixels.shape[1:] == (2 * 3 * charts.WIDTH, 3)
    chart = pixels[2 * (2 * 22 + 24) :][: 2 * charts.HEIGHT, : 2 * charts.WIDTH]
    for light, _ in plot.COLOURS[:2]:
        colour = np.frombuffer(bytes.fromhex(light[1:]), np.uint8)
        assert (chart == colour).all(axis=-1).sum() > 300
    third = np.frombuffer(bytes.fromhex(plot.COLOURS[2][0][1:]), np.uint8)
    assert not (pixels == third).all(axis=-1).any()


def test_colours_can_be_told_from_what_is_behind_them():
    """WCAG asks for a contrast of 3 for graphics."""

    def luminance(colour):
        parts = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for light, dark in plot.COLOURS:
        assert 1.05 / (luminance(light) + 0.05) > 3
        assert (luminance(dark) + 0.05) / (luminance("#15171a") + 0.05) > 3


def test_equal_logs_give_equal_files(tmp_path):
    run = write_rows(tmp_path / "run", run_rows(30))
    for suffix in (".html", ".png"):
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
