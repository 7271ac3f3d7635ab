"""Pairs the frames of a prediction with those of the truth, without guessing."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from movseg_jax.evaluation.predictions import Survey
from movseg_jax.evaluation.truth import TruthSequence, listed

MatchBy = Literal["auto", "name", "position"]
BY_NAME = "by frame names"
BY_POSITION = "by position: frame i of the prediction is frame i of the video"
BY_ANNOTATED = (
    "by position among the annotated frames: frame i of the prediction is the i-th of "
    "them"
)


class Matched(NamedTuple):
    """The pairs of a sequence's frames.

    Attributes:
        rule: Rule of the pairing, in words.
        rows: Number of the prediction's frame for every frame of the truth; None if
            there is none, which may only be so where no frame is measured.
        absent: Names of the truth's frames that the prediction lacks.
        extra: Names of the prediction's frames that the video lacks.
        problems: Problems that were found, a sentence each.
    """

    rule: str
    rows: tuple[int | None, ...]
    absent: tuple[str, ...]
    extra: tuple[str, ...]
    problems: tuple[str, ...]


def match_frames(
    truth: TruthSequence,
    survey: Survey,
    measured: Collection[int],
    *,
    by: MatchBy = "auto",
    allow_extra: bool = False,
) -> Matched:
    """Matches the frames of a prediction with those of the truth.

    They are matched by their names. If the names of a prediction are just consecutive
    numbers, from 0 or none of which is a name of the video's, they are matched by
    position, provided that it has as many frames as the video or as are annotated.

    Args:
        truth: Truth of the sequence.
        survey: Names and sizes of the prediction's frames.
        measured: Numbers of the truth's frames that the protocol measures; the others
            may be missing.
        by: Way of matching; "auto" decides as above, and refuses if both ways fit.
            "position" takes any names in their order.
        allow_extra: Whether to leave out frames that the video does not have.
    """
    if not survey.names:
        return _refuse(f"{truth.name}: the prediction has no frames.")
    rule = _choose_rule(truth, survey, by)
    if rule is None:
        return _refuse(_no_rule(truth, survey, by))
    if rule == BY_NAME:
        place = {name: i for i, name in enumerate(survey.names)}
        rows = tuple(place.get(name) for name in truth.names)
        known = set(truth.video)
        extra = tuple(name for name in survey.names if name not in known)
    elif rule == BY_POSITION:
        rows = tuple(frame.place for frame in truth.frames)
        extra = ()
    else:
        rows = tuple(range(len(truth.frames)))
        extra = ()
    gone = [i for i, row in enumerate(rows) if row is None]
    problems = []
    missing = [truth.names[i] for i in gone if i in measured]
    if missing:
        problems.append(
            f"{truth.name}: {len(missing)} frames are missing in the prediction: "
            f"{listed(missing)}.{_other_rule(truth, survey)}"
        )
    if extra and not allow_extra:
        problems.append(
            f"{truth.name}: the prediction has {len(extra)} frames that the video does "
            f"not have: {listed(extra)}; --allow-extra leaves them out."
        )
    problems += _size_problem(truth, survey, rows)
    absent = tuple(truth.names[i] for i in gone)
    return Matched(rule, rows, absent, extra, tuple(problems))


def _size_problem(
    truth: TruthSequence, survey: Survey, rows: Sequence[int | None]
) -> list[str]:
    """The problem with the sizes of the frames that are used, if there is one."""
    used = {survey.names[row] for row in rows if row is not None}
    wrong = {name: size for name, size in survey.sizes.items() if name in used}
    if not wrong:
        return []
    name, (height, width) = next(iter(wrong.items()))
    return [
        f"{truth.name}: {len(wrong)} frames are not of the truth's "
        f"{truth.size[0]}x{truth.size[1]} pixels (height x width): {listed([*wrong])}; "
        f"{name} is of {height}x{width}. Masks are never resized: predict at that "
        "size, or choose the truth's (--options resolution=...)."
    ]


def _choose_rule(truth: TruthSequence, survey: Survey, by: MatchBy) -> str | None:
    """The rule of the pairing; None if none is certain."""
    count, names = len(survey.names), set(survey.names)
    position = None
    if by == "position" or _are_numbers(survey):
        if count == len(truth.video):
            position = BY_POSITION
        elif count == len(truth.frames):
            position = BY_ANNOTATED
    if by == "name":
        return BY_NAME if survey.named else None
    if by == "position" or not survey.named:
        return position
    if position is None:
        return BY_NAME  # The message then says what is missing.
    # They fit as numbers; whether they fit as names, too, decides.
    nothing_missing = names >= set(truth.names)
    nothing_extra = names <= set(truth.video)
    if nothing_missing and nothing_extra:
        return BY_NAME
    # Numbers from 1 on may be those of FFmpeg, or of a video whose first frame is left
    # out.
    may_be_shifted = int(survey.names[0]) != 0 and not names.isdisjoint(truth.video)
    is_certain = not (nothing_missing or nothing_extra or may_be_shifted)
    return position if is_certain else None


def _no_rule(truth: TruthSequence, survey: Survey, by: MatchBy) -> str:
    counts = (
        f"the prediction has {len(survey.names)} frames, the video {len(truth.video)}; "
        f"{len(truth.frames)} are annotated"
    )
    if by == "name":
        return (
            f"{truth.name}: the frames of the prediction have no names; leave out "
            "--match name."
        )
    if by == "position" or not survey.named:
        reason = "" if survey.named else ", as its frames have no names to match by"
        return (
            f"{truth.name}: {counts}. Expected as many frames as the video has or as "
            f"are annotated{reason}."
        )
    missing = sorted(set(truth.names) - set(survey.names))
    extra = sorted(set(survey.names) - set(truth.video))
    differing = {f"without {listed(missing)}": missing}
    differing[f"with {listed(extra)} extra"] = extra
    as_names = " and ".join(text for text, names in differing.items() if names)
    return (
        f"{truth.name}: {counts}. Are its frames numbered from the first (--match "
        f"position), or is the prediction {as_names} (--match name)?"
    )


def _other_rule(truth: TruthSequence, survey: Survey) -> str:
    """The reason for not matching by position, where it may be unclear."""
    if _are_numbers(survey) and not set(survey.names) & set(truth.video):
        return (
            f" It has {len(survey.names)} numbered frames, the video "
            f"{len(truth.video)}; {len(truth.frames)} of these are annotated."
        )
    return ""


def _are_numbers(survey: Survey) -> bool:
    """Whether the names are just consecutive numbers, which may start anywhere."""
    if not all(n.isdecimal() and n.isascii() and len(n) < 12 for n in survey.names):
        return False
    first = int(survey.names[0])
    return all(int(name) == first + i for i, name in enumerate(survey.names))


def _refuse(problem: str) -> Matched:
    return Matched("", (), (), (), (problem,))
