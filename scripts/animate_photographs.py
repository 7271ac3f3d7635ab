"""Makes clips of two frames out of photographs with annotated objects.

    python scripts/animate_photographs.py COCO --splits train one_person_only --out data

Real scenes in which known objects move, and others of the same kind rest: some of a
photograph's objects are cut out, what they hid is filled in, and they and the camera
move, each in its own way, to the second frame. Water and foliage have their share:
backgrounds that ripple, and mirror images and shadows of what moves. The result is a
data set "folder", whose annotations have only what moves; a photograph may also get no
motion but the camera's.

Photographs of rare things are animated more often than others, by the square root of
how much rarer than `COMMON` the rarest thing is (LVIS: Gupta et al., 2019).

COCO is the folder of `movseg data prepare coco`, with annotations/instances_*.json.
What is not annotated there rests here, so annotations need not be complete.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.random import Generator
from tqdm import tqdm

from movseg_jax.data.example import Example, Source
from movseg_jax.data.selection import read_objects
from movseg_jax.data.sources import open_source
from movseg_jax.images import encode_ids, encode_jpeg
from movseg_jax.writing import write_file

AREA = (0.004, 0.6)  # Of an object that may move, of the photograph's.
MOVERS = 4  # At most.
NOTHING_MOVES = 0.15  # Probability; also the following ones.
TRIPOD, FOLLOWS, RIPPLES, PARALLAX = 0.25, 0.35, 0.25, 0.5
SHADED = 0.3  # That a mover is mirrored or casts a shadow below itself.
TOGETHER = 0.7  # Probability that what touches an object is one with it: rider, horse.
COMMON = 0.2  # Part of the photographs that have a thing which is not rare.
CAMERA, SPEED = (0.3, 12.0), (1.5, 16.0)  # Pixels of 448, log-even.
QUALITY = (60, 95)  # Of the JPEG files.

Image = UInt8[np.ndarray, "h w 3"]
Shift = Float32[np.ndarray, "h w 2"]  # Pixels (x, y), from one frame to the other.


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("coco", type=Path)
    parser.add_argument("--splits", nargs="+", default=["train"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=1, help="of common photographs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sources = [open_source("coco_classes", s, options.coco) for s in options.splits]
    rare = rarity(sources)
    names = []
    for split, source in zip(options.splits, sources, strict=True):
        for index in tqdm(range(len(source)), desc=split):
            still = source[index]
            worth = [rare.get(source.classes[int(c)], 1.0) for c in still.classes]
            able = np.flatnonzero(may_move(still))
            most = max((worth[i] for i in able), default=1.0)
            for copy in range(round(options.copies * most)):
                rng = np.random.default_rng([options.seed, len(names)])
                names.append(f"{split}_{index:06d}_{copy}")
                write_clip(options.out, names[-1], still, worth, rng)
    listing = options.out / "ImageSets" / "train.txt"
    listing.parent.mkdir(exist_ok=True)
    write_file(listing, "\n".join(names).encode())


def rarity(sources: Sequence[Source]) -> dict[str, float]:
    """How often to take things of each class; all of a source with one are common."""
    counts, photographs = Counter[str](), 0
    for source in sources:
        if len(source.classes) > 1:
            photographs += len(source)
            for index in range(len(source)):
                objects = read_objects(source, index)
                there = objects.classes[~objects.ignore]
                counts.update({source.classes[int(c)] for c in there})
    common = COMMON * photographs
    return {name: max(1, (common / count) ** 0.5) for name, count in counts.items()}


def write_clip(
    out: Path, name: str, still: Example, worth: Sequence[float], rng: Generator
) -> None:
    """Writes the two frames and what moves in them."""
    for number, (image, ids) in enumerate(animate(still, worth, rng)):
        for folder, suffix, data in (
            ("JPEGImages", "jpg", encode_jpeg(image, int(rng.integers(*QUALITY)))),
            ("Annotations", "png", encode_ids(ids)),
        ):
            file = out / folder / name / f"{number:05d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, data)


def animate(
    still: Example, worth: Sequence[float], rng: Generator
) -> list[tuple[Image, UInt8[np.ndarray, "h w"]]]:
    """The two frames, each with its movers' numbers, from 1."""
    movers = choose(still, worth, rng)
    size = still.image.shape[:2]
    follows = len(movers) > 0 and rng.random() < FOLLOWS
    # A camera that follows has its object rest in the frame, or nearly.
    tripod = not follows and rng.random() < TRIPOD
    scenery = camera(size, SPEED if follows else CAMERA, rng, tripod=tripod)
    carried = [
        np.zeros_like(scenery) if follows and number == 0 else _at(scenery, mask)
        for number, mask in enumerate(movers)
    ]
    own = [
        motion(mask, rng) * (0.15 if follows and number == 0 else 1.0)
        for number, mask in enumerate(movers)
    ]
    hidden = np.any(movers, axis=0)
    seen = scenery + ripples(size, rng) if rng.random() < RIPPLES else scenery
    frames = [still.image.astype(np.float32), warp(fill(still.image, hidden), seen)]
    # A mirror image goes up where its object goes down.
    shades = [
        (mask, base + shift * (1, -0.5) + ripples(size, rng))
        for mask, base, shift in zip(movers, carried, own, strict=True)
    ]
    # What rests has them as often, so that they do not tell what moves.
    rests = ~still.ignore & ~(still.masks & hidden).any(axis=(1, 2))
    shades += [
        (mask, seen) for mask in still.masks[rests & still.masks.any(axis=(1, 2))]
    ]
    for mask, shift in shades:
        if rng.random() < SHADED:
            dark, opacity = shade(still.image, mask, rng)
            frames[0] = blend(frames[0], dark, opacity * ~hidden)
            frames[1] = blend(frames[1], warp(dark, shift), warp(opacity, shift))
    ids = np.zeros((2, *size), np.uint8)
    for number, mask in enumerate(movers):
        shift = carried[number] + own[number]
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
        alpha = warp(soft, shift)
        frames[1] = blend(frames[1], warp(still.image.astype(np.float32), shift), alpha)
        ids[0, mask] = number + 1
        ids[1, alpha > 0.5] = number + 1
    noise = rng.uniform(0, 4)
    noisy = [frame + rng.normal(0, noise, frame.shape) for frame in frames]
    images = [np.clip(frame, 0, 255).astype(np.uint8) for frame in noisy]
    return [(image, ids[i]) for i, image in enumerate(images)]


