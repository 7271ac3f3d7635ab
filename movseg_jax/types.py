"""Bundles of arrays that cross modules. `n` counts rows that may be padding.

Padding is zeros plus `valid: bool[n]`. Boxes are `[x0, y0, x1, y1]` in pixels,
continuous: the pixel in column 0 covers x in [0, 1).
"""

from typing import Any, NamedTuple

Array = Any  # NumPy's on the host, JAX's on the device; shapes are in each docstring.


def _short(self: Any) -> str:
    """Returns a `repr` that has shapes instead of values."""
    fields = (
        f"{name}={value.dtype}{[*value.shape]}" if hasattr(value, "shape") else
        f"{name}={value!r}"
        for name, value in zip(self._fields, self, strict=True)
    )  # fmt: skip
    return f"{type(self).__name__}({', '.join(fields)})"


class Inputs(NamedTuple):
    """A batch of frames as the detector takes it; see `model.inputs.preprocess`.

    Attributes:
        image: float32 [b, H, W, 3], normalised, resized, padded with zeros at the
            bottom and right; None for a model without appearance stream.
        motion: float32 [b, H, W, 3], the encoded optical flow, likewise.
        size: float32 [b, 2], height and width that are not padding.
        frame_size: float32 [b, 2], height and width of the frame before resizing.
        scale: float32 [b, 2], pixels of the input per pixel of the frame, (y, x).
    """

    image: Array | None
    motion: Array | None
    size: Array
    frame_size: Array
    scale: Array

    __repr__ = _short


class Objects(NamedTuple):
    """The ground truth of an image; see `data.batches.to_training`.

    Attributes:
        boxes: float32 [..., n, 4], tight around the masks, in pixels of the input.
        masks: uint8 [..., n, m, m], how much of each cell of an m x m grid over the box
            is the object, 0 to 255.
        classes: int32 [..., n], from 0; all 0 if the model has one class.
        valid: bool [..., n], whether there is an object at all.
        ignored: uint8 [..., h, w], how much of each cell of a grid over the padded
            input is neither object nor background, 0 to 255.
    """

    boxes: Array
    masks: Array
    classes: Array
    valid: Array
    ignored: Array

    __repr__ = _short


class Batch(NamedTuple):
    """Images and their objects, to train on; every array has a leading batch axis.

    Attributes:
        inputs: The detector's inputs.
        objects: The objects that it should find.
    """

    inputs: Inputs
    objects: Objects

    __repr__ = _short


class Proposals(NamedTuple):
    """Boxes from the RPN after NMS, by falling score.

    Attributes:
        boxes: float32 [..., n, 4], in pixels of the network's input.
        scores: float32 [..., n], in [0, 1].
        valid: bool [..., n].
    """

    boxes: Array
    scores: Array
    valid: Array

    __repr__ = _short


class Detections(NamedTuple):
    """The objects that the detector found in a frame.

    Attributes:
        boxes: float32 [..., n, 4], in pixels of the frame (not of the resized input).
        scores: float32 [..., n], in [0, 1].
        classes: int32 [..., n], from 0; all 0 if there is one class.
        mask_logits: float32 [..., n, 28, 28], over the box: see `masks.paste`.
        valid: bool [..., n].
    """

    boxes: Array
    scores: Array
    classes: Array
    mask_logits: Array
    valid: Array

    __repr__ = _short


class Outputs(NamedTuple):
    """The outputs of `Detector` for a batch.

    Attributes:
        moving: The detections of the model's own heads.
        static: The detections of the static branch, which also finds stationary
            objects; None if the model has no such branch.
    """

    moving: Detections
    static: Detections | None

    __repr__ = _short
