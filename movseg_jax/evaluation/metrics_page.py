"""Makes one HTML file with an evaluation's numbers and its worst frames.

The page runs no script. Equal evaluations give equal bytes.
"""

import string
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int32, UInt8

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.evaluation.predictions import open_tracks
from movseg_jax.evaluation.results import (
    Results,
    WorstFrame,
    headline,
    notes,
    own_version,
    published,
    show,
    worst_frames,
)
from movseg_jax.evaluation.scoring import Task
from movseg_jax.evaluation.truth import TruthFrame
from movseg_jax.report import html
from movseg_jax.results import TrackedFrame
from movseg_jax.video.overlay import draw_masks

SIDE = 480  # Longer side of a picture, in pixels.
QUALITY = 80  # Quality of the JPEGs.
GREY = 110  # Background where there is no picture to draw on.
FOREGROUND = 11  # The number whose colour a foreground has: orange, which is rare.


def make_page(results: Results, worst: int) -> bytes:
    """Makes the page.

    Args:
        results: Results to show.
        worst: Largest number of frames to show.

    Raises:
        InputError: A frame that is to be shown is damaged.
    """
    title = results.measured.request.protocol
    frames = worst_frames(results.measured, worst)
    body = string.Template(html.read_part("evaluation", "page.html")).substitute(
        title=html.escape(title),
        headline=html.escape(headline(results)),
        notes=_remarks(notes(results)),
        numbers=_numbers(results),
        sequences=_sequences(results),
        worst_note=html.escape(_worst_note(results, len(frames))),
        worst="\n".join(_figures(results, frames)),
        published=_published(results),
        read=_read(results),
        version=html.escape(own_version()),
    )
    style = html.read_part("evaluation", "page.css")
    return html.page(body, title=title, style=style).encode()


# Tables ----------------------------------------------------------------------------


def _numbers(results: Results) -> str:
    """The numbers of the data set with intervals: a table for each metric."""
    tables = []
    for metric_set, names in results.metric_sets():
        rows = []
        for name in names:
            value = results.values[name]
            ends = ["", ""]
            if value.interval:
                ends = [show(end, value.about) for end in value.interval]
            rows.append(
                f'<tr><th scope="row">{html.escape(value.about.title)}</th>'
                f'<td class="value">{show(value.value, value.about)}</td>'
                f"<td>{ends[0]}</td><td>{ends[1]}</td>"
                f'<td class="convention">{html.escape(value.about.text)}</td></tr>'
            )
        tables.append(
            f"<section><h2>{html.escape(metric_set.title)}</h2>\n"
            '<div class="scroll"><table><thead><tr><th scope="col">Number</th>'
            '<th scope="col">Value</th><th scope="col">95 % from</th>'
            '<th scope="col">to</th><th scope="col" class="convention">Convention</th>'
            "</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
            "</section>"
        )
    return "\n".join(tables)


def _sequences(results: Results) -> str:
    tables = []
    several = len(results.measured.protocol.metric_sets) > 1
    for metric_set, names in results.metric_sets():
        abouts = [results.values[name].about for name in names]
        head = "".join(f'<th scope="col">{html.escape(a.title)}</th>' for a in abouts)
        body = "\n".join(
            html.row(sequence, [show(own[n], results.values[n].about) for n in names])
            for sequence, own in results.by_sequence.items()
        )
        every = [results.values[name] for name in names]
        foot = html.row("all", [show(value.value, value.about) for value in every])
        title = f"<h3>{html.escape(metric_set.title)}</h3>\n" if several else ""
        tables.append(
            f'{title}<div class="scroll"><table><thead><tr>'
            f'<th scope="col">Sequence</th>{head}</tr></thead>'
            f"\n<tbody>\n{body}\n</tbody>\n<tfoot>{foot}</tfoot>"
            "</table></div>"
        )
    return "\n".join(tables)


def _remarks(texts: Sequence[str]) -> str:
    return "\n".join(f'<p class="note">{html.escape(text)}</p>' for text in texts)


def _published(results: Results) -> str:
    """The numbers that others published."""
    table = published(results)
    if table is None:
        return ""
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in table.head)
    body = "\n".join(html.row(row[0], row[1:]) for row in table.rows)
    return (
        '<section class="published"><h2>Published, not measured here</h2>\n'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n{_remarks(table.notes)}</section>"
    )


