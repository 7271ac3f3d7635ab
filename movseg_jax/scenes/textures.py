"""Textures with smaller copies (mipmaps), and the noise and materials they show.

Colours are RGB, 0 to 255. A texture's colours are multiplied by its alpha, so that it
can be interpolated, averaged and composited without dark seams.
"""

import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, Real, UInt8

Number = float | int
Colour = Sequence[Number] | Real[np.ndarray, "3"]

MAX_LEVELS = 5  # The texture, and copies at 1/2, 1/4, 1/8 and 1/16 of its size.


@dataclasses.dataclass(frozen=True)
class Texture:
    """A picture and its copies, each of half the size of the one before.

    Attributes:
        size: The height and width of the picture; the first level may be padded.
        levels: The RGBA images, the largest first.
    """

    size: tuple[int, int]
    levels: tuple[UInt8[np.ndarray, "_ _ 4"], ...]

    @functools.cached_property
    def alphas(self) -> tuple[UInt8[np.ndarray, "_ _"], ...]:
        """The alpha channel of every level."""
        return tuple(cv2.extractChannel(level, 3) for level in self.levels)


def make_texture(
    rgb: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"] | None = None
) -> Texture:
    """Makes a texture of an image, which is opaque if there is no alpha."""
    size = rgb.shape[0], rgb.shape[1]
    if alpha is None:
        first = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    else:
        shared = cv2.merge([alpha, alpha, alpha])
        first = cv2.merge([*cv2.split(cv2.multiply(rgb, shared, scale=1 / 255)), alpha])
    count = min(MAX_LEVELS, max(1, min(size).bit_length() - 3))
    # Sizes are padded so that each texel averages exactly 2 x 2 of the level before.
    multiple = 2 ** (count - 1)
    bottom, right = -size[0] % multiple, -size[1] % multiple
    if bottom or right:
        edge = cv2.BORDER_REPLICATE if alpha is None else cv2.BORDER_CONSTANT
        first = cv2.copyMakeBorder(first, 0, bottom, 0, right, edge, value=0)
    levels = [first]
    for _ in range(count - 1):
        height, width = levels[-1].shape[:2]
        half = (width // 2, height // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return Texture(size, tuple(levels))


# Noise -----------------------------------------------------------------------------


def noise(
    rng: np.random.Generator,
    size: tuple[int, int],
    cell: Number | tuple[Number, Number],
    octaves: int = 4,
    fade: float = 0.5,
) -> Float32[np.ndarray, "h w"]:
    """Returns smooth noise, mostly within -1 and 1: a sum of ever finer random grids.

    Args:
        rng: The random generator.
        size: The height and width.
        cell: The size of the coarsest grid's cells, or their height and width, texels.
        octaves: The number of grids; the cells of each have half the size of those
            before.
        fade: The strength of each grid relative to the one before.
    """
    height, width = size
    tall, wide = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros(size, np.float32)
    strength, sum_of_squares = 1.0, 0.0
    for _ in range(octaves):
        rows = min(height, max(2, int(height / tall) + 2))
        columns = min(width, max(2, int(width / wide) + 2))
        grid = rng.random((rows, columns), np.float32) * 2 - 1
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.scaleAdd(layer, strength, total, total)
        sum_of_squares += strength**2
        strength, tall, wide = strength * fade, max(1, tall / 2), max(1, wide / 2)
    return total * np.float32(1.3 / np.sqrt(sum_of_squares))


def mixed(
    first: Colour, second: Colour, share: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """Mixes two colours; `share` is the second one's, 0 to 1, at every texel."""
    a, b = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return a + np.clip(share, 0, 1)[..., None] * (b - a)


def to_bytes(rgb: Float32[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w *c"]:
    """Returns values rounded and clipped to 0 to 255."""
    return cv2.convertScaleAbs(np.maximum(rgb, 0))


# Grounds ---------------------------------------------------------------------------


def ground(
    rng: np.random.Generator, kind: str, size: tuple[int, int], scale: Number
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a piece of ground, seen from above.

    Args:
        rng: The random generator.
        kind: The kind of ground, a key of `GROUNDS`.
        size: The height (away from the camera) and width, texels.
        scale: The number of texels per metre.
    """
    return to_bytes(GROUNDS[kind](rng, size, scale).astype(np.float32))


def _speckled(rng, size, scale, dark, light, patch=3.0, grain=14.0, streak=1.0):
    """Draws two colours in patches that are `patch` metres wide, with fine grain."""
    broad = noise(rng, size, patch * scale, 3, 0.6)
    fine = noise(rng, size, (0.16 * scale * streak, 0.16 * scale), 3, 0.8)
    rgb = mixed(dark, light, 0.5 + 0.4 * broad + 0.15 * fine)
    return rgb + (grain * fine)[..., None]


def _grass(rng, size, scale):
    hue = rng.uniform(-12, 12)
    dark, light = [52 + hue, 82, 34], [108 + hue, 132, 58]
    rgb = _speckled(rng, size, scale, dark, light, grain=24, streak=1.8)
    bare = np.clip(noise(rng, size, 5 * scale, 4) * 2.5 - 1.6, 0, 0.8)
    return rgb + bare[..., None] * (np.asarray([136, 116, 82], np.float32) - rgb)


def _sand(rng, size, scale):
    ripples = noise(rng, size, (0.25 * scale, 1.6 * scale), 2)
    rgb = _speckled(rng, size, scale, [188, 160, 118], [222, 198, 156], grain=9)
    return rgb + (10 * ripples)[..., None]


def _snow(rng, size, scale):
    return _speckled(rng, size, scale, [206, 214, 228], [244, 246, 250], grain=7)


def _dirt(rng, size, scale):
    rgb = _speckled(rng, size, scale, [96, 74, 54], [150, 124, 94], 2.0, 22)
    stones = np.clip(noise(rng, size, 0.3 * scale, 2) * 4 - 3, 0, 1)
    return (
        rgb + stones[..., None] * (np.asarray([150, 146, 138], np.float32) - rgb) * 0.7
    )


def _asphalt(rng, size, scale):
    rgb = _speckled(rng, size, scale, [70, 71, 75], [100, 100, 102], 4.0, 12)
    cracks = np.exp(-((noise(rng, size, 1.8 * scale, 5) * 45) ** 2))
    seams = np.clip(noise(rng, size, 3 * scale, 2), 0, 1)
    return rgb * (1 - 0.35 * cracks * seams)[..., None]


def _road(rng, size, scale):
    """Draws a road that leads away from the camera, with kerbs and verges."""
    rgb = _asphalt(rng, size, scale)
    height, width = size
    across = (np.arange(width) - width / 2) / scale
    along = (np.arange(height) / scale) % 4.0
    half = rng.uniform(3.2, 4.5)
    verge = _grass(rng, size, scale) if rng.random() < 0.6 else _tiles(rng, size, scale)
    rgb = np.where((np.abs(across) > half + 0.15)[None, :, None], verge, rgb)
    kerb = np.abs(np.abs(across) - half - 0.07) < 0.1
    rgb[:, kerb] = [168, 166, 160] + 0.3 * (rgb[:, kerb] - 90)
    worn = 0.75 + 0.25 * noise(rng, size, 0.5 * scale, 3)[..., None]
    paint = np.zeros(size, bool)
    paint[:, np.abs(across) < 0.07] = (along < 2.2)[:, None]
    paint[:, np.abs(np.abs(across) - half + 0.35) < 0.06] = True
    return np.where(paint[..., None], 205 * worn, rgb)


def _crossroad(rng, size, scale):
    """Draws a road from left to right."""
    return _road(rng, size[::-1], scale).transpose(1, 0, 2)


def _slabs(rng, size, scale, tall, wide, colours, shift=0.0, joint=0.02, spread=14.0):
    """Draws rows of rectangles in various shades, with joints between them."""
    height, width = size
    v, u = np.arange(height) / (tall * scale), np.arange(width) / (wide * scale)
    row = np.floor(v).astype(int)
    along = u[None, :] + (row * shift)[:, None]
    column = np.floor(along).astype(int)
    table = rng.normal(0, 1, (row.max() + 1, int(column.max()) + 2)).astype(np.float32)
    shade = table[row[:, None], column]
    rgb = (
        mixed(colours[0], colours[1], 0.5 + 0.3 * shade)
        + (spread * 0.4 * shade)[..., None]
    )
    rgb += (spread * noise(rng, size, 0.3 * scale, 4, 0.7))[..., None]
    near_v = np.minimum(v % 1, 1 - v % 1) * tall
    near_u = np.minimum(along % 1, 1 - along % 1) * wide
    edge = np.minimum(near_u, near_v[:, None])
    dark = np.clip(edge / joint - 0.2, 0.45, 1).astype(np.float32)
    return rgb * dark[..., None]


def _tiles(rng, size, scale):
    base = rng.uniform(110, 190) + rng.uniform(-14, 14, 3)
    side = float(rng.choice([0.3, 0.5, 0.8]))
    shift = float(rng.choice([0, 0.5]))
    return _slabs(rng, size, scale, side, side * rng.choice([1, 2]),
                  (base - 16, base + 16), shift)  # fmt: skip


def _chequered(rng, size, scale):
    side = rng.uniform(0.3, 0.7) * scale
    v, u = np.arange(size[0]) // side, np.arange(size[1]) // side
    even = ((v[:, None] + u[None, :]) % 2).astype(np.float32)
    dark = rng.uniform(40, 110, 3)
    rgb = mixed(dark, 0.3 * dark + rng.uniform(130, 160), even)
    return rgb + (7 * noise(rng, size, 0.4 * scale, 4))[..., None]


def _planks(rng, size, scale):
    base = np.array([150, 108, 70]) * rng.uniform(0.6, 1.25) + rng.uniform(-8, 8, 3)
    rgb = _slabs(rng, size, scale, 1.8, 0.16, (base - 14, base + 14), 0.37, 0.006, 8)
    grain = noise(rng, size, (1.2 * scale, 0.05 * scale), 3, 0.7)
    return rgb + (11 * grain)[..., None]


def _carpet(rng, size, scale):
    base = rng.uniform(60, 150, 3)
    rgb = _speckled(rng, size, scale, base - 12, base + 12, 1.5, 12)
    side = rng.uniform(0.6, 1.6) * scale
    v, u = np.arange(size[0]) / side, np.arange(size[1]) / side
    waves = np.sin(v * 2 * np.pi)[:, None] * np.sin(u * 2 * np.pi)[None, :]
    ornament = np.clip(waves * 6 - 2, 0, 1).astype(np.float32)
    return rgb + ornament[..., None] * np.asarray(rng.uniform(-45, 45, 3), np.float32)


GROUNDS = {
    "grass": _grass, "sand": _sand, "snow": _snow, "dirt": _dirt, "asphalt": _asphalt,
    "road": _road, "crossroad": _crossroad, "paving": _tiles, "chequered": _chequered,
    "planks": _planks, "carpet": _carpet,
}  # fmt: skip


# Walls -----------------------------------------------------------------------------


def wall(
    rng: np.random.Generator, size: tuple[int, int], scale: Number, kind: str = ""
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws a piece of wall.

    Args:
        rng: The random generator.
        size: The height and width, texels.
        scale: The number of texels per metre.
        kind: "brick", "plaster", "panels", "paper" or "concrete"; "" chooses one.
    """
    kind = kind or str(rng.choice(["brick", "plaster", "panels", "paper", "concrete"]))
    base = rng.uniform(120, 205) + rng.uniform(-26, 26, 3)
    if kind == "brick":
        red = np.array([150, 92, 74]) * rng.uniform(0.7, 1.2)
        rgb = _slabs(rng, size, scale, 0.09, 0.26, (red - 16, red + 18), 0.5, 0.008)
    elif kind == "panels":
        rgb = _slabs(rng, size, scale, 2.6, 0.5, (base - 8, base + 8), 0, 0.02, 6)
    elif kind == "paper":
        rgb = np.full((*size, 3), base, np.float32)
        stripes = np.sin(
            np.arange(size[1]) / scale * 2 * np.pi / rng.uniform(0.15, 0.6)
        )
        share = np.clip(stripes * 4 + 0.5, 0, 1).astype(np.float32)[None, :, None]
        rgb = rgb + share * np.asarray(rng.uniform(-30, 12, 3), np.float32)
    else:
        strength = 12 if kind == "concrete" else 5
        rgb = np.full((*size, 3), base, np.float32)
        rgb += (strength * noise(rng, size, 1.5 * scale, 6, 0.7))[..., None]
    rgb += (4 * noise(rng, size, 2.0 * scale, 6, 0.75))[..., None]
    return to_bytes(rgb.astype(np.float32))
