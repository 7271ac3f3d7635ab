"""J and F of the DAVIS 2017 unsupervised challenge against loops and TrackEval."""

import itertools
import math
import sys
import tracemalloc
import types
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.davis17 import Davis17Unsupervised
from movseg_jax.results import Sighting, TrackedFrame
from tests.fakes.random_sequences import sequences

# What TrackEval 1.3.0 gives for `SEQUENCES`, with its `optim_type` "J&F".
TRACKEVAL = {
    "J&F-mean": 0.4419523634901285,
    "J-mean": 0.43701180454355404,
    "J-recall": 0.6320987654320988,
    "J-decay": 0.02409759907759218,
    "F-mean": 0.446892922436703,
    "F-recall": 0.5580246913580247,
    "F-decay": 0.028793785778918432,
}


def compared_frames(truths, founds, voids=None):
    """Frames of images of ids [t, h, w]."""
    frames = []
    for i, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        sightings = tuple(
            Sighting(k, masks.encode(found == k), 1.0, True, math.nan)
            for k in np.unique(found[found > 0]).tolist()
        )
        name = f"{i:05d}"
        tracks = TrackedFrame(name, truth.shape, None, sightings)
        void = None if voids is None else voids[i]
        frames.append(ComparedFrame(name, i, truth.astype(np.int32), tracks, void))
    return frames


def numbers_of(*sequences, max_tracks=20, late_objects=True):
    measure = Davis17Unsupervised(max_tracks, late_objects)
    states = [measure.add(compared_frames(*sequence)) for sequence in sequences]
    return measure.compute(measure.merge(states))


# By loops --------------------------------------------------------------------------


def j_by_loops(found, truth):
    pixels = list(zip(found.ravel().tolist(), truth.ravel().tolist(), strict=True))
    either = sum(a or b for a, b in pixels)
    return sum(a and b for a, b in pixels) / either if either else 1.0


def f_by_loops(found, truth):
    height, width = truth.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))

    def outline(mask):
        return [
            (y, x)
            for y, x in np.ndindex(height, width)
            for v, u in [(min(y + 1, height - 1), min(x + 1, width - 1))]
            if not mask[y, x] == mask[v, x] == mask[y, u] == mask[v, u]
        ]

    def share_near(these, those):
        return sum(
            any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in those)
            for y, x in these
        ) / len(these)

    these, those = outline(found), outline(truth)
    if not these or not those:
        return float(not these and not those)
    precision, recall = share_near(these, those), share_near(those, these)
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def statistics_by_loops(values):
    n = len(values)
    cuts = [math.floor(1 + (n - 1) * k / 4 + 0.5) for k in range(5)]
    first, last = values[: cuts[1]], values[cuts[3] - 1 :]
    return (
        sum(values) / n,
        sum(v > 0.5 for v in values) / n,
        sum(first) / len(first) - sum(last) / len(last),
    )


def all_best_numbers(truths, founds, voids):
    """The numbers for every assignment that is best, to rounding errors."""
    tracks = sorted(set(founds.ravel().tolist()) - {0})
    founds, truths = np.where(voids, 0, founds), np.where(voids, 0, truths)
    objects = sorted(set(truths.ravel().tolist()) - {0})
    tracks += [-1] * (len(objects) - len(tracks))
    js, fs = (
        {
            (row, o): [
                score(found == tracks[row], truth == o)
                for found, truth in zip(founds, truths, strict=True)
            ]
            for row in range(len(tracks))
            for o in objects
        }
        for score in (j_by_loops, f_by_loops)
    )
    rated = []
    for rows in itertools.permutations(range(len(tracks)), len(objects)):
        pairs = list(zip(rows, objects, strict=True))
        j, f = (
            np.mean([statistics_by_loops(scores[pair]) for pair in pairs], axis=0)
            for scores in (js, fs)
        )
        rated.append(((j[0] + f[0]) / 2, [(j[0] + f[0]) / 2, *j, *f]))
    best = max(quality for quality, _ in rated)
    return [numbers for quality, numbers in rated if quality > best - 1e-9]


@settings(max_examples=60)
@given(sequence=sequences())
def test_numbers_are_those_of_the_best_assignment(sequence):
    truths, _, voids = sequence
    found = list(numbers_of(sequence).values())
    if not np.any(truths[~voids]):
        assert all(math.isnan(value) for value in found)
        return
    expected = all_best_numbers(*sequence)
    nearest = min(
        expected, key=lambda numbers: np.abs(np.subtract(numbers, found)).max()
    )
    assert found == pytest.approx(nearest, abs=1e-9)


