"""Curves of training runs, drawn from their logs by matplotlib.

`draw` returns a figure, for notebooks; `plot` writes it as one HTML page, which needs
no network and no script, or as SVG or PNG.
"""

import datetime
import io
import warnings
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.train.log import EVALUATION, FILE, read_log

# Matplotlib takes half a second to import, so only the functions that draw do.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_QUANTITIES = 200  # Each quantity has a chart.
MAX_VALUES = 2**24  # Values of a run, 16 bytes each.
COLUMNS = 3  # Charts beside one another.
SMOOTHING = 50  # A curve of n rows is smoothed over n / 50 neighbours to each side.
DECADES = 2  # A larger range is drawn on a logarithmic scale.
# Colours that also people who see few colours can tell apart (Okabe and Ito), dark
# enough for a white page.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#8a6d00",
    "#5b4bb5",
    "#444444",
    "#b22234",
)
# Matplotlib's axes overflow with larger values, so those are drawn at this one.
LARGEST = 1e100
# The order of the charts: the quantities between the first and the last are losses.
FIRST = ("loss",)
LAST = ("gradient_norm", "learning_rate", "images_per_second")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "svg.fonttype": "none",  # Text stays text, which can be searched.
    "svg.hashsalt": "movseg",  # Equal logs give equal files.
    # Names come from files: they are plain text, not formulas.
    "text.usetex": False,
    "text.parse_math": False,
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training curves</title>
<style>
body { background: #fff; color: #1a1a1a; margin: 1.5rem auto; max-width: 1500px;
  padding: 0 1rem; font: 14px/1.5 system-ui, sans-serif; }
svg { width: 100%; height: auto; }
</style>
</head>
<body>
FIGURE
<p>CAPTION</p>
</body>
</html>
"""
_CAPTION = (
    "Thin lines are the logged values, thick lines their average over the nearest 4% "
    "of the rows. Values that were not finite are gaps."
)
_EMPTY = "Nothing has been logged yet."


class Run(NamedTuple):
    """The log of a run, by quantity.

    Attributes:
        name: The run's name, different from those of the other runs.
        quantities: Steps and values by (kind of row, name); values are NaN where they
            were not finite.
        step: The last step.
        seconds: The time spent until then.
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
        workdirs: The runs' folders, at most as many as there are `COLOURS`.
        out: A .html, .svg or .png file; by default `curves.html` in the first folder,
            which is replaced.
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
    if target.suffix not in (".html", ".svg", ".png"):
        raise InputError(f"{target}: expected a name that ends in .html, .svg or .png.")
    if out is not None and target.exists() and not overwrite:
        raise InputError(
            f"{target}: exists already.", way_out="`overwrite=True` replaces it."
        )
    names = _names(workdirs)
    runs = [read_run(path, name) for path, name in zip(workdirs, names, strict=True)]
    figure = draw(runs)
    make_folder(target.parent)
    write_file(target, encode_figure(figure, target.suffix))
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    step = max(run.step for run in runs)
    return f"{what} up to step {step}, {len(figure.axes)} charts: {target}"


def read_run(workdir: Path, name: str) -> Run:
    """Reads a run's log.

    Raises:
        InputError: It is missing, damaged or beyond `MAX_QUANTITIES` or `MAX_VALUES`.
    """
    columns: dict[tuple[str, str], tuple[array, array]] = {}
    last = 0
    seconds = 0.0
    count = 0
    for row in read_log(workdir):
        step = row.pop("step")
        kind = row.pop("kind", "")
        last = max(last, step)
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
    return Run(name, quantities, last, seconds)


