"""A scene: planes, things, a camera, light; and the truth about what moves in it."""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt8

from movseg_jax.scenes.camera import Camera
from movseg_jax.scenes.effects import Effects
from movseg_jax.scenes.layout import place
from movseg_jax.scenes.motion import Path
from movseg_jax.scenes.rigs import Rig
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.textures import Texture

SAMPLES = 6  # Points along each side of a piece at which its motion is measured.


@dataclasses.dataclass(frozen=True)
class Plane:
    """A part of the background without end, but for its bounds.

    Attributes:
        texture: Continued by its mirror image.
        surface: From texels to homogeneous points of the world.
        bounds: The plane is where their product with a point (x, y, z, 1) is positive.
        shadowed: Whether shadows fall on it; it is the ground.
    """

    texture: Texture
    surface: Float64[np.ndarray, "4 3"]
    bounds: Float64[np.ndarray, "n 4"] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 4))
    )
    shadowed: bool = False


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object, or something static.

    Attributes:
        family: What it is.
        rig: Its pieces.
        path: Its motion.
        number: Of the object, from 1; 0 is static and background: see
            `SceneConfig.label_static`.
    """

    family: str
    rig: Rig
    path: Path
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Light:
    """Sun and air.

    Attributes:
        sun: Direction of its rays; y is positive.
        shadow: Share of the light that a shadow takes away.
        softness: Of shadows, pixels at half the frame's size.
        haze: Most of it, a share of the colour.
        haze_range: Distance at which there is two thirds of it, metres.
        haze_colour: RGB.
    """

    sun: tuple[float, float, float]
    shadow: float
    softness: float
    haze: float
    haze_range: float
    haze_colour: Float64[np.ndarray, "3"]


class Truth(NamedTuple):
    """What moves, and by how much.

    Attributes:
        moving: Of each object and frame: `motion` is above the config's threshold.
        motion: Pixels by which the object's own motion from this frame to the next
            moves its surface in the image, besides what the camera does: of the points
            of its surface (seen or not), the distance between where a point goes and
            where it would go if the object stood still, the 90th percentile.
    """

    moving: Bool[np.ndarray, "objects frames"]
    motion: Float64[np.ndarray, "objects frames"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip, before it is rendered.

    Attributes:
        config: What it was drawn from.
        seed: Of the set of clips.
        index: Number of the clip.
        kind: Of place: "meadow", "street", "room", "photograph" and others.
        camera: The camera.
        planes: In the order in which they are painted.
        things: Objects and static things.
        light: Sun and air.
        effects: The camera's habits.
    """

    config: SceneConfig
    seed: int
    index: int
    kind: str
    camera: Camera
    planes: tuple[Plane, ...]
    things: tuple[Thing, ...]
    light: Light
    effects: Effects

    @functools.cached_property
    def objects(self) -> tuple[Thing, ...]:
        """What moves in some frame, by number; behind it what is labelled besides."""
        numbered = (thing for thing in self.things if thing.number)
        return tuple(sorted(numbered, key=lambda thing: thing.number))

    @functools.cached_property
    def truth(self) -> Truth:
        """What moves in every frame."""
        frames = range(self.config.frames)
        motion = [[self.motion(o, t) for t in frames] for o in self.objects]
        motions = np.array(motion).reshape(len(self.objects), len(frames))
        return Truth(motions > self.config.moving_threshold, motions)

    def moving(self, thing: Thing, frame: int) -> bool:
        """Whether a thing moves by itself until the next frame; see `Truth`."""
        return self.motion(thing, frame) > self.config.moving_threshold

    def motion(self, thing: Thing, frame: int) -> float:
        """Pixels by which a thing moves by itself until the next frame; see `Truth`."""
        now, later = self.camera.view(frame), self.camera.view(frame + 1)
        points, number = _surface_points(thing.rig)
        here, there = place(thing, frame), place(thing, frame + 1)
        world = np.einsum("nij,nj->ni", here[number], points)[:, :3]
        moved = np.einsum("nij,nj->ni", there[number], points)[:, :3]
        if now.project(world)[:, 2].min() <= 0:
            return 0.0  # It is behind the camera.
        way = later.project(moved)[:, :2] - later.project(world)[:, :2]
        return float(np.percentile(np.hypot(way[:, 0], way[:, 1]), 90))

    # Pieces: planes first, then each thing's bones --------------------------------

    @functools.cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The first piece of every thing, and the one after its last."""
        counts = [len(thing.rig.bones) for thing in self.things]
        ends = np.cumsum([len(self.planes), *counts]).tolist()
        return [*itertools.pairwise(ends)]

    @functools.cached_property
    def object_of_piece(self) -> UInt8[np.ndarray, " n"]:
        """Number of every piece's object, 0 of the background's."""
        counts = [len(self.planes), *(len(thing.rig.bones) for thing in self.things)]
        numbers = [0, *(thing.number for thing in self.things)]
        return np.repeat(np.array(numbers, np.uint8), counts)

    def texture_of_piece(self, piece: int) -> Texture:
        """The piece's texture."""
        return self._textures[piece]

    @functools.cached_property
    def _textures(self):
        own = [bone.sprite.texture for thing in self.things for bone in thing.rig.bones]
        return [*(plane.texture for plane in self.planes), *own]


def _surface_points(rig) -> tuple[Float64[np.ndarray, "n 3"], Int32[np.ndarray, " n"]]:
    """Texels (u, v, 1) that are spread over all pieces, and the pieces' numbers."""
    points, numbers = [], []
    for number, bone in enumerate(rig.bones):
        texture = bone.sprite.texture
        height, width = texture.size
        rows = np.linspace(0, height - 1, SAMPLES)[1:-1].astype(int)
        columns = np.linspace(0, width - 1, SAMPLES)[1:-1].astype(int)
        row, column = np.meshgrid(rows, columns, indexing="ij")
        solid = texture.alphas[0][row, column] >= 128
        if not solid.any():  # A thin piece: its middle.
            row, column, solid = np.array([height // 2]), np.array([width // 2]), [True]
        points.append(np.stack([column[solid], row[solid]], axis=1))
        numbers.append(np.full(len(points[-1]), number))
    texels = np.concatenate(points)
    return (
        np.column_stack([texels, np.ones(len(texels))]),
        np.concatenate(numbers).astype(np.int32),
    )