# TrackEval -------------------------------------------------------------------------


def squares(frames, objects, tracks, size=(90, 130), seed=1):
    """Images of ids, [frames, *size]: objects that move and tracks that follow some."""
    truths, founds = np.zeros((2, frames, *size), np.int32)
    for t in range(frames):
        for k in range(1, objects + 1):
            if (t + k * seed) % 6:  # Now and then it is hidden.
                y, x = 11 * k + t, (37 * k * seed + 3 * t) % 90
                truths[t, y : y + 20 + k, x : x + 25] = k
        for k in range(1, tracks + 1):
            if (2 * t + k) % 7:
                y, x = 11 * k + t + k % 3, (37 * k * seed + 3 * t + 2 * k) % 90
                founds[t, y : y + 18 + k, x : x + 27 - t % 4] = 2 * k
    return truths, founds


SEQUENCES = [
    squares(9, 3, 4),
    squares(6, 4, 2, seed=2),
    squares(5, 2, 2, size=(150, 210), seed=3),
]


def by_trackeval(sequences):
    """Of the metric alone: TrackEval reads DAVIS from folders."""
    trackeval = pytest.importorskip("trackeval", exc_type=ImportError)
    metric = trackeval.metrics.JAndF()
    metric.optim_type = "J&F"
    results = {}
    for number, images in enumerate(sequences):
        data = {"num_timesteps": len(images[0])}
        for name, ids in zip(("gt", "tracker"), images, strict=True):
            values = np.unique(ids[ids > 0]).tolist()
            shown = [[k for k in values if (image == k).any()] for image in ids]
            data[f"num_{name}_ids"] = len(values)
            data[f"{name}_ids"] = [
                np.array([values.index(k) for k in there]) for there in shown
            ]
            data[f"{name}_dets"] = [
                [masks.to_json(masks.encode(image == k)) for k in there]
                for image, there in zip(ids, shown, strict=True)
            ]
        results[str(number)] = metric.eval_sequence(data)
    combined = metric.combine_sequences(results)
    names = {"J&F-mean": "J&F"} | {
        f"{m}-{s}": f"{m}-{s.capitalize()}"
        for m in "JF"
        for s in ("mean", "recall", "decay")
    }
    return {ours: float(combined[theirs]) for ours, theirs in names.items()}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_numbers_are_those_of_trackeval(monkeypatch):
    # All that it needs of scikit-image.
    def disk(radius):
        span = np.arange(-radius, radius + 1)
        return span[:, None] ** 2 + span**2 <= radius**2

    morphology = types.ModuleType("skimage.morphology")
    morphology.disk = disk
    monkeypatch.setitem(sys.modules, "skimage", types.ModuleType("skimage"))
    monkeypatch.setitem(sys.modules, "skimage.morphology", morphology)
    assert numbers_of(*SEQUENCES) == pytest.approx(by_trackeval(SEQUENCES), abs=1e-6)


def test_numbers_are_those_that_trackeval_gave():
    assert numbers_of(*SEQUENCES) == pytest.approx(TRACKEVAL, abs=1e-6)


# What must hold --------------------------------------------------------------------


def test_the_truth_is_perfect():
    truths, _ = SEQUENCES[0]
    assert numbers_of((truths, truths)) == {
        "J&F-mean": 1,
        "J-mean": 1,
        "J-recall": 1,
        "J-decay": 0,
        "F-mean": 1,
        "F-recall": 1,
        "F-decay": 0,
    }


def test_permuted_ids_are_the_same():
    truths, founds = SEQUENCES[0]
    objects = np.array([0, 9, 4, 200], np.int32)
    tracks = np.where(founds, 30 - founds, 0).astype(np.int32)
    assert numbers_of((objects[truths], tracks)) == numbers_of((truths, founds))


def test_the_order_of_sequences_changes_no_bit():
    assert numbers_of(*SEQUENCES) == numbers_of(*SEQUENCES[::-1])


def test_a_mean_is_over_objects_not_over_sequences():
    truths, _ = squares(4, 4, 1)
    one = np.where(truths == 1, 1, 0).astype(np.int32)
    nothing = np.zeros_like(one)
    always = np.zeros_like(one)
    always[:, 5:30, 5:30] = 1
    three = always.copy()
    three[:, 40:60, 5:30], three[:, 40:60, 60:90] = 2, 3
    found = numbers_of((always, always), (three, nothing))
    assert found["J-mean"] == found["F-recall"] == 1 / 4


