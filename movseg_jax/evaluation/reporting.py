"""Prints the numbers of an evaluation, and writes its files: both or none."""

from collections.abc import Sequence
from pathlib import Path

from movseg_jax.errors import InputError
from movseg_jax.evaluation.evaluate import Measured
from movseg_jax.evaluation.metrics_page import make_page
from movseg_jax.evaluation.results import (
    Results,
    headline,
    notes,
    published,
    show,
    summarise,
    to_json,
)
from movseg_jax.system.atomic import make_folder, write_file

MAX_WORST = 200  # Largest number of frames on a page.


def check_outputs(
    out: Path | None, html: Path | None, *, worst: int, overwrite: bool
) -> None:
    """Makes the files' folders, and refuses files that could not be written in the end.

    It is called before anything is measured.

    Raises:
        InputError: A folder cannot be made, a file exists already, or both files are
            the same; or too many frames are to be shown.
    """
    if not 0 <= worst <= MAX_WORST:
        raise InputError(
            f"`worst` is {worst}, expected 0 to {MAX_WORST} frames "
            "(reporting.MAX_WORST)."
        )
    if out is not None and html is not None and out.absolute() == html.absolute():
        raise InputError(f"{out}: --out and --html are the same file; name another.")
    for option, path in (("--out", out), ("--html", html)):
        if path is None:
            continue
        try:
            if path.is_dir():
                raise InputError(f"{option} {path}: is a folder, expected a file.")
            if path.exists() and not overwrite:
                raise InputError(
                    f"{option} {path}: is there already.",
                    way_out="`overwrite=True` replaces it.",
                )
            make_folder(path.parent)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
            if isinstance(error, InputError):
                raise
            raise InputError(f"{option} {path}: cannot be used: {error}.") from None


def report(
    measured: Measured, out: Path | None, html: Path | None, *, worst: int
) -> str:
    """Writes the files that are asked for, and returns the table.

    Raises:
        InputError: A file cannot be written, or a frame to be shown is damaged.
    """
    results = summarise(measured)
    files = {out: to_json(results)} if out is not None else {}
    if html is not None:
        files[html] = make_page(results, worst)
    for path, data in files.items():
        write_file(path, data)
    return "\n".join([to_text(results), *(f"Wrote {path}" for path in files)])


def to_text(results: Results) -> str:
    """Prints the numbers for a terminal: a line for each sequence, and one for all."""
    parts = [f"{results.measured.request.protocol}: {headline(results)}", ""]
    several = len(results.measured.protocol.metric_sets) > 1
    for metric_set, names in results.metric_sets():
        if several:
            parts += [metric_set.title, ""]
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
    """Lines of columns, the first aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines
