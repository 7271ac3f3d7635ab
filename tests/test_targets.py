import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from movseg_jax.ops import boxes as box_ops
from movseg_jax.train import targets
from movseg_jax.types import Objects, Proposals

pytestmark = pytest.mark.usefixtures("quick_compilation")
# Operation by operation they take seconds.
anchor_targets = jax.jit(targets.anchor_targets, static_argnames="samples")
roi_targets = jax.jit(targets.roi_targets, static_argnames="samples")
mask_targets = jax.jit(targets.mask_targets)


def random_boxes(n, seed, size=64):
    corners = np.random.default_rng(seed).uniform(0, size, (n, 2, 2))
    return np.sort(corners, axis=1).reshape(n, 4).astype(np.float32)


def make_objects(boxes, valid=None, masks=None, classes=None):
    n = len(boxes)
    return Objects(
        boxes=jnp.asarray(boxes, jnp.float32).reshape(n, 4),
        masks=jnp.full((n, 16, 16), 255, jnp.uint8) if masks is None else masks,
        classes=jnp.zeros(n, jnp.int32) if classes is None else jnp.asarray(classes),
        valid=jnp.ones(n, bool) if valid is None else jnp.asarray(valid),
        ignored=jnp.zeros((8, 8), jnp.uint8),
    )


def make_proposals(boxes, valid=None):
    n = len(boxes)
    return Proposals(
        boxes=jnp.asarray(boxes),
        scores=jnp.zeros(n),
        valid=jnp.ones(n, bool) if valid is None else jnp.asarray(valid),
    )


def iou(a, b):
    """One pair, in float64."""
    a, b = np.float64(a), np.float64(b)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared) if sum(areas) > shared else 0.0


def anchor_labels(anchors, usable, objects):
    """1 positive, 0 negative, -1 neither: the rules, one anchor at a time."""
    table = np.zeros((len(anchors), len(objects)))
    for i, anchor in enumerate(anchors):
        for j, box in enumerate(objects):
            table[i, j] = iou(anchor, box) if usable[i] else 0
    labels = np.full(len(anchors), -1)
    for i in range(len(anchors)):
        if not usable[i]:
            continue
        best = max(table[i], default=0)
        if best < 0.3:
            labels[i] = 0
        if best >= 0.7:
            labels[i] = 1
        for j in range(len(objects)):
            if table[i, j] > 0 and table[i, j] >= table[:, j].max() - 1e-7:
                labels[i] = 1
    return labels


@pytest.mark.parametrize("seed", range(3))
def test_anchors_are_labelled_by_the_rules(seed):
    anchors, objects = random_boxes(60, seed), random_boxes(4, seed + 100)
    usable = np.random.default_rng(seed).random(60) < 0.8
    expected = anchor_labels(anchors, usable, objects)
    run = functools.partial(anchor_targets, samples=200)
    found = run(
        jnp.asarray(anchors),
        jnp.asarray(usable),
        jnp.ones(60, bool),
        make_objects(objects),
        jax.random.key(seed),
    )
    labels = np.where(found.positive, 1, np.where(found.sampled, 0, -1))
    np.testing.assert_array_equal(labels, expected)
    for i in np.flatnonzero(found.positive):
        own = max(objects, key=lambda box, i=i: iou(anchors[i], box))
        decoded = box_ops.decode(
            found.deltas[i : i + 1],
            jnp.asarray(anchors[i : i + 1]),
            box_ops.ANCHOR_WEIGHTS,
        )
        assert_allclose(decoded[0], own, atol=1e-3)
    assert not found.deltas[~found.positive].any()


def test_an_object_that_no_anchor_fits_gets_its_best_anchor():
    anchors = jnp.array([[0, 0, 10, 10], [50, 50, 60, 60.0]])
    found = anchor_targets(
        anchors,
        jnp.ones(2, bool),
        jnp.ones(2, bool),
        make_objects([[8, 8, 40, 40]]),
        jax.random.key(0),
    )
    np.testing.assert_array_equal(found.positive, [True, False])
    np.testing.assert_array_equal(found.sampled, [True, True])


def test_draws_are_within_their_numbers_and_random():
    anchors = jnp.asarray(np.tile([[0, 0, 10, 10.0]], (100, 1)), jnp.float32)
    anchors = anchors.at[50:].add(40)
    objects = make_objects([[0, 0, 10, 10]])

    def draw(seed):
        return anchor_targets(
            anchors,
            jnp.ones(100, bool),
            jnp.ones(100, bool),
            objects,
            jax.random.key(seed),
            samples=20,
        )

    a, b = draw(0), draw(1)
    assert a.sampled.sum() == 20 and a.positive.sum() == 10
    assert (a.sampled != b.sampled).any()
    np.testing.assert_array_equal(a.sampled, draw(0).sampled)


def test_few_positives_leave_room_for_more_negatives():
    anchors = jnp.asarray(random_boxes(300, 0))
    found = anchor_targets(
        anchors,
        jnp.ones(300, bool),
        jnp.ones(300, bool),
        make_objects(anchors[:1]),
        jax.random.key(0),
        samples=64,
    )
    assert found.sampled.sum() == 64


