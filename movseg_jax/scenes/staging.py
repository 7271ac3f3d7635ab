"""Makes scenes: chooses the place, the camera, the things and their motion.

Sizes and speeds are chosen as they appear in the image and then converted to metres,
so that every clip shows something.

The random generator is drawn from in a fixed order: a choice that is added, removed or
moved changes all clips of all seeds.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from movseg_jax.scenes import machines, scenery, shapes
from movseg_jax.scenes.camera import Camera, Shake
from movseg_jax.scenes.drawing import Sprite
from movseg_jax.scenes.effects import Effects
from movseg_jax.scenes.library import Library
from movseg_jax.scenes.motion import LONG, Path
from movseg_jax.scenes.rigs import Bone, Rig, make_rig
from movseg_jax.scenes.scene import Light, Scene, Thing
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.textures import make_texture


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of thing.

    Attributes:
        make: The function that draws one, given texels per metre and the light's side.
        height: The approximate height, metres.
        seen: The smallest and largest height in the image, as a share of the frame's.
        turns: The largest angle to the image plane, radians.
        flies: Whether it is in the air.
    """

    make: Callable[[np.random.Generator, float, float], Rig]
    height: float
    seen: tuple[float, float] = (0.12, 0.65)
    turns: float = 0.6
    flies: bool = False


FAMILIES = {
    "person": Family(shapes.person, 1.75, (0.14, 0.75)),
    "animal": Family(shapes.animal, 1.1, (0.12, 0.5)),
    "bird": Family(shapes.bird, 0.6, (0.07, 0.28), flies=True),
    "ball": Family(shapes.ball, 0.5, (0.06, 0.22)),
    "creature": Family(shapes.creature, 0.9, (0.1, 0.35), flies=True),
    "car": Family(machines.car, 1.5, (0.09, 0.36), math.pi),
    "van": Family(machines.van, 2.5, (0.14, 0.5), math.pi),
    "cyclist": Family(machines.scooter, 1.75, (0.16, 0.65)),
    "crate": Family(machines.crate, 0.9, (0.08, 0.4), math.pi),
    "tossed": Family(machines.crate, 0.9, (0.08, 0.3), math.pi, flies=True),
    "tree": Family(shapes.tree, 5.0, (0.35, 1.3), 0.3),
    "bush": Family(shapes.bush, 1.0, (0.1, 0.4), 0.3),
    "rock": Family(shapes.rock, 0.8, (0.08, 0.35), 0.3),
    "post": Family(shapes.post, 2.4, (0.3, 0.9), 0.3),
    "plant": Family(shapes.plant, 1.0, (0.2, 0.5), 0.3),
    "house": Family(machines.house, 7.0, (0.3, 0.8), math.pi),
    "table": Family(machines.table, 0.7, (0.12, 0.35), 0.5),
}

MOVERS = {
    "meadow": "person person animal animal animal cyclist ball bird creature car",
    "street": "person person person car car car van cyclist cyclist animal ball bird",
    "room": "person person animal animal ball creature crate tossed",
    "photograph": "person animal animal car cyclist ball bird creature tossed",
}
STATICS = {
    "meadow": "tree tree tree bush bush rock rock post table animal person car",
    "street": "post post tree car car van house house house person crate bush",
    "room": "crate crate plant plant table table person animal",
    "photograph": "bush rock post crate person animal car",
}


def make_scene(
    config: SceneConfig, seed: int, index: int, library: Library | None = None
) -> Scene:
    """Makes the clip with a number; equal arguments give equal scenes.

    Args:
        config: The settings of how clips look.
        seed: The seed of the set of clips.
        index: The number of the clip.
        library: The photographs and cut-outs to use.

    Raises:
        InputError: A picture of the library cannot be read.
    """
    rng = np.random.default_rng((seed, index))
    return _Stage(config, rng, library or Library()).scene(seed, index)


