"""Reads folders with a flow file for each frame but the last, named as the frames."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from movseg_jax.errors import InputError
from movseg_jax.flow.files import SUFFIXES, read_flow


class FlowFolder:
    """The flow files of a folder, by the stem of the frame at which they start.

    Formats are those of `files.read_flow`. Files with other suffixes and hidden ones
    are ignored.

    Raises:
        InputError: The folder cannot be read or has no flow files, or two of them
            belong to one frame.
    """

    def __init__(self, folder: str | Path):
        self.folder = folder = Path(folder)
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
        """Reads the flow from a frame to the next.

        Args:
            stem: The stem of the frame's name.
            frame_size: The height and width of the frame, which the flow must have.
            last: Whether it is the video's last frame. If so, the result is None, even
                if there is a file: it may be left from a longer video.

        Raises:
            InputError: The frame has no flow, or `files.read_flow` raises it.
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
        """Yields the flow of each frame, given with its stem, and None for the last.

        Raises:
            InputError: A frame but the last has no flow, or its file is damaged.
        """
        waiting = None
        for stem, frame in frames:
            if waiting is not None:
                yield self(waiting[0], frame_size=waiting[1])
            waiting = stem, frame.shape[:2]
        if waiting is not None:
            yield self(waiting[0], frame_size=waiting[1], last=True)
