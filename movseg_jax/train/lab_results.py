"""The results of the fusion lab: intervals, the table, JSON and the picture."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from movseg_jax.train.cost import Cost
from movseg_jax.train.lab_settings import LabConfig
from movseg_jax.train.plot import COLOURS, STYLE, encode_figure

# Matplotlib takes half a second to import, so only the function that draws does.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
LEVEL = 0.95
# What `train.evaluating` measures, with the titles of the columns; all are shares.
MEASURES = {"mask_ap50": "mask AP50", "box_ap50": "box AP50", "j": "J"}


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Attributes:
        mean: The mean.
        low: The lower end of the interval; None if there is only one value.
        high: The upper end.
    """

    mean: float
    low: float | None
    high: float | None


class Trained(NamedTuple):
    """A trained model and how good it is.

    Attributes:
        seed: The seed of its parameters and of the order of its examples.
        folder: The folder of its run, which also holds its weights.
        measures: The values of `MEASURES`, from 0 to 1; None where nothing could be
            measured.
        seconds_per_step: The median time of a step, without compiling.
    """

    seed: int
    folder: str
    measures: dict[str, float | None]
    seconds_per_step: float | None


class Arm(NamedTuple):
    """The models of one config.

    Attributes:
        name: The arm's name.
        cost: The size of the model and the cost of a frame.
        models: The trained models, one for each seed.
    """

    name: str
    cost: Cost
    models: tuple[Trained, ...]

    def values(self, measure: str) -> list[float]:
        """Returns a measure of each model; nothing if one of them lacks it."""
        found = [model.measures[measure] for model in self.models]
        return [] if None in found else [value for value in found if value is not None]

    @property
    def seconds_per_step(self) -> float | None:
        """The median over the models; None if it is not known."""
        known = [m.seconds_per_step for m in self.models if m.seconds_per_step]
        return statistics.median(known) if known else None


