"""Curves of training runs, from their logs: one HTML file, or a PNG.

The page needs no network and no script. Point at a chart for the values there.
"""

import datetime
import html
import io
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.train import charts
from movseg_jax.train.charts import Chart, Curve, Line, Strip, Text
from movseg_jax.train.log import EVALUATION, FILE, read_log

MAX_QUANTITIES = 200  # Of a plot: a chart each.
MAX_VALUES = 2**24  # Of a run; 16 bytes each.
# Told apart also by who sees few colours (Okabe and Ito); on white, on black.
COLOURS = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c42"),
    ("#009e73", "#2fcf9f"),
    ("#cc79a7", "#e3a0c5"),
    ("#8a6d00", "#e6c200"),
    ("#5b4bb5", "#a498f0"),
    ("#444444", "#bbbbbb"),
    ("#b22234", "#ff7a86"),
)
# In the order of the charts; those between the first and the others are losses.
FIRST, LAST = ("loss",), ("gradient_norm", "learning_rate", "images_per_second")


class Run(NamedTuple):
    """What was logged.

    Attributes:
        name: To tell it from the others.
        quantities: Steps and values by (kind of row, name); NaN is not finite.
        step: The last one.
        seconds: Spent until then.
    """

    name: str
    quantities: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    step: int
    seconds: float


def plot(
    workdirs: Sequence[Path], out: Path | None = None, *, overwrite: bool = False
) -> str:
    """Draws all that the runs logged over their steps; returns what it drew.

    Args:
        workdirs: The runs' folders, as many as there are `COLOURS`.
        out: A .html or .png file; by default `curves.html` in the first folder, which
            is replaced.
        overwrite: Whether to replace `out`.

    Raises:
        InputError: A log is missing or damaged, `out` exists or cannot be written.
    """
    if not 1 <= len(workdirs) <= len(COLOURS):
        raise InputError(
            f"{len(workdirs)} runs to plot, expected 1 to {len(COLOURS)} "
            "(plot.COLOURS)."
        )
    target = workdirs[0] / "curves.html" if out is None else out
    if target.suffix not in (".html", ".png"):
        raise InputError(f"{target}: expected a name that ends in .html or .png.")
    if out is not None and target.exists() and not overwrite:
        raise InputError(
            f"{target}: exists already.", way_out="`overwrite=True` replaces it."
        )
    runs = [
        read_run(workdir, name)
        for workdir, name in zip(workdirs, _names(workdirs), strict=True)
    ]
    drawn = make_charts(runs)
    make_folder(target.parent)
    write_file(target, (html_of if target.suffix == ".html" else png_of)(runs, drawn))
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    step = max(run.step for run in runs)
    return f"{what} up to step {step}, {len(drawn)} charts: {target}"


def read_run(workdir: Path, name: str) -> Run:
    """Reads a run's log.

    Raises:
        InputError: It is missing, damaged or beyond `MAX_QUANTITIES` or `MAX_VALUES`.
    """
    columns: dict[tuple[str, str], tuple[array, array]] = {}
    step, seconds, count = 0, 0.0, 0
    for row in read_log(workdir):
        step, kind = max(step, row.pop("step")), row.pop("kind", "")
        seconds = row.pop("seconds", None) or seconds
        count += len(row)
        for key, value in row.items():
            steps, values = columns.setdefault((kind, key), (array("d"), array("d")))
            steps.append(step)
            values.append(float("nan") if value is None else value)
        if len(columns) > MAX_QUANTITIES or count > MAX_VALUES:
            raise InputError(
                f"{workdir / FILE}: has more than {MAX_QUANTITIES} quantities "
                f"(plot.MAX_QUANTITIES) or {MAX_VALUES} values (plot.MAX_VALUES)."
            )
    quantities = {
        key: (np.array(steps), np.array(values))
        for key, (steps, values) in columns.items()
    }
    return Run(name, quantities, step, seconds)


