"""Makes places out of planes: landscapes, streets, rooms and photographs."""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from movseg_jax.scenes.camera import Camera
from movseg_jax.scenes.scene import Plane
from movseg_jax.scenes.textures import (
    Colour,
    ground,
    make_texture,
    mixed,
    noise,
    to_bytes,
    wall,
)


@dataclasses.dataclass(frozen=True)
class Mood:
    """The weather and time of day.

    Attributes:
        top: The RGB colour of the top of the sky.
        low: The RGB colour of the sky above the horizon, and of haze.
        gains: The light's factors of red, green and blue.
        shadow: The strength of shadows, relative to the strongest.
        clouds: The approximate share of the sky that clouds cover.
    """

    top: Colour
    low: Colour
    gains: Colour
    shadow: float
    clouds: float


MOODS = (
    Mood((74, 128, 196), (190, 212, 230), (1.02, 1.0, 0.97), 1.0, 0.3),  # Fine.
    Mood((98, 146, 204), (214, 224, 230), (1.0, 1.0, 1.0), 0.85, 0.6),  # Fair.
    Mood((108, 128, 166), (244, 204, 158), (1.1, 0.98, 0.82), 1.0, 0.4),  # Evening.
    Mood((150, 160, 172), (206, 210, 214), (0.95, 0.98, 1.03), 0.3, 1.0),  # Overcast.
    Mood((64, 76, 118), (204, 158, 150), (0.86, 0.84, 0.96), 0.4, 0.5),  # Dusk.
)


@dataclasses.dataclass(frozen=True)
class Place:
    """A place in which things can be.

    Attributes:
        kind: The kind of place; see `Scene.kind`.
        planes: The planes, in the order in which they are painted.
        far: The distance of the farthest plane, metres.
        half_width: The largest distance of things to the left and right, metres.
    """

    kind: str
    planes: tuple[Plane, ...]
    far: float
    half_width: float = math.inf


def landscape(rng: np.random.Generator, camera: Camera, mood: Mood, kind: str) -> Place:
    """Makes ground that ends at a backdrop of sky, hills, woods or houses."""
    far = rng.uniform(60, 110)
    kinds = {
        "meadow": ["grass", "grass", "dirt", "sand", "snow"],
        "street": ["road", "crossroad", "asphalt", "paving"],
    }[kind]
    floor = str(rng.choice(kinds))
    long, wide = 1024, 1024
    scale = _ground_scale(camera)
    if floor in (
        "road",
        "crossroad",
    ):  # A large texture shows one road, without mirrored copies.
        long, wide = (768, 1536) if floor == "road" else (1536, 768)
        scale = min(scale, 48)
    texture = make_texture(ground(rng, floor, (long, wide), scale))
    origin = (-wide / 2 / scale, 0, 0)
    surface = _upright(origin, (1 / scale, 0, 0), (0, 0, 1 / scale))
    bounds = np.array([[0.0, 0, -1, far]])
    below = Plane(texture, surface, bounds, shadowed=True)
    return Place(kind, (_backdrop(rng, camera, mood, far, kind), below), far)


def _ground_scale(camera):
    """Returns the texels per metre that give about one per pixel at the lower edge."""
    down = camera.angles[1] + math.atan(camera.size[0] / 2 / camera.focal)
    near = -camera.position[1] / max(math.sin(down), 0.1)
    return float(np.clip(camera.focal / near * 0.7, 12, 110))


def _upright(origin, across, down) -> Float64[np.ndarray, "4 3"]:
    """Returns the surface whose texels go across and down from an origin."""
    surface = np.zeros((4, 3))
    surface[:3] = np.array([across, down, origin]).T
    surface[3, 2] = 1
    return surface


def _backdrop(rng, camera, mood, far, kind) -> Plane:
    """Makes the picture at the far end, with some margin around the frame."""
    height, width = camera.size
    scale = 1.1 * camera.focal / far  # Texels per metre.
    rows, columns = int(1.9 * height), int(2.4 * width)
    # The row of the horizon follows from the camera's pitch.
    level = int(np.clip(1.25 * height - camera.focal * math.tan(camera.angles[1]),
                        0.35 * rows, 0.97 * rows))  # fmt: skip
    picture = _sky(rng, (rows, columns), level, mood)
    _hills(rng, picture, level, mood)
    if kind == "street" or rng.random() < 0.15:
        _skyline(rng, picture, level, scale, mood)
    else:
        _woods(rng, picture, level, scale, mood)
    middle = camera.position[0] + far * math.tan(camera.angles[0])
    origin = (middle - columns / 2 / scale, -level / scale, far)
    surface = _upright(origin, (1 / scale, 0, 0), (0, 1 / scale, 0))
    return Plane(make_texture(to_bytes(picture)), surface)


