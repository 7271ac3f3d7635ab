"""Curves over steps, turned into lines and texts on a rectangle.

`lay_out` decides what a chart looks like: ranges, ticks, smoothing. It returns shapes
in pixels, x to the right and y down, which `plot` writes as SVG or paints.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

WIDTH, HEIGHT = 440, 250  # Pixels of a chart.
LEFT, RIGHT, TOP, BOTTOM = 52, WIDTH - 14, 34, HEIGHT - 38  # Edges of its axes.
STRIPS = 48  # Places to point at, over the width of a chart.
SMOOTHING = 50  # A curve of n rows is smoothed over n / 50 neighbours to each side.
DECADES = 2  # A range of more is drawn on a logarithmic scale.


Style = Literal["noisy", "exact", "dots"]


class Curve(NamedTuple):
    """What one run logged of one quantity.

    Attributes:
        run: Number of the run, which decides the colour.
        name: Of the run.
        steps: Increasing.
        values: NaN where the value was not finite.
    """

    run: int
    name: str
    steps: Float64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]


class Chart(NamedTuple):
    """One quantity of all runs.

    Attributes:
        title: Its name.
        curves: One per run that logged it.
        rates: Whether equal ratios mean as much as equal differences, so that a
            logarithmic scale suits it.
        style: "noisy" values are drawn thin, an average of them thick; "dots" marks
            every value.
    """

    title: str
    curves: Sequence[Curve]
    rates: bool = False
    style: Style = "noisy"


class Line(NamedTuple):
    """Connected points; a dot if it is one only."""

    points: Float64[np.ndarray, "n 2"]
    style: Literal["grid", "axis", "raw", "curve"]
    run: int = 0


class Text(NamedTuple):
    """Text whose baseline starts, is centred or ends at (x, y)."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"]
    style: Literal["tick", "title"] = "tick"


class Strip(NamedTuple):
    """The part of the axes from x to x + width, and the values there."""

    x: float
    width: float
    text: str


class Axis(NamedTuple):
    """Maps values to pixels.

    Attributes:
        low: Value at the pixel `start`; its log10 on a logarithmic axis.
        high: Value at the pixel `end`, likewise.
        ticks: Pairs of value and label.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[tuple[float, str]]

    def pixels(self, values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Where the values are."""
        values = np.log10(values) if self.log else values
        share = (values - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def lay_out(chart: Chart) -> list[Line | Text | Strip]:
    """The shapes of a chart, those in front last."""
    steps = np.concatenate([curve.steps for curve in chart.curves])
    values = np.concatenate([curve.values for curve in chart.curves])
    values = values[np.isfinite(values)]
    if not len(values):
        return [
            Text(LEFT, 20, chart.title, "start", "title"),
            Text((LEFT + RIGHT) / 2, HEIGHT / 2, "no finite value", "middle"),
        ]
    log = chart.rates and 0 < values.min() < values.max() / 10**DECADES
    x = _axis(steps, LEFT, RIGHT, most=6)
    y = _log_axis(values) if log else _axis(values, BOTTOM, TOP, most=5, margin=0.04)
    title = chart.title + (" (logarithmic scale)" if log else "")
    shapes: list[Line | Text | Strip] = [
        Text(LEFT, 20, title, "start", "title"),
        *_frame(x, y),
    ]
    front: list[Line] = []  # No run's thin lines may hide another's thick one.
    for curve in chart.curves:
        radius = len(curve.values) // SMOOTHING
        if chart.style == "noisy" and radius >= 2:
            shapes += _lines(curve, "raw", x, y)
            curve = curve._replace(values=moving_average(curve.values, radius))
        lines = _lines(curve, "curve", x, y)
        front += lines
        if chart.style == "dots":
            front += [
                line._replace(points=point[None])
                for line in lines
                for point in line.points
            ]
    return shapes + front + _strips(chart.curves, x)


def moving_average(
    values: Float64[np.ndarray, " n"], radius: int
) -> Float64[np.ndarray, " n"]:
    """Means over up to `radius` neighbours on each side and the value itself.

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


def linear_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Up to `most` + 1 multiples of 1, 2 or 5 times a power of ten, and labels."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(d for d in (1, 2, 5, 10) if d * power >= least * (1 - 1e-9)) * power
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    ticks = [i * step for i in range(first, last + 1)]
    largest = max(map(abs, ticks))
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if size <= step * (1 + 1e-9) and largest < 1e12:
            return [
                (tick, f"{tick / size:.6g}{unit}" if tick else "0") for tick in ticks
            ]
    digits = max(1 + math.ceil(math.log10(largest / step)), 6)
    return [(tick, f"{tick:.{digits}g}") for tick in ticks]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Up to ten round values between 10**low and 10**high, and labels."""
    low, high = max(low, -307.0), min(high, 307.0)  # What floats can express.
    every = math.ceil((high - low) / 8)
    digits = (1, 2, 5) if high - low < 3 else (1,)
    values = [
        digit * 10.0**power
        for power in range(math.floor(low), math.floor(high) + 1)
        for digit in digits
        if power % every == 0 and low <= power + math.log10(digit) <= high
    ]
    return [(value, f"{value:g}") for value in values]


def _axis(values, start, end, *, most, margin=0.0):
    """A linear axis; from 0 if the values are not far from it."""
    low, high = float(values.min()), float(values.max())
    if 0 < low < high / 2:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-200):
        spread = abs(high) / 10 if abs(high) > 1e-200 else 1.0
        low, high = low - spread, high + spread
    spread = margin * (high - low)
    low, high = low - (spread if low else 0.0), high + spread
    return Axis(low, high, start, end, False, linear_ticks(low, high, most))


