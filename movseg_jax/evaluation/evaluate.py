"""Evaluating a folder of predictions: checked as a whole first, measured afterwards."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import MAX_DRAWS
from movseg_jax.evaluation.matching import MatchBy, Matched, match_frames
from movseg_jax.evaluation.metric_sets import Settings
from movseg_jax.evaluation.predictions import (
    Prediction,
    choose,
    find_predictions,
)
from movseg_jax.evaluation.protocols import (
    MASKS_OF_FOREGROUND,
    PROTOCOLS,
    Protocol,
)
from movseg_jax.evaluation.scoring import Scored, Task, score_sequence, survey_sequence
from movseg_jax.evaluation.truth import (
    Truth,
    is_binary,
    listed,
    read_dataset,
    read_folders,
)
from movseg_jax.system import workers
from movseg_jax.system.notes import note

MAX_PROBLEMS = 50  # That a message lists.
# Videos, in which every object that is labelled moves or is marked as resting.
DATASETS = (
    "davis2016", "davis2017", "fbms", "fbms_3d", "flyingthings3d", "folder", "rendered",
    "video_instances", "youtube_vos", "ytvos_moving",
)  # fmt: skip

Progress = Callable[[int, int], None]  # Sequences done, and how many there are.


@dataclasses.dataclass(frozen=True)
class Request:
    """What to evaluate, and by what.

    Attributes:
        protocol: A key of `protocols.PROTOCOLS`.
        pred: The folder of predictions.
        root: The data set's folder, or that of the truth's PNGs.
        dataset: Where the protocol leaves it open: a key of `sources.LAYOUTS`.
        split: None is the protocol's.
        options: Of the data set's reader.
        sequences: To measure; all of the split if there are none.
        settings: Of the protocol.
        foreground: Of two folders, do not tell objects apart.
        match: See `matching.match_frames`.
        allow_extra: Leave out frames and sequences that the truth does not have.
        draws: For the intervals.
        workers: Processes; 0 is one for each CPU.
        join: File that says which objects of two folders move as one.
    """

    protocol: str
    pred: Path
    root: Path
    dataset: str | None = None
    split: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    sequences: tuple[str, ...] = ()
    settings: Settings = dataclasses.field(default_factory=Settings)
    foreground: bool = False
    match: MatchBy = "auto"
    allow_extra: bool = False
    draws: int = 1000
    workers: int = 0
    join: Path | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        request: What was asked for.
        name: Of the protocol, which "masks" has two of.
        truth: Of all sequences.
        extra: Names of predictions that are of no sequence of the split.
        tasks: A sequence each, by name.
        matched: How the frames of each were matched.
        scored: Their scores.
    """

    request: Request
    name: str
    truth: Truth
    extra: tuple[str, ...]
    tasks: tuple[Task, ...]
    matched: tuple[Matched, ...]
    scored: tuple[Scored, ...]

    @property
    def protocol(self) -> Protocol:
        """How it was measured."""
        return PROTOCOLS[self.name]


def evaluate(request: Request, progress: Progress | None = None) -> Measured:
    """Measures predictions. What is missing is looked for before anything is measured.

    Raises:
        InputError: Something is missing, damaged, of another size or not of the kind
            that the protocol measures; names all that was found.
    """
    if request.protocol not in PROTOCOLS:
        raise InputError(
            f"There is no protocol {request.protocol!r:.120}; expected one of "
            f"{', '.join(PROTOCOLS)}."
        )
    if not 0 <= request.draws <= MAX_DRAWS:
        raise InputError(
            f"`draws` is {request.draws}, expected 0 to {MAX_DRAWS} "
            "(bootstrap.MAX_DRAWS)."
        )
    count = workers.count_workers(request.workers)
    truth = _read_truth(request, PROTOCOLS[request.protocol])
    name = _protocol_of(request, truth)
    protocol = PROTOCOLS[name]
    predictions, extra = _find(request, truth)
    matched = _match(request, protocol, truth, predictions, count)
    foreground = protocol.foreground or truth.is_foreground
    tasks = tuple(
        Task(name, request.settings, t, p, m.rows, foreground)
        for t, p, m in zip(truth.sequences, predictions, matched, strict=True)
    )
    # The longest first, so that no process works alone in the end.
    order = sorted(range(len(tasks)), key=lambda i: -len(tasks[i].rows))
    names = [task.truth.name for task in tasks]
    scored = _collect(
        score_sequence, tasks, names, count, order=order, progress=progress
    )
    for text in [text for one in scored for text in one.notes]:
        note(text)
    return Measured(request, name, truth, extra, tasks, matched, tuple(scored))


