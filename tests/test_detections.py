"""Measures of tracks by detections and by overlap: COCOeval, loops, and by hand."""

import contextlib
import dataclasses
import io
import itertools
import math
import random
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.evaluation.coco import evaluate_coco
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.detections import DetectionPrecision, Overlap
from movseg_jax.results import Sighting, TrackedFrame

SIZE = (12, 16)
COCO_STATS = {0: "ap", 1: "ap50", 2: "ap75", 6: "ar1", 7: "ar10", 8: "ar100"}


# Videos ----------------------------------------------------------------------------


def tracked(found, name="00000", size=SIZE):
    """A frame's tracks, {id: mask} or {id: (mask, score)}."""
    sightings = []
    for number, item in found.items():
        mask, score = item if isinstance(item, tuple) else (item, 1.0)
        rle = masks.encode(mask)
        sightings.append(Sighting(number, rle, float(score), True, math.nan))
    return TrackedFrame(name, size, None, tuple(sightings))


def frame_of(index, truth, found, void=None):
    name = f"{index:05d}"
    tracks = tracked(found, name, truth.shape)
    return ComparedFrame(name, index, truth.astype(np.int32), tracks, void)


def by_id(ids):
    return {int(i): ids == i for i in np.unique(ids) if i}


def random_video(seed, *, void=False, distinct_scores=True, size=SIZE):
    """Rectangles that are found more or less; some frames and videos are empty."""
    rng = np.random.default_rng(seed)
    frames = []
    ids = rng.permutation(50)[:4] + 1
    for index in range(rng.integers(1, 6)):
        truth = np.zeros(size, np.int32)
        found = {}
        for number in ids[: rng.integers(0, 5)]:
            box = random_box(rng, size)
            truth[box] = number
            if rng.random() < 0.8:
                near = tuple(
                    slice(max(s.start + rng.integers(-1, 2), 0), s.stop) for s in box
                )
                mask = np.zeros(size, bool)
                mask[near] = True
                # Mostly the same number, but not always.
                track = int(rng.choice(ids)) if rng.random() < 0.3 else int(number)
                score = rng.random() if distinct_scores else rng.integers(1, 4) / 4
                found[track + 100] = (mask, score)
        if rng.random() < 0.3:
            mask = np.zeros(size, bool)
            mask[random_box(rng, size)] = True
            found[999] = (mask, rng.random() if distinct_scores else 0.5)
        region = None
        if void and rng.random() < 0.7:
            region = np.zeros(size, bool)
            region[random_box(rng, size)] = True
        frames.append(frame_of(index, truth, found, region))
    return frames


