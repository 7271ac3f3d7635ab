"""Frames of a scene with exact truth: what is where, its flow, depth and occlusion."""

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
    """A frame.

    Attributes:
        image: RGB.
        ids: Number of the object, from 1; 0 is background, static things included.
        flow: Pixels, (x, y), to where the same point of the surface is one frame
            later; exact, defined everywhere, also where that is hidden or outside.
        camera_flow: What the flow would be if nothing but the camera moved.
        occluded: Where that point is outside the next frame or behind something.
        depth: Metres along the optical axis.
        pieces: Number of the scene's piece at each pixel: what the flow is of.
    """

    image: UInt8[np.ndarray, "h w 3"]
    ids: UInt8[np.ndarray, "h w"]
    flow: Float32[np.ndarray, "h w 2"]
    camera_flow: Float32[np.ndarray, "h w 2"]
    occluded: Bool[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    pieces: Int16[np.ndarray, "h w"]


def render_frame(scene: Scene, frame: int) -> Rendered:
    """One frame, from 0; any, without those before it."""
    now, later = make_layout(scene, frame), make_layout(scene, frame + 1)
    return _rendered(scene, frame, now, later, _pieces(scene, now),
                     _pieces(scene, later))  # fmt: skip


def render_clip(scene: Scene) -> Iterator[Rendered]:
    """All frames in order: the same as `render_frame`, sooner."""
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
    """Number of the piece that is seen at each pixel."""
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
    """Pixels x and y about the middle, where single precision is the finest."""
    height, width = size
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    y = np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2)
    return np.broadcast_to(x, size), np.broadcast_to(y[:, None], size)


def _product(lines, pieces, x, y) -> Float32[np.ndarray, "h w"]:
    """Each pixel (x, y, 1) times the line of its piece."""
    a, b, c = (np.ascontiguousarray(k)[pieces] for k in lines.astype(np.float32).T)
    return a * x + b * y + c


def _displacement(motions, pieces, x, y) -> Float32[np.ndarray, "h w 2"]:
    """From each pixel to where the motion of its piece takes it."""
    scale = _product(motions[:, 2], pieces, x, y)
    scale = np.maximum(scale, np.float32(1e-3))  # What passes the camera is hidden.
    # The difference is taken before the division, where it loses no digits.
    moved_x = _product(motions[:, 0], pieces, x, y) - x * scale
    moved_y = _product(motions[:, 1], pieces, x, y) - y * scale
    return np.stack([moved_x / scale, moved_y / scale], axis=2)


def _camera_flow(now, later, depth, x, y) -> Float32[np.ndarray, "h w 2"]:
    """From each pixel to where it would go if what is seen there stood still."""
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
    """Whether each pixel's point is outside the next frame, or behind another piece."""
    height, width = pieces.shape
    columns = np.arange(width, dtype=np.float32) + flow[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    inside = (columns > -0.5) & (columns < width - 0.5)
    inside &= (rows > -0.5) & (rows < height - 0.5)
    column = np.clip(np.rint(columns), 0, width - 1).astype(np.intp)
    row = np.clip(np.rint(rows), 0, height - 1).astype(np.intp)
    there = pieces_later[row, column]
    # Where it meets its own edge it may find what is behind it: that hides nothing.
    return ~inside | (rank_later[there] > rank_later[pieces])
