"""Changes to an `Example`: geometry, colour, pasting.

Pure functions: what is random takes a `np.random.Generator`, and nothing is changed in
place. Image, flow and masks stay aligned pixel by pixel, and flow stays what relates
the frame to the next one if that is changed likewise. The rows of masks, classes, ids,
ignore and moving stay aligned too.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from movseg_jax.data.example import Example
from movseg_jax.flow.encoding import flip_flow, resize_flow

Size = tuple[int, int]  # (height, width) in pixels.


def select(example: Example, rows: Bool[np.ndarray, " n"]) -> Example:
    """The example with these of its objects."""
    fields = ("masks", "classes", "ids", "ignore", "moving")
    return dataclasses.replace(
        example, **{name: getattr(example, name)[rows] for name in fields}
    )


def _has_pixels(masks):
    return np.count_nonzero(masks, axis=(1, 2)) > 0


# Geometry ------------------------------------------------------------------------


def flip(example: Example) -> Example:
    """Mirrors left to right; the flow then points the other way, too."""
    return dataclasses.replace(
        example,
        image=cv2.flip(example.image, 1),
        flow=None if example.flow is None else flip_flow(example.flow),
        masks=np.ascontiguousarray(example.masks[:, :, ::-1]),
    )


def resize(example: Example, size: Size) -> Example:
    """Resizes to (height, width); flow is in pixels of the result.

    The image is sampled as `preprocessing.preprocess` samples frames. A mask has those
    pixels that it covers by half or more: averaged when it shrinks, interpolated when
    it grows. Unlike the nearest pixel's, these masks lie where the image's do, to a
    fraction of a pixel. What gets thinner than a pixel may become empty, and stays.
    """
    height, width = example.image.shape[:2]
    if (height, width) == size:
        return example
    flow = example.flow
    shrinks = size[0] <= height and size[1] <= width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    masks = np.empty((len(example.masks), *size), bool)
    for mask, result in zip(example.masks, masks, strict=True):
        if mask.any():
            full = mask.view(np.uint8) * np.uint8(255)
            result[:] = cv2.resize(full, size[::-1], interpolation=way) >= 128
        else:
            result[:] = False
    return dataclasses.replace(
        example,
        image=cv2.resize(example.image, size[::-1], interpolation=cv2.INTER_LINEAR),
        flow=None if flow is None else resize_flow(flow, size),
        masks=masks,
    )


def resize_sides(example: Example, short_side: int, long_side: int) -> Example:
    """Resizes the shorter side to `short_side`, or less to keep the longer in bounds.

    The factor is one for both sides, up to rounding; it may be above 1.
    """
    shape = example.image.shape[:2]
    factor = min(short_side / min(shape), long_side / max(shape))
    height, width = (max(1, round(n * factor)) for n in shape)
    return resize(example, (height, width))


def jitter_size(
    size: Size, scale: tuple[float, float], rng: np.random.Generator
) -> Size:
    """The size times a random factor, uniform in its logarithm, between two others."""
    factor = np.exp(rng.uniform(*np.log(scale)))
    height, width = (max(1, round(n * factor)) for n in size)
    return height, width


def random_window(
    size: Size, largest: Size, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a random window, as large as `largest` and `size` allow."""
    window = []
    for side, most in zip(size, largest, strict=True):
        start = int(rng.integers(max(side - most, 0), endpoint=True))
        window.append(slice(start, start + min(side, most)))
    return window[0], window[1]


def crop(example: Example, window: tuple[slice, slice]) -> Example:
    """Cuts out a window. Objects that it leaves without pixels are dropped.

    Flow may point out of the window, as it may out of a frame. Masks that were empty
    before are dropped likewise.
    """
    masks = example.masks[:, *window]
    kept = _has_pixels(masks)
    flow = example.flow
    cropped = dataclasses.replace(
        example,
        image=np.ascontiguousarray(example.image[window]),
        flow=None if flow is None else np.ascontiguousarray(flow[window]),
        masks=np.ascontiguousarray(masks),
    )
    return select(cropped, kept)


# Colour --------------------------------------------------------------------------


