"""Folders of flow files, one for each frame but the last, named as the frames."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from movseg_jax.errors import InputError
from movseg_jax.flow.files import SUFFIXES, read_flow


class FlowFolder:
    """The flow files of a folder, by the stem of the frame they begin at.

    Formats are those of `files.read_flow`. Files of other suffixes, and hidden ones,
    do not matter.

    Raises:
        InputError: The folder cannot be read or has no flow files, or two of them are
            of one frame.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._paths: dict[str, Path] = {}
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be read as a folder: {error}."
            ) from None
        for name in names:
            path = folder / name
            if path.suffix.lower() not in SUFFIXES or name.startswith("."):
                continue
            if path.stem in self._paths:
                raise InputError(
                    f"{folder}: has both {self._paths[path.stem].name} and {name}; "
                    "expected one flow file for each frame."
                )
            self._paths[path.stem] = path
        if not self._paths:
            raise InputError(
                f"{folder}: has no flow files ({', '.join(SUFFIXES)}), expected one "
                "for each frame but the last."
            )

    def __call__(
        self,
        stem: str,
        *,
        frame_size: tuple[int, int] | None = None,
        last: bool = False,
    ) -> Float32[np.ndarray, "h w 2"] | None:
        """The flow from a frame to the next.

        Args:
            stem: Of the frame's name.
            frame_size: Height and width of the frame, which the flow must have.
            last: Whether it is a video's last frame: None then, whatever the folder
                holds, as a longer video's flow may have been left in it.

        Raises:
            InputError: There is none, or as `files.read_flow`.
        """
        if last:
            return None
        path = self._paths.get(stem)
        if path is not None:
            return read_flow(path, frame_size=frame_size)
        have = sorted(self._paths)
        raise InputError(
            f"{self.folder}: has no flow of the frame {stem!r}, which is not the last; "
            f"expected {stem}{{{','.join(SUFFIXES)}}}. It has flow of {len(have)} "
            f"frames, {have[0]!r} to {have[-1]!r}."
        )

    def flows(
        self, frames: Iterable[tuple[str, np.ndarray]]
    ) -> Iterator[Float32[np.ndarray, "h w 2"] | None]:
        """One flow for each frame, given with its stem, as `estimate_flows` does.

        Raises:
            InputError: As `__call__`.
        """
        waiting = None
        for stem, frame in frames:
            if waiting is not None:
                yield self(waiting[0], frame_size=waiting[1])
            waiting = stem, frame.shape[:2]
        if waiting is not None:
            yield self(waiting[0], frame_size=waiting[1], last=True)
