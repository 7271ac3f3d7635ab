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
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from tqdm import tqdm

from movseg_jax.data.example import Example
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
    names = []
    splits = {s: open_source("coco_classes", s, options.coco) for s in options.splits}
    rare = rarity(
        [
            source[i].classes.tolist()
            for source in splits.values()
            for i in range(len(source))
        ]
    )
    for split, source in splits.items():
        for index in tqdm(range(len(source)), desc=split):
            still = source[index]
            most = max((rare[c] for c in still.classes.tolist()), default=1)
            for copy in range(round(options.copies * most)):
                rng = np.random.default_rng([options.seed, len(names)])
                names.append(f"{split}_{index:06d}_{copy}")
                write_clip(options.out, names[-1], still, rng, rare)
    listing = options.out / "ImageSets" / "train.txt"
    listing.parent.mkdir(exist_ok=True)
    write_file(listing, "\n".join(names).encode())


def rarity(photographs: Sequence[Sequence[int]]) -> dict[int, float]:
    """How often to take things of each class, of the classes in all photographs."""
    counts = Counter(c for classes in photographs for c in set(classes))
    common = COMMON * len(photographs)
    return {c: max(1, (common / count) ** 0.5) for c, count in counts.items()}


def write_clip(
    out: Path,
    name: str,
    still: Example,
    rng: np.random.Generator,
    rare: Mapping[int, float],
) -> None:
    """Writes the two frames and what moves in them."""
    for number, (image, ids) in enumerate(animate(still, rng, rare)):
        for folder, suffix, data in (
            ("JPEGImages", "jpg", encode_jpeg(image, int(rng.integers(*QUALITY)))),
            ("Annotations", "png", encode_ids(ids)),
        ):
            file = out / folder / name / f"{number:05d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, data)


def animate(
    still: Example, rng: np.random.Generator, rare: Mapping[int, float]
) -> list[tuple[Image, UInt8[np.ndarray, "h w"]]]:
    """The two frames, each with its movers' numbers, from 1."""
    movers = choose(still, rng, rare)
    size = still.image.shape[:2]
    follows = len(movers) > 0 and rng.random() < FOLLOWS
    scenery = camera(size, rng, tripod=not follows and rng.random() < TRIPOD)
    seen = scenery + ripples(size, rng) if rng.random() < RIPPLES else scenery
    hidden = np.any(movers, axis=0)
    first = still.image.astype(np.float32)
    second = warp(fill(still.image, hidden), seen)
    first_ids, second_ids = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for number, mask in enumerate(movers, 1):
        # A camera that follows has its object rest in the frame, or nearly.
        own = motion(mask, rng) * (0.15 if follows and number == 1 else 1.0)
        shift = own if follows and number == 1 else own + _at(scenery, mask)
        if rng.random() < SHADED:
            dark, opacity = shade(still.image, mask, rng)
            first = blend(first, dark, opacity * ~hidden)
            # It goes along, but up where its object goes down.
            moved = shift * (1, -0.5) + ripples(size, rng)
            second = blend(second, warp(dark, moved), warp(opacity, moved))
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
        alpha = warp(soft, shift)
        second = blend(second, warp(still.image.astype(np.float32), shift), alpha)
        first_ids[mask] = number
        second_ids[alpha > 0.5] = number
    noise = rng.uniform(0, 4)
    images = [
        np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).astype(np.uint8)
        for frame in (first, second)
    ]
    return list(zip(images, (first_ids, second_ids), strict=True))


def choose(
    still: Example, rng: np.random.Generator, rare: Mapping[int, float]
) -> Bool[np.ndarray, "n h w"]:
    """Masks of the objects that are to move, disjoint, the larger first."""
    areas = still.masks.mean(axis=(1, 2))
    good = np.flatnonzero(~still.ignore & (areas > AREA[0]) & (areas < AREA[1]))
    if not len(good) or rng.random() < NOTHING_MOVES:
        return still.masks[:0]
    count = int(rng.integers(1, min(MOVERS, len(good)), endpoint=True))
    # Larger ones rather: a crowd of small ones would fill most clips.
    weights = np.sqrt(areas[good]) * [rare[c] for c in still.classes[good].tolist()]
    chosen = list(rng.choice(good, count, replace=False, p=weights / weights.sum()))
    masks, taken = [], np.zeros(still.image.shape[:2], bool)
    while chosen:
        mask = still.masks[chosen.pop()]
        if rng.random() < TOGETHER:
            near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            joins = [i for i in good if (still.masks[i] & near).any()]
            chosen = [i for i in chosen if i not in joins]
            mask = still.masks[joins].any(axis=0)
        mask = mask & ~taken
        taken |= mask
        if mask.sum() > AREA[0] * mask.size:
            masks.append(mask)
    masks.sort(key=np.sum, reverse=True)
    return np.stack(masks) if masks else still.masks[:0]


def camera(size: tuple[int, int], rng: np.random.Generator, *, tripod: bool) -> Shift:
    """How what rests moves in the frame: a pan, zoom and roll, with depth at times."""
    if tripod:
        return np.zeros((*size, 2), np.float32)
    shift = _similarity(size, rng, CAMERA, zoom=0.01, turn=0.008)
    if rng.random() < PARALLAX:
        depth = 1 + 0.3 * _waves(size, rng, max(size) / rng.uniform(1, 4))
        shift = shift * depth[..., None]
    return shift


def motion(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Shift:
    """How an object moves relative to what rests, bending a little."""
    ys, xs = np.nonzero(mask)
    side = float(np.sqrt(len(ys)))
    shift = _similarity(
        mask.shape, rng, SPEED, zoom=0.015, turn=0.03, about=(xs.mean(), ys.mean())
    )
    bend = rng.uniform(0, 0.03) * side
    waves = [_waves(mask.shape, rng, max(side, 8) / 2) for _ in range(2)]
    return shift + bend * np.stack(waves, axis=-1)


def ripples(size: tuple[int, int], rng: np.random.Generator) -> Shift:
    """Shifts without order, as of water or leaves, in a part of the frame."""
    scale = rng.uniform(6, 30)
    strength = rng.uniform(0.5, 4)
    waves = np.stack([_waves(size, rng, scale) for _ in range(2)], axis=-1)
    where = np.clip(0.5 + 2 * _waves(size, rng, max(size) / 2), 0, 1)
    return (strength * waves * where[..., None]).astype(np.float32)


def shade(
    image: Image, mask: Bool[np.ndarray, "h w"], rng: np.random.Generator
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