def may_move(still: Example) -> Bool[np.ndarray, " n"]:
    """Which of a photograph's objects may be chosen to move."""
    areas = still.masks.mean(axis=(1, 2))
    return ~still.ignore & (areas > AREA[0]) & (areas < AREA[1])


def choose(
    still: Example, worth: Sequence[float], rng: Generator
) -> Bool[np.ndarray, "n h w"]:
    """Masks of what is to move, disjoint, the larger first."""
    good = np.flatnonzero(may_move(still))
    movers = np.zeros((0, *still.image.shape[:2]), bool)
    if not len(good) or rng.random() < NOTHING_MOVES:
        return movers
    count = int(rng.integers(1, min(MOVERS, len(good)), endpoint=True))
    # Larger ones rather: a crowd of small ones would fill most clips.
    weights = np.sqrt(still.masks[good].mean(axis=(1, 2))) * np.array(worth)[good]
    near = [cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) for mask in still.masks]
    for index in rng.choice(good, count, replace=False, p=weights / weights.sum()):
        mask = np.asarray(still.masks[index])
        if rng.random() < TOGETHER:
            mask = joined(still, near, int(index))
        mask = mask & ~movers.any(axis=0)
        whole = mask | movers.any(axis=0)
        if mask.mean() > AREA[0] and whole.mean() < AREA[1]:
            movers = np.concatenate([movers, mask[None]])
    return movers[np.argsort(-movers.sum(axis=(1, 2)), kind="stable")]


def joined(
    still: Example, near: Sequence[np.ndarray], index: int
) -> Bool[np.ndarray, "h w"]:
    """An object with all that it touches, and all that these touch."""
    rest = set(np.flatnonzero(~still.ignore).tolist()) - {index}
    mask, added = np.array(still.masks[index]), [index]
    while added:
        around = np.any([near[i] for i in added], axis=0)
        added = [i for i in rest if (still.masks[i] & around).any()]
        rest -= set(added)
        for i in added:
            mask |= still.masks[i]
    return mask


def camera(
    size: tuple[int, int],
    speed: tuple[float, float],
    rng: Generator,
    *,
    tripod: bool,
) -> Shift:
    """How what rests moves in the frame: a pan, zoom and roll, with depth at times."""
    if tripod:
        return np.zeros((*size, 2), np.float32)
    shift = _similarity(size, rng, speed, zoom=0.01, turn=0.008)
    if rng.random() < PARALLAX:
        depth = 1 + 0.3 * _waves(size, rng, max(size) / rng.uniform(1, 4))
        shift = shift * depth[..., None]
    return shift


