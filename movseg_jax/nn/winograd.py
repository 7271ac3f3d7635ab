"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's F(4x4, 3x3) (Lavin and Gray, 2016): 4x4 pixels of the result, a tile, need
the 6x6 pixels of the input around them. Both are linearly transformed to 6x6 values,
for each of which all tiles together are one matrix product over the channels, so that
16 pixels take 36 multiplications per pair of channels and not 144.

The interpolation points are 0, ±3/4, ±3/2 and infinity: with them the rounding error
of float32 is about 1e-6 of the result's root mean square, half of what it is with the
usual 0, ±1, ±2.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from movseg_jax.config import Precision
from movseg_jax.nn.products import dot_general

TILE = 4  # Pixels of the result along an axis.
_SPAN = TILE + 2  # Pixels of the input that they need.
# Larger inputs are transformed this many tiles at a time: few enough for the 36 values
# per tile and channel to stay in cache, many enough for efficient matrix products.
CHUNK = 192
UNCUT = 110_000  # Tiles times channels up to which there is one chunk.


def _cook_toom(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The transforms of input [6, 6], kernel [6, 3] and product [4, 6] (B, G, A)."""
    n = len(points)
    others = [np.delete(points, i) for i in range(n)]
    inputs = np.zeros((n + 1, n + 1))
    for i, roots in enumerate([*others, points]):
        inputs[i, : len(roots) + 1] = np.poly(roots)[::-1]
    scale = [1 / np.prod(points[i] - others[i]) for i in range(n)]
    kernels = np.vstack([np.vander(points, 3, True) * np.c_[scale], [0, 0, 1]])
    infinity = np.eye(TILE)[-1:]
    products = np.vstack([np.vander(points, TILE, True), infinity]).T
    return inputs, kernels, products


_INPUTS, _KERNELS, _PRODUCTS = _cook_toom(np.array([0, 0.75, -0.75, 1.5, -1.5]))


def _combine(matrix: np.ndarray, parts: list[Array], axis: int) -> Array:
    """Sums of `parts`, weighted by each row of `matrix`, stacked along `axis`."""
    sums = [
        functools.reduce(
            jnp.add,
            [
                part * jnp.asarray(weight, part.dtype)
                for weight, part in zip(row, parts, strict=True)
                if weight != 0
            ],
        )
        for row in matrix
    ]
    # The barrier keeps the two axes' transforms apart: fused, they cost 6x the reads.
    return lax.optimization_barrier(jnp.stack(sums, axis))


def _transform_kernel(kernel: Float[Array, "3 3 c n"]) -> Float[Array, "36 c n"]:
    matrix = jnp.asarray(np.kron(_KERNELS, _KERNELS), kernel.dtype)
    flat = lax.dot(matrix, kernel.reshape(9, -1), precision="highest")
    return flat.reshape(_SPAN**2, *kernel.shape[2:])


def _transform_input(x: Float[Array, "b h w c"]) -> Float[Array, "36 tiles c"]:
    """Transforms pixels that have a border of 1, so a multiple of 4 plus 2 a side."""
    ends = [size - _SPAN + 1 for size in x.shape[1:3]]
    x = _combine(_INPUTS, [x[:, i : i + ends[0] : TILE] for i in range(_SPAN)], 0)
    columns = [x[:, :, :, i : i + ends[1] : TILE] for i in range(_SPAN)]
    return _combine(_INPUTS, columns, 1).reshape(_SPAN**2, -1, x.shape[-1])


def _transform_product(
    product: Float[Array, "36 tiles n"], tiles: tuple[int, int, int]
) -> Float[Array, "b h w n"]:
    batch, rows, columns = tiles
    x = product.reshape(_SPAN, _SPAN, *tiles, -1)
    x = _combine(_PRODUCTS, list(x), 3)
    x = _combine(_PRODUCTS, list(x), 4)
    return x.reshape(batch, rows * TILE, columns * TILE, -1)


class _Chunks:
    """Cuts `[b, h, w, c]` into equal chunks of about `CHUNK` tiles.

    A chunk is a few rows of tiles of one image, or a few complete images.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape[:3]
        batch, rows, columns = shape[0], -(-shape[1] // TILE), -(-shape[2] // TILE)
        tiles = batch * rows * columns
        largest = tiles if tiles * shape[3] <= UNCUT else CHUNK

        def split(count, cost):
            chunks = -(-count // max(1, largest // cost))
            return chunks, -(-count // chunks)

        row_chunks, rows = split(rows, columns)
        batch_chunks, images = split(batch, rows * row_chunks * columns)
        self.tiles = (images, rows, columns)
        self.chunks = (batch_chunks, row_chunks)

    def _pad(self, x, border):
        (images, rows, columns), (batch_chunks, row_chunks) = self.tiles, self.chunks
        full = (images * batch_chunks, rows * row_chunks * TILE, columns * TILE)
        more = [target - size for target, size in zip(full, x.shape, strict=False)]
        spatial = [(border, border + extra) for extra in more[1:]]
        return jnp.pad(x, [(0, more[0]), *spatial, (0, 0)])

    def indices(self):
        """The indices of all chunks, [chunks, 2]."""
        return jnp.asarray(list(np.ndindex(self.chunks)), jnp.int32)

    def reader(self, x, border):
        """A function of a chunk's index; chunks overlap by twice the `border`."""
        x = self._pad(x, border)
        images, rows, _ = self.tiles
        size = (images, rows * TILE + 2 * border, *x.shape[2:])

        def read(index):
            zero = jnp.zeros((), index.dtype)
            start = (index[0] * images, index[1] * rows * TILE, zero, zero)
            return lax.dynamic_slice(x, start, size)

        return read

    def map(self, function):
        """Results for all chunks, stacked."""
        indices = self.indices()
        if len(indices) == 1:
            return function(indices[0])
        return lax.map(function, indices)

    def join(self, x):
        """Undoes the cutting of what `map` returns."""
        images, rows, columns = self.tiles
        x = x.reshape(*self.chunks, images, rows * TILE, columns * TILE, -1)
        # Either there is one image in a chunk or all rows are, so this moves nothing.
        x = jnp.swapaxes(x, 1, 2)
        x = x.reshape(self.chunks[0] * images, -1, *x.shape[-2:])
        return x[tuple(slice(size) for size in self.shape)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def winograd_conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "3 3 c n"],
    precision: Precision = "default",
) -> Float[Array, "b h w n"]:
    """The 3x3 convolution of stride 1, with zeros beyond the border."""
    chunks = _Chunks(x.shape)
    read, kernel = chunks.reader(x, border=1), _transform_kernel(kernel)

    def convolve(index):
        inputs = _transform_input(read(index))
        product = dot_general(inputs, kernel, (((2,), (1,)), ((0,), (0,))), precision)
        return _transform_product(product, chunks.tiles)

    return chunks.join(chunks.map(convolve))


def _forward(x, kernel, precision):
    return winograd_conv(x, kernel, precision), (x, kernel)


def _backward(precision, residuals, gradient):
    x, kernel = residuals
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    input_gradient = winograd_conv(gradient, flipped, precision)
    return input_gradient, _kernel_gradient(x, gradient, kernel)


def _kernel_gradient(x, gradient, kernel):
    """The transposes of the forward transforms, summed over all tiles."""
    chunks = _Chunks(x.shape)
    read_x, read_gradient = chunks.reader(x, 1), chunks.reader(gradient, 0)
    channels = gradient.shape[-1]
    product = jax.ShapeDtypeStruct(
        (_SPAN**2, int(np.prod(chunks.tiles)), channels), x.dtype
    )
    untransform_product = jax.linear_transpose(
        lambda p: _transform_product(p, chunks.tiles), product
    )
    untransform_kernel = jax.linear_transpose(_transform_kernel, kernel)

    def add(total, index):
        (product,) = untransform_product(read_gradient(index))
        inputs = _transform_input(read_x(index))
        products = jnp.einsum("ktc,ktn->kcn", inputs, product, precision="default")
        return total + products, None

    zero = jnp.zeros((_SPAN**2, x.shape[-1], channels), x.dtype)
    total, _ = lax.scan(add, zero, chunks.indices())
    return untransform_kernel(total)[0]


winograd_conv.defvjp(_forward, _backward)
