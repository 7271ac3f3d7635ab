"""Measuring one sequence: what worker processes do."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.evaluation.metric_sets import Context, Settings
from movseg_jax.evaluation.predictions import (
    FLAT,
    Digest,
    Prediction,
    Survey,
    open_tracks,
    survey,
)
from movseg_jax.evaluation.protocols import PROTOCOLS, Protocol
from movseg_jax.evaluation.track_files import digest_points, paint_points
from movseg_jax.evaluation.truth import FrameTruth, TruthSequence, update_digest
from movseg_jax.formats.parsing import Recorded
from movseg_jax.formats.pictures import MaskFolder
from movseg_jax.metrics.base import ComparedFrame, SequenceScore
from movseg_jax.metrics.point_tracks import read_point_tracks
from movseg_jax.results import TrackedFrame
from movseg_jax.system.notes import notes_kept

FOREGROUND = 255  # What masks that tell no objects apart hold, beside 0.


@dataclasses.dataclass(frozen=True)
class Task:
    """A sequence to measure.

    Attributes:
        protocol: A key of `protocols.PROTOCOLS`.
        settings: Of the protocol.
        truth: Of the sequence.
        prediction: Of it.
        rows: Of every frame of the truth, the number of the prediction's; None where
            there is none.
        foreground: Whether masks of 0 and 255 will do.
    """

    protocol: str
    settings: Settings
    truth: TruthSequence
    prediction: Prediction
    rows: tuple[int | None, ...]
    foreground: bool


class Scored(NamedTuple):
    """What is known of a sequence that was measured.

    Attributes:
        scores: By the names of the protocol's groups of measures.
        truth_digest: Of the truth.
        prediction_digest: Of the prediction.
        note: What a reader must know of it; "" if there is nothing.
        notes: The notes on how its files were read. They hold paths, so they are no
            part of the results.
    """

    scores: dict[str, SequenceScore]
    truth_digest: str
    prediction_digest: str
    note: str
    notes: tuple[str, ...] = ()


def survey_sequence(task: tuple[Prediction, TruthSequence]) -> Survey:
    """`predictions.survey`, with a task of one argument.

    What it says of how files were read is said once more when they are measured.
    """
    with notes_kept():
        return survey(*task)


def score_sequence(task: Task) -> Scored:
    """Measures a sequence, and keeps what is said of how its files were read.

    Raises:
        InputError: As `_score`.
    """
    with notes_kept() as notes:
        scored = _score(task)
    return scored._replace(notes=tuple(notes))


def _score(task: Task) -> Scored:
    """Measures a sequence; holds one frame at a time, and what its file holds.

    Raises:
        InputError: A file is damaged, of another size, or not of the kind that the
            protocol measures.
    """
    protocol, points, note = PROTOCOLS[task.protocol], None, ""
    if protocol.points and task.prediction.kind == ".dat":
        points = read_point_tracks(task.prediction.path)
        tracks = paint_points(points, task.truth, dense=False)
        if points.frame_count != len(task.truth.video):
            note = f"the first {points.frame_count} frames only, as its track file says"
    else:
        tracks = open_tracks(task.prediction, task.truth)
    context = Context(
        task.settings,
        task.truth.name,
        points,
        len(task.truth.video),
        exclusive=task.prediction.kind in FLAT,
    )
    scores: dict[str, SequenceScore] = {}
    watch = _Watch(task.prediction, foreground=task.foreground)
    for number, group in enumerate(protocol.groups):
        frames = _compared(task, protocol, tracks, None if number else watch)
        scores[group.name] = group.make(context).sequence(frames)
        for _ in frames:  # A measure need not look at all of them; the watch does.
            pass
    found = digest_points(points) if points else watch.prediction.hexdigest()
    return Scored(scores, watch.truth.hexdigest(), found, note)


class _Watch:
    """Looks at all frames once: is it what the protocol measures, and which is it?"""

    def __init__(self, source: Prediction, *, foreground: bool):
        self.truth, self.prediction = hashlib.sha256(), Digest()
        self._source, self._foreground = source, foreground
        self._ids: set[int] = set()

    def see(self, known: FrameTruth, frame: ComparedFrame) -> None:
        """Takes in a frame."""
        self._ids.update(sighting.id for sighting in frame.tracks.sightings)
        update_digest(self.truth, frame.name, known)
        self.prediction.add(frame)

    def finish(self) -> None:
        """Called after the last frame.

        Raises:
            InputError: It is a foreground mask, and that will not do.
        """
        if self._ids == {FOREGROUND} and not self._foreground:
            raise InputError(
                f"{self._source.path}: is a foreground mask, as its pixels are 0 and "
                f"{FOREGROUND} only; this protocol measures each object by itself; "
                "expected objects' numbers, as in masks/ or tracks.json of `movseg "
                "segment`. davis16 takes foreground masks, as does masks --foreground."
            )


def _compared(
    task: Task,
    protocol: Protocol,
    tracks: Recorded | MaskFolder,
    watch: _Watch | None,
) -> Iterator[ComparedFrame]:
    """The frames to measure, one after the other."""
    # The ends are left out by the measure, which may need them.
    last = protocol.left_out == "last"
    rows = task.rows[: protocol.measured(task.truth).stop] if last else task.rows
    for truth, row in zip(task.truth.frames, rows, strict=False):
        known = truth.read(weights=protocol.weights)
        if row is None:
            tracked = TrackedFrame(truth.name, truth.size, None, ())
        else:
            tracked = tracks[row]._replace(name=truth.name)
        if tracked.size != truth.size:  # It was changed meanwhile.
            raise InputError(
                f"{task.prediction.path}: frame {truth.name} is of size "
                f"{tracked.size}, expected {truth.size} (height, width)."
            )
        frame = ComparedFrame(
            name=truth.name,
            index=truth.index,
            truth=known.ids,
            tracks=tracked,
            void=known.void,
            weights=known.weights,
        )
        if watch is not None:
            watch.see(known, frame)
        yield frame
    if watch is not None:
        watch.finish()
