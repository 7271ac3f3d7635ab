"""The base class of the readers of data sets in their original layouts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from movseg_jax.data.frames import Frame


@dataclasses.dataclass(frozen=True)
class Layout:
    """A data set's folder as its users have it; further fields are options.

    Attributes:
        root: The data set's folder.
        split: The name of the split.
        splits: The splits, and their numbers of sequences; 0 if that is unknown.
        parts: The splits that are parts of others.
        any_split: Whether there may be more splits than `splits`.
        every_frame: Whether the data set annotates every frame.
    """

    root: Path
    split: str

    splits: ClassVar[dict[str, int]] = {}
    parts: ClassVar[tuple[str, ...]] = ()
    any_split: ClassVar[bool] = False
    every_frame: ClassVar[bool] = False

    def class_names(self) -> Sequence[str]:
        """Returns the names of the classes, from 0; by default there is just one."""
        return ("object",)

    def expected_count(self) -> int | None:
        """Returns the number of sequences of the official split, if it is known."""
        return self.splits.get(self.split) or None

    def sequences(self) -> Sequence[str]:
        """Lists the names of the split's videos; an image is a video of one frame.

        Raises:
            InputError: The folder has another layout; says what was looked for.
        """
        raise NotImplementedError

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence.

        Raises:
            InputError: A file is missing or malformed.
        """
        raise NotImplementedError
