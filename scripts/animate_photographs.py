"""Makes clips of two frames out of photographs with annotated objects.

    python scripts/animate_photographs.py COCO --splits train one_person_only --out data

The clips are real scenes in which known objects move while others of the same kind
stand still. Some of a photograph's objects are cut out and the hole behind them is
filled in. Then they and the camera move to the second frame, each in its own way. Half
of the photographs get guests: objects of other photographs, often of the same kind.
Some guests move, others stand still, alone or as a crowd, also in front of moving
objects. Some backgrounds ripple like water or foliage, and some moving objects have a
mirror image or a shadow. The result is a data set "folder" whose annotations hold the
moving objects only. In some clips only the camera moves.

Photographs of rare things are animated more often than others. The factor is the square
root of how much rarer than `COMMON` the rarest thing is (LVIS: Gupta et al., 2019). An
object's kind is its category or, if there is only one category, its image's folder.

COCO is the folder of `movseg data prepare coco`, with annotations/instances_*.json.
Everything that is not annotated stands still, so annotations need not be complete.
Stopped and started again, the script resumes.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.random import Generator
from tqdm import tqdm

from movseg_jax.data.example import Example, Source
from movseg_jax.data.selection import read_objects
from movseg_jax.data.sources import open_source
from movseg_jax.images import encode_ids, encode_jpeg
from movseg_jax.system.atomic import write_file

AREA = (0.004, 0.6)  # Of an object that may move, of the photograph's.
MOVERS = 4  # At most.
NOTHING_MOVES = 0.15  # Probability; also the following ones.
TRIPOD, FOLLOWS, RIPPLES, PARALLAX = 0.25, 0.35, 0.25, 0.5
SHADED = 0.3  # That a mover is mirrored or casts a shadow below itself.
TOGETHER = 0.7  # Probability that what touches an object is one with it: rider, horse.
COMMON = 0.2  # Part of the photographs that have a thing which is not rare.
CAMERA, SPEED = (0.3, 12.0), (1.5, 16.0)  # Pixels of 448, log-even.
QUALITY = (60, 95)  # Of the JPEG files.

GUESTS, MOST_GUESTS = 0.5, 5  # Probability that there are some; their number at most.
GUEST_AREA = (0.005, 0.15)  # Of the photograph's, log-even.
SAME_KIND = 0.6  # Probability that guests are of the kind of the photograph's objects.
CROWD = 0.35  # Probability that none of them moves; else each does with ...
GUEST_MOVES = 0.6
HOST_RESTS = 0.4  # Probability that the photograph's own objects rest beside guests.
NEARNESS = (0.9, 1.3)  # How fast guests that rest pass the camera, of what is there.
HIDDEN = 0.5  # Part of what is there that guests may hide.

Image = UInt8[np.ndarray, "h w 3"]
Shift = Float32[np.ndarray, "h w 2"]  # Pixels (x, y), from one frame to the other.


class Layer(NamedTuple):
    """A thing in front of the scenery, in the first frame.

    Attributes:
        image: The picture of the thing, of the frame's size.
        mask: Where the thing is.
        moves: Whether it moves by itself.
        guest: Whether it comes from another photograph and is pasted in.
    """

    image: Float32[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    moves: bool
    guest: bool


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("coco", type=Path)
    parser.add_argument("--splits", nargs="+", default=["train"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="train", help="of the split that is made")
    parser.add_argument("--copies", type=int, default=1, help="of common photographs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sources = [open_source("coco_classes", s, options.coco) for s in options.splits]
    kinds = Kinds(sources)
    rare = kinds.rarity()
    names = []
    for split, source in zip(options.splits, sources, strict=True):
        for index, photograph in enumerate(tqdm(source.sequences, desc=split)):
            still = source[index]
            of_objects = [kind(source, photograph, int(c)) for c in still.classes]
            worth = [rare.get(name, 1.0) for name in of_objects]
            able = np.flatnonzero(may_move(still))
            most = max((worth[i] for i in able), default=1.0)
            for copy in range(round(options.copies * most)):
                rng = np.random.default_rng([options.seed, len(names)])
                names.append(f"{split}_{index:06d}_{copy}")
                if is_written(options.out, names[-1]):
                    continue
                guests = kinds.invite(still, of_objects, rng)
                write_clip(options.out, names[-1], still, worth, guests, rng)
    listing = options.out / "ImageSets" / f"{options.name}.txt"
    listing.parent.mkdir(exist_ok=True)
    write_file(listing, "\n".join(names).encode())


def kind(source: Source, photograph: str, number: int) -> str:
    """The kind of an object: its class, or its photograph's folder if all have one."""
    folder = photograph.rpartition("/")[0]
    alone = len(source.classes) == 1 and folder
    return folder if alone else source.classes[number]


