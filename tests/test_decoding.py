"""Proposals and detections against loops over boxes, in Detectron's own arithmetic too.

The oracles work on inclusive boxes [x1, y1, x2, y2] with "+1" widths where the
convention is Detectron's, and on continuous ones otherwise; none shares code with the
package.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.config import ModelConfig
from movseg_jax.model.decoding import propose, select_detections
from movseg_jax.types import Proposals

pytestmark = pytest.mark.usefixtures("quick_compilation")
CONFIG = ModelConfig(
    motion=None,
    pre_nms=60,
    proposals=40,
    detections=12,
    proposal_nms_iou=0.5,
    min_score=0.3,
)
SHAPES = {3: (8, 12), 4: (4, 6)}
PADDED = (64, 96)
SIZE = (50, 90)
both = pytest.mark.parametrize("convention", ["continuous", "detectron"])


def decode(delta, box, weights, plus):
    """R-CNN's decoding of one box; `plus` is 1 for inclusive boxes."""
    width, height = box[2] - box[0] + plus, box[3] - box[1] + plus
    dx, dy, dw, dh = np.float64(delta) / weights
    x, y = box[0] + 0.5 * width + dx * width, box[1] + 0.5 * height + dy * height
    limit = np.log(1000 / 16)
    width, height = width * np.exp(min(dw, limit)), height * np.exp(min(dh, limit))
    x0, y0 = x - 0.5 * width, y - 0.5 * height
    return [x0, y0, x0 + width - plus, y0 + height - plus]


def clip(boxes, size, plus):
    return np.clip(boxes, 0, [size[1] - plus, size[0] - plus] * 2)


def suppress(boxes, scores, threshold, plus):
    """Greedy NMS by falling score; Detectron suppresses at the threshold too."""

    def area(b):
        return (b[2] - b[0] + plus) * (b[3] - b[1] + plus)

    kept = []
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        suppressed = False
        for j in kept:
            a, b = boxes[i], boxes[j]
            width = min(a[2], b[2]) - max(a[0], b[0]) + plus
            height = min(a[3], b[3]) - max(a[1], b[1]) + plus
            shared = max(width, 0) * max(height, 0)
            union = area(a) + area(b) - shared
            iou = shared / union if union > 0 else 0
            suppressed |= iou >= threshold if plus else iou > threshold
        if not suppressed:
            kept.append(i)
    return kept


def anchors_of(level, y, x, ratio, plus):
    stride = 2**level
    if plus:  # `generate_anchors` of Detectron, spelt out.
        width = np.round(np.sqrt(stride**2 / ratio))
        height = np.round(width * ratio)
        width, height, center = 8 * width, 8 * height, (stride - 1) / 2
        x, y = x * stride + center, y * stride + center
        half_width, half_height = (width - 1) / 2, (height - 1) / 2
    else:
        x, y = (x + 0.5) * stride, (y + 0.5) * stride
        half_width = 8 * stride / np.sqrt(ratio) / 2
        half_height = 8 * stride * np.sqrt(ratio) / 2
    return [x - half_width, y - half_height, x + half_width, y + half_height]


def propose_by_loops(outputs, plus):
    candidates = []
    for level, (height, width) in SHAPES.items():
        logits, deltas = outputs[level]
        rows = []
        cells = np.ndindex(height, width, 3)
        for i, (y, x, a) in enumerate(cells):
            real = y * 2**level < SIZE[0] and x * 2**level < SIZE[1]
            if plus or real:
                box = anchors_of(level, y, x, (0.5, 1, 2)[a], plus)
                rows.append((logits[i], decode(deltas[i], box, 1, plus)))
        rows = sorted(rows, key=lambda row: -row[0])[: CONFIG.pre_nms]
        boxes = clip([box for _, box in rows], PADDED if plus else SIZE, plus)
        scores = np.array([score for score, _ in rows])
        if not plus:  # What lies outside of the image is dropped.
            inside = (boxes[:, 2:] - boxes[:, :2] >= 1e-3).all(axis=1)
            boxes, scores = boxes[inside], scores[inside]
        kept = suppress(boxes, scores, CONFIG.proposal_nms_iou, plus)
        candidates += [(scores[i], boxes[i]) for i in kept]
    candidates = sorted(candidates, key=lambda row: -row[0])[: CONFIG.proposals]
    return (np.array(part) for part in zip(*candidates, strict=True))