class _Stage:
    """The state that the choices for one scene share."""

    def __init__(self, config: SceneConfig, rng: np.random.Generator, library: Library):
        self.config = config
        self.rng = rng
        self.library = library
        self.light_side = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9))
        self.mood = scenery.MOODS[rng.integers(len(scenery.MOODS))]

    def scene(self, seed, index) -> Scene:
        config, rng = self.config, self.rng
        photograph = self.library.backgrounds and rng.random() < config.photographs
        outdoors = bool(rng.random() < config.outdoors)
        camera = self._camera(indoors=not outdoors and not photograph)
        if photograph:
            picture = self.library.photograph(rng)
            place = scenery.photograph(rng, camera, picture)
        elif outdoors:
            kind = str(rng.choice(["meadow", "street"]))
            place = scenery.landscape(rng, camera, self.mood, kind)
        else:
            place = scenery.room(rng, camera)
        statics = self._statics(camera, place)
        movers = self._movers(camera, place)
        camera = self._moving(camera, movers)
        if config.label_static:
            statics = [
                dataclasses.replace(thing, number=number)
                for number, thing in enumerate(statics, len(movers) + 1)
            ]
        return Scene(
            config=config,
            seed=seed,
            index=index,
            kind=place.kind,
            camera=camera,
            planes=place.planes,
            things=(*statics, *movers),
            light=self._light(place),
            effects=self._effects(),
        )

    # Things -------------------------------------------------------------------------

    def _statics(self, camera, place) -> list[Thing]:
        low, high = self.config.distractors
        names = STATICS[place.kind].split()
        things = []
        for _ in range(self.rng.integers(low, high + 1)):
            name = str(self.rng.choice(names))
            rig, far, flies = self._rig(name, camera)
            origin = self._spot(camera, place, rig, far, flies, 0.0, wide=1.5)
            heading = self.rng.uniform(-math.pi, math.pi)
            turns = FAMILIES[name].turns
            if turns == math.pi:
                heading = float(self.rng.choice([0, math.pi / 2, heading]))
            path = Path(origin, heading, starts=LONG, turn_limit=turns)
            things.append(Thing(name, rig, path))
        return things

    def _movers(self, camera, place) -> list[Thing]:
        low, high = self.config.movers
        if self.rng.random() < self.config.nothing_moves:
            return []
        names = MOVERS[place.kind].split()
        count = self.rng.integers(low, high + 1)
        return [
            self._mover(str(self.rng.choice(names)), number, camera, place)
            for number in range(1, count + 1)
        ]

    def _mover(self, name, number, camera, place) -> Thing:
        config, rng, family = self.config, self.rng, FAMILIES[name]
        rig, far, flies = self._rig(name, camera)
        time = float(rng.uniform(0.1, 0.9) * config.frames)
        origin = self._spot(camera, place, rig, far, flies, time)
        low, high = np.log(config.speed)
        pixels = math.exp(rng.uniform(low, high))
        if name in ("person", "animal"):  # Faster ones would look like cuts.
            pixels = min(pixels, 0.45 * rig.length * camera.focal / far)
        path = self._path(name, origin, pixels * far / camera.focal, time, far)
        path = dataclasses.replace(path, turn_limit=family.turns)
        return Thing(name, rig.slowed(path.speed), path, number)

    def _path(self, name, origin, speed, time, far) -> Path:
        config, rng = self.config, self.rng
        family = FAMILIES[name]
        heading = float(rng.choice([0, math.pi]) + rng.normal(0, 0.3))
        options = {}
        if family.turns == math.pi:
            heading = float(rng.choice([heading, rng.uniform(-math.pi, math.pi)]))
            options["curvature"] = float(rng.normal(0, 0.03))
        # A thing that would run into the camera moves away from it instead.
        nearing = -math.sin(heading) * speed * config.frames
        if nearing > 0.5 * far:
            heading = -heading
        if name == "ball" and rng.random() < 0.6:
            options |= {"hop": rng.uniform(0.3, 1.5), "stride": 22 * speed}
        if name == "tossed":
            spin = tuple(rng.normal(0, 0.05, 3).tolist())
            options |= {"spin": spin, "climb": float(rng.normal(0, 0.3))}
        if family.flies:
            options["climb"] = float(rng.normal(0, 0.25))
        if rng.random() < config.pauses:
            moment = float(rng.uniform(0.2, 0.8) * config.frames)
            options |= {str(rng.choice(["starts", "stops"])): moment}
            # Placed at this moment, it is seen both moving and stationary.
            time = moment
        return Path(origin, heading, speed, time, **options)

    def _rig(self, name, camera) -> tuple[Rig, float, bool]:
        """Makes a thing of a family; returns also its distance and whether it flies."""
        rng, family = self.rng, FAMILIES[name]
        low, high = np.log(family.seen)
        pixels = math.exp(rng.uniform(low, high)) * camera.size[0]
        if self.library.cutouts and rng.random() < self.config.cutouts:
            rgba = self.library.cutout(rng)
            if rgba is not None:
                pixels = float(np.clip(pixels, 0.15 * camera.size[0], None))
                return _cardboard(rng, rgba), camera.focal / pixels, family.flies
        scale = min(1.4 * pixels, 420) / family.height
        rig = family.make(rng, scale, self.light_side)
        return rig, camera.focal * rig.height / pixels, family.flies

    def _spot(self, camera, place, rig, far, flies, time, wide=1.0):
        """Returns a position at a distance, in the frame or near it."""
        rng = self.rng
        height, width = camera.size
        far = float(np.clip(far, 1.5, 0.92 * place.far))
        column = (0.5 + wide * rng.uniform(-0.42, 0.42)) * width
        view = camera.view(time)
        to_world = view.rotation.T @ np.linalg.inv(view.intrinsics)
        if flies:
            row = rng.uniform(0.2, 0.65) * height
            spot = view.centre + far * to_world @ [column, row, 1]
            spot[1] = min(spot[1], -0.1)
        else:
            # This is the row in which the ground has this depth.
            drop = -view.centre[1] / far - to_world[1, 0] * column - to_world[1, 2]
            row = drop / to_world[1, 1]
            lowest = 1.2 * height
            if row > lowest:  # Its foot would be below the frame, so it moves away.
                row = rng.uniform(0.8, 1.1) * height
                ray = to_world @ [column, row, 1]
                far = min(-view.centre[1] / max(ray[1], 1e-3), 0.92 * place.far)
            spot = view.centre + far * to_world @ [column, row, 1]
            spot[1] = 0.0
        limit = place.half_width - 0.6
        spot[0] = np.clip(
            spot[0], camera.position[0] - limit, camera.position[0] + limit
        )
        spot[2] = min(spot[2], 0.94 * place.far)
        return spot

    # Camera and light ---------------------------------------------------------------

    def _camera(self, indoors) -> Camera:
        """Makes a stationary camera."""
        rng, size = self.rng, self.config.size
        focal = size[1] * rng.uniform(0.75, 1.25)
        height, pitch = rng.uniform(1.1, 2.1), rng.uniform(-0.02, 0.14)
        if not indoors and rng.random() < 0.22:  # It looks from a window or a drone.
            height, pitch = rng.uniform(4, 10), rng.uniform(0.22, 0.5)
        roll = rng.normal(0, 0.015)
        still = np.zeros(3)
        position = np.array([0.0, -height, 0.0])
        return Camera(size, focal, position, np.array([0.0, pitch, roll]), still, still,
                      0.0, swing=1e6)  # fmt: skip

    def _moving(self, camera, objects) -> Camera:
        """Returns the camera with a motion, unless it stands on a tripod."""
        config, rng = self.config, self.rng
        if rng.random() < config.static_camera:
            return camera
        focal = camera.focal
        far = float(rng.uniform(5, 14))  # The depth at which the speed is as chosen.
        low, high = np.log(config.camera_speed)

        def pixels(share=1.0):
            speed = share * math.exp(rng.uniform(low, high))
            return float(rng.choice([-1, 1]) * speed)

        velocity, turning, zooming = np.zeros(3), np.zeros(3), 0.0
        follow, travels = None, True
        kind = str(rng.choice(["along", "into", "turn", "arc", "mixed", "hand"]))
        if objects and rng.random() < config.following_camera:
            thing = objects[rng.integers(len(objects))]
            follow, travels, kind = thing.path, bool(rng.random() < 0.6), "follow"
        if kind in ("along", "arc", "mixed"):
            velocity[0] = pixels() * far / focal
        if kind in ("into", "mixed"):
            velocity[2] = pixels(0.5) * far / focal
        if kind in ("turn", "mixed"):
            turning[:2] = pixels(0.7) / focal, pixels(0.2) / focal
        if kind == "arc":  # It moves around the middle.
            turning[0] = -velocity[0] / far
        if rng.random() < config.zoom:
            zooming = float(rng.normal(0, 0.006))
        shake = None
        if kind == "hand" or rng.random() < config.handheld:
            shake = _shake(rng, config.shake * rng.uniform(0.3, 1.0) / focal)
        return dataclasses.replace(
            camera, velocity=velocity, turning=turning, zooming=zooming, shake=shake,
            swing=float(rng.uniform(18, 45)), follow=follow, travels=travels,
        )  # fmt: skip

    def _light(self, place) -> Light:
        config, rng, mood = self.config, self.rng, self.mood
        indoors = place.kind == "room"
        across = self.light_side * (0.3 if indoors else 0.9)
        away = rng.choice([-1, 1]) * rng.uniform(0.2, 0.7)
        return Light(
            sun=(-across, 1.0, float(away)),
            shadow=config.shadows * (0.8 if indoors else mood.shadow),
            softness=2.5 if indoors else 1.0 + 3 * (1 - mood.shadow),
            haze=0.0 if indoors else config.haze * float(rng.uniform(0, 1)),
            haze_range=float(rng.uniform(40, 120)),
            haze_colour=np.array(mood.low, float),
        )

    def _effects(self) -> Effects:
        config, rng = self.config, self.rng

        def some(strongest, share=0.5):
            return float(strongest * rng.random()) if rng.random() < share else 0.0

        compressed = rng.random() < config.compression
        gains = np.array(self.mood.gains) * rng.uniform(0.95, 1.05, 3)
        return Effects(
            gains=gains * rng.uniform(0.85, 1.1),
            contrast=float(rng.uniform(0.85, 1.15)),
            shutter=some(config.motion_blur, 0.6),
            defocus=some(config.defocus),
            focus=float(rng.uniform(4, 15)),
            noise=some(config.noise, 0.7),
            exposure=some(config.exposure, 0.4),
            exposure_phase=(float(rng.uniform(0.02, 0.3)), float(rng.uniform(0, 6))),
            quality=int(rng.integers(30, 91)) if compressed else None,
            seed=tuple(rng.integers(2**32, size=2).tolist()),
        )


