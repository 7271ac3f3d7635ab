"""RoIAlign: crops of feature maps, bilinearly sampled to one size (He et al., 2017).

Boxes are as in `ops.boxes`, in pixels of the network's input. Every function takes one
image; batch with `jax.vmap`, which costs little more than the images one by one.

A bin of a crop is a weighted mean of a few cells of the features. So all crops are the
product of a sparse matrix, which the boxes determine, and the features as rows. The
points of a bin form a grid, so the part of the matrix for one box is also the product
of two matrices, one per axis. TPUs, which scatter slowly, use these for the gradient.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from movseg_jax.config import Precision
from movseg_jax.errors import InputError
from movseg_jax.ops import boxes as box_ops

# Bins whose gradients are scattered at once; 16 rows of features each. On a CPU they
# should fit its cache; on others few steps matter, but so does memory.
_BINS_AT_ONCE = {"cpu": 256, "default": 8192}
# Boxes whose gradients a TPU multiplies at once. Each takes `output_size` lines of the
# features for a moment, as wide as the level.
_BOXES_AT_ONCE = 32

_Shapes = Sequence[tuple[int, ...]]  # Height and width of each level, in cells.


class _Line(NamedTuple):
    """The cells along one axis that make up each bin of each box, and their weights."""

    cells: Int[Array, "n bins k"]
    weights: Float[Array, "n bins k"]


class _Matrix(NamedTuple):
    """The sparse matrix: its entries, and the two factors of each box's part.

    Attributes:
        columns: The cells that make up each bin, as rows of the features.
        weights: The weights of these cells; gradients flow through these alone.
        level: The level that each box is cut from, counted from 0.
        y: The vertical factor.
        x: The horizontal factor.
    """

    columns: Int[Array, "rows k"]
    weights: Float[Array, "rows k"]
    level: Int[Array, " n"]
    y: _Line
    x: _Line


def roi_align(
    features: Float[Array, "h w c"],
    boxes: Float[Array, "n 4"],
    *,
    stride: float,
    output_size: int,
    samples: int = 2,
    half_pixel: bool = True,
    extent: Float[Array, "2"] | None = None,
    precision: Precision = "highest",
) -> Float[Array, "n {output_size} {output_size} c"]:
    """Crops every box out of the features, resampled to a square.

    A box is cut into `output_size` x `output_size` bins; a bin is the mean of
    `samples` x `samples` points spread evenly in it, each interpolated between the
    four cells around it. A point up to one cell outside of the features reads their
    nearest edge; one farther out, or not finite, reads 0. So every crop is finite, that
    of padding ([0, 0, 0, 0]) too. The same as `torchvision.ops.roi_align`.

    Args:
        features: Features of an image at a pyramid level. With bfloat16
            features, weights and sums are still float32, and crops are bfloat16.
        boxes: Boxes in pixels of the image.
        stride: Pixels of the image per cell of the features.
        output_size: Height and width of a crop.
        samples: Points per bin and axis.
        half_pixel: A cell's value is at its centre (`aligned` in torchvision). If not,
            it is at its corner, and a box is at least one cell wide and high
            (Detectron).
        extent: Height and width, in cells, of what is not padding. The result is as if
            the features ended there, rounded up to whole cells.
        precision: The precision of the products that make the gradient on TPUs.
    """
    matrix = _sampling_matrix(
        boxes / stride,
        jnp.zeros(len(boxes), jnp.int32),
        [features.shape[:2]],
        extents=None if extent is None else extent[None],
        bins=output_size,
        samples=samples,
        half_pixel=half_pixel,
    )
    crops = jnp.asarray(_sparse_matmul(precision, matrix, (features,)))
    return crops.reshape(len(boxes), output_size, output_size, features.shape[-1])


@jax.named_scope("roi_align")  # For profiles.
def pyramid_roi_align(
    pyramid: Mapping[int, Float[Array, "_ _ c"]],
    boxes: Float[Array, "n 4"],
    *,
    output_size: int,
    samples: int = 2,
    half_pixel: bool = True,
    inclusive: bool = False,
    size: Float[Array, "2"] | None = None,
    precision: Precision = "highest",
) -> Float[Array, "n {output_size} {output_size} c"]:
    """`roi_align` of each box on the pyramid level that suits its size: `roi_level`.

    Args:
        pyramid: Features of an image by level, of stride `2**level`; no level between
            the lowest and the highest may be missing.
        boxes: Boxes in pixels of the image.
        output_size: Height and width of a crop.
        samples: Points per bin and axis.
        half_pixel: See `roi_align`.
        inclusive: Crop up to [x1 - 1, y1 - 1], the corner that the boxes of Detectron
            end with; their level is still that of the complete box.
        size: Height and width of the image in pixels, without padding: where the
            features end (see `extent` of `roi_align`).
        precision: See `roi_align`.
    """
    levels = sorted(pyramid)
    if levels != list(range(levels[0], levels[-1] + 1)):
        raise InputError(
            f"pyramid_roi_align: the pyramid has levels {levels}, expected successive "
            "ones. Leave out levels at its ends only."
        )
    shapes = [pyramid[i].shape[:2] for i in levels]
    strides = jnp.array(2.0 ** np.array(levels), jnp.float32)[:, None]
    level = roi_level(boxes, levels[0], levels[-1]) - levels[0]
    if inclusive:
        boxes = boxes - jnp.array([0.0, 0.0, 1.0, 1.0], boxes.dtype)[None, :]
    matrix = _sampling_matrix(
        boxes / strides[level],
        level,
        shapes,
        extents=None if size is None else size[None] / strides,
        bins=output_size,
        samples=samples,
        half_pixel=half_pixel,
    )
    features = tuple(pyramid[i] for i in levels)
    crops = jnp.asarray(_sparse_matmul(precision, matrix, features))
    channels = pyramid[levels[0]].shape[-1]
    return crops.reshape(len(boxes), output_size, output_size, channels)


def roi_level(
    boxes: Float[Array, "n 4"], lowest: int, highest: int
) -> Int[Array, " n"]:
    """The pyramid level to crop each box from (Lin et al., 2017, equation 1).

    A box of 224 x 224 pixels is cut from level 4, one of twice the width and height
    from the next level, as far as there are levels. Padding is on the lowest.
    """
    level = jnp.floor(4 + jnp.log2(jnp.sqrt(box_ops.area(boxes)) / 224 + 1e-6))
    return jnp.clip(level.astype(jnp.int32), lowest, highest)


def _sampling_matrix(
    boxes: Float[Array, "n 4"],
    level: Int[Array, " n"],
    shapes: _Shapes,
    *,
    extents: Float[Array, "levels 2"] | None,
    bins: int,
    samples: int,
    half_pixel: bool,
) -> _Matrix:
    """Finds the cells that make up each bin of each box, and their weights.

    Args:
        boxes: Boxes in cells of the level that each is cut from.
        level: The level of each, counted from 0.
        shapes: The levels' shapes.
        extents: Height and width of each level that is not padding, in cells; None is
            all of it.
        bins: Per box and axis.
        samples: Points per bin and axis.
        half_pixel: See `roi_align`.
    """
    sizes = np.array(shapes, np.int32)
    areas = sizes.prod(axis=1, dtype=np.int32)
    first = jnp.array(areas.cumsum(dtype=np.int32) - areas)[level]
    widths = jnp.array(sizes[:, 1])[level]
    real = jnp.array(sizes)
    if extents is not None:
        real = jnp.minimum(jnp.ceil(extents).astype(jnp.int32), real)
    ends = real[level]
    if half_pixel:
        boxes = boxes - 0.5
    sides = boxes[:, 2:] - boxes[:, :2]
    if not half_pixel:
        sides = jnp.maximum(sides, 1)
    x = _line_weights(boxes[:, 0], sides[:, 0], ends[:, 1], bins, samples)
    y = _line_weights(boxes[:, 1], sides[:, 1], ends[:, 0], bins, samples)
    line = first[:, None, None] + y.cells * widths[:, None, None]
    cells = line[:, :, None, :, None] + x.cells[:, None, :, None, :]
    weights = y.weights[:, :, None, :, None] * x.weights[:, None, :, None, :]
    shape = (len(boxes) * bins**2, (2 * samples) ** 2)
    return _Matrix(cells.reshape(shape), weights.reshape(shape), level, y, x)


def _line_weights(
    start: Float[Array, " n"],
    size: Float[Array, " n"],
    extent: Int[Array, " n"],
    bins: int,
    samples: int,
) -> _Line:
    """`_sampling_matrix` along one axis: two cells for each of a bin's points."""
    # The order of operations is torchvision's, so that points fall on the same side
    # of the ends.
    step = (size / bins)[:, None, None]
    bin_number = jnp.arange(bins, dtype=step.dtype)[None, :, None]
    in_bin = (jnp.arange(samples, dtype=step.dtype) + 0.5)[None, None, :]
    points = start[:, None, None] + bin_number * step + in_bin * step / samples
    # Cells are clipped as integers: no box, NaN included, may lead out of the array.
    last = jnp.maximum(extent - 1, 0)[:, None, None]
    end = last.astype(points.dtype)
    real = (points >= -1) & (points <= end + 1)
    points = jnp.clip(points, 0, end)
    low = jnp.clip(jnp.floor(points).astype(jnp.int32), 0, last)
    high = jnp.minimum(low + 1, last)
    fraction = points - low.astype(points.dtype)
    cells = jnp.concatenate([low, high], axis=2)
    weights = jnp.concatenate([1 - fraction, fraction], axis=2) / samples
    return _Line(cells, jnp.where(jnp.tile(real, 2), weights, 0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sparse_matmul(
    precision: Precision, matrix: _Matrix, levels: tuple[Float[Array, "_ _ c"], ...]
) -> Float[Array, "rows c"]:
    """The product of the sparse matrix and the features of all levels as rows."""
    columns, weights = matrix.columns, matrix.weights
    dense = _as_rows(levels)
    # Unrolled, XLA fuses this into a single loop without any temporary arrays.
    terms = [
        weights[:, i, None] * _rows(dense, columns[:, i]).astype(weights.dtype)
        for i in range(columns.shape[1])
    ]
    return functools.reduce(jnp.add, terms).astype(dense.dtype)


def _sparse_matmul_forward(precision, matrix, levels):
    return _sparse_matmul(precision, matrix, levels), (matrix, levels)


def _sparse_matmul_backward(precision, residuals, gradient):
    matrix, levels = residuals
    gradient = gradient.astype(matrix.weights.dtype)
    dense = _as_rows(levels)

    def weight_gradient(row):
        columns, gradient = row
        terms = _rows(dense, columns).astype(gradient.dtype) * gradient[None]
        return terms.sum(axis=1)

    # XLA drops this where the boxes have no gradient, which is nearly always.
    to_weights = jax.lax.map(
        weight_gradient, (matrix.columns, gradient), batch_size=256
    )
    to_matrix = matrix._replace(columns=None, weights=to_weights, level=None)
    to_matrix = to_matrix._replace(y=None, x=None)
    shapes = [level.shape[:2] for level in levels]
    by_platform = {
        platform: functools.partial(_transposed_by_scatter, shapes, at_once)
        for platform, at_once in _BINS_AT_ONCE.items()
    }
    by_platform["tpu"] = functools.partial(_transposed_by_products, shapes, precision)
    to_levels = jax.lax.platform_dependent(matrix, gradient, **by_platform)
    return to_matrix, tuple(g.astype(dense.dtype) for g in to_levels)


_sparse_matmul.defvjp(_sparse_matmul_forward, _sparse_matmul_backward)


def _transposed_by_scatter(
    shapes: _Shapes, at_once: int, matrix: _Matrix, dense: Float[Array, "rows c"]
) -> list[Float[Array, "_ _ c"]]:
    """The product of the sparse matrix's transpose and a dense one, entry by entry."""
    columns, weights = matrix.columns, matrix.weights
    areas = [height * width for height, width in shapes]
    n, channels = dense.shape
    at_once = min(at_once, n)

    def add(step, total):
        # The last step overlaps the one before: rows that had their turn weigh 0.
        start = jnp.minimum(step * at_once, n - at_once)
        new = start + jnp.arange(at_once, dtype=start.dtype) >= step * at_once

        def part(array):
            return jax.lax.dynamic_slice_in_dim(array, start, at_once)

        weight = jnp.where(new[:, None], part(weights), 0)
        terms = weight[:, :, None] * part(dense)[:, None, :]
        return total.at[part(columns).reshape(-1)].add(
            terms.reshape(-1, channels), mode="promise_in_bounds"
        )

    total = jnp.zeros((sum(areas), channels), dense.dtype)
    # In place: transposing the forward pass by JAX allocates a total in every step.
    total = jax.lax.fori_loop(0, -(-n // max(at_once, 1)), add, total)
    parts = jnp.split(total, np.cumsum(areas)[:-1])
    return [
        part.reshape(*shape, channels)
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _transposed_by_products(
    shapes: _Shapes,
    precision: Precision,
    matrix: _Matrix,
    dense: Float[Array, "rows c"],
) -> list[Float[Array, "_ _ c"]]:
    """The same without scattering: each axis is a product with a dense matrix.

    It multiplies each box with all levels, of which all but one have weights of 0.
    """
    boxes, bins, _ = matrix.y.cells.shape
    channels = dense.shape[-1]
    parts = (
        matrix.level,
        matrix.y,
        matrix.x,
        dense.reshape(boxes, bins, bins, channels),
    )
    steps = -(-boxes // _BOXES_AT_ONCE)
    missing = steps * _BOXES_AT_ONCE - boxes

    def split(array):
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(steps, _BOXES_AT_ONCE, *array.shape[1:])

    product = functools.partial(jnp.einsum, precision=precision)

    def add(totals, step):
        level, y, x, gradient = step  # The gradients of padding are 0.
        new = []
        for number, (shape, total) in enumerate(zip(shapes, totals, strict=True)):
            mine = (level == number)[:, None, None]
            down = jnp.where(mine, _dense(y, shape[0]), 0)
            across = _dense(x, shape[1])
            lines = product("nyxc,nxw->nywc", gradient, across)
            new.append(total + product("nyh,nywc->hwc", down, lines))
        return new, None

    totals = [jnp.zeros((*shape, channels), dense.dtype) for shape in shapes]
    return jax.lax.scan(add, totals, jax.tree.map(split, parts))[0]


def _dense(line: _Line, size: int) -> Float[Array, "n bins {size}"]:
    """The weights of all cells along an axis; cells beyond `size` are left out."""
    one_hot = jax.nn.one_hot(line.cells, size, dtype=line.weights.dtype)
    return (one_hot * line.weights[..., None]).sum(axis=2)


def _as_rows(levels: Sequence[Float[Array, "_ _ c"]]) -> Float[Array, "m c"]:
    return jnp.concatenate([level.reshape(-1, level.shape[-1]) for level in levels])


def _rows(matrix: Float[Array, "m c"], rows: Int[Array, " n"]) -> Float[Array, "n c"]:
    return matrix.at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False)
