"""Computes the numbers of an evaluation, with intervals and remarks, also as JSON.

Equal predictions and truth give equal bytes: the JSON has neither times nor paths, and
sequences are sorted by name.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from movseg_jax.evaluation import bootstrap
from movseg_jax.evaluation.detection_files import FOREGROUND_SCORE
from movseg_jax.evaluation.evaluate import Measured
from movseg_jax.evaluation.predictions import FLAT
from movseg_jax.evaluation.protocols import MetricSet, Number, Protocol
from movseg_jax.metrics.base import State, TrackMetric
from movseg_jax.metrics.reference import COUNTS, reference_results
from movseg_jax.report.html import counted
from movseg_jax.system.process import installed_version

APART = 10  # Frames that are shown are at least 1 / APART of the sequence apart.
MOST_OF_ONE = 3  # Largest number of frames of a sequence that are shown.


class Value(NamedTuple):
    """A number of the data set.

    Attributes:
        value: Value; NaN if there is nothing to measure.
        interval: Ends of its interval; None if there is none.
        about: Title and convention.
    """

    value: float
    interval: tuple[float, float] | None
    about: Number


class WorstFrame(NamedTuple):
    """A frame that is among the worst.

    Attributes:
        sequence: Number of the sequence.
        frame: Number of the frame among the annotated ones.
        score: Score, 0 to 1.
    """

    sequence: int
    frame: int
    score: float


@dataclasses.dataclass(frozen=True)
class Results:
    """The numbers of an evaluation.

    Attributes:
        measured: Scores that they are computed from.
        values: Numbers of the data set by name.
        by_sequence: Numbers of each sequence, by the sequence's name and their own.
    """

    measured: Measured
    values: Mapping[str, Value]
    by_sequence: Mapping[str, Mapping[str, float]]

    def metric_sets(self) -> list[tuple[MetricSet, list[str]]]:
        """Each metric set with the names of its numbers."""
        protocol = self.measured.protocol
        found = []
        for metric_set in protocol.metric_sets:
            names = [_name(protocol, metric_set, key) for key in metric_set.numbers]
            found.append((metric_set, [name for name in names if name in self.values]))
        return found


def summarise(measured: Measured) -> Results:
    """Computes the numbers of the data set and of every sequence."""
    values: dict[str, Value] = {}
    names = [task.truth.name for task in measured.tasks]
    by_sequence: dict[str, dict[str, float]] = {name: {} for name in names}
    for metric_set in measured.protocol.metric_sets:
        metric = metric_set.make(measured.request.settings)
        states = [scored.scores[metric_set.name] for scored in measured.scored]
        numbers = _compute(metric, states)
        ends = bootstrap.intervals(
            functools.partial(_compute, metric), states, measured.request.draws
        )
        alone = [metric.compute(state) for state in states]
        for key, about in metric_set.numbers.items():
            if key not in numbers:  # T or overlaps, where they are not measured.
                continue
            name = _name(measured.protocol, metric_set, key)
            values[name] = Value(float(numbers[key]), ends[key], about)
            for found, own in zip(by_sequence.values(), alone, strict=True):
                found[name] = float(own.get(key, math.nan))
    return Results(measured, values, by_sequence)


def _compute(metric: TrackMetric, states: Sequence[State]) -> dict[str, float]:
    return metric.compute(metric.merge(states))


def _name(protocol: Protocol, metric_set: MetricSet, key: str) -> str:
    """The name of a number, unique in the protocol."""
    several = len(protocol.metric_sets) > 1
    return f"{metric_set.name}: {key}" if several else key


def worst_frames(measured: Measured, most: int) -> list[WorstFrame]:
    """The frames with the lowest scores by the protocol's first metric, worst first.

    Neighbours look alike, so the frames that are chosen of a sequence are apart.
    """
    first = measured.protocol.metric_sets[0].name
    ranked: list[tuple[float, int, WorstFrame]] = []
    for number, (task, scored) in enumerate(
        zip(measured.tasks, measured.scored, strict=True)
    ):
        own = _worst_of_sequence(number, task.truth.names, scored.scores[first])
        ranked += [(worst.score, rank, worst) for rank, worst in enumerate(own)]
    # Ranks come second, so that equally bad frames are of many sequences.
    return [worst for _, _, worst in sorted(ranked)[:most]]


def _worst_of_sequence(
    number: int, names: Sequence[str], state: State
) -> list[WorstFrame]:
    places = {name: i for i, name in enumerate(names)}
    rows = sorted((value, places[name]) for name, value in state.frames.items())
    chosen: list[WorstFrame] = []
    for value, place in rows:
        near = any(abs(place - c.frame) * APART < len(names) for c in chosen)
        if math.isfinite(value) and not near and len(chosen) < MOST_OF_ONE:
            chosen.append(WorstFrame(number, place, float(value)))
    return chosen


# For readers -----------------------------------------------------------------------


class Published(NamedTuple):
    """A table of published numbers.

    Attributes:
        head: Titles of the columns.
        rows: Rows as printed there: a method, its numbers, its source.
        notes: Remarks to read before comparing.
    """

    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def published(results: Results) -> Published | None:
    """The numbers published for this protocol and split; None if there are none."""
    measured = results.measured
    split = measured.truth.split.removeprefix("moving_")
    dataset = measured.protocol.dataset or "davis2016"  # The paper's for detection.
    found = [
        row
        for row in reference_results(measured.request.protocol)
        if (measured.truth.dataset, split) == (dataset, row.split)
    ]
    if not found:
        return None
    keys = [*dict.fromkeys(key for row in found for key in row.values)]
    titles = {
        _plain_key(key): about.title
        for metric_set in measured.protocol.metric_sets
        for key, about in metric_set.numbers.items()
    }
    head = ["Method", *(titles.get(_plain_key(key), key) for key in keys), "Source"]
    rows = [
        [
            row.method,
            *(_as_printed(key, row.values.get(key)) for key in keys),
            row.source,
        ]
        for row in found
    ]
    return Published(head, rows, [*dict.fromkeys(r.note for r in found if r.note)])


def _plain_key(key: str) -> str:
    return key.lower().replace("-", "_")


def _as_printed(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if key in COUNTS else f"{value:.1f}"


def headline(results: Results) -> str:
    """A line that says what was measured."""
    measured = results.measured
    truth = measured.truth
    of = f"{truth.dataset} {truth.split}".strip() or "two folders"
    count = sum(len(measured.protocol.measured(t.truth)) for t in measured.tasks)
    return (
        f"{measured.protocol.text}; {of}, {counted(len(measured.tasks), 'sequence')}, "
        f"{counted(count, 'frame')} measured"
    )


def notes(results: Results) -> list[str]:
    """The remarks that a reader of the numbers needs."""
    measured = results.measured
    found = [f"Frames left out: {LEFT_OUT[measured.protocol.left_out]}."]
    found += _about_truth(measured)
    if any(task.prediction.detections is not None for task in measured.tasks):
        found.append(
            f"Foreground: all masks of detections with a score above "
            f"{FOREGROUND_SCORE}."
            if measured.protocol.foreground
            else f"Objects: {_objects(measured)}. Boxes are the detector's own."
        )
    if _flat(measured, "tracking"):
        found.append(
            "Some predictions have one track per pixel, so no tracks can overlap: they "
            "are left out of the shares of frames with overlaps."
        )
    if _flat(measured, "detection"):
        found.append(
            "Some predictions are without scores: all scores are 1, so precision is "
            "that of all detections together."
        )
    rules = [task.matched.rule for task in measured.tasks]
    for rule in sorted(set(rules)):
        count = rules.count(rule)
        found.append(f"Frames matched {rule} ({counted(count, 'sequence')}).")
    absent = sum(len(task.matched.absent) for task in measured.tasks)
    extra = sum(len(task.matched.extra) for task in measured.tasks)
    if absent:
        found.append(f"Missing, but not measured: {counted(absent, 'frame')}.")
    for task, scored in zip(measured.tasks, measured.scored, strict=True):
        if scored.note:
            found.append(f"{task.truth.name}: {scored.note}.")
    if extra or measured.extra:
        found.append(
            f"Not in the data set, left out: {counted(extra, 'frame')} and "
            f"{counted(len(measured.extra), 'sequence')}."
        )
    return found


def _about_truth(measured: Measured) -> list[str]:
    """The remarks about the sequences and their objects."""
    found = []
    if len(measured.tasks) < len(measured.truth.members):
        found.append(
            f"Only a part: {len(measured.tasks)} of {len(measured.truth.members)} "
            "sequences."
        )
    expected = measured.truth.expected
    if expected and expected != len(measured.truth.members):
        found.append(
            f"This split lists {len(measured.truth.members)} sequences, the official "
            f"one has {expected}."
        )
    if (
        measured.name == "davis17-unsupervised"
        and measured.truth.options["task"] is None
    ):
        found.append(
            "The truth is that of the semi-supervised challenge, not that in "
            "Annotations_unsupervised."
        )
    groups = sum(map(len, measured.truth.options.get("joined", {}).values()))
    if groups:
        found.append(
            f"Objects that move as one are one object: {counted(groups, 'group')}."
        )
    return found


def _objects(measured: Measured) -> str:
    if measured.truth.is_foreground:
        return "all that move are one in each frame"
    return "each instance is one"


def _flat(measured: Measured, name: str) -> bool:
    """Whether the set measures predictions with one track a pixel, without scores."""
    measures = any(own.name == name for own in measured.protocol.metric_sets)
    return measures and any(task.prediction.kind in FLAT for task in measured.tasks)


def show(value: float, about: Number) -> str:
    """Formats a number for a table."""
    if not math.isfinite(value):
        return "-"
    if about.percent:
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"


# As JSON ---------------------------------------------------------------------------


def to_json(results: Results) -> bytes:
    """Returns the content of metrics.json."""
    measured = results.measured
    protocol, request = measured.protocol, measured.request
    content = {
        "movseg eval": request.protocol,  # It comes first, see REPORT_HEAD.
        "version": own_version(),
        "protocol": protocol.text,
        "dataset": {
            "name": measured.truth.dataset,
            "split": measured.truth.split,
            "options": measured.truth.options,
            "sequences": len(measured.tasks),
            "sequences_of_split": len(measured.truth.members),
            "sequences_of_official_split": measured.truth.expected,
            "frames": sum(len(task.truth.frames) for task in measured.tasks),
        },
        "settings": {
            name: getattr(request.settings, name) for name in sorted(protocol.settings)
        },
        "left_out_frames": LEFT_OUT[protocol.left_out],
        "intervals": {
            "level": bootstrap.LEVEL,
            "draws": request.draws,
            "seed": bootstrap.SEED,
            "method": BOOTSTRAP,
        },
        "extra_sequences": list(measured.extra),
        "numbers": {
            name: {
                "value": _plain(value.value),
                "interval": [*map(_plain, value.interval)] if value.interval else None,
                "convention": value.about.text,
            }
            for name, value in results.values.items()
        },
        "sequences": {
            name: _sequence(results, number, numbers)
            for number, (name, numbers) in enumerate(results.by_sequence.items())
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=True)
    return (text + "\n").encode("ascii")


LEFT_OUT = {
    "none": "none",
    "ends": "the first and the last of every sequence",
    "last": "the last of every video, which has no flow",
}
BOOTSTRAP = (
    "percentiles of the numbers of sequences drawn with replacement, as many as there "
    "are; the same draws for all numbers; draws in which a number is not defined are "
    "left out"
)


def _sequence(
    results: Results, number: int, numbers: Mapping[str, float]
) -> dict[str, Any]:
    measured = results.measured
    task = measured.tasks[number]
    scored = measured.scored[number]
    first = scored.scores[measured.protocol.metric_sets[0].name]
    return {
        "numbers": {name: _plain(value) for name, value in numbers.items()},
        "frames": {
            "video": len(task.truth.video),
            "annotated": len(task.truth.frames),
            "measured": len(measured.protocol.measured(task.truth)),
        },
        "matched": task.matched.rule,
        "missing_frames_not_measured": list(task.matched.absent),
        "extra_frames_not_measured": list(task.matched.extra),
        "prediction": task.prediction.kind,
        "note": scored.note,
        "truth_sha256": scored.truth_digest,
        "prediction_sha256": scored.prediction_digest,
        "frame_scores": {name: _plain(v) for name, v in first.frames.items()},
    }


def _plain(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def own_version() -> str:
    """The version of this package, for results."""
    return installed_version() or "not installed"
