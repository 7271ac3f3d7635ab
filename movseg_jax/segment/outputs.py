"""Turns the detector's outputs into detections: masks, motion and colours."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from movseg_jax import masks
from movseg_jax.config import ModelConfig
from movseg_jax.flow.object_motion import Speed, object_shifts, object_speeds
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.track.colour import colour_histogram
from movseg_jax.types import Detections, Outputs

KEPT_SCORE = 0.7  # The tracker's threshold: detections with more are kept by default.

Flow = Float32[np.ndarray, "h w 2"] | None


def to_detections(
    outputs: Outputs,
    row: int,
    image: UInt8[np.ndarray, "h w 3"],
    flow: Flow,
    *,
    camera: Float64[np.ndarray, "3 3"] | None = None,
    model: ModelConfig,
    min_score: float,
    cut: bool,
    refine_masks: bool,
) -> FrameDetections:
    """Returns the detections in one frame of a batch.

    Args:
        outputs: The outputs for the batch, on the host.
        row: The frame's place in the batch.
        image: The frame, RGB.
        flow: The flow to the next frame; None in the last frame of a shot. There, what
            the moving heads of a model of flow find is left out.
        camera: The camera's homography in the flow; None estimates it.
        model: The config of the detector.
        min_score: Detections with more than this score are returned.
        cut: Whether a new shot starts with this frame.
        refine_masks: Whether to move the masks' outlines to edges of the image.
    """
    size = image.shape[:2]
    sees_nothing = model.motion is not None and flow is None
    moving = [] if sees_nothing else _paste(outputs.moving, row, size, model, min_score)
    static = _paste(outputs.static, row, size, model, min_score)
    pasted = [*moving, *static]
    found = _describe(pasted, len(moving), image, flow, camera, refine_masks)
    return FrameDetections(
        tuple(found[: len(moving)]), tuple(found[len(moving) :]), cut
    )


class _Pasted(NamedTuple):
    """A detection in the frame: its mask and its score."""

    mask: masks.Crop
    score: float


def _paste(
    found: Detections | None,
    row: int,
    size: masks.Size,
    model: ModelConfig,
    min_score: float,
) -> list[_Pasted]:
    """The detections that score enough and have pixels in the frame."""
    if found is None:
        return []
    boxes, scores, _, logits, valid = (part[row] for part in found)
    kept = valid & (scores > min_score)
    crops = masks.paste_crops(
        logits[kept], boxes[kept], size, convention=model.convention
    )
    return [
        _Pasted(crop, float(score))
        for crop, score in zip(crops, scores[kept], strict=True)
        if crop.pixels.size
    ]


def _describe(
    found: Sequence[_Pasted],
    moving_count: int,
    image: np.ndarray,
    flow: Flow,
    camera: Float64[np.ndarray, "3 3"] | None,
    refine_masks: bool,
) -> list[Detection]:
    """The detections with what linking and users need to know of frame and flow."""
    # Motion is measured in masks as the model gives them: a refined mask may include
    # background of a similar colour, whose motion would count.
    crops = [pasted.mask for pasted in found]
    if flow is None:
        speeds = [Speed(math.nan, math.nan)] * len(found)
        shifts = [(math.nan, math.nan)] * len(found)
    else:
        # Objects that move by themselves do not belong to the surroundings of others.
        movers = [x.mask for x in found[:moving_count] if x.score > KEPT_SCORE]
        speeds = object_speeds(flow, crops, movers, camera)
        # An object whose surroundings move alike has an unknown speed. If only the
        # static branch finds it, it is taken to stand still.
        speeds[moving_count:] = [
            Speed(*np.nan_to_num(speed).tolist()) for speed in speeds[moving_count:]
        ]
        shifts = object_shifts(flow, crops)
    shown = [masks.refine(crop, image) for crop in crops] if refine_masks else crops
    return [
        Detection(
            masks.encode_crop(crop, image.shape[:2]),
            score,
            motion=speed.known,
            likely_motion=speed.likely,
            shift=shift,
            colour=colour_histogram(image, crop),
        )
        for crop, (_, score), speed, shift in zip(
            shown, found, speeds, shifts, strict=True
        )
    ]
