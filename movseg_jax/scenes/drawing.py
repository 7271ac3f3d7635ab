"""Draws sprites: shapes with smooth edges, shaded as if they were round.

Shapes are given in metres, with x to the right and y down.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from movseg_jax.scenes.textures import Colour, Number, Texture, make_texture, noise

Point = tuple[Number, Number]

FINER = 2  # Shapes are drawn at this multiple of the size, for smooth edges.
MARGIN = 2  # The width of the transparent border around a sprite, texels.
_FRACTION = 4  # The number of fractional bits in OpenCV's coordinates.


@dataclasses.dataclass(frozen=True)
class Sprite:
    """A texture, and the matrix from its texels (u, v, 1) to metres (x, y, 1)."""

    texture: Texture
    to_metres: Float64[np.ndarray, "3 3"]


class Sketch:
    """A sheet to draw a sprite on."""

    def __init__(self, low: Point, high: Point, scale: Number):
        """Makes an empty sheet.

        Args:
            low: The upper left corner, metres.
            high: The lower right corner, metres.
            scale: The number of texels per metre.
        """
        self._scale = scale
        self._low = low
        width = max(2, round((high[0] - low[0]) * scale)) + 2 * MARGIN
        height = max(2, round((high[1] - low[1]) * scale)) + 2 * MARGIN
        self._rgb = np.zeros((height * FINER, width * FINER, 3), np.uint8)
        self._mask = np.zeros(self._rgb.shape[:2], np.uint8)

    def polygon(self, points: Sequence[Point] | np.ndarray, colour: Colour) -> None:
        """Fills a polygon."""
        corners = [self._fixed(np.asarray(points, float))]
        cv2.fillPoly(self._rgb, corners, _rgb(colour), cv2.LINE_AA, _FRACTION)
        cv2.fillPoly(self._mask, corners, 255, cv2.LINE_8, _FRACTION)

    def ellipse(
        self, centre: Point, radii: Point, colour: Colour, angle: Number = 0.0
    ) -> None:
        """Fills an ellipse, turned clockwise by an angle in radians."""
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
        c, s = np.cos(angle), np.sin(angle)
        points = [centre[0] + c * x - s * y, centre[1] + s * x + c * y]
        self.polygon(np.stack(points, axis=1), colour)

    def capsule(self, start: Point, end: Point, radii: Point, colour: Colour) -> None:
        """Fills the area that two circles and their outer tangents enclose."""
        a, b = np.array(start), np.array(end)
        length = float(np.hypot(*(b - a))) or 1e-9
        along = (b - a) / length
        side = np.array([-along[1], along[0]])
        corners = [a + radii[0] * side, b + radii[1] * side,
                   b - radii[1] * side, a - radii[0] * side]  # fmt: skip
        self.polygon(np.array(corners), colour)
        self.ellipse(start, (radii[0], radii[0]), colour)
        self.ellipse(end, (radii[1], radii[1]), colour)

    def outline(self, points: Sequence[Point], radius: Number, colour: Colour) -> None:
        """Draws a line of a given radius through points."""
        for start, end in itertools.pairwise(points):
            self.capsule(start, end, (radius, radius), colour)

    def finish(
        self,
        rng: np.random.Generator,
        *,
        light: Number = -0.5,
        roundness: Number = 0.5,
        grain: Number = 8.0,
        pattern: Number = 0.0,
    ) -> Sprite:
        """Returns the sprite that has been drawn.

        Args:
            rng: The random generator for grain and pattern.
            light: The light's side, -1 (left) to 1 (right); it also comes from above.
            roundness: The strength of the shading, 0 to 1.
            grain: The strength of fine irregularities, grey levels.
            pattern: The strength of coarse irregularities (cloth, fur, rust), grey
                levels.
        """
        height, width = self._mask.shape[0] // FINER, self._mask.shape[1] // FINER
        rgb = cv2.resize(self._rgb, (width, height), interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self._mask, (width, height), interpolation=cv2.INTER_AREA)
        # Resizing mixed in the black beyond the edge; this restores full colours.
        share = np.maximum(alpha, 1)[..., None] / np.float32(255)
        full = np.minimum(rgb / share, 255)
        full *= relief(alpha, light, roundness)[..., None]
        scale = self._scale
        if grain:
            full += (grain * noise(rng, alpha.shape, 0.12 * scale, 4, 0.8))[..., None]
        if pattern:
            full += (pattern * noise(rng, alpha.shape, 0.3 * scale, 3))[..., None]
        texture = make_texture(np.clip(full, 0, 255).astype(np.uint8), alpha)
        corner = [bound - (MARGIN - 0.5) / scale for bound in self._low]
        to_metres = np.array(
            [[1 / scale, 0, corner[0]], [0, 1 / scale, corner[1]], [0, 0, 1]]
        )
        return Sprite(texture, to_metres)

    def _fixed(self, points):
        """Converts metres to the fixed-point pixel coordinates that OpenCV expects."""
        texels = ((points - self._low) * self._scale + MARGIN) * FINER - 0.5
        return np.round(texels * 2**_FRACTION).astype(np.int32)


def relief(
    alpha: UInt8[np.ndarray, "h w"], light: Number, roundness: float
) -> np.ndarray:
    """Returns the brightness of a cushion of this shape, lit from above and a side."""
    inside = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(float(inside.max()), 1.0)
    height = np.sqrt(np.clip(inside / radius, 0, 1))
    height = cv2.GaussianBlur(height, (0, 0), 0.6 + radius / 5)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=radius / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=radius / 8)
    # A surface faces up where its height grows with y, because y points down.
    lit = (-light * slope_x + 0.8 * slope_y) * roundness
    return np.clip(1 + 0.9 * lit, 0.45, 1.4).astype(np.float32)


def blob(
    rng: np.random.Generator, radius: Number, roughness: Number = 0.2, lobes: int = 5
) -> Float64[np.ndarray, "n 2"]:
    """Returns the outline of a round, irregular shape about (0, 0)."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    wave = np.zeros_like(angle)
    for k in range(2, lobes + 2):
        wave += rng.normal() / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    length = radius * np.maximum(1 + roughness * wave, 0.3)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1)


def _rgb(colour):
    return tuple(float(np.clip(c, 0, 255)) for c in colour)