def _sky(rng, size, level, mood) -> Float32[np.ndarray, "h w 3"]:
    rows, columns = size
    share = (np.linspace(0, rows / level, rows, dtype=np.float32) ** 1.4)[:, None]
    sky = mixed(mood.top, mood.low, np.broadcast_to(share, size))
    half = rows // 2, columns // 2
    clouds = noise(rng, half, (0.14 * rows, 0.3 * columns), 6, 0.55)
    clouds = cv2.resize(clouds, (columns, rows), interpolation=cv2.INTER_LINEAR)
    cover = np.clip((clouds + mood.clouds * 1.5 - 0.75) * 1.6, 0, 1) * 0.85
    white = (
        np.asarray(mood.low, np.float32) * 0.35
        + np.asarray([242, 242, 244], np.float32) * 0.65
    )
    grey = np.clip(1 - 0.16 * np.roll(clouds, -9, axis=0), 0.7, 1.08)[..., None]
    return sky + cover[..., None] * (white * grey - sky)


def _hills(rng, picture, level, mood):
    rows, columns = picture.shape[:2]
    green = np.asarray([78, 98, 66], np.float32) + np.asarray(
        rng.uniform(-18, 18, 3), np.float32
    )
    height = rng.uniform(0.02, 0.16) * rows
    for k in range(rng.integers(1, 4)):
        outline = noise(rng, (1, columns), (1.0, columns / rng.uniform(2, 6)), 6, 0.45)[
            0
        ]
        top = level - height * np.clip(0.75 + 0.6 * outline, 0.05, None)
        haze = 0.72 - 0.2 * k
        colour = green * (1 - haze) + np.asarray(mood.low, np.float32) * haze
        grain = 1 + 0.1 * (1 - haze) * noise(rng, (rows, columns), rows / 8, 5, 0.7)
        _fill(picture, top, colour * grain[..., None])
        height *= 0.6


def _woods(rng, picture, level, scale, mood):
    """Paints the edge of a wood."""
    rows, columns = picture.shape[:2]
    tall = rng.uniform(3, 9) * scale
    outline = noise(rng, (1, columns), (1.0, 6 * scale), 5, 0.75)[0]
    broad = noise(rng, (1, columns), (1.0, columns / 4), 2)[0]
    top = level - tall * np.clip(0.7 + 0.35 * outline + 0.8 * broad, 0, None)
    green = np.asarray([54, 76, 40], np.float32) + np.asarray(
        rng.uniform(-12, 14, 3), np.float32
    )
    leaves = noise(rng, (rows, columns), 3.2 * scale + 2, 4, 0.8)
    colour = 0.78 * green + 0.22 * np.asarray(mood.low, np.float32)
    _fill(picture, top, colour * (1 + 0.3 * leaves)[..., None])
    # Rows below the ground's end are seen only in the gap between the planes.
    picture[level:] = picture[max(level - 2, 0)]


def _skyline(rng, picture, level, scale, mood):
    """Paints rows of houses, the farther ones first."""
    columns = picture.shape[1]
    for k in range(2):
        x = 0
        while x < columns:
            wide = int(rng.uniform(7, 20) * scale) + 4
            storeys = int(rng.integers(2, 9 - 3 * k))
            tall = int((2.9 * storeys + 1) * scale)
            shade = np.asarray(
                rng.uniform(90, 180) + rng.uniform(-22, 22, 3), np.float32
            )
            shade += (0.45 - 0.25 * k) * (np.asarray(mood.low, np.float32) - shade)
            top = max(level - tall, 0)
            part = picture[top:level, x : x + wide]
            part[:] = shade
            storey, bay = max(2.9 * scale, 3), max(2.4 * scale, 3)
            v = (np.arange(part.shape[0]) % storey) / storey
            u = (np.arange(part.shape[1]) % bay) / bay
            pane = (np.abs(v - 0.5) < 0.26)[:, None] & (np.abs(u - 0.5) < 0.24)
            part[pane] = shade * 0.62
            if k:
                part[:2] = shade * 0.75
            x += wide + int(rng.integers(0, 2) * rng.uniform(0, 6) * scale)


def _fill(picture, top, colours):
    """Paints colours below a line with a smooth edge."""
    rows = np.arange(picture.shape[0], dtype=np.float32)[:, None]
    share = np.clip(rows - np.asarray(top, np.float32)[None] + 0.5, 0, 1)[..., None]
    picture += share * (colours - picture)


# Rooms -----------------------------------------------------------------------------