def random_box(rng, size):
    start = [rng.integers(0, n - 2) for n in size]
    return tuple(
        slice(s, s + rng.integers(2, n // 2)) for s, n in zip(start, size, strict=True)
    )


def evaluate(measure, *videos):
    return measure.compute(
        measure.merge([measure.add(iter(video)) for video in videos])
    )


def perfect(video):
    """The video with its truth as what was found; nothing is known of void."""
    frames = []
    for f in video:
        there = f.truth if f.void is None else f.truth * ~f.void
        frames.append(frame_of(f.index, f.truth, by_id(there), f.void))
    return frames


def with_ids(video, rng):
    """The same video with other numbers of objects and tracks."""
    renumbered = []
    objects = rng.permutation(3000)[:1000] + 1
    tracks = rng.permutation(3000)[:1000] + 1
    for f in video:
        truth = np.where(f.truth > 0, objects[f.truth], 0)
        sightings = [s._replace(id=int(tracks[s.id])) for s in f.tracks.sightings]
        there = f.tracks._replace(sightings=tuple(sightings))
        renumbered.append(
            ComparedFrame(f.name, f.index, truth.astype(np.int32), there, f.void)
        )
    return renumbered


# Detections ------------------------------------------------------------------------


def tight(mask):
    rows, columns = np.nonzero(mask)
    x, y = columns.min(), rows.min()
    return [int(x), int(y), int(columns.max() - x + 1), int(rows.max() - y + 1)]


def coco_files(videos):
    """The videos as COCO's truth and results, by loops; void is a crowd of masks."""
    images, annotations, results = [], [], []
    for video in videos:
        for f in video:
            image = {"id": len(images), "height": SIZE[0], "width": SIZE[1]}
            images.append(image)
            truth = f.truth if f.void is None else np.where(f.void, 0, f.truth)
            regions = [(mask, 0) for mask in by_id(truth).values()]
            if f.void is not None and f.void.any():
                regions.append((f.void, 1))
            for mask, crowd in regions:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": 1,
                        "iscrowd": crowd,
                        "bbox": tight(mask),
                        "area": int(mask.sum()),
                        "segmentation": masks.to_json(masks.encode(mask)),
                    }
                )
            for sighting in f.tracks.sightings:
                results.append(
                    {
                        "image_id": image["id"],
                        "category_id": 1,
                        "score": sighting.score,
                        "bbox": tight(masks.decode(sighting.mask)),
                        "segmentation": masks.to_json(sighting.mask),
                    }
                )
    categories = [{"id": 1, "name": "object"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return results, truth


def by_cocoeval(results, truth, *, use_classes=True):
    """What COCOeval reports; its -1 is nan."""
    measures = {}
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO()
        objects.dataset = truth
        objects.createIndex()
        # `loadRes` changes what it is given, and takes no empty list.
        found = COCO()
        found.dataset = {**truth, "annotations": []}
        found.createIndex()
        if results:
            found = objects.loadRes([dict(row) for row in results])
        for kind, name in (("bbox", "box"), ("segm", "mask")):
            evaluation = COCOeval(objects, found, kind)
            evaluation.params.useCats = int(use_classes)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for number, measure in COCO_STATS.items():
                measures[f"{name}_{measure}"] = float(evaluation.stats[number])
    return {k: math.nan if v == -1 else v for k, v in measures.items()}


def assert_close(measures, expected):
    assert measures.keys() == expected.keys()
    for name, value in expected.items():
        assert measures[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_detections_of_tracks_are_measured_as_by_cocoeval(seed):
    videos = [random_video(seed + i) for i in range(3)]
    measures = evaluate(DetectionPrecision(), *videos)
    assert_close(measures, by_cocoeval(*coco_files(videos)))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_void_is_a_crowd_to_masks_as_by_cocoeval(seed):
    videos = [random_video(seed + i, void=True) for i in range(3)]
    measures = evaluate(DetectionPrecision(), *videos)
    expected = by_cocoeval(*coco_files(videos))
    for name in [n for n in expected if n.startswith("mask")]:
        assert measures[name] == pytest.approx(expected[name], abs=1e-9, nan_ok=True)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_neither_the_order_of_sequences_nor_the_ids_matter_to_a_byte(seed):
    rng = np.random.default_rng(seed)
    videos = [
        random_video(seed + i, void=True, distinct_scores=False) for i in range(3)
    ]
    for measure in (DetectionPrecision(), Overlap()):
        scores = [measure.add(iter(video)) for video in videos]
        twice = [*scores, scores[0]]  # As when drawn with repetition.
        expected = repr(measure.compute(measure.merge(twice)))
        for order in itertools.permutations(twice):
            assert repr(measure.compute(measure.merge(order))) == expected
        others = [measure.add(iter(with_ids(video, rng))) for video in videos]
        assert measure.compute(measure.merge(others)) == pytest.approx(
            measure.compute(measure.merge(scores)), abs=1e-12, nan_ok=True
        )
        assert [s.frames for s in others] == [s.frames for s in scores]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_the_order_to_paint_does_not_matter_to_detections_even_of_equal_scores(seed):
    video = random_video(seed, void=True, distinct_scores=False)
    backwards = [
        dataclasses.replace(
            f, tracks=f.tracks._replace(sightings=f.tracks.sightings[::-1])
        )
        for f in video
    ]
    assert repr(evaluate(DetectionPrecision(), video)) == repr(
        evaluate(DetectionPrecision(), backwards)
    )


@pytest.mark.parametrize(("one", "two"), [(1, 2), (2, 1)])
def test_of_objects_overlapped_equally_ids_do_not_decide_which_is_taken(one, two):
    left, right = np.zeros((2, *SIZE), bool)
    left[2:8, 2:6], right[2:8, 6:10] = True, True
    found = {1: (left | right, 0.9), 2: (right, 0.8)}
    video = [frame_of(0, one * left + two * right, found)]
    measures = evaluate(DetectionPrecision(), video)
    assert measures["mask_ap50"] == 1  # `left`, so that the other one is free.


def test_a_truth_that_is_found_is_perfect():
    videos = [random_video(seed, void=True) for seed in range(6)]
    measures = evaluate(DetectionPrecision(), *map(perfect, videos))
    # The best detection of a frame alone cannot take all its objects.
    exact = [name for name in measures if not name.endswith("ar1")]
    assert {measures[name] for name in exact} == {1.0}
    measures = evaluate(Overlap(), *map(perfect, videos))
    assert measures.pop("objects") == measures.pop("tracks") > 0
    assert set(measures.values()) == {1.0}


def test_every_frame_of_a_sequence_counts():
    box = np.zeros(SIZE, bool)
    box[2:8, 2:8] = True
    video = [frame_of(i, box, {1: box} if i < 2 else {}) for i in range(3)]
    measure = DetectionPrecision()
    scores = measure.add(iter(video))
    assert scores.frames == {"00000": 1.0, "00001": 1.0, "00002": 0.0}
    assert measure.compute(scores)["mask_ar100"] == pytest.approx(2 / 3)
    scores = measure.add(iter([]))
    assert scores.frames == {}
    assert all(map(math.isnan, measure.compute(scores).values()))


def test_nothing_found_is_zero_and_nothing_to_find_is_not_defined():
    empty, box = np.zeros((2, *SIZE), bool)
    box[2:8, 2:8] = True
    measure = DetectionPrecision()
    nothing_found = evaluate(measure, [frame_of(0, box, {})])
    assert set(nothing_found.values()) == {0.0}
    scores = measure.add(
        iter(
            [
                frame_of(0, empty, {1: box}),
                frame_of(1, empty, {}),
                frame_of(2, empty, {1: empty}),  # That is nothing.
                frame_of(3, empty, {1: box}, void=box),
            ]
        )
    )
    assert list(scores.frames.values()) == [0, 1, 1, 1]
    assert all(map(math.isnan, measure.compute(scores).values()))


def test_detections_are_whole_masks_even_where_another_track_is_painted_over():
    below, above = np.zeros((2, *SIZE), bool)
    below[2:10, 2:10], above[2:10, 2:8] = True, True
    video = [frame_of(0, below, {1: (below, 0.9), 2: (above, 0.1)})]
    measures = evaluate(DetectionPrecision(), video)
    assert measures["mask_ap"] == 1


def test_only_the_best_detections_of_a_frame_count():
    left, right = np.zeros((2, *SIZE), bool)
    left[2:8, 2:6], right[2:8, 8:14] = True, True
    video = [frame_of(0, left + 2 * right, {1: (left, 0.9), 2: (right, 0.8)})]
    one = DetectionPrecision(max_detections=1)
    assert evaluate(one, video)["mask_ar1"] == 0.5
    two = evaluate(DetectionPrecision(), video)
    assert (two["mask_ar1"], two["mask_ar10"], two["mask_ar100"]) == (0.5, 1, 1)


# Results of COCO -------------------------------------------------------------------


def random_files(seed, classes=3):
    """With crowds, several classes, and objects that are found twice as two of them."""
    rng = random.Random(seed)
    videos = [random_video(seed + i) for i in range(2)]
    results, truth = coco_files(videos)
    truth["categories"] = [{"id": 7 * i, "name": f"c{i}"} for i in range(classes)]
    again = []
    for row in results:
        row["category_id"] = 7 * rng.randrange(classes)
        if rng.random() < 0.5:
            other = 7 * rng.randrange(classes)
            again.append({**row, "category_id": other, "score": rng.randrange(4) / 4})
    for row in truth["annotations"]:
        row["category_id"] = 7 * rng.randrange(classes)
        row["iscrowd"] = int(rng.random() < 0.2)
    return [*results, *again], truth


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), stacked=st.booleans())
def test_results_of_coco_are_measured_as_by_cocoeval(seed, stacked):
    results, truth = random_files(seed)
    measures = evaluate_coco(results, truth, stacked=stacked)
    of_all = {name: value for name, value in measures.items() if "/" not in name}
    expected = by_cocoeval(results, truth, use_classes=not stacked)
    assert_close(of_all, expected)
    if stacked:
        # Stacked by hand, class after class, as one category.
        one = {**truth, "categories": [{"id": 1}]}
        one["annotations"] = [{**r, "category_id": 1} for r in truth["annotations"]]
        ordered = sorted(results, key=lambda row: row["category_id"])
        ordered = [{**row, "category_id": 1} for row in ordered]
        assert_close(of_all, by_cocoeval(ordered, one))
        assert_close(evaluate_coco(ordered, one), of_all)


@pytest.mark.parametrize("category", [None, "x", 2**70, 1.5])
def test_stacked_results_need_a_category_too(category):
    truth = {"images": [{"id": 1, "height": 9, "width": 9}], "annotations": []}
    truth |= {"categories": [{"id": 1, "name": "a"}]}
    result = {"image_id": 1, "score": 0.5, "bbox": [1, 1, 2, 2]}
    result |= {} if category is None else {"category_id": category}
    with pytest.raises(InputError, match="category_id"):
        evaluate_coco([result], truth, stacked=True)


def test_a_video_without_frames_has_no_overlap():
    score = Overlap().add(iter(()))
    numbers = Overlap().compute(score)
    assert math.isnan(numbers["foreground_iou"])
    empty = np.zeros(SIZE, np.int32)
    other = Overlap().add(iter([frame_of(0, empty, {})]))
    assert Overlap().compute(Overlap().merge([score, other]))["foreground_iou"] == 1.0


def test_stacked_results_may_be_of_categories_that_the_truth_does_not_know():
    results, truth = coco_files([random_video(3)])
    expected = evaluate_coco(results, truth)
    results = [{**row, "category_id": 80 + i} for i, row in enumerate(results)]
    assert evaluate_coco(results, truth, stacked=True) == expected
    with pytest.raises(
        InputError, match=r"r\.json: result 0: category_id is 80.*stack"
    ):
        evaluate_coco(results, truth, results_source="r.json")


def test_equal_scores_of_stacked_categories_count_in_the_order_of_the_categories():
    truth = {
        "images": [{"id": 1, "height": 10, "width": 10}],
        "categories": [{"id": 7, "name": "same"}, {"id": 14, "name": "same"}],
        "annotations": [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5]}],
    }
    right = {"image_id": 1, "score": 0.5, "bbox": [0, 0, 5, 5]}
    wrong = {**right, "bbox": [5, 5, 5, 5]}
    for category, expected in ((7, 1), (14, 0.5)):
        other = 21 - category
        results = [{**wrong, "category_id": other}, {**right, "category_id": category}]
        for order in (results, results[::-1]):
            measures = evaluate_coco(order, truth, stacked=True)
            assert measures["box_ap"] == pytest.approx(expected)
    with pytest.raises(InputError, match="class_names"):  # Which is which?
        evaluate_coco(results, truth)


