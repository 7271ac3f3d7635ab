"""Average precision against COCOeval of pycocotools, by hand, and malformed input."""

import contextlib
import dataclasses
import io
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.average_precision import (
    COCO_AREAS,
    AveragePrecision,
    concatenate,
)
from movseg_jax.metrics.davis import region_similarity
from movseg_jax.metrics.overlaps import ComparedImage, ImageDetections, ImageObjects

MEASURES = ("ap", "ap50", "ap75", "ar1", "ar10", "ar100")
FRAME = (130, 160)  # Holds objects that are large to COCO.


# Scenes ----------------------------------------------------------------------------


def rectangle(box):
    mask = np.zeros(FRAME, bool)
    x0, y0, x1, y1 = np.asarray(box, int)
    mask[y0:y1, x0:x1] = True
    return masks.encode(mask)


def rectangle_without_corner(box):
    mask = masks.decode(rectangle(box))
    x0, y0, x1, y1 = np.asarray(box, int)
    mask[y0 : (y0 + y1) // 2, x0 : (x0 + x1) // 2] = False
    return masks.encode(mask)


def random_boxes(rng, n):
    """Of whole pixels, of all of COCO's sizes, some of them equal."""
    end = np.array(FRAME[::-1])
    size = np.minimum(np.exp(rng.uniform(0, 5, (n, 2))).astype(int) + 1, end)
    start = rng.integers(0, end - size + 1)
    boxes = np.concatenate([start, start + size], axis=1).astype(np.float32)
    return boxes[rng.integers(0, max(n, 1), n)] if rng.random() < 0.3 else boxes


def boxes_near(rng, boxes, n):
    """Boxes moved by a few pixels, which often have equal overlaps."""
    if not len(boxes):
        return random_boxes(rng, n)
    near = boxes[rng.integers(0, len(boxes), n)] + rng.integers(-3, 4, (n, 4))
    near = np.clip(near, 0, np.tile(FRAME[::-1], 2))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
    far = random_boxes(rng, n)
    return np.where(rng.random((n, 1)) < 0.8, near, far).astype(np.float32)


def random_image(rng, most_detections, classes, score_levels):
    m = rng.integers(0, 8) * (rng.random() < 0.85)
    n = rng.integers(0, most_detections + 1) * (rng.random() < 0.85)
    boxes = random_boxes(rng, m)
    objects = ImageObjects(
        boxes=boxes,
        masks=[rectangle_without_corner(box) for box in boxes],
        classes=rng.integers(0, classes, m),
        ignore=rng.random(m) < 0.2,
    )
    found = boxes_near(rng, boxes, n)
    detections = ImageDetections(
        boxes=found,
        # Not the boxes': the two kinds shall have different results.
        masks=[rectangle(box) for box in boxes_near(rng, found, n)],
        classes=rng.integers(0, classes, n),
        scores=(rng.integers(0, score_levels, n) / score_levels).astype(np.float32),
    )
    return detections, objects


def random_scene(seed, images=6, most_detections=12, classes=1, score_levels=10):
    rng = np.random.default_rng(seed)
    return {
        f"image {i:03}": random_image(rng, most_detections, classes, score_levels)
        for i in range(images)
    }


def evaluate(scene, **options):
    metric = AveragePrecision(**options)
    return metric.compute(state_of(metric, scene))


def state_of(metric, scene):
    return metric.merge(
        metric.add(ComparedImage(name, *items)) for name, items in scene.items()
    )


def object_of(*boxes, ignore=None):
    return ImageObjects(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        masks=[rectangle(box) for box in boxes],
        classes=np.zeros(len(boxes), int),
        ignore=np.array(ignore if ignore else [False] * len(boxes), bool),
    )


def found_at(*boxes, scores=None):
    return ImageDetections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        masks=[rectangle(box) for box in boxes],
        classes=np.zeros(len(boxes), int),
        scores=np.array(scores if scores else [0.5] * len(boxes), np.float64),
    )


def truth_as_detections(objects):
    counts = np.flatnonzero(~objects.ignore)
    return ImageDetections(
        boxes=objects.boxes[counts],
        masks=[objects.masks[i] for i in counts],
        classes=objects.classes[counts],
        scores=np.linspace(0.1, 0.9, len(counts)),
    )


# The oracle ------------------------------------------------------------------------