def make_charts(runs: Sequence[Run]) -> list[Chart]:
    """A chart for every quantity: losses, then the rest of training, then evaluation.

    Raises:
        InputError: There are more than `MAX_QUANTITIES`.
    """
    keys = dict.fromkeys(key for run in runs for key in run.quantities)
    if len(keys) > MAX_QUANTITIES:
        raise InputError(
            f"The runs have {len(keys)} quantities together, expected up to "
            f"{MAX_QUANTITIES} (plot.MAX_QUANTITIES)."
        )

    styles: dict[str, charts.Style] = {EVALUATION: "dots", "learning_rate": "exact"}

    def place(key):
        kind, name = key
        others = LAST.index(name) + 1 if name in LAST else 0
        return kind == EVALUATION, name not in FIRST, others

    return [
        Chart(
            _clean(f"{kind}: {name}" if kind else name.replace("_", " ")),
            [
                Curve(i, run.name, *run.quantities[kind, name])
                for i, run in enumerate(runs)
                if (kind, name) in run.quantities
            ],
            rates=kind != EVALUATION and name != "images_per_second",
            style=styles.get(kind or name, "noisy"),
        )
        for kind, name in sorted(keys, key=place)  # Stable: else as they were logged.
    ]


def _names(workdirs):
    """The folders' names, or their paths where these are the same."""
    names = [workdir.resolve().name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    return [_clean(name) for name in names]


def _clean(name):
    """Only what can be printed, and not too long: names come from files."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return text if len(text) <= 60 else f"{text[:20]}…{text[-39:]}"


def _latest(run):
    """What is said of a run beside its name."""
    _, losses = run.quantities.get(("", "loss"), ([], []))
    loss = f"{losses[-1]:.4g}" if len(losses) else "none"
    # A log can claim anything; a timedelta ends at 10^9 days.
    spent = datetime.timedelta(seconds=round(min(max(run.seconds, 0), 1e12)))
    return [f"step {run.step}", f"loss {loss}", f"{spent} spent"]


# HTML ------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --back: #fff; --text: #1a1a1a; --faint: #e4e4e4;
  --axis: #888; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ --back: #15171a; --text: #e6e6e6;
  --faint: #2c3036; --axis: #8a8f98; {dark} }} }}
body {{ background: var(--back); color: var(--text); margin: 1.5rem auto;
  max-width: 1500px; padding: 0 1rem; font: 14px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.3rem; margin: 0 0 .5rem; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .1rem 1.2rem .1rem 0; text-align: right; font-weight: normal;
  font-variant-numeric: tabular-nums; }}
th[scope] {{ text-align: left; overflow-wrap: anywhere; }}
.swatch {{ display: inline-block; width: 1.4em; height: .25em; margin-right: .5em;
  vertical-align: middle; background: var(--c); }}
.charts {{ display: grid; gap: 1rem 1.5rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }}
svg {{ width: 100%; height: auto; overflow: visible; }}
text {{ fill: var(--text); font-size: 11px; }}
.title {{ font-size: 13px; font-weight: 600; }}
polyline {{ fill: none; stroke-linejoin: round; }}
.grid {{ stroke: var(--faint); }} .axis {{ stroke: var(--axis); }}
.raw {{ stroke: var(--c); opacity: .35; }}
.curve {{ stroke: var(--c); stroke-width: 1.8; }}
circle {{ fill: var(--c); }} circle.raw {{ stroke: none; }}
.strip {{ fill: var(--text); opacity: 0; }} .strip:hover {{ opacity: .12; }}
{classes}
</style>
</head>
<body>
<h1>{title}</h1>
<table>{rows}</table>
<p>{caption}</p>
<div class="charts">
{charts}
</div>
</body>
</html>
"""
_CAPTION = (
    "Thin lines are the logged values, thick ones their average over the nearest 4% of "
    "the rows. Gaps are values that were not finite."
)
_EMPTY = "Nothing has been logged yet."


def html_of(runs: Sequence[Run], drawn: Sequence[Chart]) -> bytes:
    """The page."""
    rows = []
    for i, run in enumerate(runs):
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in _latest(run))
        rows.append(
            f'<tr><th scope="row"><span class="swatch c{i}"></span>'
            f"{html.escape(run.name)}</th>{cells}</tr>"
        )
    page = _PAGE.format(
        title="Training curves",
        light=" ".join(f"--c{i}: {pair[0]};" for i, pair in enumerate(COLOURS)),
        dark=" ".join(f"--c{i}: {pair[1]};" for i, pair in enumerate(COLOURS)),
        classes="\n".join(
            f".c{i} {{ --c: var(--c{i}); }}" for i in range(len(COLOURS))
        ),
        rows="\n".join(rows),
        caption=_CAPTION if drawn else _EMPTY,
        charts="\n".join(map(_svg, drawn)),
    )
    return page.encode()