def test_results_without_masks_are_measured_by_boxes_and_without_boxes_by_theirs():
    results, truth = random_files(5)
    both = evaluate_coco(results, truth)
    boxes = [{k: v for k, v in r.items() if k != "segmentation"} for r in results]
    only = {name: value for name, value in both.items() if name.startswith("box")}
    assert evaluate_coco(boxes, truth) == only
    found = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    assert evaluate_coco(found, truth) == both


def test_images_count_in_the_order_of_their_numbers_not_of_the_file():
    numbers = (9, 10)
    truth = {
        "images": [{"id": i, "height": 10, "width": 10} for i in numbers[::-1]],
        "categories": [{"id": 1}],
        "annotations": [
            {"image_id": i, "category_id": 1, "bbox": [0, 0, 5, 5]} for i in numbers
        ],
    }
    results = [
        {"image_id": i, "category_id": 1, "score": 0.5, "bbox": [x, 0, 5, 5]}
        for i, x in ((10, 5), (9, 0))
    ]
    assert evaluate_coco(results, truth)["box_ap"] == pytest.approx(51 / 101)


WRONG = [
    ("truth", "images", None, 'has no "images"'),
    ("truth", "categories", {}, "list of category"),
    ("truth", "annotations", [3], "annotation 0 is 3"),
    ("image", "id", 1.5, "image 0: id is 1.5"),
    ("image", "id", 1, "image 1: id 1 is listed twice"),
    ("image", "height", 0, "height is 0"),
    ("category", "id", "x", "category 0: id is 'x'"),
    ("annotation", "image_id", 99, "annotation 0: image_id is 99"),
    ("annotation", "category_id", 99, "annotation 0: category_id is 99"),
    ("annotation", "iscrowd", 2, "iscrowd is 2"),
    ("annotation", "segmentation", {"size": [3, 3], "counts": [9]}, "3x3 pixels"),
    ("result", "image_id", True, "result 0: image_id is True"),
    ("result", "score", None, "result 0: score is None"),
    ("result", "score", math.nan, "score is nan"),
    ("result", "score", 10**400, "score is"),
    ("result", "bbox", [0, 0, -1, 1], "bbox is"),
    ("result", "bbox", [0, 0, 1], "bbox is"),
    ("result", "bbox", "left", "bbox is 'left'"),
    ("result", "segmentation", "mask", "segmentation is 'mask'"),
    ("result", "category_id", [1], r"category_id is \[1\]"),
]


