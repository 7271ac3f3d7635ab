"""The paths of objects, on which they start, stop, turn, bounce and tumble."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

Time = float | int  # In frames; the first frame is at 0.

LONG = 1e6  # A time later than the end of any clip, frames.


@dataclasses.dataclass(frozen=True)
class Path:
    """A thing's path through the world, known at every time.

    Times are in frames, lengths in metres and angles in radians.

    Attributes:
        origin: The thing's position at `time`; for a thing on the ground, its lowest
            point.
        heading: The direction at `time`: 0 is along x, a quarter turn is along z.
        speed: The speed between starting and stopping, metres per frame.
        time: The time at which the thing is at the origin.
        starts: The time at which it sets off; it is stationary before, and a static
            thing starts at `LONG`.
        stops: The time at which it begins to stop.
        ramp: The duration of starting and of stopping.
        curvature: The curvature of the path on the ground, per metre.
        hop: The height of its jumps.
        stride: The distance from one jump to the next.
        climb: The height that it gains per metre travelled.
        spin: The rotation about its own x, y and z axes, radians per frame in motion.
        turn_limit: The largest angle between its front and the image plane; it keeps
            flat things from showing their edge.
    """

    origin: Float64[np.ndarray, "3"]
    heading: float = 0.0
    speed: float = 0.0
    time: float = 0.0
    starts: float = -LONG
    stops: float = LONG
    ramp: float = 4.0
    curvature: float = 0.0
    hop: float = 0.0
    stride: float = 1.0
    climb: float = 0.0
    spin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_limit: float = math.pi

    def active(self, time: Time) -> float:
        """Returns the frames in motion since `self.time`, counted at full speed."""
        return self._started(time) - self._started(self.time)

    def distance(self, time: Time) -> float:
        """Returns the distance travelled since `self.time`."""
        return self.speed * self.active(time)

    def position(self, time: Time) -> Float64[np.ndarray, "3"]:
        """Returns the position at a time."""
        gone = self.distance(time)
        # The chord of the circular arc; without curvature, the distance itself.
        bend = self.curvature * gone / 2
        chord = gone * float(np.sinc(bend / math.pi))
        angle = self.heading + bend
        jump = self.hop * abs(math.sin(math.pi * gone / self.stride))
        x, y, z = self.origin
        return np.array(
            [
                x + chord * math.cos(angle),
                y - jump - self.climb * gone,
                z + chord * math.sin(angle),
            ]
        )

    def pose(self, time: Time) -> Float64[np.ndarray, "4 4"]:
        """Returns the matrix from its axes (x front, y down, z right) to the world."""
        facing = self.heading + self.curvature * self.distance(time)
        facing = _limited(facing, self.turn_limit)
        c, s = math.cos(facing), math.sin(facing)
        pose = np.eye(4)
        pose[:3, :3] = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        if any(self.spin):
            pose[:3, :3] = pose[:3, :3] @ _turned(
                np.array(self.spin), self.active(time)
            )
        pose[:3, 3] = self.position(time)
        return pose

    def _started(self, time):
        """Returns the frames in motion up to a time, counted at full speed."""
        return self._eased(time - self.starts) - self._eased(time - self.stops)

    def _eased(self, since):
        """Returns the integral of a speed that ramps from 0 to 1."""
        if since <= 0:
            return 0.0
        if since < self.ramp:
            return since * since / (2 * self.ramp)
        return since - self.ramp / 2


def _limited(facing, limit):
    """Limits the angle between a heading and the x axis, forwards or backwards."""
    facing = math.remainder(facing, math.tau)
    if abs(facing) <= math.pi / 2:
        return max(-limit, min(limit, facing))
    behind = math.remainder(facing - math.pi, math.tau)
    return math.pi + max(-limit, min(limit, behind))


def _turned(spin, active):
    """Returns the rotation about an axis (Rodrigues' formula)."""
    angle = float(np.linalg.norm(spin)) * active
    x, y, z = spin / np.linalg.norm(spin)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
