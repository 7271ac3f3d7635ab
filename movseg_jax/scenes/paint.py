"""Paints a scene: planes, shadows on the ground, things, haze and blur."""

import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from movseg_jax.scenes.layout import Layout, place
from movseg_jax.scenes.raster import (
    best_level,
    bounding_window,
    line_values,
    piece_layer,
    plane_colours,
    plane_cover,
)
from movseg_jax.scenes.scene import Scene
from movseg_jax.scenes.textures import Texture

COARSER = 2  # Shadows are soft, so they are drawn at this fraction of the size.


def paint(
    scene: Scene,
    frame: int,
    layout: Layout,
    motions: Float64[np.ndarray, "n 3 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the light that reaches the camera, without the camera's own effects.

    Args:
        scene: The scene.
        frame: The number of the frame.
        layout: The scene's layout at that time.
        motions: The homographies from each piece's pixels to those of the next frame.
    """
    size = scene.config.size
    image = np.zeros((*size, 3), np.float32)
    shadow = _shadow_map(scene, frame, layout) if scene.light.shadow else None
    for number in range(len(scene.planes)):
        _paint_plane(scene, image, layout, number, motions[number], shadow)
    pixels = cv2.convertScaleAbs(image)
    for number in layout.order.tolist():
        if number >= len(scene.planes):
            _paint_bone(scene, pixels, layout, number, motions[number])
    return pixels


# Planes ----------------------------------------------------------------------------


def _paint_plane(scene, image, layout, number, motion, shadow):
    plane, light = scene.planes[number], scene.light
    found = plane_cover(plane, layout, number, scene.config.size)
    if found is None:
        return
    window, cover = found
    nearness = np.maximum(line_values(layout.nearness[number], window), 1e-6)
    blur = _defocus(scene, nearness)
    levels = np.log2(1 + 1.5 * blur) if scene.effects.defocus else 0.0
    colours = plane_colours(plane.texture, layout, number, window, levels)
    if plane.shadowed and shadow is not None:
        colours *= 1 - light.shadow * shadow[window][..., None]
    if light.haze:
        share = light.haze * (1 - np.exp(-1 / (light.haze_range * nearness)))
        colours += share[..., None] * (light.haze_colour - colours)
    kernel = _streak(motion, window, scene.effects.shutter)
    if kernel is not None:
        colours = cv2.filter2D(colours, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    if number:
        part = image[window]
        part += cover[..., None] * (colours - part)
    else:
        image[window] = colours


def _shadow_map(scene, frame, layout) -> Float32[np.ndarray, "h w"]:
    """Returns the share of the sun that is hidden from the ground at each pixel."""
    height, width = scene.config.size
    coarse = -(-height // COARSER), -(-width // COARSER)
    dark = np.zeros(coarse, np.uint8)
    shrink = np.diag([1 / COARSER, 1 / COARSER, 1])
    sun = shrink @ layout.view.projection @ _along(scene.light.sun)
    for thing in scene.things:
        if not thing.rig.height:
            continue
        for bone, surface in zip(thing.rig.bones, place(thing, frame), strict=True):
            _darken(dark, bone.sprite.texture, sun @ surface)
    soft = cv2.GaussianBlur(dark, (0, 0), scene.light.softness)
    soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
    return soft.astype(np.float32) / 255


def _darken(dark, texture: Texture, homography):
    """Draws the shadow of one bone into a shadow map."""
    height, width = texture.size
    texels = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])
    seen = homography @ texels
    if seen[2].min() < 0.3:  # In metres; it is partly behind the camera.
        return
    corners = (seen[:2] / seen[2]).T
    window = bounding_window(corners, dark.shape)
    if window is None:
        return
    level = best_level(texture, corners)
    alpha = texture.alphas[level]
    # This is the matrix from the level's texels to those of the first level.
    grow = np.diag([2.0**level, 2.0**level, 1])
    matrix = homography @ grow
    rows, columns = window
    matrix[0] -= columns.start * matrix[2]
    matrix[1] -= rows.start * matrix[2]
    wanted = columns.stop - columns.start, rows.stop - rows.start
    part = dark[window]
    np.maximum(part, cv2.warpPerspective(alpha, matrix, wanted), out=part)


def _along(sun) -> Float64[np.ndarray, "4 4"]:
    """Returns the matrix from world points to their shadows on the ground."""
    x, y, z = sun
    return np.array(
        [[1, -x / y, 0, 0], [0, 0, 0, 0], [0, -z / y, 1, 0], [0, 0, 0, 1.0]]
    )


# Things ----------------------------------------------------------------------------


def _paint_bone(scene, pixels, layout, number, motion):
    texture = scene.texture_of_piece(number)
    corners = layout.corners[number]
    size = scene.config.size
    window = bounding_window(corners, size)
    if window is None:
        return
    middle = corners.mean(axis=0)
    nearness = max(float(layout.nearness[number] @ [*middle, 1]), 1e-6)
    sigma = float(_defocus(scene, nearness))
    kernel = _streak(motion, window, scene.effects.shutter)
    margin = math.ceil(2 * sigma) if sigma > 0.3 else 0
    margin += 0 if kernel is None else max(kernel.shape) // 2
    found = piece_layer(texture, layout, number, size, margin)
    if found is None:
        return
    window, layer = found
    if sigma > 0.3:
        layer = cv2.GaussianBlur(layer, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    if kernel is not None:
        layer = cv2.filter2D(layer, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    colours, alpha = layer[..., :3], cv2.extractChannel(layer, 3)
    light = scene.light
    opaque = cv2.merge([alpha, alpha, alpha])
    if light.haze:
        share = light.haze * (1 - math.exp(-1 / (light.haze_range * nearness)))
        colour = np.array([*light.haze_colour, 0])
        veil = cv2.multiply(opaque, colour, scale=share / 255)
        colours = cv2.addWeighted(colours, 1 - share, veil, 1, 0)
    part = pixels[window]
    behind = cv2.multiply(part, 255 - opaque, scale=1 / 255)
    pixels[window] = cv2.add(behind, colours)


def _defocus(scene, nearness):
    """Returns the standard deviation of the blur, pixels, at an inverse depth."""
    if not scene.effects.defocus:
        return 0.0 * nearness
    away = np.abs(nearness * scene.effects.focus - 1)
    return scene.effects.defocus * np.minimum(away, 1.0)


def _streak(motion, window, shutter):
    """Returns the motion blur's kernel in the middle of a window; None without blur."""
    if not shutter:
        return None
    rows, columns = window
    x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    moved = motion @ [x, y, 1]
    if moved[2] <= 0:
        return None
    way = (moved[:2] / moved[2] - [x, y]) * shutter
    length = float(np.hypot(*way))
    if length < 1:
        return None
    way *= min(1.0, 25 / length)  # This bounds the kernel's size.
    reach = max(1, math.ceil(np.abs(way).max() / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-0.5, 0.5, 8 * reach + 1)[:, None] * way + reach
    base = np.floor(steps).astype(int)
    part = steps - base
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            at = np.minimum(base + np.array([dx, dy]), 2 * reach)
            np.add.at(kernel, (at[:, 1], at[:, 0]), weight)
    return kernel / kernel.sum()