def test_an_object_that_is_hidden_and_not_found_is_right():
    truth = np.zeros((4, 20, 30), np.int32)
    truth[:2, 5:15, 5:15] = 1
    nothing = np.zeros_like(truth)
    assert numbers_of((truth, nothing))["J&F-mean"] == 1 / 2
    assert numbers_of((truth, nothing))["F-decay"] == -1


def test_an_empty_truth_has_no_objects_and_changes_nothing():
    truths, founds = SEQUENCES[0]
    nothing = np.zeros_like(truths)
    assert numbers_of((nothing, founds), (truths, founds)) == numbers_of(
        (truths, founds)
    )
    assert all(math.isnan(value) for value in numbers_of((nothing, founds)).values())


def test_void_pixels_are_neither_found_nor_true():
    truth = np.zeros((3, 20, 30), np.int32)
    truth[:, 5:15, 5:15] = 1
    found = truth.copy()
    found[:, 5:15, 15:25] = 1
    void = np.zeros_like(truth, bool)
    void[:, :, 15:] = True
    assert numbers_of((truth, found, void))["J&F-mean"] == 1
    assert numbers_of((truth, found))["J-mean"] == 1 / 2


def test_a_frames_score_is_the_mean_over_objects():
    truth = np.zeros((2, 20, 30), np.int32)
    truth[:, 5:15, 5:15], truth[:, 5:15, 20:28] = 1, 2
    found = truth.copy()
    found[1][found[1] == 2] = 0
    score = Davis17Unsupervised().add(compared_frames(truth, found))
    assert score.frames == {"00000": 1.0, "00001": 0.5}


def test_objects_that_come_later_count_only_if_asked_for():
    """As in the challenge's code, ids are objects up to the first frame's largest."""
    truth = np.zeros((3, 20, 30), np.int32)
    truth[:, 2:8, 2:8] = 3
    truth[1:, 12:18, 2:8] = 2  # Below the first frame's largest id: it counts.
    truth[1:, 2:8, 20:28] = 4
    found = np.where(truth == 4, 0, truth)
    assert numbers_of((truth, found), late_objects=False)["J&F-mean"] == 1
    missed = (1 + 0 + 0) / 3
    assert numbers_of((truth, found))["J-mean"] == pytest.approx((2 + missed) / 3)
    # Where an object that does not count is found, that is wrong nowhere else.
    assert numbers_of((truth, truth), late_objects=False)["J&F-mean"] == 1
    nothing_at_first = truth.copy()
    nothing_at_first[0] = 0
    numbers = numbers_of((nothing_at_first, found), late_objects=False)
    assert np.isnan(numbers["J-mean"])


def test_more_tracks_than_the_challenge_allows_are_refused():
    found = np.arange(1, 22, dtype=np.int32).reshape(1, 3, 7)
    with pytest.raises(InputError, match=r"frame 00000, 21 tracks .* 20 .*max_tracks"):
        numbers_of((found, found))
    assert numbers_of((found, found), max_tracks=21)["J-mean"] == 1
    with pytest.raises(InputError, match=r"`max_tracks` is 0"):
        Davis17Unsupervised(0)


def test_frames_are_forgotten_once_they_are_compared():
    truths, founds = SEQUENCES[0]
    seen = []

    def frames():
        for pair in zip(truths, founds, strict=True):
            (frame,) = compared_frames(*([image] for image in pair))
            seen.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(frame() is not None for frame in seen) <= 1

    Davis17Unsupervised().add(frames())
    assert len(seen) == len(truths)


def test_ids_decide_nothing_where_tracks_are_as_good():
    truths, founds = np.zeros((2, 8, 40, 60), np.int32)
    truths[:, 10:30, 20:40] = 1
    founds[:4][truths[:4] > 0] = 1
    founds[4:][truths[4:] > 0] = 2
    swapped = np.array([0, 2, 1])[founds]
    measure = Davis17Unsupervised()
    scores = [measure.add(compared_frames(truths, ids)) for ids in (founds, swapped)]
    assert scores[0] == scores[1]


def test_new_tracks_in_every_frame_cost_what_is_visible():
    """Work in each frame is with its own tracks, not with those of all the others."""

    def peak(frames):
        truths, founds = squares(frames, 2, 0)
        for t in range(frames):
            for k in range(8):
                founds[t, 8 * k : 8 * k + 6, 10:30] = 1 + 8 * t + k
        pairs = ((truths[t : t + 1], founds[t : t + 1]) for t in range(frames))
        tracemalloc.start()
        Davis17Unsupervised(65535).add(compared_frames(*p)[0] for p in pairs)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(5)
    assert peak(60) < 2 * peak(20)  # It was 4 times with an array of all pairs.