def _read_truth(request: Request, protocol: Protocol) -> Truth:
    if protocol.dataset == "":
        return read_folders(request.root, request.sequences, request.join)
    name = protocol.dataset or request.dataset
    if name is None or (protocol.dataset is None and name not in DATASETS):
        raise InputError(f"`dataset` is {name}, expected one of {', '.join(DATASETS)}.")
    split = protocol.split if request.split is None else request.split
    if not split:
        raise InputError(f"`split` is missing; `movseg data list` has those of {name}.")
    options = dict(request.options)
    if name in ("youtube_vos", "ytvos_moving"):
        # Only names of frames are taken from there, and few have it unpacked.
        folder = "train_all_frames" if name == "ytvos_moving" else f"{split}_all_frames"
        options.setdefault("all_frames", (request.root / folder).is_dir())
    return read_dataset(name, split, request.root, request.sequences, **options)


def _protocol_of(request: Request, truth: Truth) -> str:
    """Masks of 0 and 255 have no objects to tell apart."""
    if request.protocol != "masks":
        return request.protocol
    binary = request.foreground or all(is_binary(s) for s in truth.sequences)
    return MASKS_OF_FOREGROUND if binary else "masks"


def _find(request: Request, truth: Truth) -> tuple[list[Prediction], tuple[str, ...]]:
    """The prediction of each sequence, and the names of those of other sequences."""
    found = find_predictions(request.pred)
    wanted = [sequence.name for sequence in truth.sequences]
    extra = tuple(sorted(found.keys() - truth.members))
    missing = [name for name in wanted if name not in found]
    if missing:
        hint = _hint(request.pred, wanted, found)
        raise InputError(
            f"{request.pred}: {len(missing)} of {len(wanted)} sequences are missing: "
            f"{listed(missing, MAX_PROBLEMS)}.{hint}"
        )
    if extra and not request.allow_extra:
        raise InputError(
            f"{request.pred}: {len(extra)} predictions are of no sequence of the "
            f"split: {listed(extra, MAX_PROBLEMS)}; --allow-extra leaves them out."
        )
    chosen, problems = [], []
    for name in wanted:
        try:
            chosen.append(choose(name, found[name], request.pred))
        except InputError as error:
            problems.append(str(error))
    _refuse(problems)
    return chosen, extra


def _hint(pred: Path, wanted: Sequence[str], found: Collection[str]) -> str:
    """What to do if the folder is a level too high or too low."""
    if any(name in found for name in wanted):
        return ""
    for other in [*sorted(p for p in pred.glob("*/") if p.is_dir()), pred.parent]:
        if any((other / name).exists() for name in wanted):
            return f" But {other} holds some: hand in {other}."
    shown = listed(sorted(found)) or "nothing of that kind"
    return f" Expected a folder or file for each sequence; found {shown}."


def _match(
    request: Request,
    protocol: Protocol,
    truth: Truth,
    predictions: Sequence[Prediction],
    count: int,
) -> tuple[Matched, ...]:
    pairs = [*zip(predictions, truth.sequences, strict=True)]
    # Headers of PNGs are read in no time; a process takes longer to start.
    few = all(prediction.kind == "masks" for prediction in predictions)
    names = [sequence.name for sequence in truth.sequences]
    surveys = _collect(survey_sequence, pairs, names, 1 if few else count)
    matched = tuple(
        match_frames(
            sequence,
            survey,
            protocol.measured(sequence),
            by=request.match,
            allow_extra=request.allow_extra,
        )
        for sequence, survey in zip(truth.sequences, surveys, strict=True)
    )
    _refuse([problem for m in matched for problem in m.problems])
    return matched


def _collect(function, tasks, names, count, *, order=None, progress=None) -> list:
    """The results in order of the tasks; the problems of all, if there are any."""
    results: list[Any] = [None] * len(tasks)
    problems: dict[int, str] = {}
    report = progress or (lambda done, total: None)
    report(0, len(tasks))
    for done, item in enumerate(workers.run(function, tasks, count, order=order), 1):
        results[item.number] = item.result
        if item.problem is not None:
            problems[item.number] = f"{names[item.number]}: {item.problem}"
        report(done, len(tasks))
    _refuse([problems[number] for number in sorted(problems)])
    return results


def _refuse(problems: Sequence[str]) -> None:
    """Raises all problems as one; none is fine."""
    if not problems:
        return
    shown = [*dict.fromkeys(problems)]
    if len(shown) > MAX_PROBLEMS:
        rest = len(shown) - MAX_PROBLEMS
        shown = [*shown[:MAX_PROBLEMS], f"... and {rest} more such."]
    raise InputError("\n".join(shown))