@both
def test_proposals_equal_the_loops(convention):
    config = dataclasses.replace(CONFIG, convention=convention)
    plus = int(convention == "detectron")
    rng = np.random.default_rng(0)
    outputs = {}
    for level, (height, width) in SHAPES.items():
        n = height * width * 3
        deltas = 0.3 * rng.normal(size=(n, 4))
        outputs[level] = (rng.normal(size=n).astype(np.float32), np.float32(deltas))
    scores, boxes = propose_by_loops(outputs, plus)
    size = jnp.float32(SIZE)
    run = jax.jit(lambda outputs: propose(outputs, SHAPES, size, PADDED, config))
    proposals = run(jax.tree.map(jnp.asarray, outputs))
    n = int(proposals.valid.sum())
    assert n == len(scores)
    assert_array_equal(proposals.valid, np.arange(CONFIG.proposals) < n)
    assert_allclose(proposals.scores[:n], 1 / (1 + np.exp(-scores)), rtol=1e-5)
    found = np.asarray(proposals.boxes[:n]) - np.array([0, 0, plus, plus])
    assert_allclose(found, boxes, atol=1e-3)


def test_fewer_anchors_than_proposals_are_padded():
    outputs = {6: (jnp.zeros(3), jnp.zeros((3, 4)))}
    proposals = propose(outputs, {6: (1, 1)}, jnp.float32([64, 64]), (64, 64), CONFIG)
    assert proposals.boxes.shape == (CONFIG.proposals, 4)
    assert 1 <= proposals.valid.sum() <= 3
    assert not proposals.boxes[~proposals.valid].any()


def test_scores_that_are_no_number_are_no_proposals():
    outputs = {6: (jnp.full(3, jnp.nan), jnp.zeros((3, 4)))}
    proposals = propose(outputs, {6: (1, 1)}, jnp.float32([64, 64]), (64, 64), CONFIG)
    assert not proposals.valid.any()


def random_rois(n, rng):
    corners = rng.uniform(0, 1, (n, 2, 2)) * [SIZE[1] - 20, SIZE[0] - 20]
    boxes = np.concatenate([corners.min(1), corners.max(1) + 15], axis=1)
    return boxes


def select_by_loops(logits, deltas, rois, scale, frame_size, plus):
    """`im_detect_bbox` and `box_results_with_nms_and_limit`, class by class."""
    if plus:
        rois, size = rois / scale, frame_size
    else:
        size = SIZE
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = []
    for k in range(deltas.shape[1]):
        boxes = [
            decode(d, r, (10, 10, 5, 5), plus)
            for d, r in zip(deltas[:, k], rois, strict=True)
        ]
        boxes = clip(boxes, size, plus)
        over = np.flatnonzero(scores[:, k + 1] > CONFIG.min_score)
        best = scores[over, k + 1]
        kept = suppress(boxes[over], best, CONFIG.detection_nms_iou, plus)
        found += [(best[i], k, over[i], boxes[over[i]]) for i in kept]
    found = sorted(found, key=lambda row: -row[0])[: CONFIG.detections]
    if plus:
        found = sorted(found, key=lambda row: row[1:3])
    scores, classes, _, boxes = (np.array(part) for part in zip(*found, strict=True))
    if plus:
        return scores, classes, boxes, boxes * scale
    return scores, classes, boxes / np.tile(scale[::-1], 2), boxes


@both
@pytest.mark.parametrize("classes", [1, 3])
def test_detections_equal_the_loops(convention, classes):
    config = dataclasses.replace(CONFIG, convention=convention, classes=classes)
    plus = int(convention == "detectron")
    rng = np.random.default_rng(1)
    rois = random_rois(CONFIG.proposals, rng)
    logits = 2 * rng.normal(size=(len(rois), classes + 1))
    deltas = rng.normal(size=(len(rois), classes, 4))
    # One factor for both axes, as Detectron has it; sides of their own otherwise.
    scale = np.array([1.6, 1.6 if plus else 1.5])
    frame_size = np.round(np.array(SIZE) / scale)
    expected = select_by_loops(
        logits, deltas, rois, scale[0] if plus else scale, frame_size, plus
    )
    ends = np.array([0, 0, plus, plus])
    proposals = Proposals(
        jnp.float32(rois + ends), jnp.ones(len(rois)), jnp.ones(len(rois), bool)
    )
    found = jax.jit(lambda *a: select_detections(*a, config))(
        jnp.float32(logits), jnp.float32(deltas), proposals,
        jnp.float32(SIZE), jnp.float32(frame_size), jnp.float32(scale),
    )  # fmt: skip
    n = int(found.valid.sum())
    scores, kinds, in_frame, in_input = expected
    assert n == len(scores) > 5
    assert_allclose(found.scores[:n], scores, rtol=1e-5)
    assert_array_equal(found.classes[:n], kinds)
    assert_allclose(np.asarray(found.boxes[:n]) - ends, in_frame, atol=1e-3)
    assert_allclose(np.asarray(found.rois[:n]) - ends, in_input, atol=1e-3)
    assert not found.boxes[n:].any() and not found.scores[n:].any()
