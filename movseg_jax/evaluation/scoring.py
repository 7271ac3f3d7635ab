"""Measures one sequence; worker processes run this."""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.evaluation.matching import Matched
from movseg_jax.evaluation.predictions import (
    FLAT,
    Digest,
    Prediction,
    Survey,
    digest_points,
    open_tracks,
    paint_points,
    survey,
)
from movseg_jax.evaluation.protocols import DETECTIONS, PROTOCOLS, Settings
from movseg_jax.evaluation.truth import TruthSequence, update_digest
from movseg_jax.formats.parsing import Recorded
from movseg_jax.formats.pictures import MaskFolder
from movseg_jax.metrics.base import ComparedFrame, State, TrackMetric
from movseg_jax.metrics.davis import STABLE_SEQUENCES, Davis16
from movseg_jax.metrics.fbms_official import Official, OfficialPoints
from movseg_jax.metrics.point_tracks import PointTracks, read_point_tracks
from movseg_jax.metrics.tracking import Tracking
from movseg_jax.results import TrackedFrame
from movseg_jax.system.notes import notes_kept

FOREGROUND = 255  # The value, beside 0, of masks that do not tell objects apart.


@dataclasses.dataclass(frozen=True)
class Task:
    """A sequence to measure.

    Attributes:
        protocol: Name of the protocol, a key of `protocols.PROTOCOLS`.
        settings: Settings of the protocol.
        truth: Truth of the sequence.
        prediction: Place of its prediction.
        matched: Pairing of their frames.
        foreground: Whether masks of 0 and 255 are accepted.
    """

    protocol: str
    settings: Settings
    truth: TruthSequence
    prediction: Prediction
    matched: Matched
    foreground: bool


class Scored(NamedTuple):
    """The scores of a sequence.

    Attributes:
        scores: States by the names of the protocol's metric sets.
        truth_digest: Digest of the truth.
        prediction_digest: Digest of the prediction.
        note: Remark that readers of the numbers need; "" if there is none.
        notes: Notes on how its files were read. They hold paths, so they do not belong
            to the results.
    """

    scores: dict[str, State]
    truth_digest: str
    prediction_digest: str
    note: str
    notes: tuple[str, ...] = ()


def survey_sequence(task: tuple[Prediction, TruthSequence]) -> Survey:
    """Runs `predictions.survey` with a task of one argument.

    Its notes are dropped here, because measuring gives the same notes again.
    """
    with notes_kept():
        return survey(*task)


def score_sequence(task: Task) -> Scored:
    """Measures a sequence, and keeps the notes on how its files were read.

    It holds one frame at a time, and the content of a file that is read completely.

    Raises:
        InputError: A file is damaged, of another size, or not of the kind that the
            protocol measures.
    """
    with notes_kept() as notes:
        scored = _score(task)
    return scored._replace(notes=tuple(notes))


def _score(task: Task) -> Scored:
    protocol = PROTOCOLS[task.protocol]
    points, note = None, ""
    if protocol.left_out == "ends" and len(task.truth.frames) < 3:
        note = "all its frames, as it has fewer than 3"
    if protocol.points and task.prediction.kind == ".dat":
        points = read_point_tracks(task.prediction.path)
        tracks = paint_points(points, task.truth, dense=False)
        if points.frame_count != len(task.truth.video):
            note = f"the first {points.frame_count} frames only, as its track file says"
    elif task.protocol == DETECTIONS and task.prediction.detections is not None:
        tracks = task.prediction.detections.sightings()
    else:
        tracks = open_tracks(task.prediction, task.truth)
    truth_digest = hashlib.sha256()
    prediction_digest = Digest()
    ids: set[int] = set()

    def frames_seen() -> Iterator[ComparedFrame]:
        for frame in _compared(task, tracks):
            ids.update(sighting.id for sighting in frame.tracks.sightings)
            update_digest(truth_digest, frame)
            if task.prediction.detections is None:
                prediction_digest.add(frame)
            yield frame
        if ids == {FOREGROUND} and not task.foreground:
            raise _foreground_mask(task.prediction)

    scores: dict[str, State] = {}
    for number, metric_set in enumerate(protocol.metric_sets):
        # The first metric's pass over the frames also digests and checks them.
        frames = _compared(task, tracks) if number else frames_seen()
        metric = _for_sequence(metric_set.make(task.settings), task, points)
        scores[metric_set.name] = metric.add(frames)
        for _ in frames:  # A metric may stop early, but every frame is to be digested.
            pass
    if task.prediction.detections is not None:
        found = task.prediction.detections.hexdigest()
    else:
        found = digest_points(points) if points else prediction_digest.hexdigest()
    return Scored(scores, truth_digest.hexdigest(), found, note)


def _for_sequence(
    metric: TrackMetric, task: Task, points: PointTracks | None
) -> TrackMetric:
    """The variant of a protocol's metric that measures this sequence."""
    if isinstance(metric, Davis16) and task.truth.name not in STABLE_SEQUENCES:
        return Davis16(None)
    if isinstance(metric, Tracking):
        return Tracking(exclusive=task.prediction.kind in FLAT)
    if isinstance(metric, Official) and points is not None:
        return OfficialPoints(points=points, frame_count=len(task.truth.video))
    return metric


def _compared(task: Task, tracks: Recorded | MaskFolder) -> Iterator[ComparedFrame]:
    """The frames to measure, in order."""
    protocol = PROTOCOLS[task.protocol]
    detections = task.prediction.detections
    rows = task.matched.rows
    # Where the ends are left out, the metric does so, as it may need them.
    if protocol.left_out == "last":
        rows = rows[: protocol.measured(task.truth).stop]
    for truth, row in zip(task.truth.frames, rows, strict=False):
        if row is None:
            tracked = TrackedFrame(truth.name, truth.size, None, ())
        else:
            tracked = tracks[row]._replace(name=truth.name)
        if tracked.size != truth.size:  # The file has changed since the survey.
            raise InputError(
                f"{task.prediction.path}: frame {truth.name} is of size "
                f"{tracked.size}, expected {truth.size} (height, width)."
            )
        boxes = None
        if task.protocol == DETECTIONS and detections is not None and row is not None:
            boxes = detections.boxes(row)
        yield truth.compare(tracked, weights=protocol.weights, boxes=boxes)


def _foreground_mask(prediction: Prediction) -> InputError:
    return InputError(
        f"{prediction.path}: is a foreground mask, as its pixels are 0 and "
        f"{FOREGROUND} only; this protocol measures each object by itself; "
        "expected objects' numbers, as in masks/ or tracks.json of `movseg "
        "segment`. davis16 takes foreground masks, as does masks --foreground."
    )