def _svg(chart):
    shapes = "\n".join(map(_svg_shape, charts.lay_out(chart)))
    return (
        f'<svg viewBox="0 0 {charts.WIDTH} {charts.HEIGHT}" role="img" '
        f'aria-label="{html.escape(chart.title)}">\n{shapes}\n</svg>'
    )


def _svg_shape(shape):
    if isinstance(shape, Text):
        return (
            f'<text class="{shape.style}" x="{shape.x:.1f}" y="{shape.y:.1f}" '
            f'text-anchor="{shape.anchor}">{html.escape(shape.text)}</text>'
        )
    if isinstance(shape, Strip):
        return (
            f'<rect class="strip" x="{shape.x:.1f}" y="{charts.TOP}" '
            f'width="{shape.width:.1f}" height="{charts.BOTTOM - charts.TOP}">'
            f"<title>{html.escape(shape.text)}</title></rect>"
        )
    names = f"{shape.style} c{shape.run}"
    if len(shape.points) == 1:
        x, y = shape.points[0]
        radius = 1 if shape.style == "raw" else 2.5
        return f'<circle class="{names}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'
    numbers = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    return f'<polyline class="{names}" points="{numbers}"/>'


# PNG -------------------------------------------------------------------------------

_COLUMNS = 3  # Of charts.
_SCALE = 2  # Pixels of the picture per pixel of a chart.
_FINER = 3  # Lines are painted this much larger, then reduced: smooth edges.
_GREYS = {"grid": (228, 228, 228), "axis": (136, 136, 136)}
_INK = (26, 26, 26)


def png_of(runs: Sequence[Run], drawn: Sequence[Chart]) -> bytes:
    """The charts and a legend as a picture on white."""
    legend = 22 * len(runs) + 24
    rows = -(-len(drawn) // _COLUMNS)
    width, height = charts.WIDTH * _COLUMNS, legend + rows * charts.HEIGHT
    picture = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    draw = ImageDraw.Draw(picture)
    for i, run in enumerate(runs):
        y = (22 * i + 24) * _SCALE
        draw.line([(20 * _SCALE, y), (44 * _SCALE, y)], COLOURS[i][0], 3 * _SCALE)
        text = "   ".join([run.name, *(_latest(run) if drawn else [_EMPTY])])
        draw.text((52 * _SCALE, y), text, _INK, _font(13), anchor="lm")
    for i, chart in enumerate(drawn):
        row, column = divmod(i, _COLUMNS)
        corner = column * charts.WIDTH, legend + row * charts.HEIGHT
        with _painted(charts.lay_out(chart)) as panel:
            picture.paste(panel, (corner[0] * _SCALE, corner[1] * _SCALE))
    file = io.BytesIO()
    about = PngImagePlugin.PngInfo()
    about.add_text("Title", "Training curves")
    picture.save(file, format="PNG", pnginfo=about)
    return file.getvalue()


def _painted(shapes):
    scale = _SCALE * _FINER
    size = charts.WIDTH * scale, charts.HEIGHT * scale
    panel = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(panel)
    for shape in shapes:
        if isinstance(shape, Line):
            _paint_line(draw, shape, scale)
    panel = panel.reduce(_FINER)
    draw = ImageDraw.Draw(panel)
    for shape in shapes:
        if isinstance(shape, Text):
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            draw.text(
                (shape.x * _SCALE, shape.y * _SCALE),
                shape.text,
                _INK,
                _font(13 if shape.style == "title" else 11),
                anchor=anchor,
            )
    return panel


def _paint_line(draw, line, scale):
    colour = _GREYS.get(line.style) or _rgb(COLOURS[line.run][0])
    if line.style == "raw":
        colour = tuple(round(255 - 0.35 * (255 - part)) for part in colour)
    points = [(x * scale, y * scale) for x, y in line.points.tolist()]
    if len(points) == 1:
        radius = (1 if line.style == "raw" else 2.5) * scale
        draw.circle(points[0], radius, colour)
    else:
        width = 1.8 if line.style == "curve" else 1
        draw.line(points, colour, round(width * scale), joint="curve")


def _rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


def _font(size):
    return ImageFont.load_default(size * _SCALE)
