"""Makes built things: cars, vans, bicycles, crates, furniture and houses.

Most of them are boxes. The faces of a box are seen from outside only, so a box shows
those that face the camera and looks solid as it turns.
"""

import math

import cv2
import numpy as np

from movseg_jax.scenes.drawing import Sketch, Sprite
from movseg_jax.scenes.rigs import Bone, Rig, make_rig
from movseg_jax.scenes.shapes import cloth
from movseg_jax.scenes.textures import make_texture, noise, wall

GLASS = [58, 72, 84]
TYRE = [34, 34, 36]


def _face(origin, across, down):
    """Returns the plane whose metres (x, y) go across and down from a corner."""
    plane = np.zeros((4, 3))
    plane[:3, 0], plane[:3, 1], plane[:3, 2] = across, down, origin
    plane[3, 2] = 1
    return plane


def box_planes(low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the faces of a box, each with its origin at the upper left as seen."""
    x0, y0, z0 = low  # Because y points down, y0 is the top.
    x1, y1, z1 = high
    x, y, z = np.eye(3)
    return {
        "right": _face((x1, y0, z1), -x, y),  # Seen from +z, the front is left.
        "left": _face((x0, y0, z0), x, y),
        "front": _face((x1, y0, z0), z, y),
        "back": _face((x0, y0, z1), -z, y),
        "top": _face((x0, y0, z1), x, -z),
        "bottom": _face((x0, y1, z0), x, z),
    }


def _panel(rng, width, height, scale, colour, draw=None, shade=1.0, grain=4.0):
    """Draws a rectangular face in one colour; `draw` adds rectangles to it.

    `draw` gets a function that paints a rectangle, whose corners are shares of the
    width and the height.
    """
    rows, columns = max(4, round(height * scale)), max(4, round(width * scale))
    rgb = np.full(
        (rows, columns, 3), np.clip(np.array(colour) * shade, 0, 255), np.uint8
    )
    if draw is not None:

        def rectangle(x0, y0, x1, y1, paint):
            corners = np.array([x0 * columns, y0 * rows, x1 * columns, y1 * rows]) * 16
            a, b, c, d = np.round(corners - 8).astype(int).tolist()
            paint = tuple(float(np.clip(p * shade, 0, 255)) for p in paint)
            cv2.rectangle(rgb, (a, b), (c, d), paint, -1, cv2.LINE_AA, 4)

        draw(rectangle)
    rough = noise(rng, (rows, columns), 0.5 * scale, 5, 0.7) * grain
    fall = np.linspace(5, -9, rows, dtype=np.float32)[:, None]
    full = np.clip(rgb + (rough + fall)[..., None], 0, 255)
    texture = make_texture(full.astype(np.uint8))
    grid = np.array([[width / columns, 0, width / columns / 2],
                     [0, height / rows, height / rows / 2], [0, 0, 1]])  # fmt: skip
    return Sprite(texture, grid)


def _box(rng, scale, low, high, colour, draws, light, prefix=""):
    """Makes the bones of a box's faces, shaded for a sun from one side."""
    size = np.array(high) - np.array(low)
    shades = {"right": 0.95, "left": 0.95, "front": 1 + 0.15 * light,
              "back": 1 - 0.15 * light, "top": 1.15,
        "bottom": 0.6}  # fmt: skip
    bones = {}
    for name, plane in box_planes(np.array(low), np.array(high)).items():
        width = size[2] if name in ("front", "back") else size[0]
        height = size[2] if name in ("top", "bottom") else size[1]
        sprite = _panel(
            rng, width, height, scale, colour, draws.get(name), shades[name]
        )
        bones[prefix + name] = Bone(sprite, plane=plane, one_sided=True)
    return bones


def _wheel(rng, scale, radius, light):
    sketch = Sketch((-radius, -radius), (radius, radius), scale)
    sketch.ellipse((0, 0), (radius, radius), TYRE)
    sketch.ellipse((0, 0), (0.62 * radius, 0.62 * radius), [150, 152, 156])
    for k in range(5):
        a = 2 * math.pi * k / 5
        sketch.capsule((0.14 * radius * math.cos(a), 0.14 * radius * math.sin(a)),
                       (0.55 * radius * math.cos(a), 0.55 * radius * math.sin(a)),
                       (0.03, 0.1 * radius), [62, 64, 68])  # fmt: skip
    return sketch.finish(rng, light=light, roundness=0.1, grain=3)


def _with_wheels(rng, bones, scale, places, radius, half, light):
    """Adds wheels on both sides, each seen from outside only."""
    wheel = _wheel(rng, scale, radius, light)
    for i, x in enumerate(places):
        for side, z in (("l", -half), ("r", half)):
            # Seen from the right, forwards is left: the wheel is turned, not mirrored.
            across = (1, 0, 0) if side == "l" else (-1, 0, 0)
            plane = _face((x, -radius, z * 1.01), across, (0, 1, 0))
            roll = radius if side == "l" else -radius
            bones[f"wheel{side}{i}"] = Bone(wheel, plane=plane, wheel=roll,
                                            one_sided=True)  # fmt: skip


def car(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a car: a body with a cabin on it."""
    paint = cloth(rng) if rng.random() < 0.6 else rng.uniform(25, 225) * np.ones(3)
    long, half = rng.uniform(3.6, 4.7), rng.uniform(0.8, 0.92)
    floor, waist, roof = -0.28, -rng.uniform(0.85, 0.98), -rng.uniform(1.38, 1.6)
    r = 0.32
    dark = np.array([40, 40, 44])

    def side(rectangle):
        rectangle(0, 0.82, 1, 1, dark)
        rectangle(0.02, 0.28, 0.98, 0.31, paint * 0.75)
        rectangle(0.5, 0.0, 0.505, 0.85, paint * 0.6)
        rectangle(0.44, 0.2, 0.49, 0.25, [30, 30, 32])

    def front(rectangle):
        rectangle(0.05, 0.2, 0.25, 0.42, [238, 236, 220])
        rectangle(0.75, 0.2, 0.95, 0.42, [238, 236, 220])
        rectangle(0.3, 0.3, 0.7, 0.52, dark)
        rectangle(0.35, 0.66, 0.65, 0.82, [224, 224, 220])

    def back(rectangle):
        rectangle(0.04, 0.2, 0.2, 0.45, [172, 26, 24])
        rectangle(0.8, 0.2, 0.96, 0.45, [172, 26, 24])
        rectangle(0.35, 0.5, 0.65, 0.68, [224, 224, 220])

    draws = {"left": side, "right": side, "front": front, "back": back}
    low, high = (-long / 2, waist, -half), (long / 2, floor, half)
    bones = _box(rng, scale, low, high, paint, draws, light)
    _with_wheels(rng, bones, scale, (-0.31 * long, 0.31 * long), r, half, light)

    def windows(rectangle):
        rectangle(0.05, 0.16, 0.47, 1, GLASS)
        rectangle(0.53, 0.16, 0.95, 1, GLASS)
        rectangle(0.08, 0.2, 0.2, 0.9, [96, 112, 124])

    def screen(rectangle):
        rectangle(0.07, 0.14, 0.93, 1, GLASS)
        rectangle(0.55, 0.2, 0.75, 0.9, [92, 106, 118])

    draws = {"left": windows, "right": windows, "front": screen, "back": screen}
    start, end = -rng.uniform(0.34, 0.47) * long, rng.uniform(0.12, 0.24) * long
    low, high = (start, roof, -0.86 * half), (end, waist + 0.02, 0.86 * half)
    bones |= _box(rng, scale, low, high, paint, draws, light, "cabin")
    return make_rig(bones, " ".join(bones), height=-roof, length=long)


def van(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a van, a lorry or a bus."""
    paint = cloth(rng)
    bus = rng.random() < 0.4
    long, half = rng.uniform(5.0, 6.5), rng.uniform(0.95, 1.15)
    roof, stripe = -rng.uniform(2.1, 2.8), cloth(rng)
    dark = np.array([40, 40, 44])

    def side(rectangle):
        rectangle(0, 0.9, 1, 1, dark)
        rectangle(0, 0.6, 1, 0.68, stripe)
        count = 7 if bus else 1
        for k in range(count):
            rectangle(0.03 + 0.135 * k, 0.12, 0.03 + 0.135 * k + 0.115, 0.48, GLASS)

    def left(rectangle):
        side(lambda a, b, c, d, p: rectangle(1 - c, b, 1 - a, d, p))

    def front(rectangle):
        rectangle(0.06, 0.1, 0.94, 0.5, GLASS)
        rectangle(0.06, 0.68, 0.22, 0.78, [238, 236, 220])
        rectangle(0.78, 0.68, 0.94, 0.78, [238, 236, 220])
        rectangle(0, 0.9, 1, 1, dark)

    def back(rectangle):
        rectangle(0.03, 0.6, 0.12, 0.78, [172, 26, 24])
        rectangle(0.88, 0.6, 0.97, 0.78, [172, 26, 24])
        rectangle(0.495, 0.05, 0.505, 0.9, paint * 0.6)

    draws = {"left": left, "right": side, "front": front, "back": back}
    low, high = (-long / 2, roof, -half), (long / 2, -0.35, half)
    bones = _box(rng, scale, low, high, paint, draws, light)
    _with_wheels(rng, bones, scale, (-0.3 * long, 0.33 * long), 0.4, half, light)
    return make_rig(bones, " ".join(bones), height=-roof, length=long)


def crate(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a crate, a parcel or a chest of drawers."""
    x, y, z = rng.uniform(0.25, 0.65, 3)
    y = y * rng.uniform(1.2, 2.4)
    colour = cloth(rng) if rng.random() < 0.6 else np.array([164, 124, 82])
    rows = int(rng.integers(1, 5))
    edge = 0.8 * colour

    def front(rectangle):
        for k in range(rows):
            top, bottom = k / rows, (k + 1) / rows
            rectangle(0, bottom - 0.03, 1, bottom, edge)
            rectangle(0.4, top + 0.4 / rows, 0.6, top + 0.5 / rows, 0.5 * colour)
        rectangle(0, 0, 0.04, 1, edge)
        rectangle(0.96, 0, 1, 1, edge)

    draws = {name: front for name in ("left", "right", "front", "back")}
    bones = _box(rng, scale, (-x, -y, -z), (x, 0, z), colour, draws, light)
    return make_rig(bones, " ".join(bones), height=y, length=2 * x)


def house(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a building with windows; its roof is flat, because it is seen from afar."""
    x, z = rng.uniform(3, 7), rng.uniform(3, 6)
    floors = int(rng.integers(1, 5))
    y = 2.9 * floors + 0.6
    colour = wall(rng, (8, 8), 4).reshape(-1, 3).mean(axis=0)
    frame = np.clip(colour + rng.choice([-45, 40]), 0, 255)

    def front(rectangle):
        count = max(2, int(x))
        for floor in range(floors):
            top = (0.7 + 2.9 * floor) / y
            for k in range(count):
                left = (k + 0.28) / count
                right, bottom = left + 0.44 / count, top + 1.5 / y
                rectangle(left - 0.012, top - 0.1 / y, right + 0.012,
                          bottom + 0.12 / y, frame)  # fmt: skip
                pane = np.array(GLASS) * rng.uniform(0.7, 1.6)
                rectangle(left, top, right, bottom, pane)
        rectangle(0, 1 - 0.25 / y, 1, 1, 0.6 * colour)

    draws = {name: front for name in ("left", "right", "front", "back")}
    bones = _box(rng, scale, (-x, -y, -z), (x, 0, z), colour, draws, light)
    return make_rig(bones, " ".join(bones), height=y, length=2 * x)


def table(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a bench or a table, seen from the side."""
    w, h = rng.uniform(0.5, 1.0), rng.uniform(0.45, 0.8)
    wood = np.array([138, 98, 64]) * rng.uniform(0.6, 1.3)
    sketch = Sketch((-w, -h - 0.5), (w, 0.02), scale)
    for x in (-0.85 * w, 0.85 * w):
        sketch.capsule((x, 0), (x, -h), (0.04, 0.04), wood * 0.75)
    sketch.capsule((-0.92 * w, -h), (0.92 * w, -h), (0.05, 0.05), wood)
    if rng.random() < 0.5:
        sketch.capsule((-0.85 * w, -h), (-0.95 * w, -h - 0.4), (0.04, 0.04), wood)
    sprite = sketch.finish(rng, light=light, roundness=0.4, grain=7)
    return make_rig({"it": Bone(sprite)}, "it", height=h, length=2 * w)


def scooter(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a pedalling cyclist, seen from the side."""
    r, skin = 0.33, [198, 148, 112]
    shirt, legs, frame = cloth(rng), cloth(rng), cloth(rng)
    tyre = Sketch((-r, -r), (r, r), scale)
    for k in range(24):
        a, b = 2 * math.pi * k / 24, 2 * math.pi * (k + 1) / 24
        tyre.capsule((0.93 * r * math.cos(a), 0.93 * r * math.sin(a)),
                     (0.93 * r * math.cos(b), 0.93 * r * math.sin(b)),
                     (0.03, 0.03), TYRE)  # fmt: skip
    for k in range(6):
        a = math.pi * k / 6
        x, y = 0.9 * r * math.cos(a), 0.9 * r * math.sin(a)
        tyre.outline([(-x, -y), (x, y)], 0.008, [150, 150, 154])
    wheel = tyre.finish(rng, light=light, roundness=0.0, grain=3)
    sketch = Sketch((-0.75, -1.75), (0.75, 0.05), scale)
    hub, saddle, steer = (0.0, -0.3), (-0.18, -0.88), (0.42, -0.92)
    for points in ([(-0.5, -r), hub, saddle, (-0.5, -r)], [hub, (0.38, -0.8), saddle],
                   [(0.55, -r), steer, (0.5, -0.98)]):  # fmt: skip
        sketch.outline(points, 0.022, frame)
    sketch.capsule((-0.2, -0.95), (0.08, -1.4), (0.12, 0.13), shirt)
    sketch.capsule((0.08, -1.4), (0.3, -1.12), (0.05, 0.042), shirt)
    sketch.capsule((0.3, -1.12), (0.47, -0.98), (0.04, 0.035), skin)
    sketch.ellipse((0.18, -1.58), (0.1, 0.125), skin)
    sketch.ellipse((0.15, -1.64), (0.125, 0.09), cloth(rng))
    rider = sketch.finish(rng, light=light, roundness=0.5, grain=5)

    def limb(length, radii, foot):
        leg = Sketch((-0.2, -0.12), (0.25, length + 0.1), scale)
        leg.capsule((0, 0), (0, length), radii, legs)
        if foot:
            leg.capsule((0, length), (0.12, length), (0.045, 0.035), [40, 38, 40])
        return leg.finish(rng, light=light, roundness=0.5, grain=5)

    thigh, shin = limb(0.38, (0.085, 0.06), False), limb(0.36, (0.055, 0.04), True)
    bones = {
        "back": Bone(wheel, joint=(-0.5, -r), wheel=r),
        "fore": Bone(wheel, joint=(0.55, -r), wheel=r),
        "rider": Bone(rider),
        "thigh1": Bone(thigh, -1, (-0.16, -0.92), -0.75, 0.38),
        "shin1": Bone(shin, 3, (0, 0.38), 0.95, -0.42, 0.5),
        "thigh2": Bone(thigh, -1, (-0.16, -0.92), -0.75, -0.38),
        "shin2": Bone(shin, 5, (0, 0.38), 0.95, 0.42, 0.5),
    }
    return make_rig(bones, "thigh2 shin2 back fore rider thigh1 shin1",
                    height=1.75, length=1.7, stride=4.0)  # fmt: skip
