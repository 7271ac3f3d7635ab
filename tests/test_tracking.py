"""Whether one thing is one track: against TrackEval, loops and what must not matter."""

import dataclasses
import math
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.davis import boundary_accuracy, region_similarity
from movseg_jax.metrics.davis17 import Davis17Unsupervised
from movseg_jax.metrics.track_shapes import enclosed, measure_shapes, shape_numbers
from movseg_jax.metrics.tracking import (
    Tracking,
    TrueFrame,
    measure_tracks,
)
from movseg_jax.results import Sighting, TrackedFrame
from tests.fakes.random_sequences import sequences

GOLDEN = Path(__file__).parent / "golden" / "tracking.npz"
SIZE = (24, 32)


def sighting(i, mask):
    return Sighting(i, masks.encode(mask), 1.0, True, math.nan)


def tracked(masks_by_id, name="0"):
    """A frame of whole masks, which may overlap."""
    found = tuple(sighting(i, mask) for i, mask in masks_by_id.items())
    return TrackedFrame(name, SIZE, None, found)


def compared_frames(truths, founds, voids=None):
    """Frames of images of ids [t, h, w]."""
    for i, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        present = np.unique(found[found > 0]).tolist()
        sightings = tuple(sighting(k, found == k) for k in present)
        tracks = TrackedFrame(f"{i:05d}", truth.shape, None, sightings)
        void = None if voids is None else voids[i]
        yield ComparedFrame(tracks.name, i, truth.astype(np.int32), tracks, void)


def score_of(*sequence, exclusive=False):
    return Tracking(exclusive=exclusive).add(compared_frames(*sequence))


def numbers_of(states):
    return Tracking().compute(Tracking().merge(states))


# TrackEval -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def videos_of(golden):
    return [
        (golden[f"truth{i}"], golden[f"found{i}"])
        for i in range(len(golden["expected"]))
    ]


def test_identities_are_those_of_trackeval(golden):
    for video, expected in zip(videos_of(golden), golden["expected"], strict=True):
        numbers = numbers_of([score_of(*video)])
        found = [numbers[name] for name in golden["names"].tolist()]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_identities_of_several_videos_are_combined_as_by_trackeval(golden):
    numbers = numbers_of([score_of(*video) for video in videos_of(golden)])
    found = [numbers[name] for name in golden["names"].tolist()]
    np.testing.assert_allclose(found, golden["together"], rtol=0, atol=1e-9)


# From the definitions --------------------------------------------------------------


@settings(max_examples=60)
@given(sequence=sequences(), seed=st.integers(0, 2**32))
def test_numbers_of_objects_and_tracks_mean_nothing(sequence, seed):
    truths, founds, voids = sequence
    rng = np.random.default_rng(seed)
    names = [np.append(0, 1 + rng.permutation(12)).astype(np.int32) for _ in range(2)]
    other = names[0][truths], names[1][founds], voids
    first, second = (numbers_of([score_of(*video)]) for video in (sequence, other))
    np.testing.assert_equal(first, second)  # To the last bit; NaN where NaN.


@settings(max_examples=40)
@given(sequence=sequences())
def test_the_truth_as_tracks_is_perfect(sequence):
    truths, _, voids = sequence
    numbers = numbers_of([score_of(truths, truths, voids)])
    objects = np.unique(np.where(voids, 0, truths)[np.where(voids, 0, truths) > 0])
    for name in ("union_j", "union_f"):
        assert numbers[name] == 1
    for name in ("best_j", "best_f", "hota", "det_a", "ass_a", "idf1", "idp", "idr"):
        # Thresholds are summed, so that the mean of nineteen ones may be less by a bit.
        assert not len(objects) or numbers[name] == pytest.approx(1, abs=1e-12)
    assert numbers["id_switches"] == numbers["overlapping"] == numbers["contained"] == 0


