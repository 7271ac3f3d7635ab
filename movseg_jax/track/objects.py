"""The objects of one frame: detections without duplicates and parts.

Box NMS keeps a person and the person's legs, or two masks of one person in boxes of
different shapes. Here masks are compared: each detection stands for an object, or is a
duplicate or a part of one, or is left out. Dave et al. (2019) do not do this.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.masks import Rle
from movseg_jax.results import FrameDetections
from movseg_jax.track.links import Candidate, ranked

FOLLOWS = 0.5  # Least IoU of a detection with a track's expected mask to follow it.
MATURE = 20  # Frames after which a track is known to be a thing of its own.
# A duplicate or part does not widen its object if it has more than this share of
# another object in it.
OTHERS = 0.3


class Expected(NamedTuple):
    """Where a track is expected in a frame.

    Attributes:
        mask: The track's last mask, where its flow has taken it.
        frames: Number of frames in which the track has been seen.
    """

    mask: Rle
    frames: int


class FoundObject(NamedTuple):
    """An object of a frame.

    Attributes:
        candidate: The detection that stands for it.
        parts: Numbers of the detections that are duplicates or parts of it.
    """

    candidate: Candidate
    parts: tuple[int, ...] = ()


def find_objects(
    frame: FrameDetections,
    config: TrackConfig,
    expected: Sequence[Expected] = (),
    linked: Sequence[int] = (),
) -> list[FoundObject]:
    """The objects of a frame, in the order of their detections.

    Detections are taken in this order: those that follow a track, those that may start
    one, moving ones, those with higher scores. One that overlaps too much with an
    object that was taken before it is a duplicate or a part. One that holds such an
    object is the whole of it where neither follows a track; otherwise it is left out.
    A detection that holds two mature tracks is taken last: it shows both at once.

    Args:
        frame: The detections.
        config: The settings: least scores, and what is a duplicate or a part.
        expected: Where tracks are expected.
        linked: Numbers of detections that are known to follow a track.
    """
    candidates, iou = _scoring(frame, config)
    if not config.finds_parts or not candidates:
        return [FoundObject(candidate) for candidate in candidates]
    shapes = [candidate.detection.mask for candidate in candidates]
    follows = np.isin([c.number for c in candidates], linked)
    crowded = np.zeros(len(candidates), bool)
    if expected:
        places = [track.mask for track in expected]
        place_iou = masks.iou(places, shapes)
        follows |= place_iou.max(axis=0) > FOLLOWS
        mature = np.array([track.frames >= MATURE for track in expected])
        held = _containment(place_iou, places, shapes) > config.part_share
        crowded = held[mature].sum(axis=0) > 1
    order = sorted(
        range(len(candidates)),
        key=lambda i: (
            not crowded[i],
            follows[i],
            candidates[i].rank[0],
            candidates[i].number < len(frame.moving),
            candidates[i].rank[1],
        ),
        reverse=True,
    )
    parts = _group(order, candidates, follows, iou, config)
    return [
        FoundObject(candidates[i], tuple(candidates[k].number for k in parts[i]))
        for i in sorted(parts)
    ]


def _group(
    order: Sequence[int],
    candidates: Sequence[Candidate],
    follows: Bool[np.ndarray, " n"],
    iou: Float64[np.ndarray, "n n"],
    config: TrackConfig,
) -> dict[int, list[int]]:
    """Finds the candidates that stand for objects, each with duplicates and parts."""
    shapes = [candidate.detection.mask for candidate in candidates]
    inside = _containment(iou, shapes, shapes)
    # Lists, because picking single values out of arrays is slow.
    is_part = inside > config.part_share
    belongs = (is_part | (iou > config.duplicate_iou)).tolist()
    holds = is_part.T.tolist()
    parts: dict[int, list[int]] = {}
    for i in order:
        overlapping = [j for j in parts if belongs[i][j]]
        held = [j for j in parts if holds[i][j]]
        if overlapping:
            parts[overlapping[0]].append(i)
        elif not held:
            parts[i] = []
        elif len(held) == 1 and not follows[held[0]]:
            (part,) = held
            # The part stays if only the part scores enough to start a track.
            if candidates[i].rank[0] >= candidates[part].rank[0]:
                parts[i] = [part, *parts.pop(part)]
    return {
        i: [k for k in own if all(inside[j, k] <= OTHERS for j in parts if j != i)]
        for i, own in parts.items()
    }


def _containment(
    iou: Float64[np.ndarray, "n m"], a: Sequence[Rle], b: Sequence[Rle]
) -> Float64[np.ndarray, "n m"]:
    """`masks.containment`, from the IoU of the masks.

    The result is the same, as numbers of pixels are integers. It is computed from the
    IoU because walking all runs a second time takes much longer.
    """
    area_a = masks.areas(a)[:, None]
    area_b = masks.areas(b)
    shared = np.rint(iou * (area_a + area_b) / (1 + iou))
    return shared / np.maximum(area_a, 1)


def _scoring(
    frame: FrameDetections, config: TrackConfig
) -> tuple[list[Candidate], Float64[np.ndarray, "n n"]]:
    """The detections that score enough, and the IoU of each pair of them.

    Static detections that a moving one covers are left out.
    """
    scoring = [
        c for c in ranked(frame, config) if c.detection.score > config.continue_score
    ]
    shapes = [candidate.detection.mask for candidate in scoring]
    iou = masks.iou(shapes, shapes)
    is_static = np.array([c.number >= len(frame.moving) for c in scoring], bool)
    overlap = iou[:, ~is_static].max(axis=1, initial=0)
    # An overlap of 0 is none, even if `static_overlap` is 0.
    covered = is_static & (overlap >= config.static_overlap) & (overlap > 0)
    kept = np.flatnonzero(~covered)
    return [scoring[i] for i in kept], iou[np.ix_(kept, kept)]