def jitter_colour(
    example: Example,
    rng: np.random.Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Example:
    """Changes the image's colours, each by a random amount up to the one given.

    Args:
        example: Whose image is changed; the rest stays.
        rng: Always draws four numbers.
        brightness: The image is multiplied by 1 plus or minus up to this; so is ...
        contrast: ... its difference from its mean grey, and ...
        saturation: ... from each pixel's grey.
        hue: Colours are turned by up to this part of the circle, in steps of 1/180.
    """
    bright, contrasted, saturated, turned = rng.uniform(-1, 1, 4)
    image = example.image
    if brightness or contrast:
        image = _scale_greys(image, 1 + brightness * bright, 1 + contrast * contrasted)
    if saturation:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        factor = 1 + saturation * saturated
        greys = np.broadcast_to(grey, image.shape)
        image = cv2.addWeighted(image, factor, greys.copy(), 1 - factor, 0)
    if hue:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        table = (np.arange(256) + round(180 * hue * turned)) % 180
        hsv[..., 0] = table.astype(np.uint8)[hsv[..., 0]]
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return dataclasses.replace(example, image=image)


def _scale_greys(
    image: UInt8[np.ndarray, "h w 3"], brightness: float, contrast: float
) -> UInt8[np.ndarray, "h w 3"]:
    mean = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() * brightness
    levels = (np.arange(256) * brightness - mean) * contrast + mean
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)[image]


# Objects -------------------------------------------------------------------------


def ignore_resting(example: Example) -> Example:
    """Objects that do not move become regions that are not to be learned."""
    return dataclasses.replace(example, ignore=example.ignore | ~example.moving)


def paste(example: Example, other: Example, rng: np.random.Generator) -> Example:
    """Pastes moving objects of another example in front of this one, with their flow.

    Each of the other's moving objects is chosen with probability 1/2. They keep their
    places to each other, and the centre of the box around them comes to lie anywhere
    in this frame; what leaves the frame is cut off. The masks of this example lose the
    pixels that are now hidden, also those of ignored regions, and objects without
    pixels are dropped. If this example has flow and the other has none, nothing is
    pasted, since nobody knows how the objects would move.
    """
    movable = other.moving & ~other.ignore & _has_pixels(other.masks)
    chosen = movable & (rng.random(len(movable)) < 0.5)
    centre = rng.random(2)
    if not chosen.any() or (example.flow is not None and other.flow is None):
        return example
    pasted = select(other, chosen)
    front = np.logical_or.reduce(pasted.masks)
    target, source = _overlap(front, example.image.shape[:2], centre)
    hidden = front[source]
    image = example.image.copy()
    image[target][hidden] = other.image[source][hidden]
    flow = example.flow
    if flow is not None and other.flow is not None:
        flow = flow.copy()
        flow[target][hidden] = other.flow[source][hidden]
    behind = example.masks.copy()
    behind[:, *target] &= ~hidden
    added = np.zeros((len(pasted.masks), *image.shape[:2]), bool)
    added[:, *target] = pasted.masks[:, *source]
    masks = np.concatenate([behind, added])
    first = int(example.ids.max(initial=0)) + 1
    ids = np.arange(first, first + len(added), dtype=np.int32)
    joined = dataclasses.replace(
        example,
        image=image,
        flow=flow,
        masks=masks,
        classes=np.concatenate([example.classes, pasted.classes]),
        ids=np.concatenate([example.ids, ids]),
        ignore=np.concatenate([example.ignore, pasted.ignore]),
        moving=np.concatenate([example.moving, pasted.moving]),
    )
    return select(joined, _has_pixels(masks))


def _overlap(front, frame_size, centre):
    """Where the frame and a layer overlap, in each; `centre` is of what is in front."""
    target, source = [], []
    for axis, (side, at) in enumerate(zip(frame_size, centre, strict=True)):
        (filled,) = np.nonzero(front.any(axis=1 - axis))
        shift = int(at * side) - int(filled[0] + filled[-1] + 1) // 2
        start, stop = max(shift, 0), min(shift + front.shape[axis], side)
        target.append(slice(start, stop))
        source.append(slice(start - shift, stop - shift))
    return tuple(target), tuple(source)
