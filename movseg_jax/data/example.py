"""What every data set gives: `Example`s, by number, from a `Source`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8


@dataclasses.dataclass(frozen=True)
class Example:
    """A frame and what is known of it; nothing is padded.

    Attributes:
        name: "data set/sequence/frame" or "data set/image"; unique within a source.
        image: RGB.
        flow: Pixels to the next frame, (x, y); None where there is none, so for the
            last frame of every sequence.
        masks: Of the objects. They may overlap, and may be empty.
        classes: From 0; all 0 where every object is just "object".
        ids: Which object it is, from 1; the same throughout a sequence.
        ignore: Regions that are neither object nor background: crowds, unlabelled
            pixels. Nothing is to be learned or scored there.
        moving: Whether the object moves in this frame, where the source knows;
            otherwise True.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    flow: Float32[np.ndarray, "h w 2"] | None
    masks: Bool[np.ndarray, "n h w"]
    classes: Int32[np.ndarray, " n"]
    ids: Int32[np.ndarray, " n"]
    ignore: Bool[np.ndarray, " n"]
    moving: Bool[np.ndarray, " n"]


@runtime_checkable
class Source(Protocol):
    """A data set: examples by number, read when asked for; safe to pickle."""

    @property
    def name(self) -> str:
        """Of the data set and split, such as "davis2016/train"."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes; ("object",) if there is one."""
        ...

    @property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every video's frames, in order; images are videos of one."""
        ...

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """Height and width of every example, known without reading it."""
        ...

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether the example will have flow, known without reading it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