def motion(mask: Bool[np.ndarray, "h w"], rng: Generator) -> Shift:
    """How an object moves relative to what rests, bending a little."""
    ys, xs = np.nonzero(mask)
    side = float(np.sqrt(len(ys)))
    shift = _similarity(
        mask.shape, rng, SPEED, zoom=0.015, turn=0.03, about=(xs.mean(), ys.mean())
    )
    bend = rng.uniform(0, 0.03) * side
    waves = [_waves(mask.shape, rng, max(side, 8) / 2) for _ in range(2)]
    return shift + bend * np.stack(waves, axis=-1)


def ripples(size: tuple[int, int], rng: Generator) -> Shift:
    """Shifts without order, as of water or leaves, in a part of the frame."""
    scale = rng.uniform(6, 30)
    strength = rng.uniform(0.5, 4)
    waves = np.stack([_waves(size, rng, scale) for _ in range(2)], axis=-1)
    where = np.clip(0.5 + 2 * _waves(size, rng, max(size) / 2), 0, 1)
    return (strength * waves * where[..., None]).astype(np.float32)


def shade(
    image: Image, mask: Bool[np.ndarray, "h w"], rng: Generator
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """A mirror image or a shadow of an object, below it, and how opaque it is."""
    foot = float(np.flatnonzero(mask.any(axis=1))[-1])
    flat, lean = rng.uniform(0.3, 1), rng.normal(0, 0.3)
    upside_down = np.array([[1, lean, -lean * foot], [0, -flat, foot * (1 + flat)]])
    size = mask.shape[::-1]
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.7, 3))
    opacity = cv2.warpAffine(soft, upside_down, size) * rng.uniform(0.2, 0.7)
    light = rng.uniform(0.4, 1) if rng.random() < 0.6 else 0  # 0 is a shadow.
    mirrored = cv2.warpAffine(image.astype(np.float32), upside_down, size)
    return light * mirrored, opacity.astype(np.float32)


def blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """An image upon another."""
    return opacity[..., None] * above + (1 - opacity[..., None]) * below


def fill(image: Image, hole: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """The image with a hole filled from around it, at a quarter of the resolution."""
    if not hole.any():
        return image.astype(np.float32)
    wide = cv2.dilate(hole.astype(np.uint8), np.ones((7, 7), np.uint8))
    small = tuple(max(1, n // 4) for n in reversed(hole.shape))
    filled = cv2.inpaint(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA),
        (cv2.resize(wide.astype(np.float32), small) > 0).astype(np.uint8),
        3,
        cv2.INPAINT_TELEA,
    )
    filled = cv2.resize(filled, hole.shape[::-1]).astype(np.float32)
    soft = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), 1)[..., None]
    return soft * filled + (1 - soft) * image


def warp(image: np.ndarray, shift: Shift) -> np.ndarray:
    """The image moved by smooth shifts, which are taken where they arrive."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return cv2.remap(
        image,
        (x - shift[..., 0]).astype(np.float32),
        (y - shift[..., 1]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101 if image.ndim == 3 else cv2.BORDER_CONSTANT,
    )


def _similarity(size, rng, speed, *, zoom, turn, about=None) -> Shift:
    """Shifts of a random translation, scaling and rotation about a point."""
    height, width = size
    cx, cy = about or (width / 2, height / 2)
    fast = np.exp(rng.uniform(*np.log(speed))) * max(size) / 448
    direction = rng.uniform(0, 2 * np.pi)
    scale, angle = rng.normal(0, zoom), rng.normal(0, turn)
    x, y = np.meshgrid(np.arange(width) - cx, np.arange(height) - cy)
    dx = fast * np.cos(direction) + scale * x - angle * y
    dy = fast * np.sin(direction) * 0.6 + scale * y + angle * x
    return np.stack([dx, dy], axis=-1).astype(np.float32)


def _waves(size, rng, scale) -> np.ndarray:
    """Smooth noise of about unit strength, whose bumps are `scale` pixels apart."""
    cells = tuple(max(2, round(n / scale) + 1) for n in size)
    noise = rng.normal(0, 1, cells).astype(np.float32)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)


def _at(shift: Shift, mask: Bool[np.ndarray, "h w"]) -> Shift:
    """The mean shift of a mask, everywhere: what stands there goes along as one."""
    return np.broadcast_to(shift[mask].mean(axis=0), shift.shape)


if __name__ == "__main__":
    main()