class Kinds:
    """The objects of the sources, grouped by kind."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources
        # Numbers of source and example.
        self._photographs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, source in enumerate(sources):
            for index, photograph in enumerate(source.sequences):
                objects = read_objects(source, index)
                there = objects.classes[~objects.ignore]
                for name in {kind(source, photograph, int(c)) for c in there}:
                    self._photographs[name].append((number, index))

    def rarity(self) -> dict[str, float]:
        """Returns how often to take things of each kind.

        A source with a single kind does not say what is rare.
        """
        counts, photographs = Counter[str](), 0
        for number, source in enumerate(self._sources):
            own = Counter(
                name
                for name, found in self._photographs.items()
                for of_source, _ in found
                if of_source == number
            )
            if len(own) > 1 or len(source.classes) > 1:
                photographs += len(source)
                counts.update(own)
        common = COMMON * photographs
        return {n: max(1, (common / count) ** 0.5) for n, count in counts.items()}

    def invite(
        self, still: Example, of_objects: Sequence[str], rng: Generator
    ) -> list[Layer]:
        """Draws the guests of a photograph, if any; the last one is in front."""
        if rng.random() >= GUESTS:
            return []
        names = sorted(self._photographs)
        if of_objects and rng.random() < SAME_KIND:
            names = sorted(set(of_objects))
        crowd = rng.random() < CROWD
        guests: list[Layer] = []
        for _ in range(rng.integers(1, MOST_GUESTS, endpoint=True)):
            photographs = self._photographs[names[rng.integers(len(names))]]
            if not photographs:  # All objects of this kind are to be ignored.
                continue
            number, index = photographs[rng.integers(len(photographs))]
            moves = not crowd and bool(rng.random() < GUEST_MOVES)
            guest = as_guest(self._sources[number][index], still, moves, rng)
            if guest and may_stand(guest, still, guests):
                guests.append(guest)
        return guests


def as_guest(
    other: Example, still: Example, moves: bool, rng: Generator
) -> Layer | None:
    """Pastes an object of another photograph anywhere; None if none is complete.

    It must be complete there, so it may not touch the photograph's border.
    """
    inner = np.zeros(other.image.shape[:2], bool)
    inner[2:-2, 2:-2] = True
    whole = ~(np.asarray(other.masks) & ~inner).any(axis=(1, 2))
    good = np.flatnonzero(may_move(other) & whole)
    if not len(good):
        return None
    mask = np.asarray(other.masks[rng.choice(good)]).astype(np.float32)
    height, width = still.image.shape[:2]
    area = np.exp(rng.uniform(*np.log(GUEST_AREA))) * height * width
    # Enlarged little, as things that are blurred would be known by it.
    scale = min(float(np.sqrt(area / mask.sum())), 1.5)
    ys, xs = np.nonzero(mask)
    centre = np.array([xs.min() + xs.max(), ys.min() + ys.max()]) / 2
    place = rng.uniform(0, 1, 2) * (width, height)
    mirror = -1 if rng.random() < 0.5 else 1
    turned = np.diag([mirror * scale, scale])
    matrix = np.column_stack([turned, place - turned @ centre])
    if scale < 1:  # Else pixels between the samples would be left out.
        smooth = 0.4 * (1 / scale - 1)
        image = cv2.GaussianBlur(other.image, (0, 0), max(smooth, 0.01))
    else:
        image = other.image
    image = cv2.warpAffine(image.astype(np.float32), matrix, (width, height))
    seen = cv2.warpAffine(mask, matrix, (width, height)) > 0.5
    if seen.mean() < AREA[0]:
        return None
    # As bright as the scene, half-way.
    ratio = (still.image.mean() + 20) / (other.image.mean() + 20)
    return Layer(np.clip(image * ratio**0.5, 0, 255), seen, moves, guest=True)


def may_stand(guest: Layer, still: Example, others: Sequence[Layer]) -> bool:
    """Returns whether enough of each thing stays visible behind a guest."""
    there = [*np.asarray(still.masks[~still.ignore]), *(other.mask for other in others)]
    return all((mask & guest.mask).sum() <= HIDDEN * mask.sum() for mask in there)


def is_written(out: Path, name: str) -> bool:
    """Returns whether `write_clip` has finished a clip."""
    return (out / "Annotations" / name / "00001.png").exists()


def write_clip(
    out: Path,
    name: str,
    still: Example,
    worth: Sequence[float],
    guests: Sequence[Layer],
    rng: Generator,
) -> None:
    """Writes the two frames and the masks of the moving objects."""
    for number, (image, ids) in enumerate(animate(still, worth, rng, guests)):
        for folder, suffix, data in (
            ("JPEGImages", "jpg", encode_jpeg(image, int(rng.integers(*QUALITY)))),
            ("Annotations", "png", encode_ids(ids)),
        ):
            file = out / folder / name / f"{number:05d}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, data)


def animate(
    still: Example,
    worth: Sequence[float],
    rng: Generator,
    guests: Sequence[Layer] = (),
) -> list[tuple[Image, UInt8[np.ndarray, "h w"]]]:
    """Returns the two frames, each with the numbers of its moving objects, from 1."""
    photograph = still.image.astype(np.float32)
    own = choose(still, worth, rng)
    if guests and rng.random() < HOST_RESTS:
        own = own[:0]
    layers = [Layer(photograph, mask, moves=True, guest=False) for mask in own]
    layers += guests
    size = still.image.shape[:2]
    scenery, carried, shifts = ways(layers, size, rng)
    hidden = np.any(own, axis=0)
    seen = scenery + ripples(size, rng) if rng.random() < RIPPLES else scenery
    frames = [photograph, warp(fill(still.image, hidden), seen)]
    # A mirror image goes up where its object goes down.
    shades = [
        (layer.image, layer.mask, base + shift * (1, -0.5) + ripples(size, rng))
        for layer, base, shift in zip(layers, carried, shifts, strict=True)
    ]
    # What rests has them as often, so that they do not tell what moves.
    rests = ~still.ignore & ~(still.masks & hidden).any(axis=(1, 2))
    shades += [
        (photograph, mask, seen)
        for mask in still.masks[rests & still.masks.any(axis=(1, 2))]
    ]
    for image, mask, shift in shades:
        if rng.random() < SHADED:
            dark, opacity = shade(image, mask, rng)
            frames[0] = blend(frames[0], dark, opacity * ~hidden)
            frames[1] = blend(frames[1], warp(dark, shift), warp(opacity, shift))
    total = [base + shift for base, shift in zip(carried, shifts, strict=True)]
    frames, ids = draw(layers, total, frames)
    noise = rng.uniform(0, 4)
    noisy = [frame + rng.normal(0, noise, frame.shape) for frame in frames]
    images = [np.clip(frame, 0, 255).astype(np.uint8) for frame in noisy]
    return [(image, ids[i]) for i, image in enumerate(images)]


def ways(
    layers: Sequence[Layer], size: tuple[int, int], rng: Generator
) -> tuple[Shift, list[Shift], list[Shift]]:
    """Draws the scenery's shifts, those it gives each layer, and the layers' own."""
    first = next((i for i, layer in enumerate(layers) if layer.moves), None)
    follows = first is not None and rng.random() < FOLLOWS
    # A camera that follows has its object rest in the frame, or nearly.
    tripod = not follows and rng.random() < TRIPOD
    scenery = camera(size, SPEED if follows else CAMERA, rng, tripod=tripod)
    carried, shifts = [], []
    for number, layer in enumerate(layers):
        followed = follows and number == first
        base = np.zeros_like(scenery) if followed else _at(scenery, layer.mask)
        if layer.moves:
            shift = motion(layer.mask, rng) * (0.15 if followed else 1.0)
        else:
            shift = base * (rng.uniform(*NEARNESS) - 1)
        carried.append(base)
        shifts.append(shift)
    return scenery, carried, shifts


def draw(
    layers: Sequence[Layer],
    shifts: Sequence[Shift],
    frames: Sequence[Float32[np.ndarray, "h w 3"]],
) -> tuple[list[np.ndarray], UInt8[np.ndarray, "2 h w"]]:
    """Returns two frames with the layers drawn over them, and the movers' numbers."""
    first, second = frames
    ids = np.zeros((2, *first.shape[:2]), np.uint8)
    count = 0
    for layer, shift in zip(layers, shifts, strict=True):
        count += layer.moves
        number = count if layer.moves else 0
        soft = cv2.GaussianBlur(layer.mask.astype(np.float32), (0, 0), 0.7)
        if layer.guest:
            first = blend(first, layer.image, soft)
        ids[0, layer.mask] = number
        alpha = warp(soft, shift)
        second = blend(second, warp(layer.image, shift), alpha)
        ids[1, alpha > 0.5] = number
    return [first, second], ids