def room(rng: np.random.Generator, camera: Camera) -> Place:
    """Makes a room: a floor, a ceiling and three walls."""
    far, half, tall = rng.uniform(7, 13), rng.uniform(4.0, 7.5), rng.uniform(2.7, 3.8)
    x = float(camera.position[0])
    scale = float(np.clip(camera.focal / 5.0, 30, 130))
    floor = str(rng.choice(["planks", "paving", "carpet", "chequered", "planks"]))
    kind = str(rng.choice(["plaster", "paper", "panels", "brick", "plaster"]))
    pixels = 768
    far_end = np.array([[0.0, 0, -1, far]])
    back = _decorated(rng, scale, 2 * half, tall, kind)
    rise = (0, 1 / scale, 0)
    planes = [
        Plane(back, _upright((x - half, -tall, far), (1 / scale, 0, 0), rise)),
        Plane(
            make_texture(wall(rng, (256, 256), 40, "plaster")),
            _upright((x - half, -tall, 0), (1 / 40, 0, 0), (0, 0, 1 / 40)), far_end,
        ),
        Plane(
            make_texture(ground(rng, floor, (pixels, pixels), scale)),
            _upright((x - half, 0, 0), (1 / scale, 0, 0), (0, 0, 1 / scale)), far_end,
            shadowed=True,
        ),
    ]  # fmt: skip
    # Both side walls end at the floor and the ceiling.
    bounds = np.array([[0.0, 0, -1, far], [0, -1, 0, 0], [0, 1, 0, tall]])
    for side in (-1, 1):
        texture = _decorated(rng, scale, 1.2 * far, tall, kind)
        surface = _upright((x + side * half, -tall, 0), (0, 0, 1 / scale), rise)
        planes.append(Plane(texture, surface, bounds))
    return Place("room", tuple(planes), far, half)


def _decorated(rng, scale, wide, tall, kind):
    """Makes a wall with a skirting board, pictures, windows and doors."""
    size = int(tall * scale), int(min(wide, 14) * scale)
    rgb = wall(rng, size, scale, kind)

    def rectangle(x0, y0, x1, y1, colour):
        """Paints a rectangle; x is from the left and y from the floor, metres."""
        a, b = (round(x0 * scale), round((tall - y1) * scale))
        c, d = (round(x1 * scale), round((tall - y0) * scale))
        cv2.rectangle(rgb, (a, b), (c, d), tuple(map(float, colour)), -1)

    rectangle(0, 0, wide, 0.1, rng.uniform(60, 220, 3) * 0.3 + 120)
    x = rng.uniform(0.3, 1.5)
    while x < wide - 1.5:
        width, choice = rng.uniform(0.5, 1.3), rng.random()
        frame = rng.uniform(40, 210) + rng.uniform(-15, 15, 3)
        if choice < 0.5:
            low, high = 1.2, 1.2 + rng.uniform(0.4, 0.9)
            rectangle(x, low, x + width, high, frame)
            for _ in range(5):
                a, b = np.sort(rng.uniform(0.06, width - 0.06, 2))
                c, d = np.sort(rng.uniform(low + 0.06, high - 0.06, 2))
                rectangle(x + a, c, x + b, d, rng.uniform(40, 215, 3))
        elif choice < 0.75:
            rectangle(x, 0.9, x + width, 2.3, [228, 228, 224])
            rectangle(x + 0.06, 0.96, x + width - 0.06, 2.24, [188, 212, 232])
            rectangle(x + 0.06, 0.96, x + width - 0.06, 1.3, [116, 140, 104])
            rectangle(x + width / 2 - 0.02, 0.96, x + width / 2 + 0.02, 2.24, [228] * 3)
        else:
            rectangle(x, 0, x + 0.95, 2.1, frame * 0.8)
            rectangle(x + 0.06, 0, x + 0.89, 2.04, frame)
            rectangle(x + 0.76, 0.98, x + 0.84, 1.06, [60, 56, 50])
        x += width + rng.uniform(0.5, 2.5)
    return make_texture(rgb)


# Photographs -----------------------------------------------------------------------


def photograph(
    rng: np.random.Generator, camera: Camera, picture: UInt8[np.ndarray, "h w 3"]
) -> Place:
    """Projects a photograph onto a backdrop, and mostly onto a ground plane as well.

    At time 0 the photograph looks unchanged. As the camera moves, the two planes move
    by homographies (Horry et al., 1997, "Tour into the picture").
    """
    height, width = camera.size
    rows, columns = picture.shape[:2]
    # Some of it stays outside the frame, so that the camera has room to turn.
    zoom = 1.3 * max(height / rows, width / columns)
    to_frame = np.array(
        [
            [zoom, 0, (width - 1) / 2 - zoom * (columns - 1) / 2],
            [0, zoom, (height - 1) / 2 - zoom * (rows - 1) / 2],
            [0, 0, 1],
        ]
    )
    view = camera.view(0)
    rays = view.rotation.T @ np.linalg.inv(view.intrinsics) @ to_frame
    centre, far = view.centre, rng.uniform(14, 40)
    texture = make_texture(picture)
    back = np.outer(centre, rays[2]) + (far - centre[2]) * rays
    planes = [Plane(texture, np.vstack([back, rays[2]]))]
    if rng.random() < 0.75:
        below = np.outer(centre, rays[1]) - centre[1] * rays
        bounds = np.array([[0.0, 0, -1, far]])
        planes.append(
            Plane(texture, np.vstack([below, rays[1]]), bounds, shadowed=True)
        )
    return Place("photograph", tuple(planes), far)
