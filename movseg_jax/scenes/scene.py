"""A scene: its planes, things, camera and light, and the truth about its motion."""

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

# Motion is measured on a grid of so many points a side, without its outer ones.
SAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Plane:
    """A part of the background; it is infinite except for its bounds.

    Attributes:
        texture: The texture, which is continued by its mirror image.
        surface: The matrix from texels to homogeneous points of the world.
        bounds: The vectors whose products with a point (x, y, z, 1) are positive within
            the bounds.
        shadowed: Whether it is the ground, on which shadows fall.
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
        family: The name of its kind.
        rig: The pieces that it is made of.
        path: The path on which it moves.
        number: The number of the object, from 1; 0 for a static thing, which counts as
            background (see `SceneConfig.label_static`).
    """

    family: str
    rig: Rig
    path: Path
    number: int = 0


@dataclasses.dataclass(frozen=True)
class Light:
    """The sun and the air of a scene.

    Attributes:
        sun: The direction of the sun's rays; y is positive.
        shadow: The share of the light that a shadow takes away.
        softness: The blur of shadows, a standard deviation in pixels of the shadow map,
            which has half the frame's size.
        haze: The most haze, as a share of the colour.
        haze_range: The distance with two thirds of the most haze, metres.
        haze_colour: The haze's RGB colour.
    """

    sun: tuple[float, float, float]
    shadow: float
    softness: float
    haze: float
    haze_range: float
    haze_colour: Float64[np.ndarray, "3"]


class Truth(NamedTuple):
    """The objects' own motion in every frame.

    Attributes:
        moving: Whether `motion` is above the config's threshold.
        motion: The object's own motion to the next frame, in pixels. For each point of
            its surface, seen or not, this is the distance between the point's next
            place in the image and the one that it would have if the object stood
            still; the motion is the 90th percentile over the points.
    """

    moving: Bool[np.ndarray, "objects frames"]
    motion: Float64[np.ndarray, "objects frames"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip before it is rendered.

    Attributes:
        config: The settings from which it was drawn.
        seed: The seed of the set of clips.
        index: The number of the clip.
        kind: The kind of place: "meadow", "street", "room" or "photograph".
        camera: The camera.
        planes: The background's planes, in the order in which they are painted.
        things: The objects and the static things.
        light: The sun and the air.
        effects: The camera's effects.
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
        """The numbered things in order: moving objects, then labelled static things."""
        numbered = (thing for thing in self.things if thing.number)
        return tuple(sorted(numbered, key=lambda thing: thing.number))

    @functools.cached_property
    def truth(self) -> Truth:
        """The motion of every object in every frame."""
        frames = range(self.config.frames)
        motion = [[self.motion(o, t) for t in frames] for o in self.objects]
        motions = np.array(motion).reshape(len(self.objects), len(frames))
        return Truth(motions > self.config.moving_threshold, motions)

    def moving(self, thing: Thing, frame: int) -> bool:
        """Returns whether a thing moves by itself until the next frame; see `Truth`."""
        return self.motion(thing, frame) > self.config.moving_threshold

    def motion(self, thing: Thing, frame: int) -> float:
        """Returns a thing's own motion to the next frame, pixels; see `Truth`."""
        now, later = self.camera.view(frame), self.camera.view(frame + 1)
        points, number = _surface_points(thing.rig)
        here, there = place(thing, frame), place(thing, frame + 1)
        world = np.einsum("nij,nj->ni", here[number], points)[:, :3]
        moved = np.einsum("nij,nj->ni", there[number], points)[:, :3]
        if now.project(world)[:, 2].min() <= 0:
            return 0.0  # It is behind the camera.
        way = later.project(moved)[:, :2] - later.project(world)[:, :2]
        return float(np.percentile(np.hypot(way[:, 0], way[:, 1]), 90))

    # Pieces are the planes, then each thing's bones -------------------------------

    @functools.cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The first piece of every thing, and the piece after its last."""
        counts = [len(thing.rig.bones) for thing in self.things]
        ends = np.cumsum([len(self.planes), *counts]).tolist()
        return [*itertools.pairwise(ends)]

    @functools.cached_property
    def object_of_piece(self) -> UInt8[np.ndarray, " n"]:
        """The number of every piece's object; 0 for pieces of the background."""
        counts = [len(self.planes), *(len(thing.rig.bones) for thing in self.things)]
        numbers = [0, *(thing.number for thing in self.things)]
        return np.repeat(np.array(numbers, np.uint8), counts)

    def texture_of_piece(self, piece: int) -> Texture:
        """Returns the texture of a piece."""
        return self._textures[piece]

    @functools.cached_property
    def _textures(self):
        own = [bone.sprite.texture for thing in self.things for bone in thing.rig.bones]
        return [*(plane.texture for plane in self.planes), *own]


def _surface_points(rig) -> tuple[Float64[np.ndarray, "n 3"], Int32[np.ndarray, " n"]]:
    """Returns texels (u, v, 1) spread over all pieces, and their pieces' numbers."""
    points, numbers = [], []
    for number, bone in enumerate(rig.bones):
        texture = bone.sprite.texture
        height, width = texture.size
        rows = np.linspace(0, height - 1, SAMPLES)[1:-1].astype(int)
        columns = np.linspace(0, width - 1, SAMPLES)[1:-1].astype(int)
        row, column = np.meshgrid(rows, columns, indexing="ij")
        solid = texture.alphas[0][row, column] >= 128
        if not solid.any():  # The piece is too thin, so its middle stands for it.
            row = np.array([height // 2])
            column = np.array([width // 2])
            solid = [True]
        points.append(np.stack([column[solid], row[solid]], axis=1))
        numbers.append(np.full(len(points[-1]), number))
    texels = np.concatenate(points)
    return (
        np.column_stack([texels, np.ones(len(texels))]),
        np.concatenate(numbers).astype(np.int32),
    )