@settings(max_examples=40)
@given(sequence=sequences())
def test_no_tracks_have_numbers(sequence):
    truths, founds, voids = sequence
    numbers = numbers_of([score_of(truths, founds * 0, voids)])
    here = np.where(voids, 0, truths)
    if here.any():
        for name in (
            "hota",
            "det_a",
            "ass_a",
            "idf1",
            "idp",
            "idr",
            "tracks_per_object",
        ):
            assert numbers[name] == 0
        # Frames without the object are right, as in DAVIS 2017.
        absent = [
            np.mean([(f != o).all() for f in here]) for o in np.unique(here[here > 0])
        ]
        assert numbers["best_j"] == pytest.approx(np.mean(absent))
    assert numbers["union_j"] == np.mean([not frame.any() for frame in here])
    assert numbers["tracks_per_video"] == numbers["stray_tracks"] == 0
    assert numbers["overlapping"] == numbers["contained"] == 0
    assert math.isnan(numbers["holes"]) and math.isnan(numbers["gaps"])


@settings(max_examples=60)
@given(sequence=sequences())
def test_j_and_f_are_those_of_the_masks(sequence):
    truths, founds, voids = sequence
    numbers = numbers_of([score_of(*sequence)])
    truths, founds = (np.where(voids, 0, ids) for ids in (truths, founds))
    union = [
        [
            score(found > 0, truth > 0)
            for truth, found in zip(truths, founds, strict=True)
        ]
        for score in (region_similarity, boundary_accuracy)
    ]
    assert numbers["union_j"] == pytest.approx(np.mean(union[0]))
    assert numbers["union_f"] == pytest.approx(np.mean(union[1]))
    best = [
        max(
            np.mean(
                [
                    region_similarity(f == k, t == o)
                    for t, f in zip(truths, founds, strict=True)
                ]
            )
            for k in (1, 4, 5, 9, -1)
        )
        for o in np.unique(truths[truths > 0])
    ]
    assert numbers["best_j"] == pytest.approx(np.mean(best or math.nan), nan_ok=True)


@settings(max_examples=60)
@given(sequence=sequences())
def test_the_best_track_is_at_least_as_good_as_the_assigned_one(sequence):
    measure = Davis17Unsupervised(late_objects=True)
    assigned = measure.compute(measure.add(compared_frames(*sequence)))
    numbers = numbers_of([score_of(*sequence)])
    if not math.isnan(assigned["J-mean"]):
        assert numbers["best_j"] >= assigned["J-mean"] - 1e-12


@settings(max_examples=60)
@given(sequence=sequences())
def test_tracks_are_on_the_object_that_has_more_than_half_of_them(sequence):
    truths, founds, voids = sequence
    numbers = numbers_of([score_of(*sequence)])
    objects = [o for o in (2, 3, 7) if (truths == o)[~voids].any()]
    tracks = stray = on = 0
    for track in np.unique(founds[founds > 0]):
        mask = founds == track
        if 2 * np.count_nonzero(mask & voids) > np.count_nonzero(mask):
            continue  # Neither right nor wrong.
        shares = [np.mean((truths == o)[mask] & ~voids[mask]) for o in objects]
        owners = [share for share in shares if share > 0.5]
        tracks, on, stray = tracks + 1, on + len(owners), stray + (not owners)
    assert numbers["tracks_per_video"] == tracks
    assert numbers["stray_tracks"] == stray
    if objects:
        assert numbers["tracks_per_object"] == pytest.approx(on / len(objects))


# Whole masks -----------------------------------------------------------------------


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