def _shake(rng, radians) -> Shake:
    """Makes a shake whose slower waves are stronger."""
    frequencies = rng.uniform(0.12, 1.1, 5)
    strengths = np.array([1.0, 1.0, 0.7])[:, None] / (1 + 3 * frequencies)
    strengths *= radians * math.sqrt(2) / np.sqrt((strengths**2).sum(axis=1))[:, None]
    return Shake(strengths, frequencies, rng.uniform(0, 2 * math.pi, (3, 5)))


def _cardboard(rng, rgba) -> Rig:
    """Makes a cut-out, one metre high, that sways and stretches as it moves."""
    height, width = rgba.shape[:2]
    texture = make_texture(np.ascontiguousarray(rgba[..., :3]),
                           np.ascontiguousarray(rgba[..., 3]))  # fmt: skip
    metre = 1 / height
    flip = float(rng.choice([-1, 1]))
    to_metres = np.array([[flip * metre, 0, -flip * (width - 1) / 2 * metre],
                          [0, metre, -1 + metre / 2], [0, 0, 1]])  # fmt: skip
    sway, breath = rng.uniform(0, 0.06), rng.uniform(0, 0.05)
    bone = Bone(Sprite(texture, to_metres), swing=sway, stretch=(breath, -breath))
    return make_rig({"it": bone}, "it", height=1.0, length=width / height,
                    beat=float(rng.uniform(0.02, 0.08)), stride=1e6)  # fmt: skip