def _log_axis(values):
    low, high = np.log10(values.min()), np.log10(values.max())
    margin = 0.04 * (high - low)
    low, high = float(low - margin), float(high + margin)
    return Axis(low, high, BOTTOM, TOP, True, log_ticks(low, high))


def _frame(x, y):
    """Grid, axes and the texts at their ticks."""
    for value, label in y.ticks:
        at = float(y.pixels(np.array([value]))[0])
        yield Line(np.array([[LEFT, at], [RIGHT, at]]), "grid")
        yield Text(LEFT - 6, at + 4, label, "end")
    for value, label in x.ticks:
        at = float(x.pixels(np.array([value]))[0])
        yield Line(np.array([[at, BOTTOM], [at, BOTTOM + 4.0]]), "axis")
        yield Text(at, BOTTOM + 17, label, "middle")
    yield Line(np.array([[LEFT, TOP], [LEFT, BOTTOM], [RIGHT, BOTTOM]]) * 1.0, "axis")
    yield Text((LEFT + RIGHT) / 2, BOTTOM + 33, "step", "middle")


def _lines(curve, style, x, y):
    """A curve, in pieces where values are not finite."""
    kept = _thinned(curve, x)
    if not len(kept):
        return []
    points = np.stack(
        [x.pixels(curve.steps[kept]), y.pixels(curve.values[kept])], axis=1
    )
    gaps = np.cumsum(~np.isfinite(curve.values))[kept]
    pieces = np.split(points, np.flatnonzero(np.diff(gaps)) + 1)
    return [Line(piece, style, curve.run) for piece in pieces]


def _thinned(curve, x):
    """Indices of the least and the greatest value in every column of pixels."""
    finite = np.flatnonzero(np.isfinite(curve.values))
    columns = np.floor(x.pixels(curve.steps[finite]))
    order = np.lexsort((curve.values[finite], columns))
    edges = np.flatnonzero(np.diff(columns[order]))
    ends = [*order[:1], *order[edges], *order[edges + 1], *order[-1:]]
    return finite[np.unique(np.array(ends, int))]


def _strips(curves, x):
    """What to show where the reader points: for every run, the row nearest there."""
    edges = np.linspace(LEFT, RIGHT, STRIPS + 1)
    near: list[list[str]] = [[] for _ in range(STRIPS)]
    for curve in curves:
        places = x.pixels(curve.steps)
        for lines, start, end in zip(near, edges[:-1], edges[1:], strict=True):
            i = int(np.searchsorted(places, (start + end) / 2))
            i = min((i - 1, i), key=lambda i: _distance(places, i, (start + end) / 2))
            if start - 1e-6 <= places[i] <= end + 1e-6:
                value = curve.values[i]
                text = f"{value:.4g}" if np.isfinite(value) else "not finite"
                lines.append(f"{curve.name}, step {curve.steps[i]:.0f}: {text}")
    return [
        Strip(float(start), float(end - start), "\n".join(lines))
        for lines, start, end in zip(near, edges[:-1], edges[1:], strict=True)
        if lines
    ]


def _distance(places, i, place):
    return abs(places[i] - place) if 0 <= i < len(places) else math.inf