THING = box(4, 4, 14, 24)  # 10 by 20 pixels.
ON_THING = {
    "two halves": ({1: box(4, 4, 14, 14), 2: box(4, 14, 14, 24)}, 0, 0),
    "nearly the same": ({1: THING, 2: box(4, 4, 14, 22)}, 1, 1),
    "an IoU of a half": ({1: THING, 2: box(4, 4, 14, 14)}, 0, 1),
    "seven tenths inside": ({1: box(4, 4, 14, 14), 2: box(4, 7, 14, 17)}, 1, 0),
    "mostly inside": ({1: THING, 2: box(2, 4, 10, 8)}, 0, 1),
    "apart": ({1: THING, 2: box(16, 4, 20, 24)}, 0, 0),
    "one": ({7: THING}, 0, 0),
    "an empty one": ({1: THING, 2: THING & False}, 0, 0),
    "none": ({}, 0, 0),
}


@pytest.mark.parametrize("name", ON_THING)
def test_frames_with_overlaps_are_told_by_whole_masks(name):
    tracks, overlapping, contained = ON_THING[name]
    numbers = shape_numbers([measure_shapes([tracked(tracks), tracked({})])])
    assert numbers["overlapping"] == overlapping / 2
    assert numbers["contained"] == contained / 2


def test_a_duplicate_that_is_hidden_is_a_track_of_its_object():
    truth = [TrueFrame(THING[None], np.array([3]))]
    score = measure_tracks(truth, [tracked({1: THING, 2: THING})])
    numbers = numbers_of([score])
    assert numbers["tracks_per_object"] == numbers["tracks_per_video"] == 2
    assert numbers["best_j"] == numbers["hota"] == pytest.approx(1)


def test_two_masks_of_one_track_in_a_frame_are_one():
    halves = [sighting(1, box(4, 4, 14, 14)), sighting(1, box(4, 10, 14, 24))]
    frame = TrackedFrame("0", SIZE, None, tuple(halves))
    truth = [TrueFrame(THING[None], np.array([3]))]
    twice, once = (
        numbers_of([measure_tracks(truth, [each])])
        for each in (frame, tracked({1: THING}))
    )
    assert twice == once
    assert once["gaps"] == once["overlapping"] == 0


def enclosed_slowly(mask):
    """Pixels from which no walk over other pixels leads out of the frame."""
    padded = np.pad(mask, 1)
    outside, rim = {(0, 0)}, [(0, 0)]
    while rim:
        y, x = rim.pop()
        for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            inside = 0 <= v < padded.shape[0] and 0 <= u < padded.shape[1]
            if inside and not padded[v, u] and (v, u) not in outside:
                outside.add((v, u))
                rim.append((v, u))
    return np.array(
        [[(y + 1, x + 1) not in outside for x in range(mask.shape[1])]
         for y in range(mask.shape[0])]
    ).reshape(mask.shape) & ~mask  # fmt: skip