def coco_of(scene, kind, classes):
    """The scene as COCO's two data sets, of what there is and what was found."""
    objects, found = [], []
    for image_id, (detections, truth) in enumerate(scene.values()):
        for annotations, items in ((objects, truth), (found, detections)):
            for i in range(len(items.classes)):
                rle = masks.to_json(items.masks[i])
                x0, y0, x1, y1 = items.boxes[i].tolist()
                by_mask = items is truth or kind == "mask"
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": int(items.classes[i]),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "segmentation": rle,
                        "area": masks.area(items.masks[i])
                        if by_mask
                        else (x1 - x0) * (y1 - y0),
                        "iscrowd": int(items is truth and items.ignore[i]),
                        "score": float(items.scores[i]) if items is detections else 1,
                    }
                )
    sets = []
    for annotations in (objects, found):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(scene))],
            "categories": [{"id": i} for i in range(classes)],
            "annotations": annotations,
        }
        for annotation in annotations:  # `annToRLE` asks for the size.
            height, width = annotation["segmentation"]["size"]
            image = coco.dataset["images"][annotation["image_id"]]
            image.update(height=height, width=width)
        coco.createIndex()
        sets.append(coco)
    return sets


def coco_measures(scene, kind, classes, max_detections=100, agnostic=False):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            *coco_of(scene, kind, classes), "bbox" if kind == "box" else "segm"
        )
        counts = [c for c in (1, 10, 100) if c < max_detections] + [max_detections]
        evaluation.params.maxDets = counts
        evaluation.params.useCats = 0 if agnostic else 1
        evaluation.evaluate()
        evaluation.accumulate()
    # Thresholds, recalls, classes, area ranges.
    precision = evaluation.eval["precision"][..., -1]
    recall = evaluation.eval["recall"]
    recalls = {f"ar{count}": recall[..., k] for k, count in enumerate(counts)}

    def mean(values):
        return values[values > -1].mean() if (values > -1).any() else math.nan

    measures = {}
    for i, suffix in enumerate(["", "_small", "_medium", "_large"]):
        measures[f"{kind}_ap{suffix}"] = mean(precision[:, :, :, i])
        measures[f"{kind}_ap50{suffix}"] = mean(precision[0, :, :, i])
        measures[f"{kind}_ap75{suffix}"] = mean(precision[5, :, :, i])
        for name, recall in recalls.items():
            measures[f"{kind}_{name}{suffix}"] = mean(recall[:, :, i])
    for i in range(classes if classes > 1 and not agnostic else 0):
        measures[f"{kind}_ap/class {i}"] = mean(precision[:, :, i, 0])
        measures[f"{kind}_ap50/class {i}"] = mean(precision[0, :, i, 0])
        measures[f"{kind}_ap75/class {i}"] = mean(precision[5, :, i, 0])
        for name, recall in recalls.items():
            measures[f"{kind}_{name}/class {i}"] = mean(recall[:, i, 0])
    return measures


def assert_equals_coco(scene, classes=1, max_detections=100, agnostic=False):
    measures = evaluate(
        scene,
        max_detections=max_detections,
        class_names=[f"class {i}" for i in range(classes)],
        class_agnostic=agnostic,
        areas=COCO_AREAS,
    )
    expected = {}
    for kind in ("box", "mask"):
        expected |= coco_measures(scene, kind, classes, max_detections, agnostic)
    assert measures.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(measures[name], value, rtol=0, atol=1e-9, err_msg=name)


# Agreement -------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(0, 8),
    most_detections=st.sampled_from([0, 1, 5, 15]),
    classes=st.integers(1, 3),
    score_levels=st.sampled_from([1, 3, 1000]),
    max_detections=st.sampled_from([100, 4, 1]),
    agnostic=st.booleans(),
)
def test_every_measure_is_that_of_cocoeval(
    seed, images, most_detections, classes, score_levels, max_detections, agnostic
):
    scene = random_scene(seed, images, most_detections, classes, score_levels)
    assert_equals_coco(scene, classes, max_detections, agnostic)