def draw(runs: Sequence[Run]) -> "Figure":
    """Draws a chart for every quantity: losses, the rest of training, evaluations.

    Raises:
        InputError: There are more than `MAX_QUANTITIES`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    keys = dict.fromkeys(key for run in runs for key in run.quantities)
    if len(keys) > MAX_QUANTITIES:
        raise InputError(
            f"The runs have {len(keys)} quantities together, expected up to "
            f"{MAX_QUANTITIES} (plot.MAX_QUANTITIES)."
        )
    rows = -(-len(keys) // COLUMNS)
    header = 0.3 * len(runs) + 0.3  # Inches, as all sizes here.
    height = header + 2.5 * rows
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13.2, height))
        for i, run in enumerate(runs):
            y = 1 - (0.3 * i + 0.25) / height
            text = f"{run.name}: {_latest(run) if keys else _EMPTY}"
            # The swatch is a line, since not every font has a block.
            figure.add_artist(_swatch(y, COLOURS[i]))
            figure.text(0.045, y, text, va="center", size=11)
        # Stable: quantities of the same place stay in the order they were logged in.
        for i, key in enumerate(sorted(keys, key=_place)):
            _draw_chart(figure.add_subplot(rows, COLUMNS, i + 1), key, runs)
        if rows:
            figure.subplots_adjust(
                left=0.045,
                right=0.99,
                top=1 - (header + 0.25) / height,
                bottom=0.5 / height,
                wspace=0.2,
                hspace=0.5,
            )
    return figure


def _place(key: tuple[str, str]) -> tuple[bool, bool, int]:
    kind, name = key
    others = LAST.index(name) + 1 if name in LAST else 0
    return kind == EVALUATION, name not in FIRST, others


def _swatch(y: float, colour: str):
    from matplotlib.lines import Line2D

    return Line2D([0.015, 0.037], [y, y], color=colour, linewidth=3)


def _draw_chart(axes: "Axes", key: tuple[str, str], runs: Sequence[Run]) -> None:
    """Draws one quantity of all runs."""
    kind, name = key
    curves = {
        colour: _drawable(*run.quantities[key])
        for colour, run in zip(COLOURS, runs, strict=False)
        if key in run.quantities
    }
    title = _clean(f"{kind}: {name}" if kind else name.replace("_", " "))
    values = np.concatenate([values for _, values in curves.values()])
    values = values[np.isfinite(values)]
    axes.set_xlabel("step")
    if not len(values):
        axes.set_title(title, loc="left", weight="bold")
        axes.text(0.5, 0.5, "no finite value", ha="center", transform=axes.transAxes)
        return
    # Equal ratios of losses and rates mean as much as equal differences.
    ratios = kind != EVALUATION and name != "images_per_second"
    if ratios and 0 < values.min() < values.max() / 10**DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # The default is a formula.
        title += " (logarithmic scale)"
    axes.set_title(title, loc="left", weight="bold")
    noisy = kind != EVALUATION and name != "learning_rate"
    for colour, (steps, logged) in curves.items():
        radius = len(logged) // SMOOTHING
        smooth = logged
        if noisy and radius >= 2:
            axes.plot(steps, logged, color=colour, linewidth=0.8, alpha=0.35)
            smooth = moving_average(logged, radius)
        marked = np.isfinite(smooth) if kind == EVALUATION else _alone(smooth)
        axes.plot(
            steps,
            smooth,
            color=colour,
            linewidth=1.8,
            marker="o",
            markersize=4,
            markevery=np.flatnonzero(marked).tolist(),
            zorder=3,  # No run's thin line hides another's thick one.
        )
    if axes.get_yscale() == "linear" and 0 < values.min() < values.max() / 2:
        axes.set_ylim(bottom=0)


def _drawable(steps, values):
    """Returns the curve with its values limited to `LARGEST`."""
    return steps, np.clip(values, -LARGEST, LARGEST)


def _alone(values: Float64[np.ndarray, " n"]) -> np.ndarray:
    """Finds values between gaps, which a line without markers would not show."""
    finite = np.pad(np.isfinite(values), 1)
    return finite[1:-1] & ~finite[:-2] & ~finite[2:]


def moving_average(
    values: Float64[np.ndarray, " n"], radius: int
) -> Float64[np.ndarray, " n"]:
    """The means over up to `radius` neighbours on each side and the value itself.

    A value that is not finite stays out of the means and is NaN in the result.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.full_like(values, np.nan)
    sums = np.cumsum([0.0, *np.where(finite, values, 0.0)])
    counts = np.cumsum([0, *finite])
    places = np.arange(len(values))
    first = np.maximum(places - radius, 0)
    end = np.minimum(places + radius + 1, len(values))
    means = (sums[end] - sums[first]) / np.maximum(counts[end] - counts[first], 1)
    # The difference of two large sums can be off by more than a small value.
    means = np.clip(means, values[finite].min(), values[finite].max())
    return np.where(finite, means, np.nan)


def _names(workdirs: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where these are the same."""
    names = [workdir.resolve().name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    return [_clean(name) for name in names]


def _clean(name: str) -> str:
    """Returns a name from a file without what cannot be printed, and not too long."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return text if len(text) <= 60 else f"{text[:20]}…{text[-39:]}"


def _latest(run: Run) -> str:
    """The text beside a run's name: how far it is."""
    _, losses = run.quantities.get(("", "loss"), ([], []))
    loss = f"{losses[-1]:.4g}" if len(losses) else "none"
    # A log can claim anything; a timedelta ends at 10^9 days.
    spent = datetime.timedelta(seconds=round(min(max(run.seconds, 0), 1e12)))
    return f"step {run.step}, loss {loss}, {spent} spent"


def encode_figure(
    figure: "Figure", suffix: str, *, title: str = "Training curves"
) -> bytes:
    """Returns a figure as the bytes of a .png, .svg or .html file."""
    import matplotlib

    # Without metadata, since the default ones hold the time and addresses.
    options: dict[str, Any]
    if suffix == ".png":
        options = {"dpi": 200, "metadata": {"Title": title}}
    else:
        names = ("Creator", "Date", "Format", "Type")
        options = {"metadata": dict.fromkeys(names)}
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name may have letters that the font lacks; a box is drawn for them.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format="png" if suffix == ".png" else "svg", **options)
    if suffix != ".html":
        return file.getvalue()
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]  # HTML has no XML declaration or second doctype.
    caption = _CAPTION if figure.axes else _EMPTY
    return _PAGE.replace("CAPTION", caption).replace("FIGURE", svg).encode()
