"""Decodes the heads' outputs of one image to proposals and detections.

Pure functions with static shapes; batch with `jax.vmap`. Nothing here has parameters.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from movseg_jax.config import ModelConfig
from movseg_jax.nn.padding import real_cells
from movseg_jax.ops import boxes as box_ops
from movseg_jax.ops.anchors import level_anchors
from movseg_jax.ops.nms import non_maximum_suppression
from movseg_jax.types import Proposals

# Boxes thinner than this are dropped, in pixels; as torchvision does. (The Detectrons
# drop empty boxes only; nothing that thin is an object.)
MIN_PROPOSAL_SIDE = 1e-3
MIN_DETECTION_SIDE = 1e-2

# Under `jit`, calls with equal shapes are traced once.
_suppress = jax.jit(
    non_maximum_suppression, static_argnames=("iou_threshold", "suppress_equal")
)


class Selected(NamedTuple):
    """Detections before their masks.

    Attributes:
        rois: float32 [n, 4], in pixels of the network's input.
        boxes: float32 [n, 4], the same in pixels of the frame.
        scores: float32 [n].
        classes: int32 [n].
        valid: bool [n].
    """

    rois: Float[Array, "n 4"]
    boxes: Float[Array, "n 4"]
    scores: Float[Array, " n"]
    classes: Int[Array, " n"]
    valid: Bool[Array, " n"]


def pyramid_anchors(
    shapes: Mapping[int, tuple[int, ...]],
    padded_size: tuple[int, ...],
    config: ModelConfig,
) -> dict[int, Float32[np.ndarray, "_ 4"]]:
    """The anchors of each level, in the order of the RPN's outputs.

    Training and decoding both take a model's anchors from here.

    Args:
        shapes: The height and width of each level, in cells.
        padded_size: The height and width of the input with its padding, in pixels.
        config: The model's config.
    """
    arithmetic = config.arithmetic

    def anchors(level):
        shape = shapes[level]
        strides = tuple(side // n for side, n in zip(padded_size, shape, strict=True))
        return level_anchors(
            shape,
            level,
            size=config.anchor_size,
            ratios=config.anchor_ratios,
            offset=arithmetic.anchor_offset,
            rounding=arithmetic.anchor_rounding,
            strides=strides if arithmetic.whole_strides else None,
        )

    return {level: anchors(level) for level in shapes}


def propose(
    outputs: Mapping[int, tuple[Float[Array, " _"], Float[Array, "_ 4"]]],
    shapes: Mapping[int, tuple[int, ...]],
    size: Float[Array, "2"],
    padded_size: tuple[int, ...],
    config: ModelConfig,
) -> Proposals:
    """The highest scoring boxes of the RPN, after NMS within each level.

    Args:
        outputs: The objectness logits and deltas of each level's anchors, as `RPNHead`
            returns them.
        shapes: The height and width of each level, in cells.
        size: The height and width of the image without its padding, in pixels.
        padded_size: The height and width of the image with its padding.
        config: The model's config.

    Returns:
        `config.proposals` boxes by falling score, fewer of them valid if the RPN has
        fewer. Anchors in the padding are left out if the convention ignores padding.
    """
    arithmetic = config.arithmetic
    if arithmetic.inclusive:  # Detectron clips to the blob it feeds, not to the image.
        size = jnp.array(padded_size, size.dtype)
    anchors = pyramid_anchors(shapes, padded_size, config)
    levels = [
        _best_of_level(
            *outputs[level], anchors[level], level, shapes[level], size, config
        )
        for level in outputs
    ]
    # Levels are padded to equal length, so that `vmap` runs their NMS side by side.
    longest = max(len(boxes) for boxes, _ in levels)
    boxes, logits = (
        jnp.stack(parts)
        for parts in zip(*(_pad_rows(level, longest) for level in levels), strict=True)
    )
    valid = logits > -jnp.inf
    kept = jax.vmap(
        lambda b, s, v: _suppress(
            b, s, v, config.proposal_nms_iou, suppress_equal=arithmetic.inclusive
        )
    )(boxes, logits, valid)
    level = boxes.reshape(-1, 4), jnp.where(kept, logits, -jnp.inf).reshape(-1)
    boxes, logits = _pad_rows(level, max(config.proposals, logits.size))
    logits, index = jax.lax.top_k(logits, config.proposals)
    valid = logits > -jnp.inf
    return Proposals(
        boxes=jnp.where(valid[:, None], boxes[index], 0),
        scores=jnp.where(valid, jax.nn.sigmoid(logits), 0),
        valid=valid,
    )


def _best_of_level(logits, deltas, anchors, level, shape, size, config):
    """Boxes and logits of a level's best anchors; a logit of -inf marks padding."""
    arithmetic = config.arithmetic
    anchors = jnp.asarray(anchors)
    logits = jnp.where(jnp.isnan(logits), -jnp.inf, logits)
    if arithmetic.ignore_padding:
        real = real_cells(size[None, :], level, shape).reshape(-1)
        real = jnp.repeat(real, len(config.anchor_ratios))
        logits = jnp.where(real, logits, -jnp.inf)
    logits, index = jax.lax.top_k(logits, min(config.pre_nms, len(logits)))
    boxes = box_ops.decode(deltas[index], anchors[index], box_ops.ANCHOR_WEIGHTS)
    boxes = box_ops.clip(boxes, size, inclusive=arithmetic.inclusive)
    large = _at_least(boxes, MIN_PROPOSAL_SIDE)
    return boxes, jnp.where(large, logits, -jnp.inf)


