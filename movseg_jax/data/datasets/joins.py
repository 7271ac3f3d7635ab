"""Objects that move as one, such as a rider and a bicycle, joined to one object.

A file says of each video which objects these are:

    {"clips": {"surf": {"joined": [[1, 2, 3]]}, "walking": {"joined": []}}}

A group becomes the object of its first number, wherever one of its objects is visible.
Whatever else the file holds is for its readers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from movseg_jax.data.annotations import VOID, Objects, Size
from movseg_jax.data.frames import Annotation
from movseg_jax.errors import InputError
from movseg_jax.system.bounded import read_json

Groups = Sequence[Sequence[int]]

_EXPECTED = (
    f"lists of two or more objects' numbers, 1 to {VOID - 1}, each of them once, such "
    "as [[1, 2], [4, 5, 6]]"
)


@dataclasses.dataclass(frozen=True)
class JoinedAnnotation:
    """An annotation of a frame in which groups of objects are one object each.

    Attributes:
        plain: Annotation in which they are apart.
        groups: Numbers of the objects of each group.
    """

    plain: Annotation
    groups: Groups

    @property
    def files(self) -> Sequence[Path]:
        """The plain annotation's files."""
        return self.plain.files

    def read(self, size: Size) -> Objects:
        """See `frames.Annotation`."""
        return join_objects(self.plain.read(size), self.groups)


def join_objects(objects: Objects, groups: Groups) -> Objects:
    """A frame's objects with each group as one: it moves if one of its objects does."""
    first = {i: group[0] for group in groups for i in group}
    members: dict[tuple[int, bool], list[int]] = {}
    for row, (i, ignore) in enumerate(zip(objects.ids, objects.ignore, strict=True)):
        # A region to ignore is no object, whatever its number.
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
    """The groups of each sequence.

    Args:
        file: The JSON file.
        sequences: Names of the sequences, of each of which the file must speak, so that
            a misspelt name is not taken for one without groups.

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
        raise InputError(f'{source}: "joined" is missing or no list; {_EXPECTED}.')
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