@settings(max_examples=100)
@given(mask=arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_what_a_mask_encloses_is_what_no_walk_leaves(mask):
    np.testing.assert_array_equal(enclosed(mask), enclosed_slowly(mask))


def test_holes_are_what_no_track_covers():
    ring, filling = THING & ~box(6, 6, 12, 10), box(6, 6, 9, 10)
    open_ring = ring & ~box(4, 6, 6, 10)
    frames = [tracked({1: ring}), tracked({1: THING}), tracked({2: open_ring})]
    assert measure_shapes(frames).holes == (24 / 400, 0)
    # A part of the hole is another track.
    assert measure_shapes([tracked({1: ring, 2: filling})]).holes == (12 / 188, 0)
    # Of all tracks the mean, in whatever videos.
    parts = [measure_shapes(frames), measure_shapes(frames[:1])]
    assert shape_numbers(parts)["holes"] == pytest.approx((24 / 400 + 24 / 200) / 3)


def test_gaps_are_frames_within_a_track_without_it():
    there = [{1}, {1, 2}, {2}, set(), {1, 3}, set()]
    frames = [tracked({i: box(4 * i, 4, 4 * i + 3, 9) for i in ids}) for ids in there]
    parts = measure_shapes(frames)
    assert (parts.lifetime, parts.missing) == (5 + 2 + 1, 2)
    assert shape_numbers([parts, parts])["gaps"] == 2 / 8


# Files that cannot hold overlaps ---------------------------------------------------


def test_overlaps_are_of_what_can_overlap_only():
    frames = np.zeros((1, *SIZE), np.int32)
    truth = TrueFrame(THING[None], np.array([1]))
    flat = score_of(frames, frames, exclusive=True)
    whole = measure_tracks([truth], [tracked({1: THING, 2: THING})])
    assert "overlapping" not in numbers_of([flat])
    assert "contained" not in numbers_of([flat, flat])
    both = numbers_of([flat, whole])
    assert both["overlapping"] == both["contained"] == 1
    assert both["tracks_per_video"] == 1


# A data set, frames ----------------------------------------------------------------


def test_a_data_set_is_a_mean_over_objects_sequences_or_frames():
    two = measure_tracks(
        [TrueFrame(np.stack([THING, box(16, 4, 20, 24)]), np.array([1, 2]))] * 2,
        [tracked({1: THING, 2: THING}), tracked({1: THING})],
    )
    one = measure_tracks([TrueFrame(THING[None], np.array([1]))], [tracked({})])
    numbers = numbers_of([two, one])
    assert numbers["tracks_per_object"] == 2 / 3
    assert numbers["tracks_per_video"] == 1
    assert numbers["best_j"] == pytest.approx(1 / 3)
    assert numbers["union_j"] == pytest.approx((200 / 280 + 0) / 2)
    assert numbers["overlapping"] == 1 / 3
    # The first track is visible in the second frame only.
    assert numbers["idr"] == 1 / 5 and numbers["idp"] == 1 / 2
    assert numbers == numbers_of([one, two])
    assert two.frames == {"0": 200 / 280}  # Both frames have that name.


def test_what_is_ignored_is_neither_right_nor_wrong():
    ignored = box(4, 14, 24, 32)
    true = TrueFrame(THING[None], np.array([1]), ignored)
    tracks = {1: box(4, 4, 14, 32), 2: box(15, 15, 24, 32)}
    numbers = numbers_of([measure_tracks([true], [tracked(tracks)])])
    for name in ("union_j", "union_f", "best_j", "best_f", "hota", "idf1"):
        assert numbers[name] == pytest.approx(1)
    assert numbers["stray_tracks"] == 0


def test_frames_and_their_truth_that_differ_are_refused():
    truth = [TrueFrame(THING[None], np.array([1]))]
    with pytest.raises(InputError, match=r"`truth` has more frames.* 0;"):
        measure_tracks(truth, [])
    with pytest.raises(InputError, match=r"`tracked` has more frames.* 1;"):
        measure_tracks(truth, [tracked({})] * 2)
    with pytest.raises(InputError, match=r"Frame x is of size \(2, 3\)"):
        measure_tracks(truth, [TrackedFrame("x", (2, 3), None, ())])


def test_no_frame_is_kept_when_the_next_ones_are_seen():
    seen = []

    def frames():
        for index in range(6):
            image = THING * np.int32(index // 2 + 1)
            (frame,) = compared_frames([image], [image])
            seen.append(weakref.ref(frame.truth))
            yield dataclasses.replace(frame, name=str(index))
            del frame
            assert sum(truth() is not None for truth in seen) <= 2

    assert len(Tracking().add(frames()).frames) == 6


def test_no_frames_and_no_objects_have_numbers():
    nothing = Tracking().add(iter(()))
    assert math.isnan(numbers_of([nothing])["union_j"])
    assert numbers_of([nothing])["tracks_per_video"] == 0
    stray = measure_tracks(
        [TrueFrame(np.zeros((0, *SIZE), bool), np.zeros(0, int))], [tracked({1: THING})]
    )
    numbers = numbers_of([stray, nothing])
    assert numbers["union_j"] == numbers["hota"] == numbers["idf1"] == 0
    assert numbers["stray_tracks"] == 1 / 2
    assert math.isnan(numbers["best_j"]) and math.isnan(numbers["tracks_per_object"])
