"""Rigs: things made of flat pieces that swing, roll and stretch as they move.

A thing's own axes are in metres: x forwards, y down, z to its right. A piece hangs on
its parent by a joint, about which it turns in their common plane.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

from movseg_jax.scenes.drawing import Sprite
from movseg_jax.scenes.textures import Number

MAX_TURN = 0.25  # The fastest rotation of a wheel, radians per frame.
MAX_CYCLE = 0.1  # The fastest gait, cycles per frame.
FLAT = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])  # The x-y plane.


@dataclasses.dataclass(frozen=True)
class Bone:
    """A piece of a thing.

    Angles are in radians, clockwise. The phase goes round once in the rig's cycle.

    Attributes:
        sprite: The picture, drawn about the joint.
        parent: The number of the piece that it hangs on; -1 is the thing itself.
        joint: The position of the joint in the parent's metres.
        angle: The angle in the neutral pose.
        swing: The amplitude of the swing.
        lead: The phase by which its swing is ahead of the cycle.
        harmonic: The number of swings in a cycle.
        wheel: The radius with which it rolls; 0 if it does not roll.
        stretch: The amplitude of its stretching in x and y, as a share.
        plane: The matrix from metres in the plane to the thing's axes; used without a
            parent only.
        one_sided: Whether it is seen from one side only, like the faces of a box.
    """

    sprite: Sprite
    parent: int = -1
    joint: tuple[Number, Number] = (0.0, 0.0)
    angle: Number = 0.0
    swing: Number = 0.0
    lead: Number = 0.0
    harmonic: Number = 1.0
    wheel: Number = 0.0
    stretch: tuple[Number, Number] = (0.0, 0.0)
    plane: Float64[np.ndarray, "4 3"] = dataclasses.field(default_factory=FLAT.copy)
    one_sided: bool = False


@dataclasses.dataclass(frozen=True)
class Rig:
    """A thing's pieces, in the order in which they are painted.

    Attributes:
        bones: The pieces, in the order in which they are painted.
        hangs: The numbers of the bones in an order in which parents come first.
        height: The height above the ground, metres.
        length: The length from back to front, metres.
        stride: The distance in which the phase goes round once, metres.
        beat: The cycles per frame in motion, in addition to those of the stride.
        bob: The amplitude of going up and down, twice in a cycle, metres.
    """

    bones: tuple[Bone, ...]
    hangs: tuple[int, ...]
    height: Number
    length: Number
    stride: Number = 1.0
    beat: Number = 0.0
    bob: Number = 0.0

    def surfaces(
        self, distance: Number, active: Number
    ) -> Float64[np.ndarray, "n 4 3"]:
        """Returns the surface of every piece in the thing's axes.

        Args:
            distance: The distance travelled, metres.
            active: The number of frames in motion.
        """
        phase = 2 * math.pi * (distance / self.stride + self.beat * active)
        turned: dict[int, np.ndarray] = {}
        planes: dict[int, np.ndarray] = {}
        bob = np.eye(4)
        bob[1, 3] = -self.bob * abs(math.sin(phase))
        for number in self.hangs:
            bone = self.bones[number]
            own = _turn(bone, phase, distance)
            if bone.parent < 0:
                turned[number], planes[number] = own, bob @ bone.plane
            else:
                turned[number] = turned[bone.parent] @ own
                planes[number] = planes[bone.parent]
        return np.stack(
            [
                planes[i] @ turned[i] @ bone.sprite.to_metres
                for i, bone in enumerate(self.bones)
            ]
        )

    def slowed(self, speed: Number) -> "Rig":
        """Returns the rig with legs and wheels slow enough to be followed by eye.

        At its true pace a fast wheel turns by more than half a spoke per frame, and its
        exact flow would contradict the motion that is seen.

        Args:
            speed: The speed at which the thing moves, metres per frame.
        """
        bones = []
        for bone in self.bones:
            radius = math.copysign(max(abs(bone.wheel), speed / MAX_TURN), bone.wheel)
            bones.append(
                dataclasses.replace(bone, wheel=radius) if bone.wheel else bone
            )
        stride = max(self.stride, speed / MAX_CYCLE)
        return dataclasses.replace(self, bones=tuple(bones), stride=stride)


def make_rig(bones: dict[str, Bone], order: str, **options) -> Rig:
    """Makes a rig of named bones.

    Args:
        bones: The bones by name, parents first; `parent` counts in this order.
        order: The names in the order in which they are painted, with spaces between.
        **options: The other attributes of `Rig`.
    """
    names = list(bones)
    painted = order.split()
    place = {name: painted.index(name) for name in names}
    ranked = [bones[name] for name in painted]
    ranked = [
        dataclasses.replace(bone, parent=place[names[bone.parent]])
        if bone.parent >= 0
        else bone
        for bone in ranked
    ]
    return Rig(tuple(ranked), tuple(place[name] for name in names), **options)


def _turn(bone, phase, distance):
    """Returns the matrix from the bone's metres to its parent's."""
    wave = math.sin(bone.harmonic * phase + bone.lead)
    angle = bone.angle + bone.swing * wave
    if bone.wheel:
        angle += distance / bone.wheel
    c, s = math.cos(angle), math.sin(angle)
    wide, tall = 1 + bone.stretch[0] * wave, 1 + bone.stretch[1] * wave
    x, y = bone.joint
    return np.array([[c * wide, -s * tall, x], [s * wide, c * tall, y], [0, 0, 1]])