def _read(results: Results) -> str:
    measured = results.measured
    rows = []
    for task, scored in zip(measured.tasks, measured.scored, strict=True):
        rows.append(
            f'<tr><th scope="row">{html.escape(task.truth.name)}</th>'
            f"<td>{html.escape(task.prediction.kind)}</td><td>{html.escape(task.matched.rule)}</td>"
            f"<td><code>{scored.truth_digest}</code></td>"
            f"<td><code>{scored.prediction_digest}</code></td></tr>"
        )
    return "\n".join(rows)


# Frames ----------------------------------------------------------------------------


def _worst_note(results: Results, count: int) -> str:
    if not count:
        return "None are shown."
    measured = results.measured
    pictures = any(task.truth.frames[0].image is not None for task in measured.tasks)
    colours = (
        "What moves is one region."
        if measured.protocol.foreground
        else "A track has the colour of the object that it overlaps most in the frame."
    )
    without = "" if pictures else " There are no pictures to draw on."
    return (
        f"By {measured.protocol.metric_sets[0].title}: the truth on the left, what was "
        f"found on the right. {colours}{without}"
    )


def _figures(results: Results, frames: Sequence[WorstFrame]) -> list[str]:
    """The figures of the frames; the tracks of a sequence are opened once."""
    figures = [""] * len(frames)
    measured = results.measured
    for number in sorted({frame.sequence for frame in frames}):
        task = measured.tasks[number]
        tracks = open_tracks(task.prediction, task.truth, dense=False)
        for place, worst in enumerate(frames):
            if worst.sequence == number:
                row = task.matched.rows[worst.frame]
                found = None if row is None else tracks[row]
                figures[place] = _figure(
                    task, worst, found, measured.protocol.foreground
                )
    return figures


def _figure(task: Task, worst: WorstFrame, found, foreground: bool) -> str:
    frame = task.truth.frames[worst.frame]
    nothing = TrackedFrame(frame.name, frame.size, None, ())
    compared = frame.compare(nothing if found is None else found)
    if foreground:
        true = (compared.truth != 0) * np.int32(FOREGROUND)
        seen = (compared.found != 0) * np.int32(FOREGROUND)
    else:
        true = compared.truth
        seen = _recoloured(compared.found, true)
    picture = _picture(frame)
    drawn = [
        "data:image/jpeg;base64," + html.jpeg_text(_draw(picture, ids), QUALITY)
        for ids in (true, seen)
    ]
    name = html.escape(f"{task.truth.name}, frame {frame.name}")
    return (
        f'<figure><div class="pair"><img src="{drawn[0]}" alt="Truth of {name}">'
        f'<img src="{drawn[1]}" alt="Found in {name}"></div>'
        f'<figcaption>{name} <span class="note">{worst.score:.3f}</span></figcaption>'
        "</figure>"
    )


def _picture(frame: TruthFrame) -> UInt8[np.ndarray, "h w 3"]:
    if frame.image is None:
        return np.full((*frame.size, 3), GREY, np.uint8)
    picture = images.read_rgb(frame.image)
    if picture.shape[:2] != frame.size:
        raise InputError(
            f"{frame.image}: is of size {picture.shape[:2]}, expected {frame.size} "
            "(height, width), the annotation's."
        )
    return picture


def _recoloured(
    found: Int32[np.ndarray, "h w"], true: Int32[np.ndarray, "h w"]
) -> Int32[np.ndarray, "h w"]:
    """Gives tracks the numbers of the objects that they overlap most, or new ones."""
    result = np.zeros_like(found)
    free = int(true.max(initial=0)) + 1
    taken: set[int] = set()
    ids, sizes = np.unique(found[found != 0], return_counts=True)
    for track in ids[np.argsort(-sizes, kind="stable")].tolist():
        mask = found == track
        under = np.bincount(true[mask])
        under[0] = 0
        best = int(np.argmax(under))
        if not under[best] or best in taken:
            best, free = free, free + 1
        taken.add(best)
        result[mask] = best
    return result


def _draw(
    picture: UInt8[np.ndarray, "h w 3"], ids: Int32[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Shrinks a picture and draws the ids over it as coloured masks."""
    factor = min(1.0, SIDE / max(ids.shape))
    height, width = (max(1, round(n * factor)) for n in ids.shape)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
    present = [i for i in np.unique(ids).tolist() if i]
    return draw_masks(small, [ids == i for i in present], present)
