"""The pinhole camera, and what a plane in space looks like through it.

The world is in metres: x to the right, y down, z away from the camera; the ground is
y = 0. Pixels are counted from their centres: the centre of the first is at (0, 0).
So are texels.

A *surface* is a matrix [4, 3] that takes a texel (u, v, 1) to a homogeneous point of
the world. Through a view it has a homography [3, 3] from texels to pixels.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from movseg_jax.scenes.motion import Path, Time

NEAREST = 0.25  # Metres: what is nearer to the camera is not drawn.


class View(NamedTuple):
    """A camera at one time.

    Attributes:
        intrinsics: Pixels from directions; pixel centres are at whole numbers.
        rotation: World to camera.
        centre: Of the camera, in the world.
    """

    intrinsics: Float64[np.ndarray, "3 3"]
    rotation: Float64[np.ndarray, "3 3"]
    centre: Float64[np.ndarray, "3"]

    @property
    def projection(self) -> Float64[np.ndarray, "3 4"]:
        """World points to pixels, times their depth."""
        rotation = self.rotation
        moved = np.column_stack([rotation, -rotation @ self.centre])
        return self.intrinsics @ moved

    def project(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Pixel (x, y) and depth of world points."""
        seen = (points - self.centre) @ self.rotation.T
        # Behind the camera there is no pixel; keep its numbers finite.
        depth = np.maximum(seen[:, 2:], 1e-6)
        pixels = (seen / depth) @ self.intrinsics.T
        return np.column_stack([pixels[:, :2], seen[:, 2]])


@dataclasses.dataclass(frozen=True)
class Shake:
    """A hand that holds the camera: a sum of waves, so it is known at any time.

    Attributes:
        amplitudes: Radians of yaw, pitch and roll, for every wave.
        frequencies: Radians per frame.
        phases: Radians.
    """

    amplitudes: Float64[np.ndarray, "3 n"]
    frequencies: Float64[np.ndarray, " n"]
    phases: Float64[np.ndarray, "3 n"]

    def angles(self, time: Time) -> Float64[np.ndarray, "3"]:
        """Yaw, pitch and roll."""
        waves = np.sin(self.frequencies * time + self.phases)
        return (self.amplitudes * waves).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera and how it moves.

    Its motion swings back after a while, so that long clips stay where the scene is.

    Attributes:
        size: Height and width of frames, pixels.
        focal: Pixels, at time 0.
        position: At time 0.
        angles: Yaw to the right, pitch downwards, roll clockwise; radians, at time 0.
        velocity: Metres per frame.
        turning: Radians per frame.
        zooming: Of the focal length's logarithm, per frame.
        swing: Frames in which the motion slows down and turns back.
        shake: None on a tripod.
        follow: An object's path to go along with.
        travels: Whether it follows by going along; else by turning.
    """

    size: tuple[int, int]
    focal: float
    position: Float64[np.ndarray, "3"]
    angles: Float64[np.ndarray, "3"]
    velocity: Float64[np.ndarray, "3"]
    turning: Float64[np.ndarray, "3"]
    zooming: float
    swing: float
    shake: Shake | None = None
    follow: Path | None = None
    travels: bool = True

    def view(self, time: Time) -> View:
        """The camera at a time, frames."""
        elapsed = self.swing * math.sin(time / self.swing)
        centre = self.position + self.velocity * elapsed
        angles = self.angles + self.turning * elapsed
        if self.follow is not None:
            start, now = self.follow.position(0.0), self.follow.position(time)
            if self.travels:
                centre = centre + (now - start) * [1, 0, 1]
            else:
                first = start - self.position
                there = now - centre
                turned = math.atan2(there[0], there[2]) - math.atan2(first[0], first[2])
                angles = angles + np.array([turned, 0, 0])
        if self.shake is not None:
            angles = angles + self.shake.angles(time)
        focal = self.focal * math.exp(self.zooming * elapsed)
        height, width = self.size
        middle = (width - 1) / 2, (height - 1) / 2
        intrinsics = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
        return View(intrinsics, rotation(*angles), centre)


def rotation(yaw: float, pitch: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """World to camera: turned to the right, then downwards, then clockwise."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    yawed = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    pitched = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rolled = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return rolled @ pitched @ yawed


def scaled(level: int) -> Float64[np.ndarray, "3 3"]:
    """Texels of a texture to those of its level, each of which has half as many."""
    factor = 0.5**level
    shift = 0.5 * factor - 0.5
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]])
