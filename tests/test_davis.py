"""The measures of DAVIS 2016 against loops."""

import itertools
import math
import weakref
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.davis import (
    STABLE_SEQUENCES,
    Davis16,
    boundary,
    boundary_accuracy,
    region_similarity,
    statistics_of,
)
from movseg_jax.metrics.stability import describe, instability
from movseg_jax.results import Sighting, TrackedFrame


def compared(truth, found, index, void=None):
    """A frame of two images of ids."""
    sightings = tuple(
        Sighting(i, masks.encode(found == i), 1.0, True, math.nan)
        for i in np.unique(found[found > 0]).tolist()
    )
    name = f"{index:05d}"
    tracks = TrackedFrame(name, truth.shape, None, sightings)
    return ComparedFrame(name, index, truth.astype(np.int32), tracks, void)


def compared_frames(truths, founds):
    pairs = zip(truths, founds, strict=True)
    return [compared(truth, found, i) for i, (truth, found) in enumerate(pairs)]


def boundary_accuracy_by_loops(found, truth):
    height, width = truth.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))

    def outline(mask):
        pixels = []
        for y, x in np.ndindex(height, width):
            below, right = min(y + 1, height - 1), min(x + 1, width - 1)
            around = (mask[y, right], mask[below, x], mask[below, right])
            if any(other != mask[y, x] for other in around):
                pixels.append((y, x))
        return pixels

    def share_near(these, those):
        near = [
            any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in those)
            for y, x in these
        ]
        return sum(near) / len(near)

    these, those = outline(found), outline(truth)
    if not these or not those:
        return float(not these and not those)
    precision, recall = share_near(these, those), share_near(those, these)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(6))