def _at_least(boxes, side):
    return (boxes[:, 2:] - boxes[:, :2] >= side).all(axis=1)


def _pad_rows(level, length):
    boxes, logits = level
    missing = length - len(boxes)
    return (
        jnp.pad(boxes, [(0, missing), (0, 0)]),
        jnp.pad(logits, (0, missing), constant_values=-jnp.inf),
    )


def select_detections(
    class_logits: Float[Array, "n k1"],
    deltas: Float[Array, "n k 4"],
    proposals: Proposals,
    size: Float[Array, "2"],
    frame_size: Float[Array, "2"],
    scale: Float[Array, "2"],
    config: ModelConfig,
) -> Selected:
    """The final boxes of an image: scored, refined, after NMS within each class.

    Args:
        class_logits: The logits of each proposal, background first.
        deltas: The box deltas of each proposal and class.
        proposals: The proposals that the box head was run on.
        size: Height and width of the image in the network's input, without padding.
        frame_size: Height and width of the frame it was made from.
        scale: Pixels of the input per pixel of the frame, (y, x).
        config: The model's config.

    Returns:
        `config.detections` rows by falling score; by class and in the order of the
        proposals with Detectron's arithmetic, as there.
    """
    inclusive = config.arithmetic.inclusive
    rois = proposals.boxes
    if inclusive:  # Detectron refines and suppresses in pixels of the frame.
        rois, size = _rescale_inclusive(rois, 1 / scale), frame_size
    scores = jax.nn.softmax(class_logits, axis=-1)[:, 1:].T

    def one_class(scores, deltas):
        boxes = box_ops.decode(deltas, rois, box_ops.ROI_WEIGHTS)
        boxes = box_ops.clip(boxes, size, inclusive=inclusive)
        valid = proposals.valid & (scores > config.min_score)
        valid = valid & _at_least(boxes, MIN_DETECTION_SIDE)
        kept = _suppress(
            boxes, scores, valid, config.detection_nms_iou, suppress_equal=inclusive
        )
        return boxes, jnp.where(kept, scores, -jnp.inf)

    boxes, scores = jax.vmap(one_class)(scores, deltas.swapaxes(0, 1))
    rows = max(config.detections, scores.size)
    boxes, scores = _pad_rows((boxes.reshape(-1, 4), scores.reshape(-1)), rows)
    scores, index = jax.lax.top_k(scores, config.detections)
    if inclusive:
        order = jnp.argsort(jnp.where(scores > -jnp.inf, index, len(boxes)))
        scores, index = scores[order], index[order]
    valid = scores > -jnp.inf
    boxes = in_input = in_frame = jnp.where(valid[:, None], boxes[index], 0)
    if inclusive:
        in_input = jnp.where(valid[:, None], _rescale_inclusive(boxes, scale), 0)
    else:
        in_frame = boxes / jnp.tile(scale[::-1], 2)[None, :]
    return Selected(
        rois=in_input,
        boxes=in_frame,
        scores=jnp.where(valid, scores, 0),
        classes=jnp.where(valid, index // len(rois), 0).astype(jnp.int32),
        valid=valid,
    )


def _rescale_inclusive(boxes, scale):
    """Scales boxes whose last pixel is at x1 - 1, as Detectron does."""
    last = jnp.array([0.0, 0.0, 1.0, 1.0], boxes.dtype)[None, :]
    return (boxes - last) * jnp.tile(scale[::-1], 2)[None, :] + last
