"""RoIAlign: crops of feature maps, bilinearly sampled to one size (He et al., 2017).

Boxes are as in `ops.boxes`, in pixels of the network's input. Every function takes one
image; batch with `jax.vmap`, which costs little more than the images one by one.

A bin of a crop is a weighted mean of a few cells of the features. So all crops are the
product of a sparse matrix, which the boxes determine, and the features as rows.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from movseg_jax.errors import InputError
from movseg_jax.ops import boxes as box_ops

# Bins whose gradients are scattered at once; 16 rows of features each. On a CPU they
# should fit its cache; on others few steps matter, but so does memory.
_BINS_AT_ONCE = {"cpu": 256, "default": 8192}


def roi_align(
    features: Float[Array, "h w c"],
    boxes: Float[Array, "n 4"],
    *,
    stride: float,
    output_size: int,
    samples: int = 2,
    half_pixel: bool = True,
    extent: Float[Array, "2"] | None = None,
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
    """
    height, width, channels = features.shape
    shapes = jnp.array([[height, width]], jnp.int32)
    matrix = _sampling_matrix(
        boxes / stride,
        first=jnp.zeros(len(boxes), jnp.int32),
        widths=jnp.full(len(boxes), width, jnp.int32),
        extents=_real_cells(shapes, None if extent is None else extent[None]),
        bins=output_size,
        samples=samples,
        half_pixel=half_pixel,
    )
    crops = _sparse_matmul(*matrix, features.reshape(-1, channels))
    return crops.reshape(len(boxes), output_size, output_size, channels)


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
    """
    levels = sorted(pyramid)
    if levels != list(range(levels[0], levels[-1] + 1)):
        raise InputError(
            f"pyramid_roi_align: the pyramid has levels {levels}, expected successive "
            "ones. Leave out levels at its ends only."
        )
    shapes = np.array([pyramid[level].shape[:2] for level in levels], np.int32)
    areas = shapes.prod(axis=1, dtype=np.int32)
    strides = jnp.array(2.0 ** np.array(levels), jnp.float32)[:, None]
    real = None if size is None else size[None] / strides

    level = roi_level(boxes, levels[0], levels[-1]) - levels[0]
    if inclusive:
        boxes = boxes - jnp.array([0.0, 0.0, 1.0, 1.0], boxes.dtype)[None, :]
    matrix = _sampling_matrix(
        boxes / strides[level],
        first=jnp.array(areas.cumsum(dtype=np.int32) - areas)[level],
        widths=jnp.array(shapes[:, 1])[level],
        extents=_real_cells(jnp.array(shapes), real)[level],
        bins=output_size,
        samples=samples,
        half_pixel=half_pixel,
    )
    channels = pyramid[levels[0]].shape[-1]
    rows = jnp.concatenate([pyramid[i].reshape(-1, channels) for i in levels])
    crops = _sparse_matmul(*matrix, rows)
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


def _real_cells(
    shapes: Int[Array, "levels 2"], extents: Float[Array, "levels 2"] | None
) -> Int[Array, "levels 2"]:
    """Height and width of each level in cells without padding."""
    if extents is None:
        return shapes
    return jnp.minimum(jnp.ceil(extents).astype(jnp.int32), shapes)


def _sampling_matrix(
    boxes: Float[Array, "n 4"],
    *,
    first: Int[Array, " n"],
    widths: Int[Array, " n"],
    extents: Int[Array, "#n 2"],
    bins: int,
    samples: int,
    half_pixel: bool,
) -> tuple[Int[Array, "rows k"], Float[Array, "rows k"]]:
    """Finds the cells that make up each bin of each box, and their weights.

    Args:
        boxes: Boxes in cells of the level that each is cut from.
        first: The row of the features at which that level begins.
        widths: Cells per line of that level.
        extents: Height and width, in cells, that are not padding.
        bins: Per box and axis.
        samples: Points per bin and axis.
        half_pixel: See `roi_align`.

    Returns:
        Rows of the features, and their weights, for all bins in order.
    """
    if half_pixel:
        boxes = boxes - 0.5
    sizes = boxes[:, 2:] - boxes[:, :2]
    if not half_pixel:
        sizes = jnp.maximum(sizes, 1)
    x, x_weight = _line_weights(boxes[:, 0], sizes[:, 0], extents[:, 1], bins, samples)
    y, y_weight = _line_weights(boxes[:, 1], sizes[:, 1], extents[:, 0], bins, samples)
    line = first[:, None, None] + y * widths[:, None, None]
    cells = line[:, :, None, :, None] + x[:, None, :, None, :]
    weights = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
    shape = (len(boxes) * bins**2, (2 * samples) ** 2)
    return cells.reshape(shape), weights.reshape(shape)


def _line_weights(
    start: Float[Array, " n"],
    size: Float[Array, " n"],
    extent: Int[Array, " #n"],
    bins: int,
    samples: int,
) -> tuple[Int[Array, "n bins k"], Float[Array, "n bins k"]]:
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
    return cells, jnp.where(jnp.tile(real, 2), weights, 0)


@jax.custom_vjp
def _sparse_matmul(
    columns: Int[Array, "n k"], weights: Float[Array, "n k"], dense: Float[Array, "m c"]
) -> Float[Array, "n c"]:
    """The product of a sparse [n, m] matrix, of k entries per row, and a dense one."""
    # Unrolled, XLA fuses this into a single loop without any temporary arrays.
    terms = [
        weights[:, i, None] * _rows(dense, columns[:, i]).astype(weights.dtype)
        for i in range(columns.shape[1])
    ]
    return functools.reduce(jnp.add, terms).astype(dense.dtype)


def _sparse_matmul_forward(columns, weights, dense):
    return _sparse_matmul(columns, weights, dense), (columns, weights, dense)


def _sparse_matmul_backward(residuals, gradient):
    columns, weights, dense = residuals
    gradient = gradient.astype(weights.dtype)

    def weight_gradient(row):
        columns, gradient = row
        terms = _rows(dense, columns).astype(gradient.dtype) * gradient[None]
        return terms.sum(axis=1)

    # XLA drops this where the boxes have no gradient, which is nearly always.
    to_weights = jax.lax.map(weight_gradient, (columns, gradient), batch_size=256)
    by_platform = {
        platform: functools.partial(_transposed_matmul, len(dense), at_once)
        for platform, at_once in _BINS_AT_ONCE.items()
    }
    to_dense = jax.lax.platform_dependent(columns, weights, gradient, **by_platform)
    return None, to_weights, to_dense.astype(dense.dtype)


_sparse_matmul.defvjp(_sparse_matmul_forward, _sparse_matmul_backward)


def _transposed_matmul(
    size: int,
    at_once: int,
    columns: Int[Array, "n k"],
    weights: Float[Array, "n k"],
    dense: Float[Array, "n c"],
) -> Float[Array, "{size} c"]:
    """The product of the transpose of a sparse matrix and a dense one."""
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

    total = jnp.zeros((size, channels), dense.dtype)
    # In place: transposing the forward pass by JAX allocates a total in every step.
    return jax.lax.fori_loop(0, -(-n // max(at_once, 1)), add, total)


def _rows(matrix: Float[Array, "m c"], rows: Int[Array, " n"]) -> Float[Array, "n c"]:
    return matrix.at[rows].get(mode="promise_in_bounds", wrap_negative_indices=False)
