"""Transforms an `Example`: its geometry, its colours, and pasted objects.

The functions are pure: random ones take a `np.random.Generator`, and nothing changes in
place. Image, flow and masks stay aligned pixel by pixel, and the flow is the one to the
next frame after the same transform. The rows of masks, classes, ids, ignore and moving
stay aligned, too.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from movseg_jax.data.example import Example, Size
from movseg_jax.flow.encoding import flip_flow, resize_flow


def select(example: Example, rows: Bool[np.ndarray, " n"]) -> Example:
    """Returns the example with the chosen rows of its objects."""
    chosen = {name: values[rows] for name, values in vars(example.objects).items()}
    return dataclasses.replace(example, **chosen)


def _has_pixels(masks):
    return np.count_nonzero(masks, axis=(1, 2)) > 0


# Geometry ------------------------------------------------------------------------


def flip(example: Example) -> Example:
    """Mirrors left to right; the flow's x changes its sign."""
    return dataclasses.replace(
        example,
        image=cv2.flip(example.image, 1),
        flow=None if example.flow is None else flip_flow(example.flow),
        masks=np.ascontiguousarray(example.masks[:, :, ::-1]),
    )


def resize(example: Example, size: Size) -> Example:
    """Resizes to (height, width); the flow is in pixels of the result.

    The image is sampled as frames are when a video is segmented. A mask keeps the
    pixels that it covers by half or more, averaged when it shrinks and interpolated
    when it grows. Unlike masks by nearest neighbour, these fit the image to a fraction
    of a pixel. An object thinner than a pixel may become empty; it is kept.
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


def jitter_size(
    size: Size, scale: tuple[float, float], rng: np.random.Generator
) -> Size:
    """Scales a size by a random factor in a range, uniform in its logarithm."""
    factor = np.exp(rng.uniform(*np.log(scale)))
    height, width = (max(1, round(n * factor)) for n in size)
    return height, width


def random_window(
    size: Size, largest: Size, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Returns rows and columns of a random window of size `largest`, or less."""
    window = []
    for side, most in zip(size, largest, strict=True):
        start = int(rng.integers(max(side - most, 0), endpoint=True))
        window.append(slice(start, start + min(side, most)))
    return window[0], window[1]


def crop(example: Example, window: tuple[slice, slice]) -> Example:
    """Cuts out a window, and drops objects without pixels in it.

    Flow may point out of the window, as it may point out of a frame. Masks that were
    empty before are dropped, too.
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
    """Changes the image's colours by random amounts.

    Args:
        example: The example; everything but its image is kept.
        rng: The random generator, from which four numbers are drawn in any case.
        brightness: The largest change of the image's factor from 1.
        contrast: The largest change from 1 of the factor of the differences to the
            image's mean grey.
        saturation: The largest change from 1 of the factor of the differences to each
            pixel's own grey.
        hue: The largest turn of the hues, as a part of the circle; its steps are 1/180.
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
    """Makes stationary objects regions to ignore, so that they are not learned."""
    return dataclasses.replace(example, ignore=example.ignore | ~example.moving)


def paste(example: Example, other: Example, rng: np.random.Generator) -> Example:
    """Pastes moving objects of another example in front of this one, with their flow.

    Each moving object of the other example is chosen with probability 1/2. The chosen
    ones keep their relative positions, and the centre of the box around them is placed
    at random in this frame; parts outside the frame are cut off. Masks of this example,
    including regions to ignore, lose the pixels that are now hidden, and objects
    without pixels are dropped. If this example has flow and the other has none, nothing
    is pasted, because the motion of the objects is unknown.
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
    """Returns the overlap of frame and layer in each, for a centre of the layer."""
    target, source = [], []
    for axis, (side, at) in enumerate(zip(frame_size, centre, strict=True)):
        (filled,) = np.nonzero(front.any(axis=1 - axis))
        shift = int(at * side) - int(filled[0] + filled[-1] + 1) // 2
        start, stop = max(shift, 0), min(shift + front.shape[axis], side)
        target.append(slice(start, stop))
        source.append(slice(start - shift, stop - shift))
    return tuple(target), tuple(source)
