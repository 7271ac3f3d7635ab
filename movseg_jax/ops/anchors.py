"""Anchors: the reference boxes that the RPN scores and refines, one set per level.

An anchor belongs to a cell of a pyramid level; its shape depends on the level only.
Everything is NumPy: anchors are constants of a compiled program.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32

Rounding = Literal["none", "corners", "detectron"]


def cell_anchors(
    side: float, stride: int, ratios: Sequence[float], rounding: Rounding = "none"
) -> Float32[np.ndarray, "a 4"]:
    """Anchors of one cell about the origin, in pixels.

    Args:
        side: Square root of an anchor's area, in pixels.
        stride: Pixels per cell; matters for "detectron" only.
        ratios: Height over width of each anchor.
        rounding: "none"; "corners" rounds the corners to pixels, as torchvision does;
            "detectron" rounds the shape in units of the stride and shifts by half a
            stride less half a pixel, as Detectron's `generate_anchors` does.
    """
    if rounding == "detectron":
        return _detectron_cell_anchors(side, stride, ratios)
    roots = np.sqrt(np.asarray(ratios, np.float64))
    corners = (
        np.stack([-side / roots, -side * roots, side / roots, side * roots], 1) / 2
    )
    if rounding == "corners":
        corners = np.round(corners)
    return corners.astype(np.float32)


def _detectron_cell_anchors(side, stride, ratios):
    anchors = []
    for ratio in ratios:
        width = round(math.sqrt(stride * stride / ratio))
        height = round(width * ratio)
        shape = np.array([width, height]) * (side / stride)
        # Inclusive corners about (stride - 1) / 2; a continuous box ends 1 later.
        center = 0.5 * (stride - 1)
        anchors.append([*(center - 0.5 * (shape - 1)), *(center + 0.5 * (shape - 1))])
    return np.array(anchors, np.float32) + np.array([0, 0, 1, 1], np.float32)


def level_anchors(
    shape: tuple[int, ...],
    level: int,
    *,
    size: float = 8.0,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    offset: float = 0.5,
    rounding: Rounding = "none",
    strides: tuple[int, ...] | None = None,
) -> Float32[np.ndarray, "anchors 4"]:
    """All anchors of a pyramid level, by row, then column, then ratio.

    Args:
        shape: Height and width of the level in cells.
        level: The level; its stride is `2**level`.
        size: Side of an anchor in strides (Feature Pyramid Networks use 8).
        ratios: Height over width.
        offset: Distance of an anchor's centre from the top left corner of its cell, in
            strides: 0.5 is the cell's centre.
        rounding: See `cell_anchors`.
        strides: Pixels from cell to cell, (y, x), where they are not `2**level`:
            torchvision divides the padded image by the number of its cells.
    """
    stride = 2**level
    base = cell_anchors(size * stride, stride, ratios, rounding)
    rows, columns = (
        step * (np.arange(n, dtype=np.float32) + offset)
        for n, step in zip(shape, strides or (stride, stride), strict=True)
    )
    corner = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)
    shift = np.tile(corner, 2)[:, :, None, :]
    return (shift + base).reshape(-1, 4).astype(np.float32)
