"""What an evaluation found: numbers with their intervals, and all of it as JSON.

Equal predictions and truth give equal bytes: no times, no paths, sequences by name.
"""

import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from movseg_jax.evaluation import bootstrap
from movseg_jax.evaluation.evaluate import Measured
from movseg_jax.evaluation.metric_sets import Context, Group, Number
from movseg_jax.evaluation.protocols import Protocol
from movseg_jax.metrics.base import SequenceScore

APART = 10  # Of the frames of a sequence, the fewest parts between two that are shown.
MOST_OF_ONE = 3  # Frames of a sequence that are shown.


class Value(NamedTuple):
    """A number of the data set.

    Attributes:
        value: NaN if there is nothing to measure.
        interval: Its ends; None if there is none.
        about: How to read it.
    """

    value: float
    interval: tuple[float, float] | None
    about: Number


class WorstFrame(NamedTuple):
    """A frame that is among the worst.

    Attributes:
        sequence: Number of the sequence.
        frame: Number of the frame among the annotated ones.
        score: 0 to 1.
    """

    sequence: int
    frame: int
    score: float


@dataclasses.dataclass(frozen=True)
class Results:
    """The numbers of an evaluation.

    Attributes:
        measured: What they are of.
        values: Of the data set, by their names.
        by_sequence: Of each sequence, by the sequence's name and theirs.
    """

    measured: Measured
    values: Mapping[str, Value]
    by_sequence: Mapping[str, Mapping[str, float]]

    def groups(self) -> list[tuple[Group, list[str]]]:
        """Each group of measures with the names of its numbers."""
        protocol = self.measured.protocol
        named = (
            (g, [_name(protocol, g, key) for key in g.numbers]) for g in protocol.groups
        )
        return [
            (g, [name for name in names if name in self.values]) for g, names in named
        ]


def summarise(measured: Measured) -> Results:
    """The numbers of the data set and of every sequence."""
    values: dict[str, Value] = {}
    by_sequence: dict[str, dict[str, float]] = {
        t.truth.name: {} for t in measured.tasks
    }
    for group in measured.protocol.groups:
        measure = group.make(Context(measured.request.settings))
        scores = [scored.scores[group.name] for scored in measured.scored]
        numbers = measure.dataset(scores)
        ends = bootstrap.intervals(measure.dataset, scores, measured.request.draws)
        alone = [measure.dataset([score]) for score in scores]
        for key, about in group.numbers.items():
            if key not in numbers:  # T or overlaps, where they are not measured.
                continue
            name = _name(measured.protocol, group, key)
            values[name] = Value(float(numbers[key]), ends[key], about)
            for found, own in zip(by_sequence.values(), alone, strict=True):
                found[name] = float(own.get(key, math.nan))
    return Results(measured, values, by_sequence)


def _name(protocol: Protocol, group: Group, key: str) -> str:
    """Of a number among all of the protocol."""
    return f"{group.name}: {key}" if len(protocol.groups) > 1 else key


def worst_frames(measured: Measured, most: int) -> list[WorstFrame]:
    """The frames with the lowest scores of the protocol's first measure, worst first.

    Neighbours look alike, so of those of a sequence some that are apart are taken.
    """
    group = measured.protocol.groups[0].name
    ranked: list[tuple[float, int, WorstFrame]] = []
    for number, (task, scored) in enumerate(
        zip(measured.tasks, measured.scored, strict=True)
    ):
        own = _worst_of_sequence(number, task.truth.names, scored.scores[group])
        ranked += [(worst.score, rank, worst) for rank, worst in enumerate(own)]
    # Of equally bad ones, those of many sequences.
    return [worst for _, _, worst in sorted(ranked)[:most]]


def _worst_of_sequence(
    number: int, names: Sequence[str], score: SequenceScore
) -> list[WorstFrame]:
    places = {name: i for i, name in enumerate(names)}
    rows = sorted((value, places[name]) for name, value in score.frames.items())
    chosen: list[WorstFrame] = []
    for value, place in rows:
        near = any(abs(place - c.frame) * APART < len(names) for c in chosen)
        if math.isfinite(value) and not near and len(chosen) < MOST_OF_ONE:
            chosen.append(WorstFrame(number, place, float(value)))
    return chosen


# As JSON ---------------------------------------------------------------------------


def to_json(results: Results) -> bytes:
    """All that is known, as a file."""
    measured = results.measured
    protocol, request = measured.protocol, measured.request
    content = {
        "movseg eval": request.protocol,  # First: predictions.REPORT_HEAD.
        "version": own_version(),
        "protocol": protocol.text,
        "dataset": {
            "name": measured.truth.dataset,
            "split": measured.truth.split,
            "options": measured.truth.options,
            "sequences": len(measured.tasks),
            "sequences_of_split": len(measured.truth.members),
            "sequences_of_official_split": measured.truth.expected,
            "frames": sum(len(task.rows) for task in measured.tasks),
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
    task, matched = measured.tasks[number], measured.matched[number]
    scored = measured.scored[number]
    first = scored.scores[measured.protocol.groups[0].name]
    return {
        "numbers": {name: _plain(value) for name, value in numbers.items()},
        "frames": {
            "video": len(task.truth.video),
            "annotated": len(task.rows),
            "measured": len(measured.protocol.measured(task.truth)),
        },
        "matched": matched.rule,
        "missing_frames_not_measured": list(matched.absent),
        "extra_frames_not_measured": list(matched.extra),
        "prediction": task.prediction.kind,
        "note": scored.note,
        "truth_sha256": scored.truth_digest,
        "prediction_sha256": scored.prediction_digest,
        "frame_scores": {name: _plain(v) for name, v in first.frames.items()},
    }


def _plain(value: float) -> float | None:
    """A number of JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def own_version() -> str:
    """Of this package."""
    try:
        return importlib.metadata.version("movseg_jax")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
