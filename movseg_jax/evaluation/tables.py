"""The numbers of an evaluation as people read them: beside each other, with notes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from movseg_jax.evaluation.evaluate import Measured
from movseg_jax.evaluation.metric_sets import DETECTION, TRACKING, Group, Number
from movseg_jax.evaluation.predictions import FLAT
from movseg_jax.evaluation.results import LEFT_OUT, Results
from movseg_jax.metrics.reference import COUNTS, reference_results


def to_text(results: Results) -> str:
    """The numbers for a terminal: a line for each sequence, and for all of them."""
    parts = [f"{results.measured.request.protocol}: {headline(results)}", ""]
    for group, names in results.groups():
        if len(results.measured.protocol.groups) > 1:
            parts += [group.title, ""]
        parts += [*_measured_table(results, names), ""]
    parts += notes(results)
    table = published(results)
    if table is not None:
        parts += ["", "PUBLISHED by others, not measured here:", ""]
        parts += [*_aligned([table.head, *table.rows]), "", *table.notes]
    return "\n".join(parts)


def _measured_table(results: Results, names: Sequence[str]) -> list[str]:
    values = [results.values[name] for name in names]
    rows = [["", *(value.about.title for value in values)]]
    for sequence, numbers in results.by_sequence.items():
        shown = [show(numbers[n], results.values[n].about) for n in names]
        rows.append([sequence, *shown])
    rows.append(["all", *(show(v.value, v.about) for v in values)])
    if any(value.interval for value in values):
        for end, title in ((0, "95 % from"), (1, "to")):
            ends = [
                show(v.interval[end], v.about) if v.interval else "" for v in values
            ]
            rows.append([title, *ends])
    lines = _aligned(rows)
    below = 1 + len(results.by_sequence)
    return [*lines[:below], "-" * max(map(len, lines)), *lines[below:]]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


class Published(NamedTuple):
    """What is published for a protocol.

    Attributes:
        head: Of the columns.
        rows: As printed there: a method, its numbers, its source.
        notes: What to know before comparing.
    """

    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def published(results: Results) -> Published | None:
    """What is published for this protocol and split, as printed; None if nothing."""
    measured = results.measured
    split = measured.truth.split.removeprefix("moving_")
    dataset = measured.protocol.dataset or "davis2016"  # Of the paper's detections.
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
        for group in measured.protocol.groups
        for key, about in group.numbers.items()
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
    """What was measured."""
    measured = results.measured
    truth = measured.truth
    of = f"{truth.dataset} {truth.split}".strip() or "two folders"
    count = sum(len(measured.protocol.measured(t.truth)) for t in measured.tasks)
    return (
        f"{measured.protocol.text}; {of}, {_number(len(measured.tasks), 'sequence')}, "
        f"{_number(count, 'frame')} measured"
    )


def notes(results: Results) -> list[str]:
    """What a reader of the numbers must know."""
    measured = results.measured
    found = [f"Frames left out: {LEFT_OUT[measured.protocol.left_out]}."]
    if len(measured.tasks) < len(measured.truth.members):
        found.append(
            f"A part only: {len(measured.tasks)} of {len(measured.truth.members)} "
            "sequences."
        )
    expected = measured.truth.expected
    if expected and expected != len(measured.truth.members):
        found.append(
            f"This split lists {len(measured.truth.members)} sequences, the official "
            f"one has {expected}."
        )
    groups = sum(map(len, measured.truth.options.get("joined", {}).values()))
    if groups:
        found.append(
            f"Objects that move as one are one object: {_number(groups, 'group')}."
        )
    if _flat(measured, TRACKING):
        found.append(
            "Predictions with one track a pixel, in which no tracks can overlap: left "
            "out of the shares of frames with overlaps."
        )
    if _flat(measured, DETECTION):
        found.append(
            "Predictions without scores: all are 1, so that precision is of all "
            "detections together."
        )
    for rule in sorted({matched.rule for matched in measured.matched}):
        count = sum(matched.rule == rule for matched in measured.matched)
        found.append(f"Frames matched {rule} ({_number(count, 'sequence')}).")
    absent = sum(len(matched.absent) for matched in measured.matched)
    extra = sum(len(matched.extra) for matched in measured.matched)
    if absent:
        found.append(f"Missing, but not measured: {_number(absent, 'frame')}.")
    for task, scored in zip(measured.tasks, measured.scored, strict=True):
        if scored.note:
            found.append(f"{task.truth.name}: {scored.note}.")
    if extra or measured.extra:
        found.append(
            f"Too many, left out: {_number(extra, 'frame')} and "
            f"{_number(len(measured.extra), 'sequence')}."
        )
    return found


def _flat(measured: Measured, group: Group) -> bool:
    """Whether the group measures predictions with one track a pixel, without scores."""
    measures = any(group.name == own.name for own in measured.protocol.groups)
    return measures and any(task.prediction.kind in FLAT for task in measured.tasks)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def show(value: float, about: Number) -> str:
    """A number for a table."""
    if not math.isfinite(value):
        return "-"
    if about.percent:
        return f"{100 * value:.1f}"
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"