@pytest.mark.parametrize(("where", "key", "value", "message"), WRONG)
def test_what_is_malformed_is_an_error_that_says_where(where, key, value, message):
    results, truth = coco_files([random_video(1)] * 2)
    row = {
        "truth": truth,
        "image": truth["images"][0],
        "category": truth["categories"][0],
        "annotation": truth["annotations"][0],
        "result": results[0],
    }[where]
    row[key] = value
    with pytest.raises(InputError, match=message):
        evaluate_coco(results, truth)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "image_id", "bbox", "segmentation", "size", "counts"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(value=json_values, place=st.integers(0, 15))
def test_any_json_is_measured_or_an_input_error(value, place):
    results, truth = coco_files([random_video(1)])
    rows = [truth["images"][0], truth["annotations"][0], results[0]]
    places = [(row, key) for row in rows for key in row]
    if place < len(places):
        row, key = places[place]
        row[key] = value
    elif place == 14:
        results = value
    else:
        truth = value
    try:
        measures = evaluate_coco(results, truth)
    except InputError as error:
        assert "results" in str(error) or "truth" in str(error)
        return
    for measure in measures.values():
        assert measure in (-1, None) or math.isnan(measure) or 0 <= measure <= 1


# Overlap ---------------------------------------------------------------------------


def pixels_of(video, which):
    """{id: {(frame, y, x), ...}} by loops; void pixels are left out."""
    pixels = {}
    for t, f in enumerate(video):
        for y, x in np.ndindex(f.truth.shape):
            if f.void is not None and f.void[y, x]:
                continue
            number = int(f.truth[y, x])
            if which == "found":
                number = 0
                for sighting in f.tracks.sightings:
                    if masks.decode(sighting.mask)[y, x]:
                        number = sighting.id
            if number:
                pixels.setdefault(number, set()).add((t, y, x))
    return pixels


