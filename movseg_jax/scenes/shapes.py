"""Makes natural things and toys: persons, animals, birds, plants, stones, balls."""

import math

import numpy as np

from movseg_jax.scenes.drawing import Sketch, Sprite, blob
from movseg_jax.scenes.rigs import Bone, Rig, make_rig

SKIN = ([236, 196, 168], [198, 148, 112], [142, 98, 70], [92, 62, 48])
FUR = ([120, 84, 52], [72, 56, 46], [196, 170, 132], [150, 148, 146], [58, 54, 52],
       [222, 214, 200], [168, 104, 54])  # fmt: skip


def cloth(rng: np.random.Generator) -> np.ndarray:
    """Returns a colour of clothes or paint: often greyish, rarely garish."""
    grey = rng.uniform(45, 205)
    return np.clip(grey + rng.normal(0, rng.choice([8, 30, 55]), 3), 22, 232)


def person(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a walking or running person, seen from the side."""
    h = rng.uniform(1.5, 1.9)
    w = rng.uniform(0.85, 1.2)  # The breadth of the build.
    runs = rng.random() < 0.3
    skin, shirt, trousers = SKIN[rng.integers(4)], cloth(rng), cloth(rng)
    hair, shoe = FUR[rng.integers(len(FUR))], cloth(rng) * 0.6

    def limb(length, start, end, colour, foot=None, sleeve=None):
        sketch = Sketch((-0.3, -0.12), (0.35, length + 0.16), scale)
        sketch.capsule((0, 0), (0, length), (start * w, end * w), colour)
        if sleeve is not None:
            sketch.capsule((0, 0), (0, 0.5 * length), (start * w, end * w), sleeve)
        if foot is not None:
            sketch.capsule((0, length), (0.11 * h / 1.7, length + 0.01),
                           (0.048, 0.035), foot)  # fmt: skip
        return sketch.finish(rng, light=light, roundness=0.6, grain=5)

    thigh = limb(0.245 * h, 0.082, 0.06, trousers)
    shin = limb(0.235 * h, 0.058, 0.042, trousers if rng.random() < 0.7 else skin, shoe)
    upper = limb(0.17 * h, 0.052, 0.042, shirt)
    fore = limb(
        0.16 * h, 0.042, 0.034, skin, None, shirt if rng.random() < 0.5 else None
    )
    torso = _torso(rng, scale, light, h, w, (shirt, trousers))
    head = _head(rng, scale, light, h, skin, hair)
    stride, bend = (0.62, 0.75) if runs else (0.40, 0.38)
    hip = -0.5 * h + 0.01
    elbow = -1.3 if runs else -0.3
    bones = {
        "torso": Bone(torso, joint=(0, hip), angle=0.12 if runs else 0.02),
        "head": Bone(head, 0, (0.01, -0.33 * h), swing=0.03),
        "thigh1": Bone(thigh, -1, (0, hip), swing=stride),
        "shin1": Bone(shin, 2, (0, 0.245 * h), bend, -bend, lead=1.2),
        "thigh2": Bone(thigh, -1, (0, hip), swing=-stride),
        "shin2": Bone(shin, 4, (0, 0.245 * h), bend, bend, lead=1.2),
        "upper1": Bone(upper, 0, (0, -0.29 * h), swing=-stride * 0.9),
        "fore1": Bone(fore, 6, (0, 0.17 * h), elbow, 0.15),
        "upper2": Bone(upper, 0, (0, -0.29 * h), swing=stride * 0.9),
        "fore2": Bone(fore, 8, (0, 0.17 * h), elbow, 0.15),
    }
    order = "upper2 fore2 thigh2 shin2 thigh1 shin1 torso head upper1 fore1"
    return make_rig(bones, order, height=h, length=0.5 * h, bob=0.02 * h,
                    stride=h * (1.3 if runs else 0.8))  # fmt: skip


def _torso(rng, scale, light, h, w, colours):
    shirt, trousers = colours
    sketch = Sketch((-0.32 * w, -0.36 * h), (0.3 * w, 0.1 * h), scale)
    sketch.capsule((0, -0.01 * h), (0, -0.08 * h), (0.1 * w, 0.1 * w), trousers)
    sketch.capsule((0, -0.07 * h), (0.01, -0.26 * h), (0.105 * w, 0.125 * w), shirt)
    sketch.capsule((0, -0.28 * h), (0.01, -0.33 * h), (0.05, 0.045), shirt)
    kind = rng.random()
    if kind < 0.2:  # A rucksack.
        sketch.capsule((-0.17 * w, -0.13 * h), (-0.16 * w, -0.26 * h), (0.1, 0.09),
                       cloth(rng))  # fmt: skip
    elif kind < 0.4:  # A stripe across the chest.
        sketch.polygon([(-0.1 * w, -0.2 * h), (0.11 * w, -0.2 * h),
                        (0.115 * w, -0.16 * h), (-0.1 * w, -0.16 * h)],
                       cloth(rng))  # fmt: skip
    return sketch.finish(rng, light=light, roundness=0.6, grain=5, pattern=5)


def _head(rng, scale, light, h, skin, hair):
    r = 0.064 * h
    sketch = Sketch((-2 * r, -2.6 * r), (2 * r, 0.6 * r), scale)
    sketch.capsule((0, 0.2 * r), (0, -0.6 * r), (0.5 * r, 0.5 * r), skin)
    sketch.ellipse((0.05 * r, -0.95 * r), (0.85 * r, 1.1 * r), skin)
    sketch.ellipse((0.9 * r, -0.85 * r), (0.16 * r, 0.2 * r), skin)
    sketch.ellipse((-0.2 * r, -1.35 * r), (0.85 * r, 0.85 * r), hair, -0.4)
    if rng.random() < 0.3:
        sketch.ellipse((-0.6 * r, -0.9 * r), (0.5 * r, 1.1 * r), hair)
    if rng.random() < 0.25:  # A cap.
        sketch.capsule((-0.4 * r, -1.6 * r), (1.3 * r, -1.45 * r),
                       (0.45 * r, 0.12 * r), cloth(rng))  # fmt: skip
    return sketch.finish(rng, light=light, roundness=0.6, grain=4)


def animal(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes an animal on four legs, from the size of a dog to that of a horse."""
    h = float(np.exp(rng.uniform(np.log(0.45), np.log(1.7))))  # The height of its back.
    long = h * rng.uniform(1.0, 1.45)
    thick, leg = h * rng.uniform(0.17, 0.26), h * rng.uniform(0.42, 0.58)
    fur = np.array(FUR[rng.integers(len(FUR))]) * rng.uniform(0.85, 1.15)
    second = fur if rng.random() < 0.5 else FUR[rng.integers(len(FUR))]
    body = _body(rng, scale, light, (h, long, thick, leg), (fur, second))

    def limb(length, start, end, colour, hoof=False):
        sketch = Sketch((-0.2 * h, -0.15 * h), (0.2 * h, length + 0.08 * h), scale)
        sketch.capsule((0, 0), (0, length), (start, end), colour)
        if hoof:
            sketch.capsule((0, length), (0.05 * h, length), (end * 1.1, end), second)
        return sketch.finish(rng, light=light, roundness=0.6, grain=7)

    upper = limb(0.5 * leg, 0.085 * h, 0.05 * h, fur)
    lower = limb(0.46 * leg, 0.048 * h, 0.034 * h, fur * 0.92, hoof=True)
    head = _muzzle(rng, scale, light, h, fur, second)
    tail = limb(h * rng.uniform(0.25, 0.5), 0.035 * h, 0.018 * h, fur)
    front, back, hip = 0.36 * long, -0.38 * long, -leg
    swing, gallop = rng.uniform(0.3, 0.5), rng.random() < 0.35
    bones = {
        "body": Bone(body, joint=(0, 0), swing=0.04 if gallop else 0.0),
        "head": Bone(head, 0, (0.46 * long, -leg - 0.75 * thick), swing=0.06),
        "tail": Bone(tail, 0, (-0.5 * long, -leg - 0.5 * thick),
                     rng.uniform(0.3, 1.3), 0.25, harmonic=2),
    }  # fmt: skip
    leads = (0, 0.6, 2.6, 3.2) if gallop else (0, math.pi, 1.5, 1.5 + math.pi)
    for i, (x, lead) in enumerate(zip((front, front, back, back), leads, strict=True)):
        place = x + (0.04 * h if i % 2 else 0)
        bones[f"u{i}"] = Bone(upper, -1, (place, hip), 0, swing, lead)
        bend = 0.25 if x > 0 else 0.3
        bones[f"l{i}"] = Bone(lower, len(bones) - 1, (0, 0.5 * leg), bend, bend,
                              lead + 1.9)  # fmt: skip
    order = "u1 l1 u3 l3 tail head body u0 l0 u2 l2"
    return make_rig(bones, order, height=h * 1.25, length=long * 1.5,
                    stride=leg * (3.2 if gallop else 1.7), bob=0.02 * h)  # fmt: skip


def _body(rng, scale, light, sizes, colours):
    h, long, thick, leg = sizes
    fur, second = colours
    sketch = Sketch((-0.75 * long, -leg - 1.9 * thick), (0.8 * long, 0.1 * h), scale)
    y = -leg - 0.35 * thick
    sketch.capsule((-0.34 * long, y), (0.34 * long, y - 0.05 * thick),
                   (thick * 0.8, thick * 0.9), fur)  # fmt: skip
    sketch.ellipse((-0.34 * long, y), (thick, thick * 0.95), fur)
    for _ in range(rng.integers(0, 6)):
        spot = (rng.uniform(-0.35, 0.35) * long, y + rng.uniform(-0.4, 0.4) * thick)
        sketch.polygon(blob(rng, 0.3 * thick) + spot, second)
    return sketch.finish(rng, light=light, roundness=0.7, grain=11, pattern=12)


def _muzzle(rng, scale, light, h, fur, second):
    r, up = 0.13 * h, rng.uniform(0.22, 0.42) * h
    sketch = Sketch((-0.3 * h, -up - 0.35 * h), (0.65 * h, 0.2 * h), scale)
    nose = (0.22 * h + 2.0 * r, -up + 0.6 * r)
    sketch.capsule((-0.03 * h, 0), (0.2 * h, -up), (0.15 * h, 0.09 * h), fur)
    sketch.ellipse((0.22 * h, -up), (1.05 * r, 0.9 * r), fur)
    sketch.capsule((0.22 * h, -up + 0.2 * r), nose, (0.8 * r, 0.42 * r), second)
    sketch.ellipse(nose, (0.2 * r, 0.2 * r), [30, 26, 26])
    sketch.ellipse((0.25 * h + 0.3 * r, -up - 0.3 * r), (0.15 * r, 0.15 * r),
                   [24, 20, 20])  # fmt: skip
    ear = rng.uniform(0.5, 1.3) * r
    sketch.ellipse((0.19 * h, -up - 0.7 * r - 0.5 * ear), (0.3 * r, ear), fur * 0.8,
                   rng.uniform(-0.6, 0.3))  # fmt: skip
    return sketch.finish(rng, light=light, roundness=0.6, grain=9)


def bird(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a flapping bird, seen from the side."""
    n = rng.uniform(0.35, 0.8)
    feather = np.array(FUR[rng.integers(len(FUR))], float)
    belly = feather if rng.random() < 0.4 else np.array([214, 210, 202])
    sketch = Sketch((-0.7 * n, -0.35 * n), (0.65 * n, 0.3 * n), scale)
    sketch.polygon([(-0.25 * n, 0), (-0.66 * n, -0.1 * n), (-0.62 * n, 0.1 * n)],
                   feather * 0.8)  # fmt: skip
    sketch.ellipse((0, 0), (0.38 * n, 0.13 * n), feather)
    sketch.ellipse((0.03 * n, 0.05 * n), (0.3 * n, 0.07 * n), belly)
    sketch.ellipse((0.36 * n, -0.07 * n), (0.11 * n, 0.1 * n), feather)
    sketch.polygon([(0.45 * n, -0.1 * n), (0.6 * n, -0.05 * n), (0.45 * n, -0.02 * n)],
                   [196, 148, 60])  # fmt: skip
    body = sketch.finish(rng, light=light, roundness=0.6, grain=8, pattern=6)
    sketch = Sketch((-0.42 * n, -0.85 * n), (0.3 * n, 0.1 * n), scale)
    sketch.polygon([(0.16 * n, 0), (0.1 * n, -0.5 * n), (-0.18 * n, -0.8 * n),
                    (-0.26 * n, -0.4 * n), (-0.2 * n, 0.02 * n)], feather)  # fmt: skip
    sketch.polygon([(-0.1 * n, -0.6 * n), (-0.18 * n, -0.8 * n), (-0.26 * n, -0.4 * n),
                    (-0.2 * n, 0.0)], feather * 0.65)  # fmt: skip
    wing = sketch.finish(rng, light=light, roundness=0.3, grain=8, pattern=8)
    bones = {
        "body": Bone(body, swing=0.03),
        "far": Bone(
            wing, -1, (0.05 * n, -0.05 * n), 0.1, -0.55, 0.3, stretch=(0, 0.35)
        ),
        "near": Bone(wing, -1, (0.02 * n, -0.03 * n), -0.15, 0.6, stretch=(0, 0.4)),
    }
    return make_rig(bones, "far body near", height=n, length=1.3 * n,
                    beat=rng.uniform(0.03, 0.09), stride=1e6,
                    bob=0.03 * n)  # fmt: skip


def ball(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a rolling ball."""
    r = rng.uniform(0.14, 0.45)
    colour, other = cloth(rng), cloth(rng)
    sketch = Sketch((-r, -r), (r, r), scale)
    sketch.ellipse((0, 0), (r, r), colour)
    for k in range(5):
        a = 2 * math.pi * k / 5
        sketch.ellipse((0.62 * r * math.cos(a), 0.62 * r * math.sin(a)),
                       (0.2 * r, 0.3 * r), other, a)  # fmt: skip
    sketch.ellipse((0, 0), (0.25 * r, 0.25 * r), other)
    sprite = sketch.finish(rng, light=light, roundness=0.15, grain=4)
    return make_rig({"ball": Bone(sprite, joint=(0, -r), wheel=r)}, "ball",
                    height=2 * r, length=2 * r)  # fmt: skip


def creature(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a soft thing that pulsates as it moves, like a jellyfish or a balloon."""
    r = rng.uniform(0.25, 0.7)
    colour = np.clip(cloth(rng) + rng.normal(0, 35, 3), 25, 235)
    sketch = Sketch((-1.6 * r, -1.6 * r), (1.6 * r, 1.6 * r), scale)
    outline = blob(rng, r, 0.22)
    sketch.polygon(outline, colour)
    for _ in range(rng.integers(2, 7)):
        place = rng.normal(0, 0.35 * r, 2)
        sketch.polygon(blob(rng, 0.2 * r) + place, cloth(rng))
    sprite = sketch.finish(rng, light=light, roundness=0.8, grain=5, pattern=14)
    squash = rng.uniform(0.05, 0.16)
    bone = Bone(sprite, joint=(0, -r), swing=0.12, stretch=(squash, -squash))
    return make_rig({"body": bone}, "body", height=2 * r, length=2 * r, stride=1e6,
                    beat=rng.uniform(0.02, 0.07))  # fmt: skip


# Static things --------------------------------------------------------------------


def tree(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a broad-leaved tree or a fir."""
    h = rng.uniform(3.0, 7.5)
    w = h * rng.uniform(0.22, 0.36)
    sketch = Sketch((-1.5 * w, -1.15 * h), (1.5 * w, 0.02), scale)
    bark = np.array([92, 72, 54]) * rng.uniform(0.7, 1.2)
    green = np.array([62, 92, 40]) * rng.uniform(0.75, 1.25) + rng.uniform(-16, 22, 3)
    sketch.capsule((0, 0), (0, -0.6 * h), (0.035 * h, 0.02 * h), bark)
    if rng.random() < 0.3:
        for k in range(5):
            y, half = -h * (0.2 + 0.17 * k), w * (1 - 0.18 * k)
            shade = green * (0.75 + 0.06 * k)
            sketch.polygon([(-half, y), (0, y - 0.34 * h), (half, y)], shade)
    else:
        for k in range(26):
            a, d = rng.uniform(0, 2 * np.pi), math.sqrt(rng.random()) * 0.72
            centre = d * w * math.cos(a), -0.66 * h + d * 0.28 * h * math.sin(a)
            shade = green * (0.72 + 0.012 * k + 0.2 * rng.random())
            sketch.polygon(blob(rng, 0.36 * w, 0.3, 9) + centre, shade)
    sprite = sketch.finish(rng, light=light, roundness=0.5, grain=26, pattern=14)
    return _standing(sprite, h, w)


def bush(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a green bush."""
    h = rng.uniform(0.5, 1.6)
    w = h * rng.uniform(0.6, 1.1)
    sketch = Sketch((-1.6 * w, -1.2 * h), (1.6 * w, 0.03), scale)
    green = np.array([66, 96, 44]) * rng.uniform(0.75, 1.2) + rng.uniform(-14, 20, 3)
    for k in range(18):
        centre = rng.uniform(-0.75, 0.75) * w, -rng.uniform(0.2, 0.72) * h
        shade = green * (0.75 + 0.02 * k)
        sketch.polygon(blob(rng, 0.32 * h, 0.3, 9) + centre, shade)
    return _standing(sketch.finish(rng, light=light, grain=24, pattern=10), h, w)


def rock(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a grey boulder."""
    r = rng.uniform(0.25, 1.0)
    grey = rng.uniform(88, 160) + rng.uniform(-12, 12, 3)
    sketch = Sketch((-1.6 * r, -1.5 * r), (1.6 * r, 0.02), scale)
    outline = blob(rng, r, 0.2, 8) * [1.25, 0.85] - [0, 0.6 * r]
    sketch.polygon(np.minimum(outline, [9e9, 0.0]), grey)
    sprite = sketch.finish(rng, light=light, roundness=0.9, grain=18, pattern=14)
    return _standing(sprite, 1.4 * r, 1.2 * r)


def post(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a lamp post, a traffic sign or a bollard."""
    kind = rng.integers(3)
    h = (3.6, 2.4, 0.9)[kind]
    metal = rng.uniform(70, 150) + rng.uniform(-8, 8, 3)
    sketch = Sketch((-0.6, -h - 0.4), (0.6, 0.02), scale)
    sketch.capsule((0, 0), (0, -h), (0.06, 0.045), metal)
    if kind == 0:
        sketch.capsule((0, -h), (0.4, -h - 0.1), (0.04, 0.04), metal)
        sketch.ellipse((0.4, -h - 0.04), (0.16, 0.08), [226, 220, 196])
    elif kind == 1:
        sketch.ellipse((0, -h), (0.3, 0.3), [182, 44, 38])
        sketch.ellipse((0, -h), (0.21, 0.21), [228, 228, 224])
    return _standing(sketch.finish(rng, light=light, roundness=0.6, grain=4), h, 0.3)


def plant(rng: np.random.Generator, scale: float, light: float) -> Rig:
    """Makes a plant in a pot."""
    h = rng.uniform(0.6, 1.5)
    sketch = Sketch((-0.6 * h, -1.1 * h), (0.6 * h, 0.02), scale)
    pot, green = cloth(rng), np.array([58, 100, 52]) * rng.uniform(0.7, 1.3)
    for _ in range(14):
        lean = rng.uniform(-0.9, 0.9)
        tip = (0.42 * h * math.sin(lean), -0.35 * h - 0.6 * h * math.cos(lean))
        sketch.capsule((0, -0.3 * h), tip, (0.012 * h, 0.045 * h),
                       green * rng.uniform(0.75, 1.2))  # fmt: skip
    sketch.polygon([(-0.17 * h, -0.33 * h), (0.17 * h, -0.33 * h), (0.12 * h, 0),
                    (-0.12 * h, 0)], pot)  # fmt: skip
    return _standing(sketch.finish(rng, light=light, grain=7), h, 0.4 * h)


def _standing(sprite: Sprite, height: float, half_width: float) -> Rig:
    """Makes a rig of a single sprite, whose foot is at the origin."""
    return make_rig({"it": Bone(sprite)}, "it", height=height, length=2 * half_width)