@pytest.mark.parametrize("score_levels", [5, 10_000])
def test_more_than_a_hundred_detections_in_an_image_are_cut_as_by_cocoeval(
    score_levels,
):
    scene = random_scene(0, 5, 230, classes=1, score_levels=score_levels)
    assert max(len(detections.scores) for detections, _ in scene.values()) > 150
    assert_equals_coco(scene)
    scene = random_scene(1, 5, 300, classes=2, score_levels=score_levels)
    assert_equals_coco(scene, classes=2)
    assert_equals_coco(scene, classes=2, agnostic=True)


def test_an_overlap_of_exactly_a_threshold_counts_as_in_cocoeval():
    for width in range(1, 41):  # IoUs of n / 40, among them all thresholds.
        scene = {"image": (found_at([0, 0, width, 10]), object_of([0, 0, 40, 10]))}
        assert_equals_coco(scene)


@pytest.mark.parametrize("classes", [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
@pytest.mark.parametrize("second", [0, 1])
def test_of_objects_overlapped_equally_the_one_of_cocoeval_is_taken(classes, second):
    left, right = [0, 0, 20, 10], [20, 0, 40, 10]
    found = found_at([0, 0, 40, 10], [left, right][second], scores=[0.9, 0.8])
    truth = object_of(left, right, [90, 90, 99, 99])
    truth = dataclasses.replace(truth, classes=np.array(classes))
    assert_equals_coco({"image": (found, truth)}, classes=2, agnostic=True)


@pytest.mark.parametrize("size", [31, 32, 33, 95, 96, 97])
def test_objects_at_the_limits_of_areas_count_as_in_cocoeval(size):
    box, tiny, huge = [0, 0, size, size], [140, 0, 145, 5], [0, 10, 130, 130]
    less, more = [0, 0, size - 4, size], [0, 0, size + 4, size]
    for twice in (box, less, more):  # Only one of them can take the object.
        found = found_at(twice, twice, tiny, huge, scores=[0.9, 0.8, 0.2, 0.1])
        for truth in (object_of(box), object_of(box, tiny), object_of(box, tiny, huge)):
            assert_equals_coco({"image": (found, truth)})


def test_an_overlap_of_one_but_for_rounding_is_enough_for_a_threshold_of_one():
    for width, expected in ((20 + 1e-12, 1), (20 + 1e-6, 0)):
        found = dataclasses.replace(
            found_at([0, 0, 20, 20]), boxes=np.array([[0.0, 0, width, 20]])
        )
        scene = {"image": (found, object_of([0, 0, 20, 20]))}
        measures = evaluate(scene, kinds=["box"], iou_thresholds=[1.0])
        names = ("box_ap", "box_ar1", "box_ar10", "box_ar100")
        assert measures == dict.fromkeys(names, expected)


@pytest.mark.slow
def test_many_large_scenes_agree_with_cocoeval():
    for seed in range(100):
        classes, agnostic = 1 + seed % 4, seed % 3 == 0
        scene = random_scene(seed, 20, 30, classes, score_levels=7 + seed)
        assert_equals_coco(scene, classes, agnostic=agnostic)


# Cases by hand ---------------------------------------------------------------------


def test_precision_is_interpolated_over_recalls_of_hundredths():
    right, wrong = [10, 10, 30, 30], [60, 60, 80, 80]
    other = [90, 90, 120, 120]
    scene = {
        "a": (
            found_at(right, wrong, other, scores=[0.9, 0.8, 0.7]),
            object_of(right, other),
        )
    }
    # Recall 1/2 (recalls 0 to 0.50) at precision 1, then recall 1 at precision 2/3.
    expected = (51 * 1 + 50 * 2 / 3) / 101
    measures = evaluate(scene)
    for kind in ("box", "mask"):
        assert measures[f"{kind}_ap50"] == pytest.approx(expected, abs=1e-12)
        assert measures[f"{kind}_ap"] == pytest.approx(expected, abs=1e-12)
        assert measures[f"{kind}_ar1"] == 0.5
        assert measures[f"{kind}_ar10"] == measures[f"{kind}_ar100"] == 1


def test_two_detections_of_an_object_are_one_right_and_one_wrong():
    box = [10, 10, 30, 30]
    apart, together = [100, 100, 110, 110], found_at(box, box)
    measures = evaluate({"a": (together, object_of(box, apart))})
    assert measures["box_ap50"] == measures["mask_ap50"] == 51 / 101


def test_detections_in_ignored_regions_are_neither_right_nor_wrong():
    box, crowd = [0, 0, 20, 20], [50, 50, 120, 120]
    inside = [[60, 60, 70, 70], [80, 80, 90, 90], [45, 45, 70, 70]]
    found = found_at(*inside, box, scores=[0.9, 0.8, 0.7, 0.1])
    with_crowd = object_of(box, crowd, ignore=[False, True])
    assert evaluate({"a": (found, with_crowd)})["mask_ap50"] == 1
    assert evaluate({"a": (found, object_of(box))})["mask_ap50"] == 0.25
    # A crowd that is not found is not missed.
    assert evaluate({"a": (found_at(box), with_crowd)})["box_ar1"] == 1


def test_an_object_is_preferred_to_an_ignored_region_around_it():
    box, crowd = [10, 10, 30, 30], [0, 0, 120, 120]
    truth = object_of(crowd, box, ignore=[True, False])
    assert evaluate({"a": (found_at([10, 10, 30, 22]), truth)})["box_ap50"] == 1


def test_classes_as_one_keep_detections_that_differ_in_class_only():
    box = [10, 10, 30, 30]
    found = dataclasses.replace(
        found_at(box, box, [90, 90, 99, 99], scores=[0.9, 0.8, 0.7]),
        classes=np.array([7, 56, 3]),
    )
    truth = object_of(box, [90, 90, 99, 99])
    measures = evaluate({"a": (found, truth)}, class_agnostic=True)
    assert measures["box_ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)
    assert set(measures) == {
        f"{kind}_{name}" for kind in ("box", "mask") for name in MEASURES
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_as_prediction_is_perfect(seed):
    scene = {
        name: (truth_as_detections(objects), objects)
        for name, (_, objects) in random_scene(
            seed, 60, most_detections=0, classes=2
        ).items()
    }
    measures = evaluate(scene, class_names=["a", "b"], areas=COCO_AREAS)
    # The best detection of an image alone cannot take all its objects.
    assert {v for k, v in measures.items() if "_ar1" not in k or "_ar10" in k} == {1.0}
    assert len(measures) == 2 * len(MEASURES) * (1 + 3 + 2)


def test_without_detections_the_measures_are_zero():
    scene = {"a": (found_at(), object_of([0, 0, 9, 9])), "b": (found_at(), object_of())}
    assert set(evaluate(scene).values()) == {0.0}
    assert evaluate(scene, areas=COCO_AREAS)["box_ap_small"] == 0
    assert math.isnan(evaluate(scene, areas=COCO_AREAS)["box_ap_large"])


def test_without_objects_the_measures_are_not_defined():
    crowd = object_of([0, 0, 9, 9], ignore=[True])
    for scene in (
        {},
        {"a": (found_at(), object_of())},
        {"a": (found_at([0, 0, 9, 9]), object_of())},
        {"a": (found_at([0, 0, 9, 9]), crowd)},
    ):
        measures = evaluate(scene)
        assert len(measures) == 2 * len(MEASURES)
        assert all(math.isnan(value) for value in measures.values())


def test_detections_in_images_without_objects_are_wrong():
    box = [0, 0, 9, 9]
    scene = {
        "a": (found_at(box, scores=[0.3]), object_of(box)),
        "b": (found_at(box, scores=[0.9]), object_of()),
    }
    assert evaluate(scene)["mask_ap50"] == 0.5


def test_objects_without_area_are_not_there():
    box, nothing = [0, 0, 9, 9], [0, 0, 0, 0]
    scene = {"a": (found_at(box), object_of(nothing, box))}
    assert set(evaluate(scene).values()) == {1.0}
    scene = {"a": (found_at(nothing, box, scores=[0.9, 0.1]), object_of(box))}
    measures = evaluate(scene)
    assert measures["mask_ap"] == 0.5  # The empty one was first.
    assert (measures["mask_ar1"], measures["mask_ar10"]) == (0, 1)


# Invariances -----------------------------------------------------------------------


def test_the_order_of_images_does_not_matter_even_to_equal_scores():
    scene = random_scene(3, 12, classes=2, score_levels=3)
    options = {"class_names": ["a", "b"], "areas": COCO_AREAS}
    expected = evaluate(scene, **options)
    backwards = dict(reversed(scene.items()))
    assert repr(evaluate(backwards, **options)) == repr(expected)


def test_the_order_of_detections_and_objects_does_not_matter():
    rng = np.random.default_rng(4)
    scene = random_scene(4, 12, score_levels=10**6)
    shuffled = {}
    for name, items in scene.items():
        orders = [rng.permutation(len(each.classes)) for each in items]
        shuffled[name] = tuple(
            dataclasses.replace(
                each,
                **{
                    field.name: [each.masks[i] for i in order]
                    if field.name == "masks"
                    else getattr(each, field.name)[order]
                    for field in dataclasses.fields(each)
                    if field.name != "void"
                },
            )
            for each, order in zip(items, orders, strict=True)
        )
    assert evaluate(shuffled) == evaluate(scene)


def test_a_kind_alone_has_the_measures_it_has_with_the_other():
    scene = random_scene(5, 8)
    both = evaluate(scene)
    boxes = {
        name: tuple(dataclasses.replace(each, boxes=None) for each in items)
        for name, items in scene.items()
    }
    alone = evaluate(boxes, kinds=["mask"])
    assert alone == {k: v for k, v in both.items() if k.startswith("mask")}
    without_masks = {
        name: tuple(dataclasses.replace(each, masks=None) for each in items)
        for name, items in scene.items()
    }
    alone = evaluate(without_masks, kinds=["box"])
    assert alone == {k: v for k, v in both.items() if k.startswith("box")}


def test_a_summary_may_be_asked_for_at_any_time():
    scene = random_scene(6, 6)
    metric = AveragePrecision()
    state = metric.merge([])
    for name, items in scene.items():
        state = metric.merge([state, metric.add(ComparedImage(name, *items))])
        metric.compute(state)
    assert metric.compute(state) == evaluate(scene)


def test_thresholds_choose_the_measures():
    scene = random_scene(7, 6)
    measures = evaluate(scene, iou_thresholds=[0.5], kinds=["box"], max_detections=10)
    assert set(measures) == {"box_ap", "box_ap50", "box_ar1", "box_ar10"}
    assert measures["box_ap"] == measures["box_ap50"] == evaluate(scene)["box_ap50"]
    lower = evaluate(scene, iou_thresholds=[0.3], kinds=["box"], max_detections=1)
    assert set(lower) == {"box_ap", "box_ar1"}


def test_memory_grows_by_a_few_kilobytes_an_image():
    rng = np.random.default_rng(8)
    noise = [masks.encode(rng.random(FRAME) < 0.5) for _ in range(100)]
    metric = AveragePrecision()
    state = metric.merge([])
    boxes, truth = random_boxes(rng, 100), object_of([0, 0, 50, 50])
    used = []
    tracemalloc.start()
    for i in range(12):
        detections = ImageDetections(
            boxes=boxes.copy(),
            masks=[dataclasses.replace(rle) for rle in noise],
            classes=np.zeros(100, int),
            scores=rng.random(100),
        )
        image = ComparedImage(str(i), detections, truth)
        state = metric.merge([state, metric.add(image)])
        del image
        del detections
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sum(len(rle.counts) for rle in noise) > 1_000_000
    # A hundredth of its masks. It is scores and outcomes in some arrays, whose headers
    # depend on the versions. Now and then an image fills a cache, too.
    assert np.median(np.diff(used)) < 10_000


# Equal scores together -------------------------------------------------------------


def curve_by_thresholds(state, kind, threshold):
    """AP as the definition has it: precision and recall of all above each score."""
    table = concatenate(tables for _, tables in state.parts)[kind, 0]
    outcomes, objects = table.outcomes[0, threshold], int(table.objects[0])
    points = []
    for score in set(table.scores.tolist()):
        right = wrong = 0
        for other, outcome in zip(table.scores, outcomes, strict=True):
            right += other >= score and outcome == 1
            wrong += other >= score and outcome == 0
        points.append((right / objects, right / max(right + wrong, 1)))
    best = [
        max((p for r, p in points if r >= percent / 100), default=0.0)
        for percent in range(101)
    ]
    return sum(best) / 101


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), score_levels=st.sampled_from([1, 2, 5]))
def test_equal_scores_that_count_together_are_let_in_together(seed, score_levels):
    metric = AveragePrecision([0.5, 0.75], class_agnostic=True, ties_together=True)
    state = state_of(metric, random_scene(seed, 5, score_levels=score_levels))
    measures = metric.compute(state)
    for kind in ("box", "mask"):
        if math.isnan(measures[f"{kind}_ap50"]):
            continue
        for number, name in enumerate(("ap50", "ap75")):
            expected = curve_by_thresholds(state, kind, number)
            assert measures[f"{kind}_{name}"] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_without_equal_scores_it_does_not_matter_how_they_count(seed):
    scene = random_scene(seed, 4, score_levels=2**22)
    scores = [s for found, _ in scene.values() for s in found.scores.tolist()]
    if len(set(scores)) == len(scores):
        assert repr(evaluate(scene, ties_together=True)) == repr(evaluate(scene))


def test_equal_scores_that_count_together_give_the_same_in_any_order_of_images():
    right, wrong = (found_at([0, 0, 9, 9]), found_at([50, 50, 60, 60]))
    truth = object_of([0, 0, 9, 9])
    ways = ({"a": right, "b": wrong}, {"a": wrong, "b": right})
    scenes = [{name: (each, truth) for name, each in way.items()} for way in ways]
    in_turn = [evaluate(scene)["mask_ap50"] for scene in scenes]
    assert in_turn == [51 / 101, 0.5 * 51 / 101]
    together = [evaluate(s, ties_together=True)["mask_ap50"] for s in scenes]
    assert together == [0.5 * 51 / 101] * 2


def test_tables_merged_are_those_of_all_images():
    scene = random_scene(9, 12, score_levels=10**6)
    metric = AveragePrecision(areas=COCO_AREAS)
    parts = [tables for _, tables in state_of(metric, scene).parts]
    assert metric.numbers(concatenate(parts)) == evaluate(scene, areas=COCO_AREAS)
    # Some twice, as when sequences are drawn with repetition.
    twice = {**scene, **{f"{name} again": scene[name] for name in [*scene][:5]}}
    drawn = metric.numbers(concatenate([*parts, *parts[:5]]))
    assert drawn == evaluate(twice, areas=COCO_AREAS)


# Void ------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), score_levels=st.sampled_from([3, 1000]))
def test_void_is_a_crowd_to_masks(seed, score_levels):
    scene = random_scene(seed, 5, score_levels=score_levels)
    rng = np.random.default_rng(seed)
    with_void, with_crowd = {}, {}
    for name, (found, truth) in scene.items():
        (region,) = random_boxes(rng, 1)
        with_void[name] = (
            found,
            dataclasses.replace(truth, void=rectangle(region)),
        )
        crowd = dataclasses.replace(
            truth,
            boxes=np.concatenate([truth.boxes, region[None]]),
            masks=[*truth.masks, rectangle(region)],
            classes=np.append(truth.classes, 0),
            ignore=np.append(truth.ignore, True),
        )
        with_crowd[name] = (found, crowd)
    measures = evaluate(with_void, kinds=["mask"])
    assert repr(measures) == repr(evaluate(with_crowd, kinds=["mask"]))


def test_a_ring_of_void_does_not_make_boxes_within_it_uncounted():
    box, ring = [20, 20, 60, 60], masks.decode(rectangle([18, 18, 62, 62]))
    void = masks.encode(ring & ~masks.decode(rectangle(box)))
    truth = dataclasses.replace(object_of(box, [90, 90, 99, 99]), void=void)
    inside, outside = [30, 30, 50, 50], [100, 0, 110, 20]
    for wrong in (inside, outside):
        found = found_at(wrong, box, scores=[0.9, 0.8])
        measures = evaluate({"a": (found, truth)})
        assert measures["box_ap50"] == measures["mask_ap50"] == 0.5 * 51 / 101
    in_the_ring = dataclasses.replace(found, masks=[void, rectangle(box)])
    assert evaluate({"a": (in_the_ring, truth)})["box_ap50"] == 51 / 101


def test_void_needs_masks_of_detections():
    truth = dataclasses.replace(object_of(BOX), void=rectangle(BOX))
    found = dataclasses.replace(found_at(BOX), masks=None)
    with pytest.raises(InputError, match=r"frame 7: .*no masks.*void"):
        AveragePrecision(kinds=["box"]).add(ComparedImage("frame 7", found, truth))
    other = dataclasses.replace(truth, void=masks.encode(np.ones((5, 5), bool)))
    with pytest.raises(InputError, match=r"frame 7: .*different sizes"):
        AveragePrecision().add(ComparedImage("frame 7", found_at(BOX), other))


# Malformed input -------------------------------------------------------------------


def test_an_image_added_twice_is_an_error():
    metric = AveragePrecision()
    state = metric.add(ComparedImage("sequence/00001", found_at(), object_of()))
    with pytest.raises(InputError, match=r"sequence/00001: .*added twice"):
        metric.merge([state, state])


BOX = [0.0, 0.0, 9.0, 9.0]
WRONG = [
    ("scores", np.array([0.5, 0.4]), r"scores is float64 \[2\], expected floats \[1\]"),
    ("scores", np.array([[0.5]]), r"scores is float64 \[1, 1\]"),
    ("scores", np.array([1]), "scores is int64"),
    ("scores", np.array([np.nan]), r"scores\[0\] is nan"),
    ("classes", np.array([0, 0]), "boxes is"),
    ("classes", np.array([0.0]), "classes is float64"),
    ("classes", np.array(0), "classes is int64"),
    ("classes", np.array([1]), r"classes\[0\] is 1, expected 0 to 0.*class_names"),
    ("classes", np.array([-1]), r"classes\[0\] is -1"),
    ("boxes", np.array([BOX, BOX]), r"boxes is float64 \[2, 4\]"),
    ("boxes", np.array(BOX), "boxes is"),
    ("boxes", np.array([[0, 0, 9, 9]]), "boxes is int64"),
    ("boxes", np.array([[0, 0, np.inf, 9]]), r"boxes\[0\] is"),
    ("boxes", np.array([[10.0, 0, 9, 9]]), r"boxes\[0\] is .*x0 <= x1"),
    ("boxes", None, "have no boxes.*'box'"),
    ("masks", None, "have no masks.*'mask'"),
    ("masks", [], "masks are 0, expected 1"),
    ("masks", [rectangle(BOX)] * 2, "masks are 2, expected 1"),
    ("masks", [masks.encode(np.ones((5, 5), bool))], r"sizes, \[\(5, 5\), \(130, 160"),
    ("ignore", np.array([False, True]), r"ignore is bool \[2\]"),
    ("ignore", np.array([0]), "ignore is int64"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
def test_what_disagrees_is_an_error_that_names_the_image(field, value, message):
    found, truth = found_at(BOX), object_of(BOX)
    for items in (found, truth):
        if not hasattr(items, field):
            continue
        wrong = dataclasses.replace(items, **{field: value})
        pair = (wrong, truth) if items is found else (found, wrong)
        metric = AveragePrecision()
        with pytest.raises(InputError, match=f"^frame 7: .*{message}"):
            metric.add(ComparedImage("frame 7", *pair))
        state = metric.add(ComparedImage("frame 7", found, truth))
        assert set(metric.compute(state).values()) == {1.0}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("iou_thresholds", []),
        ("iou_thresholds", [0.5, 0.0]),
        ("iou_thresholds", [50.0]),
        ("kinds", []),
        ("kinds", ["boxes"]),
        ("max_detections", 0),
        ("class_names", []),
        ("class_names", ["a", "b", "a"]),
    ],
)
def test_an_option_without_meaning_is_an_error(option, value):
    with pytest.raises(InputError, match=option):
        AveragePrecision(**{option: value})


# Region similarity of DAVIS --------------------------------------------------------


def test_region_similarity_is_intersection_over_union():
    found, truth = np.zeros((2, 6, 8), bool)
    found[1:4, 1:5], truth[2:5, 2:6] = True, True
    assert region_similarity(found, truth) == 6 / 18
    assert region_similarity(truth, found) == 6 / 18
    assert region_similarity(truth, truth) == 1


def test_region_similarity_of_nothing_is_one_with_nothing_and_zero_with_something():
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert region_similarity(empty, empty) == 1
    assert region_similarity(empty, full) == region_similarity(full, empty) == 0


def test_region_similarity_refuses_what_is_no_mask_or_of_another_size():
    mask = np.ones((4, 5), bool)
    with pytest.raises(InputError, match="`truth` is uint8"):
        region_similarity(mask, mask.astype(np.uint8) * 255)
    with pytest.raises(InputError, match=r"bool \[1, 4, 5\]"):
        region_similarity(mask[None], mask)
    with pytest.raises(InputError, match=r"4x5 .*5x4"):
        region_similarity(mask, mask.T)