def slow_overlap(video):
    """What `Overlap` keeps of a sequence, from the definitions."""
    truth, found = pixels_of(video, "truth"), pixels_of(video, "found")

    def iou(a, b):
        return len(a & b) / len(a | b) if a | b else 1.0

    # Objects matched with tracks, or with None: every way there is.
    tracks = [*found, *[None] * len(truth)]
    best = max(
        sum(
            iou(truth[i], found[j])
            for i, j in zip(truth, way, strict=True)
            if j is not None
        )
        for way in itertools.permutations(tracks, len(truth))
    )
    everything = set().union(*truth.values()), set().union(*found.values())
    both = len(everything[0] & everything[1])
    return {
        "object_iou": best / len(truth) if truth else math.nan,
        "foreground_iou": iou(*everything),
        "foreground_precision": both / len(everything[1]) if found else math.nan,
        "foreground_recall": both / len(everything[0]) if truth else math.nan,
        "objects": len(truth),
        "tracks": len(found),
    }


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), void=st.booleans())
def test_overlap_is_what_its_definition_says(seed, void):
    video = random_video(seed, void=void, size=(7, 9))
    expected = slow_overlap(video)
    measures = evaluate(Overlap(), video)
    assert measures == pytest.approx(expected, abs=1e-12, nan_ok=True)
    scores = Overlap().add(iter(video)).frames
    for f in video:
        assert scores[f.name] == pytest.approx(slow_overlap([f])["foreground_iou"])