def may_move(still: Example) -> Bool[np.ndarray, " n"]:
    """Returns the indices of the objects that may be chosen to move."""
    areas = still.masks.mean(axis=(1, 2))
    return ~still.ignore & (areas > AREA[0]) & (areas < AREA[1])


def choose(
    still: Example, worth: Sequence[float], rng: Generator
) -> Bool[np.ndarray, "n h w"]:
    """Chooses what moves; returns its disjoint masks, the largest first."""
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
    """Joins an object with all that it touches, directly or through others."""
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
    """Draws the camera's shifts: a pan, zoom and roll, in some clips with depth."""
    if tripod:
        return np.zeros((*size, 2), np.float32)
    shift = _similarity(size, rng, speed, zoom=0.01, turn=0.008)
    if rng.random() < PARALLAX:
        depth = 1 + 0.3 * _waves(size, rng, max(size) / rng.uniform(1, 4))
        shift = shift * depth[..., None]
    return shift


def motion(mask: Bool[np.ndarray, "h w"], rng: Generator) -> Shift:
    """Draws the shifts of an object relative to the scenery; it bends a little."""
    ys, xs = np.nonzero(mask)
    side = float(np.sqrt(len(ys)))
    shift = _similarity(
        mask.shape, rng, SPEED, zoom=0.015, turn=0.03, about=(xs.mean(), ys.mean())
    )
    bend = rng.uniform(0, 0.03) * side
    waves = [_waves(mask.shape, rng, max(side, 8) / 2) for _ in range(2)]
    return shift + bend * np.stack(waves, axis=-1)


