"""Renders frames of a scene with exact masks, flow, depth and occlusions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8

from movseg_jax.scenes import effects
from movseg_jax.scenes.layout import Layout, make_layout
from movseg_jax.scenes.paint import paint
from movseg_jax.scenes.raster import belongs, piece_layer, plane_cover
from movseg_jax.scenes.scene import Scene


class Rendered(NamedTuple):
    """A rendered frame.

    Attributes:
        image: The RGB image.
        ids: The number of the object at each pixel, from 1; 0 is the background, which
            includes static things.
        flow: The displacement (x, y), in pixels, to the same point of the surface one
            frame later. It is exact and defined everywhere, even if that point is
            hidden or outside the image.
        camera_flow: The flow that there would be if only the camera moved.
        occluded: Whether that point is outside the next frame or behind something.
        depth: The depth along the optical axis, metres.
        pieces: The number of the piece seen at each pixel, to which the flow belongs.
    """

    image: UInt8[np.ndarray, "h w 3"]
    ids: UInt8[np.ndarray, "h w"]
    flow: Float32[np.ndarray, "h w 2"]
    camera_flow: Float32[np.ndarray, "h w 2"]
    occluded: Bool[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    pieces: Int16[np.ndarray, "h w"]


def render_frame(scene: Scene, frame: int) -> Rendered:
    """Renders a frame, counted from 0; it does not need the frames before it."""
    now, later = make_layout(scene, frame), make_layout(scene, frame + 1)
    return _rendered(scene, frame, now, later, _pieces(scene, now),
                     _pieces(scene, later))  # fmt: skip


def render_clip(scene: Scene) -> Iterator[Rendered]:
    """Renders all frames in order, as `render_frame` does but faster."""
    now = make_layout(scene, 0)
    pieces = _pieces(scene, now)
    for frame in range(scene.config.frames):
        later = make_layout(scene, frame + 1)
        pieces_later = _pieces(scene, later)
        yield _rendered(scene, frame, now, later, pieces, pieces_later)
        now, pieces = later, pieces_later


def _rendered(scene, frame, now: Layout, later: Layout, pieces, pieces_later):
    motions = later.homographies @ now.inverses
    x, y = _grid(scene.config.size)
    middle = np.array([[1, 0, -x[0, 0]], [0, 1, -y[0, 0]], [0, 0, 1.0]])
    depth = 1 / np.maximum(_product(now.nearness @ middle, pieces, x, y), 1e-6)
    flow = _displacement(np.linalg.inv(middle) @ motions @ middle, pieces, x, y)
    return Rendered(
        image=effects.finish(scene.effects, frame, paint(scene, frame, now, motions)),
        ids=scene.object_of_piece[pieces],
        flow=flow,
        camera_flow=_camera_flow(now.view, later.view, depth, x, y),
        occluded=_occluded(flow, pieces, pieces_later, later.rank),
        depth=depth,
        pieces=pieces,
    )


def _pieces(scene, layout: Layout) -> Int16[np.ndarray, "h w"]:
    """Returns the number of the piece that is seen at each pixel."""
    size = scene.config.size
    pieces = np.zeros(size, np.int16)
    for number in layout.order.tolist():
        if number < len(scene.planes):
            found = plane_cover(scene.planes[number], layout, number, size)
        else:
            texture = scene.texture_of_piece(number)
            found = piece_layer(texture, layout, number, size)
        if found is not None:
            window, cover = found
            owned = cover >= 0.5 if cover.ndim == 2 else belongs(cover)
            pieces[window][owned] = number
    return pieces


def _grid(size):
    """Returns x and y about the middle, where single precision is the finest."""
    height, width = size
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    y = np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2)
    return np.broadcast_to(x, size), np.broadcast_to(y[:, None], size)


def _product(lines, pieces, x, y) -> Float32[np.ndarray, "h w"]:
    """Returns the product of each pixel (x, y, 1) with the line of its piece."""
    a, b, c = (np.ascontiguousarray(k)[pieces] for k in lines.astype(np.float32).T)
    return a * x + b * y + c


def _displacement(motions, pieces, x, y) -> Float32[np.ndarray, "h w 2"]:
    """Returns the displacement of each pixel by the motion of its piece."""
    scale = _product(motions[:, 2], pieces, x, y)
    scale = np.maximum(
        scale, np.float32(1e-3)
    )  # A point that passes the camera is hidden.
    # The difference is taken before the division, because it loses no digits there.
    moved_x = _product(motions[:, 0], pieces, x, y) - x * scale
    moved_y = _product(motions[:, 1], pieces, x, y) - y * scale
    return np.stack([moved_x / scale, moved_y / scale], axis=2)


def _camera_flow(now, later, depth, x, y) -> Float32[np.ndarray, "h w 2"]:
    """Returns the displacement of each pixel if the point seen there were static."""
    size = x.shape
    middle = np.array([[1, 0, (size[1] - 1) / 2], [0, 1, (size[0] - 1) / 2], [0, 0, 1]])
    unmiddle = np.linalg.inv(middle)
    intrinsics = unmiddle @ later.intrinsics @ later.rotation
    rays = intrinsics @ now.rotation.T @ np.linalg.inv(now.intrinsics) @ middle
    moved = (intrinsics @ (now.centre - later.centre)).astype(np.float32)
    a = rays.astype(np.float32)
    nearness = 1 / depth
    scale = a[2, 0] * x + a[2, 1] * y + a[2, 2] + moved[2] * nearness
    scale = np.maximum(scale, np.float32(1e-3))
    to_x = a[0, 0] * x + a[0, 1] * y + a[0, 2] + moved[0] * nearness - x * scale
    to_y = a[1, 0] * x + a[1, 1] * y + a[1, 2] + moved[1] * nearness - y * scale
    return np.stack([to_x / scale, to_y / scale], axis=2)


def _occluded(flow, pieces, pieces_later, rank_later) -> Bool[np.ndarray, "h w"]:
    """Returns where a pixel's point is outside the next frame or behind a piece."""
    height, width = pieces.shape
    columns = np.arange(width, dtype=np.float32) + flow[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    inside = (columns > -0.5) & (columns < width - 0.5)
    inside &= (rows > -0.5) & (rows < height - 0.5)
    column = np.clip(np.rint(columns), 0, width - 1).astype(np.intp)
    row = np.clip(np.rint(rows), 0, height - 1).astype(np.intp)
    there = pieces_later[row, column]
    # At the edge of its own piece a point may land on a piece behind, which hides
    # nothing; so only pieces in front count.
    return ~inside | (rank_later[there] > rank_later[pieces])