def test_overlap_of_a_data_set_is_the_mean_over_objects_and_over_sequences():
    videos = [random_video(seed, size=(7, 9)) for seed in (2, 11, 12, 21)]
    each = [slow_overlap(video) for video in videos]
    measures = evaluate(Overlap(), *videos)
    for name in ("objects", "tracks"):
        assert measures[name] == sum(one[name] for one in each)
    for name in ("foreground_iou", "foreground_precision", "foreground_recall"):
        assert measures[name] == pytest.approx(np.nanmean([one[name] for one in each]))
    weighted = [one["object_iou"] * one["objects"] for one in each if one["objects"]]
    assert measures["object_iou"] == pytest.approx(sum(weighted) / measures["objects"])


def test_a_track_painted_over_is_not_there_and_ids_may_be_large():
    box = np.zeros(SIZE, bool)
    box[2:8, 2:8] = True
    video = [frame_of(0, box * np.int32(2**31 - 1), {1: box, 2**31 - 1: box})]
    measures = evaluate(Overlap(), video)
    assert (measures["objects"], measures["tracks"]) == (1, 1)
    assert measures["object_iou"] == 1


def test_overlap_with_nothing_there_or_nothing_found():
    empty, box = np.zeros((2, *SIZE), bool)
    box[2:8, 2:8] = True
    nothing = evaluate(Overlap(), [frame_of(0, empty, {})])
    assert nothing["foreground_iou"] == 1
    assert math.isnan(nothing["object_iou"])
    missed = evaluate(Overlap(), [frame_of(0, box, {})])
    assert missed["object_iou"] == missed["foreground_iou"] == 0
    assert missed["foreground_recall"] == 0
    assert math.isnan(missed["foreground_precision"])
    invented = evaluate(Overlap(), [frame_of(0, empty, {1: box})])
    assert invented["foreground_iou"] == invented["foreground_precision"] == 0
    assert math.isnan(invented["foreground_recall"])
    in_void = evaluate(Overlap(), [frame_of(0, box, {1: box}, np.ones(SIZE, bool))])
    assert (in_void["objects"], in_void["tracks"]) == (0, 0)


# Cost ------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [DetectionPrecision(), Overlap()])
def test_no_frame_is_kept_when_the_next_ones_are_seen(measure):
    truths = []

    def frames():
        for index in range(12):
            box = np.zeros(SIZE, bool)
            box[2:8, 2:8] = True
            frame = frame_of(index, box, {1: box})
            truths.append(weakref.ref(frame.truth))
            yield frame
            del frame
            assert sum(truth() is not None for truth in truths) <= 2

    assert measure.add(frames()).frames