@dataclasses.dataclass(frozen=True)
class LabResults:
    """The measurements of the fusion lab.

    Attributes:
        arms: The arms; the others are compared with the first one.
        config: The scenes and the number of seeds.
    """

    arms: tuple[Arm, ...]
    config: LabConfig

    def interval(self, arm: Arm, measure: str) -> Interval | None:
        """Returns the mean of a measure over the seeds; None if there is none."""
        return mean_interval(arm.values(measure))

    def difference(self, arm: Arm, measure: str) -> Interval | None:
        """Returns the mean difference of a measure to the first arm; None without one.

        It is taken seed by seed: models of one seed see the same examples in the same
        order, and start from the same parameters where they have the same layers.
        """
        pairs = zip(arm.values(measure), self.arms[0].values(measure), strict=False)
        return mean_interval([one - other for one, other in pairs])

    def table(self) -> str:
        """Returns the results and the differences as tables in Markdown."""
        rows = [["arm", *MEASURES.values(), "parameters", "in fusion"]]
        rows[0] += ["GFLOP", "in fusion", "s/step"]
        for arm in self.arms:
            cost = arm.cost
            seconds = arm.seconds_per_step
            rows.append(
                [
                    arm.name,
                    *(_percent(self.interval(arm, measure)) for measure in MEASURES),
                    f"{cost.parameters:,}",
                    f"{cost.fusion_parameters:,}",
                    f"{cost.flops / 1e9:.3g}",
                    f"{cost.fusion_flops / 1e9:.3g}",
                    "" if seconds is None else f"{seconds:.3g}",
                ]
            )
        first, *others = self.arms
        changes = [[f"difference to {first.name}", *MEASURES.values()]]
        for arm in others:
            cells = (_percent(self.difference(arm, name), "+") for name in MEASURES)
            changes.append([arm.name, *cells])
        tables = [_aligned(rows), *([_aligned(changes)] if others else [])]
        return "\n\n".join([*tables, self._how_to_read()])

    def _how_to_read(self) -> str:
        config = self.config
        return (
            f"AP and J are percentages: the mean over seeds ({config.seeds}) and, in "
            f"brackets, Student's {LEVEL:.0%} t-interval of the mean. It covers the "
            "randomness of training, not the choice of scenes: all models were trained "
            f"on the same {config.clips} clips and evaluated on the same "
            f"{config.held_out} others. Differences are taken seed by seed."
        )

    def files(self) -> dict[str, bytes]:
        """Returns the JSON, the tables and the picture as files, by suffix."""
        return {
            ".json": (json.dumps(self.to_json(), indent=1) + "\n").encode(),
            ".md": (self.table() + "\n").encode(),
            ".png": encode_figure(self.draw(), ".png", title="Fusion lab"),
        }

    def to_json(self) -> dict[str, Any]:
        """Returns all numbers as JSON. AP and J are from 0 to 1."""
        arms = []
        for arm in self.arms:
            about = arm._asdict() | {"cost": arm.cost._asdict()}
            about["models"] = [model._asdict() for model in arm.models]
            about["seconds_per_step"] = arm.seconds_per_step
            for key, function in (
                ("measures", self.interval),
                ("difference", self.difference),
            ):
                found = {name: function(arm, name) for name in MEASURES}
                about[key] = {k: v and v._asdict() for k, v in found.items()}
            arms.append(about)
        return {
            "format": FORMAT,
            "interval": f"Student's {LEVEL:.0%} t-interval of the mean over seeds",
            "compared_with": self.arms[0].name,
            "config": dataclasses.asdict(self.config),
            "arms": arms,
        }

    def draw(self) -> "Figure":
        """Draws each arm's mean and interval, and below them a dot for each model."""
        import matplotlib
        from matplotlib.figure import Figure

        places = range(len(self.arms))[::-1]
        with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
            size = (4.2 * len(MEASURES), 1.2 + 0.45 * len(self.arms))
            figure = Figure(figsize=size, layout="constrained")
            charts = figure.subplots(1, len(MEASURES), sharey=True)
            for axes, (measure, title) in zip(charts, MEASURES.items(), strict=True):
                axes.set_title(title, loc="left", weight="bold")
                axes.set_xlabel("percent")
                axes.set_yticks(places, [arm.name for arm in self.arms])
                axes.set_ylim(-0.6, len(self.arms) - 0.4)
                for i, (place, arm) in enumerate(zip(places, self.arms, strict=True)):
                    colour = COLOURS[i % len(COLOURS)]
                    _draw_arm(axes, place, arm.values(measure), colour)
        return figure


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Returns the mean and Student's t-interval of some values; None without values.

    The interval holds for independent values of a normal distribution. With few values
    it is wide: for three at 95 % it is 2.5 standard deviations to each side.

    Args:
        values: The values.
        level: The probability that such an interval holds the true mean.
    """
    from scipy.stats import t  # It takes half a second to import.

    if not values:
        return None
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Interval(mean, None, None)
    reach = float(t.ppf((1 + level) / 2, n - 1)) * statistics.stdev(values) / n**0.5
    return Interval(mean, mean - reach, mean + reach)


def _draw_arm(axes, place: int, values: Sequence[float], colour: str) -> None:
    interval = mean_interval([100 * value for value in values])
    if interval is None:
        return
    if interval.low is not None:
        ends = [interval.low, interval.high]
        axes.plot(ends, [place, place], color=colour, linewidth=2)
    shown = [100 * value for value in values]
    axes.scatter(shown, [place - 0.2] * len(shown), s=14, color=colour, alpha=0.6)
    axes.scatter([interval.mean], [place], s=44, marker="D", color=colour, zorder=3)


def _percent(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return ""
    mean, *ends = (None if end is None else 100 * end for end in interval)
    text = f"{mean:{sign}.1f}"
    return text if None in ends else f"{text} ({ends[0]:.1f} to {ends[1]:.1f})"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown with aligned columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    rule = [f"{'-' * widths[0]}", *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])