def ripples(size: tuple[int, int], rng: Generator) -> Shift:
    """Draws irregular shifts, like those of water or leaves, in a part of the frame."""
    scale = rng.uniform(6, 30)
    strength = rng.uniform(0.5, 4)
    waves = np.stack([_waves(size, rng, scale) for _ in range(2)], axis=-1)
    where = np.clip(0.5 + 2 * _waves(size, rng, max(size) / 2), 0, 1)
    return (strength * waves * where[..., None]).astype(np.float32)


def shade(
    image: Float32[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], rng: Generator
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Draws a mirror image or a shadow below an object, and its opacity."""
    foot = float(np.flatnonzero(mask.any(axis=1))[-1])
    flat, lean = rng.uniform(0.3, 1), rng.normal(0, 0.3)
    upside_down = np.array([[1, lean, -lean * foot], [0, -flat, foot * (1 + flat)]])
    size = mask.shape[::-1]
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rng.uniform(0.7, 3))
    opacity = cv2.warpAffine(soft, upside_down, size) * rng.uniform(0.2, 0.7)
    light = rng.uniform(0.4, 1) if rng.random() < 0.6 else 0  # 0 is a shadow.
    mirrored = cv2.warpAffine(image, upside_down, size)
    return light * mirrored, opacity.astype(np.float32)


def blend(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Blends an image over another."""
    return opacity[..., None] * above + (1 - opacity[..., None]) * below


def fill(image: Image, hole: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Fills a hole from its surroundings, at a quarter of the resolution."""
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
    """Moves an image by smooth shifts, which are read at the pixels of arrival."""
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
    """Draws the shifts of a random translation, scaling and rotation about a point."""
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
    """Returns a mask's mean shift for all pixels: what stands there moves as one."""
    return np.broadcast_to(shift[mask].mean(axis=0), shift.shape)


if __name__ == "__main__":
    main()
