"""Evaluates a folder of predictions: checks everything first, then measures."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import MAX_DRAWS
from movseg_jax.evaluation.matching import MatchBy, Matched, match_frames
from movseg_jax.evaluation.predictions import (
    Prediction,
    choose,
    find_predictions,
)
from movseg_jax.evaluation.protocols import (
    MASKS_OF_FOREGROUND,
    PROTOCOLS,
    Protocol,
    Settings,
)
from movseg_jax.evaluation.scoring import Scored, Task, score_sequence, survey_sequence
from movseg_jax.evaluation.truth import (
    Truth,
    is_foreground,
    listed,
    read_dataset,
    read_folders,
)
from movseg_jax.system import workers
from movseg_jax.system.notes import note

MAX_PROBLEMS = 50  # Largest number of problems that a message lists.
# Data sets of videos whose labelled objects all move or are marked as stationary.
DATASETS = (
    "davis2016", "davis2017", "fbms", "fbms_3d", "flyingthings3d", "folder", "rendered",
    "video_instances", "youtube_vos", "ytvos_moving",
)  # fmt: skip

Progress = Callable[[int, int], None]  # Takes the sequences done, and all sequences.


@dataclasses.dataclass(frozen=True)
class Request:
    """A request for an evaluation.

    Attributes:
        protocol: Name of the protocol, a key of `protocols.PROTOCOLS`.
        pred: Folder of the predictions, or a file that `movseg detect` wrote.
        root: Folder of the data set, or of the truth's PNGs.
        dataset: Name of the data set, a key of `data.sources.LAYOUTS`, if the protocol
            leaves it open.
        split: Name of the split; None for the protocol's.
        options: Options of the data set's reader.
        sequences: Names of the sequences to measure; all of the split if there are
            none.
        settings: Settings of the protocol.
        foreground: Whether the objects of two folders are not told apart.
        match: Way to match frames, see `matching.match_frames`.
        allow_extra: Whether to leave out frames and sequences that the truth lacks.
        allow_missing: Whether to leave out sequences that the data set's folder lacks.
        draws: Number of draws for the intervals.
        workers: Number of processes; 0 for one on each CPU.
        join: File of the objects of two folders that move as one.
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
    allow_missing: bool = False
    draws: int = 1000
    workers: int = 0
    join: Path | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """The scores of all sequences.

    Attributes:
        request: Request for the evaluation.
        name: Name of the protocol, as the request for "masks" may mean two.
        truth: Truth of all sequences.
        extra: Names of predictions that belong to no sequence of the split.
        tasks: Sequences that were measured, sorted by name.
        scored: Scores of these sequences.
    """

    request: Request
    name: str
    truth: Truth
    extra: tuple[str, ...]
    tasks: tuple[Task, ...]
    scored: tuple[Scored, ...]

    @property
    def protocol(self) -> Protocol:
        """The protocol that was used."""
        return PROTOCOLS[self.name]


def evaluate(request: Request, progress: Progress | None = None) -> Measured:
    """Measures predictions, after it has checked that nothing is missing.

    Raises:
        InputError: Something is missing, damaged, of another size or not of the kind
            that the protocol measures. The message lists all problems.
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
    if request.pred.is_file() and PROTOCOLS[request.protocol].detections is None:
        raise InputError(
            f"{request.pred}: is a file, but {request.protocol} measures a folder of "
            "tracks. detection and davis16 take files of `movseg detect`."
        )
    count = workers.count_workers(request.workers)
    truth = _read_truth(request, PROTOCOLS[request.protocol])
    name = _protocol_of(request, truth)
    protocol = PROTOCOLS[name]
    predictions, extra = _find(request, truth)
    matched = _match(request, protocol, truth, predictions, count)
    foreground = protocol.foreground or truth.is_foreground
    tasks = tuple(
        Task(name, request.settings, t, p, m, foreground)
        for t, p, m in zip(truth.sequences, predictions, matched, strict=True)
    )
    # The longest sequences come first, so that no process works alone in the end.
    order = sorted(range(len(tasks)), key=lambda i: -len(tasks[i].truth.frames))
    names = [task.truth.name for task in tasks]
    scored = _collect(
        score_sequence, tasks, names, count, order=order, progress=progress
    )
    for text in [text for one in scored for text in one.notes]:
        note(text)
    return Measured(request, name, truth, extra, tasks, tuple(scored))


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
        # Only names of frames are read from this folder, and few users unpack it.
        folder = "train_all_frames" if name == "ytvos_moving" else f"{split}_all_frames"
        options.setdefault("all_frames", (request.root / folder).is_dir())
    if request.protocol == "davis17-unsupervised":
        if (request.root / "Annotations_unsupervised").is_dir():
            options.setdefault("task", "unsupervised")
    return read_dataset(
        name,
        split,
        request.root,
        request.sequences,
        allow_missing=request.allow_missing,
        **options,
    )


def _protocol_of(request: Request, truth: Truth) -> str:
    """The name of the protocol; detections, and masks of 0 and 255, have their own."""
    if request.pred.is_file():
        return PROTOCOLS[request.protocol].detections or request.protocol
    if request.protocol != "masks":
        return request.protocol
    foreground = request.foreground or is_foreground(truth.sequences)
    return MASKS_OF_FOREGROUND if foreground else "masks"


def _find(request: Request, truth: Truth) -> tuple[list[Prediction], tuple[str, ...]]:
    """The prediction of each sequence, and the names of predictions of no sequence."""
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
            f"{request.pred}: {len(extra)} predictions belong to no sequence of the "
            f"split: {listed(extra, MAX_PROBLEMS)}; --allow-extra leaves them out."
        )
    chosen: list[Prediction] = []
    problems: list[str] = []
    for name in wanted:
        try:
            chosen.append(choose(name, found[name], request.pred))
        except InputError as error:
            problems.append(str(error))
    _refuse(problems)
    return chosen, extra


def _hint(pred: Path, wanted: Sequence[str], found: Collection[str]) -> str:
    """Advice if the folder is a level too high or too low."""
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
    # Reading headers of PNGs takes less time than starting a process.
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
    """The results in the order of the tasks; raises the problems of all together."""
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
    """Raises all problems, if there are any, as one error."""
    if not problems:
        return
    shown = [*dict.fromkeys(problems)]
    if len(shown) > MAX_PROBLEMS:
        rest = len(shown) - MAX_PROBLEMS
        shown = [*shown[:MAX_PROBLEMS], f"... and {rest} more such."]
    raise InputError("\n".join(shown))
