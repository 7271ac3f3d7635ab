"""Joins objects that move as one, such as a rider and a bicycle.

A JSON file lists the groups of such objects for each video:

    {"clips": {"surf": {"joined": [[1, 2, 3]]}, "walking": {"joined": []}}}

A group becomes one object, which has the group's first number and is visible wherever
one of its objects is. Other keys in the file are ignored.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from movseg_jax.data.example import Objects, Size
from movseg_jax.data.frames import Annotation
from movseg_jax.errors import InputError
from movseg_jax.masks.id_images import VOID
from movseg_jax.system.bounded import read_json

Groups = Sequence[Sequence[int]]

_EXPECTED = (
    f"lists of two or more objects' numbers, 1 to {VOID - 1}, each of them once, such "
    "as [[1, 2], [4, 5, 6]]"
)


@dataclasses.dataclass(frozen=True)
class JoinedAnnotation:
    """An annotation of a frame in which each group of objects is one object.

    Attributes:
        plain: The annotation with separate objects.
        groups: The numbers of the objects of each group.
    """

    plain: Annotation
    groups: Groups

    @property
    def files(self) -> Sequence[Path]:
        """The plain annotation's files."""
        return self.plain.files

    def read(self, size: Size) -> Objects:
        """Reads the objects, and joins those of each group."""
        return join_objects(self.plain.read(size), self.groups)


def join_objects(objects: Objects, groups: Groups) -> Objects:
    """Returns the objects with each group as one, which moves if a member does."""
    first = {i: group[0] for group in groups for i in group}
    members: dict[tuple[int, bool], list[int]] = {}
    for row, (i, ignore) in enumerate(zip(objects.ids, objects.ignore, strict=True)):
        # A region to ignore is not an object, so its number does not join it.
        number = int(i) if ignore else first.get(int(i), int(i))
        members.setdefault((number, bool(ignore)), []).append(row)
    masks = [objects.masks[rows].any(axis=0) for rows in members.values()]
    return Objects(
        masks=np.array(masks, bool).reshape(-1, *objects.masks.shape[1:]),
        classes=objects.classes[[rows[0] for rows in members.values()]],
        ids=np.array([i for i, _ in members], np.int32),
        ignore=np.array([ignore for _, ignore in members], bool),
        moving=np.array([objects.moving[m].any() for m in members.values()], bool),
    )


def read_joins(file: Path, sequences: Sequence[str]) -> Mapping[str, Groups]:
    """Reads the groups of each sequence.

    Args:
        file: The JSON file.
        sequences: The names of the sequences. The file must list each of them, so that
            a misspelt name is not taken for a sequence without groups.

    Raises:
        InputError: The file cannot be read, is malformed or lacks a sequence.
    """
    clips = read_json(file).get("clips")
    if not isinstance(clips, dict):
        raise InputError(
            f'{file}: expected {{"clips": {{"NAME": {{"joined": [[1, 2], ...]}}}}}}.'
        )
    missing = [name for name in sequences if name not in clips]
    if missing:
        raise InputError(
            f'{file}: "clips" has no {", ".join(missing[:10])}; expected every '
            'sequence, with "joined": [] where no objects move as one.'
        )
    return {name: _read_groups(clips[name], f"{file}: {name}") for name in sequences}


def _read_groups(clip: object, source: str) -> Groups:
    groups = clip.get("joined") if isinstance(clip, dict) else None
    if not isinstance(groups, list):
        raise InputError(f'{source}: "joined" is missing or not a list; {_EXPECTED}.')
    members = []
    for group in groups:
        if not isinstance(group, list) or len(group) < 2:
            raise InputError(f'{source}: "joined" has {group!r:.80}; {_EXPECTED}.')
        members += group
    wrong = [i for i in members if type(i) is not int or not 0 < i < VOID]
    wrong += [i for i in members if members.count(i) > 1]
    if wrong:
        raise InputError(f'{source}: "joined" has {wrong[0]!r:.80}; {_EXPECTED}.')
    return tuple(map(tuple, groups))
