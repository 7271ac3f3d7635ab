"""The pinhole camera, and how a plane in space appears in its image.

The world is in metres: x to the right, y down, z away from the camera; the ground is
y = 0. The centre of the first pixel is at (0, 0), and so is that of the first texel.

A *surface* is a matrix [4, 3] that takes a texel (u, v, 1) to a homogeneous point of
the world. Each view of it has a homography [3, 3] from texels to pixels.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from movseg_jax.scenes.motion import Path, Time

NEAREST = 0.25  # Metres. Anything nearer to the camera is not drawn.


class View(NamedTuple):
    """A camera at one time.

    Attributes:
        intrinsics: The matrix from directions to pixels, whose centres are at whole
            numbers.
        rotation: The rotation from the world to the camera.
        centre: The position of the camera in the world.
    """

    intrinsics: Float64[np.ndarray, "3 3"]
    rotation: Float64[np.ndarray, "3 3"]
    centre: Float64[np.ndarray, "3"]

    @property
    def projection(self) -> Float64[np.ndarray, "3 4"]:
        """The matrix from world points to pixels, multiplied by their depth."""
        rotation = self.rotation
        moved = np.column_stack([rotation, -rotation @ self.centre])
        return self.intrinsics @ moved

    def project(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Returns the pixel (x, y) and the depth of world points."""
        seen = (points - self.centre) @ self.rotation.T
        # A point behind the camera has no pixel; this keeps its numbers finite.
        depth = np.maximum(seen[:, 2:], 1e-6)
        pixels = (seen / depth) @ self.intrinsics.T
        return np.column_stack([pixels[:, :2], seen[:, 2]])


@dataclasses.dataclass(frozen=True)
class Shake:
    """The shake of a hand-held camera: a sum of waves, so it is known at any time.

    Attributes:
        amplitudes: The amplitudes of yaw, pitch and roll for every wave, radians.
        frequencies: The waves' frequencies, radians per frame.
        phases: The waves' phases at time 0, radians.
    """

    amplitudes: Float64[np.ndarray, "3 n"]
    frequencies: Float64[np.ndarray, " n"]
    phases: Float64[np.ndarray, "3 n"]

    def angles(self, time: Time) -> Float64[np.ndarray, "3"]:
        """Returns yaw, pitch and roll at a time, radians."""
        waves = np.sin(self.frequencies * time + self.phases)
        return (self.amplitudes * waves).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A camera and its motion.

    The motion slows down and turns back after a while, so that the camera stays within
    the scene in long clips.

    Attributes:
        size: The height and width of frames, pixels.
        focal: The focal length at time 0, pixels.
        position: The position at time 0, metres.
        angles: Yaw to the right, pitch downwards and roll clockwise at time 0, radians.
        velocity: The velocity at time 0, metres per frame.
        turning: The change of `angles` at time 0, radians per frame.
        zooming: The change of the focal length's logarithm at time 0, per frame.
        swing: The time scale on which the motion slows down and turns back, frames.
        shake: The shake of the hand; None for a camera on a tripod.
        follow: The path of an object that the camera follows, if any.
        travels: Whether it follows by travelling along; otherwise it turns.
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
        """Returns the camera's view at a time, frames."""
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
    """Returns the rotation from world to camera: to the right, down, then clockwise."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    yawed = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    pitched = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    rolled = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return rolled @ pitched @ yawed


def scaled(level: int) -> Float64[np.ndarray, "3 3"]:
    """Returns the matrix from texels to those of a level; levels halve the size."""
    factor = 0.5**level
    shift = 0.5 * factor - 0.5
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]])
