"""Makes the targets, which the detector should predict, from an image's objects.

Pure functions with static shapes, of one image; batch with `jax.vmap`. The rules are
those of Faster and Mask R-CNN as Detectron has them, where those are sound. Boxes are
as in `ops.boxes`, in pixels of the network's input.

Where an image is not labelled ("ignored": crowds, void), nothing is negative.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from movseg_jax.ops import boxes as box_ops
from movseg_jax.ops.roi_align import roi_align
from movseg_jax.types import Objects, Proposals


class Match(NamedTuple):
    """The object that each box overlaps most, and how much.

    Attributes:
        object: The object's row; 0 where nothing overlaps.
        iou: The IoU with it; 0 where nothing overlaps.
    """

    object: Int[Array, " n"]
    iou: Float[Array, " n"]


class AnchorTargets(NamedTuple):
    """The targets of the RPN for every anchor.

    Attributes:
        sampled: Whether the losses use the anchor.
        positive: Whether it is used and on an object.
        deltas: The box of its object relative to the anchor; 0 where it is not
            positive.
    """

    sampled: Bool[Array, " n"]
    positive: Bool[Array, " n"]
    deltas: Float[Array, "n 4"]


class RoITargets(NamedTuple):
    """RoIs to train the heads on, positive ones first, and their targets.

    Attributes:
        rois: Boxes, padded with zeros.
        valid: Whether the row is more than padding.
        positive: Whether the RoI is on an object.
        object: The object's row; 0 where there is none.
        classes: Classes to predict: 0 is background, k + 1 the class k.
        deltas: The box of its object relative to the RoI; 0 where there is none.
    """

    rois: Float[Array, "n 4"]
    valid: Bool[Array, " n"]
    positive: Bool[Array, " n"]
    object: Int[Array, " n"]
    classes: Int[Array, " n"]
    deltas: Float[Array, "n 4"]


def match(iou: Float[Array, "n objects"]) -> Match:
    """Finds the object that each box overlaps most, the first of equal ones."""
    if not iou.shape[1]:
        return Match(jnp.zeros(len(iou), jnp.int32), jnp.zeros(len(iou), iou.dtype))
    best = jnp.argmax(iou, axis=1).astype(jnp.int32)
    return Match(best, iou.max(axis=1))


def subsample(
    candidates: Bool[Array, " n"], count: Int[Array, ""] | int, most: int, key: Array
) -> Int[Array, " {most}"]:
    """Rows of `count` candidates, drawn at random without replacement.

    Args:
        candidates: Whether a row may be drawn.
        count: The number of rows to draw if there are as many; at most `most`.
        most: A static bound of `count`.
        key: The random key of the draw.

    Returns:
        The rows, padded with n, which is out of bounds.
    """
    n = len(candidates)
    priority = jnp.where(candidates, jax.random.uniform(key, (n,), jnp.float32), -1.0)
    best, rows = jax.lax.top_k(priority, min(most, n))
    drawn = (best >= 0) & (jnp.arange(len(rows), dtype=jnp.int32) < count)
    rows = jnp.where(drawn, rows, n).astype(jnp.int32)
    return jnp.pad(rows, (0, most - len(rows)), constant_values=n)


def ignored_fraction(
    ignored: Float[Array, "h w"], boxes: Float[Array, "n 4"], size: Float[Array, "2"]
) -> Float[Array, " n"]:
    """The fraction of each box, clipped to the image, that is to be ignored.

    Args:
        ignored: The fraction of each cell to ignore, in a grid over the image.
        boxes: Boxes in pixels; one of area 0 has a fraction of 0.
        size: Height and width of the image that the grid covers, in pixels.
    """
    height, width = ignored.shape
    # Sums over all cells above and left of a corner, linear in between.
    sums = jnp.pad(ignored.astype(jnp.float32), ((1, 0), (1, 0)))
    sums = sums.cumsum(axis=0).cumsum(axis=1)
    shape = jnp.array([height, width], jnp.float32)
    scale = jnp.tile((shape / size)[::-1], 2)
    boxes = box_ops.clip(boxes * scale[None, :], shape)

    def up_to(x, y):
        column = jnp.clip(jnp.floor(x).astype(jnp.int32), 0, width - 1)
        row = jnp.clip(jnp.floor(y).astype(jnp.int32), 0, height - 1)
        right, down = x - column.astype(x.dtype), y - row.astype(y.dtype)
        top = sums[row, column] * (1 - right) + sums[row, column + 1] * right
        bottom = sums[row + 1, column] * (1 - right) + sums[row + 1, column + 1] * right
        return top * (1 - down) + bottom * down

    x0, y0, x1, y1 = boxes.T
    covered = up_to(x1, y1) - up_to(x0, y1) - up_to(x1, y0) + up_to(x0, y0)
    area = box_ops.area(boxes)
    return jnp.where(area > 0, covered / jnp.where(area > 0, area, 1), 0)


def anchor_targets(
    anchors: Float[Array, "n 4"],
    usable: Bool[Array, " n"],
    may_be_negative: Bool[Array, " n"],
    objects: Objects,
    key: Array,
    *,
    samples: int = 256,
    positive_fraction: float = 0.5,
    positive_iou: float = 0.7,
    negative_iou: float = 0.3,
) -> AnchorTargets:
    """Labels anchors and draws those to train the RPN on (Ren et al., 2015, 3.1.2).

    An anchor is positive if its IoU with an object is at least `positive_iou`, or if no
    anchor overlaps that object more; negative if its IoU with all of them is below
    `negative_iou`. Both kinds are drawn without replacement. (Detectron draws
    negatives with replacement, and lets them overwrite the positives of objects that
    no anchor fits; those are mistakes.)

    Args:
        anchors: The anchors of all levels.
        usable: The others are neither positive nor negative: in the padding, across
            the image's border.
        may_be_negative: False where the image is not labelled.
        objects: The objects of the image.
        key: The random key of the draw.
        samples: Anchors to draw, fewer if there are not as many.
        positive_fraction: The largest fraction of them that is positive.
        positive_iou: See above.
        negative_iou: See above.
    """
    valid = usable[:, None] & objects.valid[None, :]
    iou = jnp.where(valid, box_ops.pairwise_iou(anchors, objects.boxes), 0)
    best = match(iou)
    best_of_object = iou.max(axis=0, initial=0)[None, :]
    forced = ((iou == best_of_object) & (iou > 0)).any(axis=1)
    positive = forced | (best.iou >= positive_iou)
    negative = usable & may_be_negative & ~positive & (best.iou < negative_iou)

    positive_key, negative_key = jax.random.split(key)
    most = int(samples * positive_fraction)
    on = jnp.zeros(len(anchors), bool)
    positive = on.at[subsample(positive, most, most, positive_key)].set(
        True, mode="drop"
    )
    rest = samples - positive.sum(dtype=jnp.int32)
    negative = on.at[subsample(negative, rest, samples, negative_key)].set(
        True, mode="drop"
    )
    deltas = _deltas(anchors, best, positive, objects, box_ops.ANCHOR_WEIGHTS)
    return AnchorTargets(positive | negative, positive, deltas)


def roi_targets(
    proposals: Proposals,
    may_be_negative: Bool[Array, " n"],
    objects: Objects,
    key: Array,
    *,
    samples: int = 512,
    positive_fraction: float = 0.25,
    positive_iou: float = 0.5,
) -> RoITargets:
    """Draws the RoIs to train the heads on (Girshick, 2015, 2.3).

    Candidates are the proposals and the objects' own boxes. One is positive if its IoU
    with an object is at least `positive_iou`, otherwise negative; both kinds are drawn
    without replacement.

    Args:
        proposals: The proposals of the RPN.
        may_be_negative: Whether each proposal may be negative; it may not where the
            image is not labelled.
        objects: The objects of the image.
        key: The random key of the draw.
        samples: RoIs to draw, fewer if there are not as many.
        positive_fraction: The largest fraction of them that is positive.
        positive_iou: See above.

    Returns:
        `samples` rows. The positive ones come first, so they are among the first
        `int(samples * positive_fraction)`.
    """
    boxes = jnp.concatenate([proposals.boxes, objects.boxes])
    valid = jnp.concatenate([proposals.valid, objects.valid])
    may_be_negative = jnp.concatenate([may_be_negative, objects.valid])
    iou = box_ops.pairwise_iou(boxes, objects.boxes)
    best = match(jnp.where(valid[:, None] & objects.valid[None, :], iou, 0))
    positive = valid & (best.iou >= positive_iou)
    negative = valid & may_be_negative & (best.iou < positive_iou)

    most = int(samples * positive_fraction)
    rows = _draw_rows(positive, negative, most, samples, key)
    drawn = rows < len(boxes)
    rows = jnp.where(drawn, rows, 0)
    rois = jnp.where(drawn[:, None], boxes[rows], 0)
    positive = drawn & positive[rows]
    best = Match(*(jnp.where(positive, part[rows], 0) for part in best))
    classes = _rows(objects.classes, best.object) + 1
    return RoITargets(
        rois=rois,
        valid=drawn,
        positive=positive,
        object=best.object,
        classes=jnp.where(positive, classes, 0),
        deltas=_deltas(rois, best, positive, objects, box_ops.ROI_WEIGHTS),
    )


def _draw_rows(positive, negative, most, samples, key):
    """Rows of up to `most` positives, behind them negatives up to `samples`."""
    positive_key, negative_key = jax.random.split(key)
    positives = subsample(positive, most, most, positive_key)
    count = (positives < len(positive)).sum(dtype=jnp.int32)
    negatives = subsample(negative, samples - count, samples, negative_key)
    place = jnp.arange(samples, dtype=jnp.int32)
    return jnp.where(
        place < count,
        jnp.pad(positives, (0, samples - most))[place],
        negatives[jnp.maximum(place - count, 0)],
    )


def mask_targets(
    rois: Float[Array, "n 4"],
    object: Int[Array, " n"],
    objects: Objects,
    mask_size: int = 28,
) -> Bool[Array, "n mask mask"]:
    """The mask of its object in each RoI: cells of which it covers at least half.

    Sampled at 2x2 points a cell from the objects' crops (`types.Objects.masks`).

    Args:
        rois: RoIs in pixels; one of area 0 has an empty mask.
        object: The row of each RoI's object.
        objects: The objects of the image.
        mask_size: The number of rows and columns of cells.
    """
    side = objects.masks.shape[-1]
    boxes = _rows(objects.boxes, object)
    size = jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    # In cells of the crop, around which there is a border of one empty cell.
    corner, scale = jnp.tile(boxes[:, :2], (1, 2)), jnp.tile(side / size, (1, 2))
    in_crop = (rois - corner) * scale + 1

    def sample(object, box):
        crop = _rows(objects.masks, object[None])[0].astype(jnp.float32) / 255
        crop = jnp.pad(crop, 1)[..., None]
        return roi_align(crop, box[None], stride=1.0, output_size=mask_size)[0, ..., 0]

    covered = jax.vmap(sample)(object, in_crop)
    empty = box_ops.area(rois) <= 0
    return (covered >= 0.5) & ~empty[:, None, None]


def _deltas(boxes, best, positive, objects, weights):
    deltas = box_ops.encode(_rows(objects.boxes, best.object), boxes, weights)
    return jnp.where(positive[:, None], deltas, 0)


def _rows(array, rows):
    """`array[rows]`; zeros where the array has no rows at all."""
    if not len(array):
        return jnp.zeros((len(rows), *array.shape[1:]), array.dtype)
    return array[rows]
