"""How objects move: paths on which they start, stop, turn, bounce and tumble."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

Time = float | int  # Frames; the first is 0.

LONG = 1e6  # Frames: later than any clip.


@dataclasses.dataclass(frozen=True)
class Path:
    """A path through the world, known at every time.

    Times are frames, lengths metres, angles radians.

    Attributes:
        origin: Where it is at `time`; its lowest point, for what stands on the ground.
        heading: Where to, at `time`: 0 is along x, a quarter turn along z.
        speed: Metres per frame, where it is neither starting nor stopping.
        time: At which it is at the origin.
        starts: When it sets off; before that it is at rest; what is static, at `LONG`.
        stops: When it begins to stop.
        ramp: Frames that starting and stopping take.
        curvature: Of the path on the ground, per metre.
        hop: Height of its jumps.
        stride: Metres from one jump to the next.
        climb: Metres up per metre of way.
        spin: Turning about its own x, y and z axis, radians per frame in motion.
        turn_limit: How far its front may turn from the image plane; flat things do
            not show their edge.
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
        """Frames that it has been in motion since `self.time`, as if at full speed."""
        return self._started(time) - self._started(self.time)

    def distance(self, time: Time) -> float:
        """Metres gone since `self.time`."""
        return self.speed * self.active(time)

    def position(self, time: Time) -> Float64[np.ndarray, "3"]:
        """Where it is."""
        gone = self.distance(time)
        # A chord of the circle; without a curvature, the way itself.
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
        """Its own axes to the world: x forwards, y down, z to its right."""
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
        return self._eased(time - self.starts) - self._eased(time - self.stops)

    def _eased(self, since):
        """The integral of a ramp from 0 to 1."""
        if since <= 0:
            return 0.0
        if since < self.ramp:
            return since * since / (2 * self.ramp)
        return since - self.ramp / 2


def _limited(facing, limit):
    """The angle, no farther than the limit from the x axis, forwards or backwards."""
    facing = math.remainder(facing, math.tau)
    if abs(facing) <= math.pi / 2:
        return max(-limit, min(limit, facing))
    behind = math.remainder(facing - math.pi, math.tau)
    return math.pi + max(-limit, min(limit, behind))


def _turned(spin, active):
    """The rotation about an axis (Rodrigues' formula)."""
    angle = float(np.linalg.norm(spin)) * active
    x, y, z = spin / np.linalg.norm(spin)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
