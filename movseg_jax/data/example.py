"""The `Example`, which every data set gives, and the `Source` that it comes from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

# Type checkers do not accept a `cached_property` where a protocol has a property, so
# sources import it from here, where it looks like a property to them.
if TYPE_CHECKING:
    from builtins import property as cached_property
else:
    from functools import cached_property as cached_property

Size = tuple[int, int]  # (height, width) in pixels.


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects of a frame; the attributes are those of `Example`."""

    masks: Bool[np.ndarray, "n h w"]
    classes: Int32[np.ndarray, " n"]
    ids: Int32[np.ndarray, " n"]
    ignore: Bool[np.ndarray, " n"]
    moving: Bool[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Example:
    """A frame and its annotation; nothing is padded.

    Attributes:
        name: "data set/sequence/frame" or "data set/image"; unique within a source.
        image: The RGB image.
        flow: The flow (x, y) to the next frame, pixels; None where there is none, as
            for the last frame of every sequence.
        masks: The objects' masks, which may overlap and may be empty.
        classes: The objects' classes, from 0; all 0 if every object is just "object".
        ids: The objects' numbers, from 1; an object has one throughout a sequence.
        ignore: Whether the mask is a region that is neither object nor background, such
            as a crowd or unlabelled pixels. Nothing is learned or scored there.
        moving: Whether the object moves in this frame; True if the source does not
            know.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    flow: Float32[np.ndarray, "h w 2"] | None
    masks: Bool[np.ndarray, "n h w"]
    classes: Int32[np.ndarray, " n"]
    ids: Int32[np.ndarray, " n"]
    ignore: Bool[np.ndarray, " n"]
    moving: Bool[np.ndarray, " n"]

    @property
    def objects(self) -> Objects:
        """The objects without the image and the flow."""
        return Objects(self.masks, self.classes, self.ids, self.ignore, self.moving)


@runtime_checkable
class Source(Protocol):
    """A data set: numbered examples, each read on request; it can be pickled."""

    @property
    def name(self) -> str:
        """The name of the data set and split, such as "davis2016/train"."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes; ("object",) if there is just one."""
        ...

    @property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every video's frames, in order; an image is a video, too."""
        ...

    @property
    def sizes(self) -> Sequence[Size]:
        """The height and width of every example, known without reading it."""
        ...

    @property
    def has_flow(self) -> Sequence[bool]:
        """Whether each example has flow, known without reading it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