def test_boundary_accuracy_equals_the_loops(seed):
    rng = np.random.default_rng(seed)
    # Wide enough for disks of radius 1 and 2.
    size = (9, 12) if seed % 2 else (5, 150)
    found, truth = (
        np.kron(rng.random(tuple(-(-n // 3) for n in size)) < 0.3, np.ones((3, 3)))[
            : size[0], : size[1]
        ].astype(bool)
        for _ in range(2)
    )
    expected = boundary_accuracy_by_loops(found, truth)
    assert boundary_accuracy(found, truth) == pytest.approx(expected, abs=1e-12)
    assert boundary_accuracy(truth, found) == pytest.approx(expected, abs=1e-12)
    assert boundary_accuracy(truth, truth) == 1


def test_boundary_accuracy_of_nothing_is_one_with_nothing_and_zero_with_something():
    empty, some = np.zeros((2, 8, 9), bool)
    some[2:5, 3:6] = True
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(empty, some) == boundary_accuracy(some, empty) == 0


def test_boundary_accuracy_refuses_masks_of_different_sizes():
    with pytest.raises(InputError, match=r"4x5 .*5x4"):
        boundary_accuracy(np.ones((4, 5), bool), np.ones((5, 4), bool))


def boundary_accuracy_of_the_whole_frame(found, truth):
    """By the letter: nothing is cropped."""
    radius = math.ceil(0.008 * math.hypot(*found.shape))
    span = np.arange(-radius, radius + 1)
    disk = (span[:, None] ** 2 + span**2 <= radius**2).astype(np.uint8)
    outlines = [boundary(mask) for mask in (found, truth)]
    counts = [np.count_nonzero(outline) for outline in outlines]
    if not all(counts):
        return float(not any(counts))
    near = [cv2.dilate(outline.view(np.uint8), disk) > 0 for outline in outlines]
    precision = Fraction(np.count_nonzero(outlines[0] & near[1]), counts[0])
    recall = Fraction(np.count_nonzero(outlines[1] & near[0]), counts[1])
    both = precision + recall
    return float(2 * precision * recall / both) if both else 0.0


@pytest.mark.parametrize("seed", range(12))
def test_boundary_accuracy_is_exactly_that_of_the_whole_frame(seed):
    rng = np.random.default_rng(seed)
    size = (120, 213)
    found, truth = np.zeros((2, *size), bool)
    for mask in (found, truth):
        # Some are at the frame's edges, and some far apart.
        for y, x in rng.integers(-20, size, (3, 2)).tolist():
            box = slice(max(y, 0), y + 40), slice(max(x, 0), x + 40)
            mask[box] |= rng.random(mask[box].shape) < 0.7
    expected = boundary_accuracy_of_the_whole_frame(found, truth)
    assert boundary_accuracy(found, truth) == expected
    assert boundary_accuracy(truth, found) == expected


def test_region_similarity_is_the_share_of_the_pixels_of_either_in_both():
    found, truth = np.zeros((2, 6, 7), bool)
    assert region_similarity(found, truth) == 1
    found[1:3, 1:4] = True
    assert region_similarity(found, truth) == 0
    truth[2:4, 1:4] = True
    assert region_similarity(found, truth) == 3 / 9


# Statistics ------------------------------------------------------------------------


def decay_by_counting(values):
    """Quarters of the frames from 1 on, in exact arithmetic, halves rounded up."""
    n = len(values)
    cuts = [math.floor(1 + Fraction((n - 1) * k, 4) + Fraction(1, 2)) for k in range(5)]
    quarters = [values[a - 1 : b] for a, b in itertools.pairwise(cuts)]
    first, last = (
        sum(quarter) / len(quarter) for quarter in (quarters[0], quarters[3])
    )
    return first - last


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=40))
@example(values=[0.5])
@example(values=[1.0] * 300 + [0.0] * 100)
def test_statistics_are_those_of_the_definition(values):
    found = statistics_of(values)
    assert found.mean == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert found.recall == len([v for v in values if v > 0.5]) / len(values)
    assert found.decay == pytest.approx(decay_by_counting(values), abs=1e-12)


def test_half_a_frame_right_is_not_recalled():
    assert statistics_of([0.5, 0.5, 0.6, 0.4]).recall == 0.25


def test_decay_of_a_long_sequence_does_not_overflow():
    # 8 bits hold 255: DAVIS' code takes frames from the start for the last ones.
    assert statistics_of([1.0] * 600 + [0.0] * 200).decay == pytest.approx(1, abs=0.01)


# The measure -----------------------------------------------------------------------


def moving_squares(frames=7, size=(60, 80)):
    """Images of ids: two objects that move."""
    truths = np.zeros((frames, *size), np.int32)
    for k, truth in enumerate(truths):
        truth[10:30, 5 + 3 * k : 25 + 3 * k] = 1
        truth[35:55, 50 - 4 * k : 62 - 3 * k] = 2
    return truths


def numbers_of(truths, founds, stability="python"):
    measure = Davis16(stability)
    return measure.compute(measure.add(compared_frames(truths, founds)))


def test_all_tracks_together_are_compared_with_all_objects():
    truths = moving_squares()
    founds = np.roll(truths, 2, axis=2)
    one = (founds > 0).astype(np.int32)
    assert numbers_of(truths, founds) == numbers_of(truths, one)
    assert numbers_of((truths > 0).astype(np.int32), one) == numbers_of(truths, one)


@pytest.mark.parametrize("stability", ["python", "matlab"])
def test_numbers_are_those_of_the_masks_between_first_and_last(stability):
    truths = moving_squares()
    founds = np.roll(truths, 2, axis=2)
    founds[3] = 0
    js = [region_similarity(f > 0, t > 0) for f, t in zip(founds, truths, strict=True)]
    fs = [boundary_accuracy(f > 0, t > 0) for f, t in zip(founds, truths, strict=True)]
    outlines = [describe(found > 0, stability) for found in founds]
    if stability == "matlab":
        outlines[0] = describe(truths[0] > 0, stability)
    pairs = [(1, 2), (4, 5)] if stability == "python" else [(0, 1), (1, 2), (4, 5)]
    ts = [5 * instability(outlines[i], outlines[k]) for i, k in pairs]
    found = numbers_of(truths, founds, stability)
    assert found == pytest.approx(
        {
            "J-mean": np.mean(js[1:-1]),
            "J-recall": np.mean([j > 0.5 for j in js[1:-1]]),
            "J-decay": np.mean(js[1:3]) - np.mean(js[4:6]),
            "F-mean": np.mean(fs[1:-1]),
            "F-recall": np.mean([f > 0.5 for f in fs[1:-1]]),
            "F-decay": np.mean(fs[1:3]) - np.mean(fs[4:6]),
            "T-mean": np.mean(ts),
        },
        abs=1e-12,
    )


def test_a_frames_score_is_the_mean_of_its_j_and_f():
    truths = moving_squares(4)
    founds = np.roll(truths, 2, axis=2)
    scores = Davis16().add(compared_frames(truths, founds)).frames
    expected = {
        f"{i:05d}": (
            region_similarity(founds[i] > 0, truths[i] > 0)
            + boundary_accuracy(founds[i] > 0, truths[i] > 0)
        )
        / 2
        for i in (1, 2)
    }
    assert scores == pytest.approx(expected)


def test_the_truth_is_perfect_and_permuted_ids_are_the_same():
    truths = moving_squares()
    perfect = numbers_of(truths, truths, None)
    assert perfect == {
        "J-mean": 1,
        "J-recall": 1,
        "J-decay": 0,
        "F-mean": 1,
        "F-recall": 1,
        "F-decay": 0,
    }
    assert numbers_of(truths, np.array([0, 7, 3])[truths], None) == perfect


def test_an_empty_prediction_is_worth_nothing_and_has_no_stability():
    truths = moving_squares()
    found = numbers_of(truths, np.zeros_like(truths))
    assert found["J-mean"] == found["F-mean"] == found["J-recall"] == 0
    assert math.isnan(found["T-mean"])


def test_nothing_found_where_nothing_is_there_is_right():
    nothing = np.zeros((3, 6, 7), np.int32)
    assert numbers_of(nothing, nothing)["J-mean"] == 1


def test_void_pixels_are_background():
    truth = np.ones((6, 8), np.int32)
    void = np.zeros((6, 8), bool)
    void[:, 4:] = True
    found = (~void).astype(np.int32)
    frames = [compared(truth, found, i, void) for i in range(3)]
    measure = Davis16(None)
    assert measure.compute(measure.add(frames))["J-mean"] == 1


@pytest.mark.parametrize("stability", ["python", "matlab", None])
@pytest.mark.parametrize("count", [1, 2])
def test_of_fewer_than_three_frames_all_count(count, stability):
    truths = moving_squares(count)
    founds = np.roll(truths, 2, axis=2)
    measure = Davis16(stability)
    state = measure.add(iter(compared_frames(truths, founds)))
    assert [*state.frames] == [f"{i:05d}" for i in range(count)]
    js = [region_similarity(f > 0, t > 0) for f, t in zip(founds, truths, strict=True)]
    assert measure.compute(state)["J-mean"] == pytest.approx(np.mean(js))


def test_a_sequence_without_frames_is_refused():
    with pytest.raises(InputError, match="no frames with a truth"):
        Davis16().add(iter([]))


def test_an_unknown_stability_is_refused_before_anything_is_read():
    with pytest.raises(InputError, match=r"'octave'.*python, matlab"):
        # Tests check types when an object is made; users do not.
        Davis16.__init__.__wrapped__(object.__new__(Davis16), "octave")


def test_t_is_the_mean_over_the_sequences_where_it_was_measured():
    truths = moving_squares()
    founds = np.roll(truths, 3, axis=2)
    with_t, without = Davis16("python"), Davis16(None)
    stable = with_t.add(compared_frames(truths, founds))
    other = without.add(compared_frames(truths[:5], truths[:5]))
    alone = with_t.compute(stable)
    both = with_t.compute(with_t.merge([stable, other]))
    assert both["T-mean"] == alone["T-mean"]
    assert both["J-mean"] == pytest.approx((alone["J-mean"] + 1) / 2)
    assert "T-mean" not in without.compute(without.merge([stable, other]))


def test_the_order_of_sequences_changes_no_bit():
    truths = moving_squares(9)
    measure = Davis16()
    scores = [
        measure.add(compared_frames(truths, np.roll(truths, k, axis=2)))
        for k in range(5)
    ]
    assert measure.compute(measure.merge(scores)) == measure.compute(
        measure.merge(scores[::-1])
    )
    assert measure.compute(measure.merge(scores)) == measure.compute(
        measure.merge(scores[2:] + scores[:2])
    )


def test_frames_are_forgotten_once_they_are_compared():
    truths, seen = moving_squares(), []

    def frames():
        for i, truth in enumerate(truths):
            frame = compared(truth, truth, i)
            seen.append(weakref.ref(frame))
            yield frame
            del frame
            # Those that are compared, and one that Python's `pairwise` holds from 3.13.
            assert sum(frame() is not None for frame in seen) <= 3

    Davis16().add(frames())
    assert len(seen) == len(truths)


def test_ten_stable_sequences_are_of_the_validation_set_and_17_of_the_training_set():
    assert len(STABLE_SEQUENCES) == 27
    assert {"blackswan", "soapbox", "bear"} <= STABLE_SEQUENCES
    assert not {"dog", "libby", "bmx-bumps"} & STABLE_SEQUENCES