def test_images_without_objects_have_negatives_only():
    for objects in (make_objects(np.zeros((0, 4))), make_objects([[0] * 4], [False])):
        anchors = jnp.asarray(random_boxes(30, 0))
        found = anchor_targets(
            anchors,
            jnp.ones(30, bool),
            jnp.ones(30, bool),
            objects,
            jax.random.key(0),
        )
        assert found.sampled.all() and not found.positive.any()
        rois = roi_targets(
            make_proposals(anchors), jnp.ones(30, bool), objects, jax.random.key(0)
        )
        assert rois.valid.sum() == 30 and not rois.positive.any()
        assert not rois.classes.any() and not rois.deltas.any()
        masks = mask_targets(rois.rois[:5], rois.object[:5], objects)
        assert masks.shape == (5, 28, 28)


def test_nothing_is_negative_where_nothing_is_labelled():
    anchors = jnp.asarray(random_boxes(50, 0))
    objects = make_objects(random_boxes(2, 9))
    labelled = jnp.arange(50) % 2 == 0
    found = anchor_targets(
        anchors, jnp.ones(50, bool), labelled, objects, jax.random.key(0)
    )
    assert not (found.sampled & ~found.positive & ~labelled).any()
    rois = roi_targets(make_proposals(anchors), labelled, objects, jax.random.key(0))
    negative = np.asarray(rois.rois[rois.valid & ~rois.positive])
    for box in negative:
        assert labelled[np.flatnonzero((np.asarray(anchors) == box).all(axis=1))].all()


@pytest.mark.parametrize("seed", range(3))
def test_rois_are_drawn_by_the_rules(seed):
    boxes, objects = random_boxes(60, seed), random_boxes(4, seed + 100)
    valid = np.array([True, True, True, False])
    classes = np.arange(4, dtype=np.int32)
    found = functools.partial(roi_targets, samples=40)(
        make_proposals(boxes),
        jnp.ones(60, bool),
        make_objects(objects, valid, classes=classes),
        jax.random.key(seed),
    )
    assert found.valid.sum() == 40
    count = int(found.positive.sum())
    assert 3 <= count <= 10 and found.positive[:count].all()
    rows = {tuple(box) for box in np.asarray(found.rois)}
    assert len(rows) == 40  # Without replacement.
    for i, roi in enumerate(np.asarray(found.rois)):
        overlaps = [iou(roi, box) for box in objects[valid]]
        assert found.positive[i] == (max(overlaps) >= 0.5)
        own = int(np.argmax(overlaps)) if found.positive[i] else -1
        assert found.classes[i] == own + 1
        if found.positive[i]:
            decoded = box_ops.decode(
                found.deltas[i : i + 1], found.rois[i : i + 1], box_ops.ROI_WEIGHTS
            )
            assert_allclose(decoded[0], objects[own], atol=1e-3)


def test_padding_is_never_drawn():
    proposals = make_proposals(random_boxes(20, 0), np.arange(20) < 5)
    objects = make_objects(random_boxes(3, 1), [True, False, False])
    found = roi_targets(
        proposals, jnp.ones(20, bool), objects, jax.random.key(0), samples=64
    )
    assert found.valid.sum() == 6
    assert not found.rois[~found.valid].any()
    assert not found.classes[~found.valid].any()


def test_an_object_is_a_roi_of_itself():
    objects = make_objects([[5, 5, 20, 30]])
    found = roi_targets(
        make_proposals(np.zeros((0, 4), np.float32)),
        jnp.ones(0, bool),
        objects,
        jax.random.key(0),
    )
    assert_allclose(found.rois[0], objects.boxes[0])
    assert found.positive[0] and not found.deltas[0].any()


def disc(side=112):
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return np.hypot(x, y) < 0.5


@pytest.mark.parametrize(
    "roi", [[10, 10, 50, 50], [0, 0, 60, 60], [20, 5, 45, 40], [30, 30, 70, 70]]
)
def test_masks_are_what_the_roi_sees_of_its_object(roi):
    crop = jnp.asarray(disc()[None] * np.uint8(255))
    objects = make_objects([[10, 10, 50, 50]], masks=crop)
    found = mask_targets(
        jnp.array([roi], jnp.float32), jnp.zeros(1, jnp.int32), objects
    )
    x0, y0, x1, y1 = roi
    x = x0 + (np.arange(28) + 0.5) / 28 * (x1 - x0)
    y = y0 + (np.arange(28) + 0.5) / 28 * (y1 - y0)
    distance = np.hypot(x[None, :] - 30, y[:, None] - 30)
    clear = np.abs(distance - 20) > 1.5
    np.testing.assert_array_equal(found[0][clear], (distance < 20)[clear])


def test_masks_of_padding_are_empty():
    objects = make_objects([[10, 10, 50, 50]])
    found = mask_targets(jnp.zeros((2, 4)), jnp.zeros(2, jnp.int32), objects)
    assert not found.any()


def test_the_ignored_fraction_is_a_mean_over_the_box(compiled):
    rng = np.random.default_rng(0)
    grid = (rng.random((6, 8)) < 0.4).astype(np.float32)
    boxes = np.round(random_boxes(20, 3, size=60))
    fine = grid.repeat(8, axis=0).repeat(8, axis=1)  # 48x64 pixels.
    expected = []
    for x0, y0, x1, y1 in boxes.astype(int):
        part = fine[y0:y1, x0:x1]
        expected.append(part.mean() if part.size else 0)
    found = compiled(targets.ignored_fraction)(
        jnp.asarray(grid), jnp.asarray(boxes), jnp.array([48.0, 64.0])
    )
    assert_allclose(found, expected, atol=1e-5)
