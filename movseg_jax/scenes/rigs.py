"""Things made of flat pieces on joints that swing, roll and stretch as they move.

A thing's own axes are metres: x forwards, y down, z to its right. A piece hangs on
its parent by a joint about which it turns in their common plane.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

from movseg_jax.scenes.drawing import Sprite
from movseg_jax.scenes.textures import Number

MAX_TURN = 0.25  # Of a wheel, radians per frame.
MAX_CYCLE = 0.1  # Of a gait, rounds per frame.
FLAT = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]])  # The x-y plane.


@dataclasses.dataclass(frozen=True)
class Bone:
    """A piece of a thing.

    Angles are radians, clockwise; the phase goes round once in the rig's cycle.

    Attributes:
        sprite: Drawn about the joint.
        parent: Number of the piece that it hangs on; -1 is the thing.
        joint: Where, in the parent's metres.
        angle: At rest.
        swing: How far it swings.
        lead: By how much of the phase it is ahead.
        harmonic: How many times it swings in a cycle.
        wheel: Radius with which it rolls along; 0 for what does not.
        stretch: How much longer and shorter it becomes in x and y, a share.
        plane: From metres in the plane to the thing's axes; of those without parent.
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
        bones: Parents come before what hangs on them in `hangs`.
        hangs: An order of the bones in which parents come first.
        stride: Metres in which the phase goes round once.
        beat: Rounds of the phase per frame in motion, besides.
        bob: Metres by which it goes up and down, twice in a cycle.
        height: From the ground to its top, metres.
        length: From back to front.
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
        """Every piece's surface in the thing's axes.

        Args:
            distance: Metres gone.
            active: Frames in motion.
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
        """The rig, whose legs and wheels can be followed from frame to frame.

        At its true pace a fast wheel turns by more than half a spoke, and its flow
        would be what no eye sees.

        Args:
            speed: At which it goes, metres per frame.
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
    """A rig of named bones, parents first, painted in an order of names."""
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
    """From the bone's metres to its parent's."""
    wave = math.sin(bone.harmonic * phase + bone.lead)
    angle = bone.angle + bone.swing * wave
    if bone.wheel:
        angle += distance / bone.wheel
    c, s = math.cos(angle), math.sin(angle)
    wide, tall = 1 + bone.stretch[0] * wave, 1 + bone.stretch[1] * wave
    x, y = bone.joint
    return np.array([[c * wide, -s * tall, x], [s * wide, c * tall, y], [0, 0, 1]])
