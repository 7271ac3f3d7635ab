"""The measures of FBMS by hand, against loops, and against the official program."""

import itertools
import json
import math
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.images import read_rgb
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.fbms import Proposed, ThreeD
from movseg_jax.metrics.fbms_official import Official, OfficialPoints
from movseg_jax.metrics.point_tracks import PointTracks, read_point_tracks
from movseg_jax.results import Sighting, TrackedFrame
from tests.outside import needs, outside

ROOT = Path(__file__).parents[1]
BEAR = "data/fbms_bear01"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "fbms.json").read_text())
MEASURES = {
    "official": Official(),
    "proposed": Proposed(),
    "inferred": Proposed("infer"),
    "three_d": ThreeD(),
}


def compared(truths, founds, weights=None, indices=None):
    """Frames of ids as measures see them."""
    truths, founds = np.int32(truths), np.asarray(founds)
    for i, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        ids = [int(n) for n in np.unique(found) if n]
        sightings = tuple(
            Sighting(n, masks.encode(found == n), 1.0, True, 0.0) for n in ids
        )
        yield ComparedFrame(
            name=f"{i:05d}",
            index=i if indices is None else indices[i],
            truth=truth,
            tracks=TrackedFrame(f"{i:05d}", truth.shape, None, sightings),
            weights=None if weights is None else np.float32(weights)[i],
        )


def numbers(measure, truths, founds, weights=None):
    return measure.compute(measure.add(compared(truths, founds, weights)))


# By hand ---------------------------------------------------------------------------


def test_official_takes_the_background_for_a_region():
    # Region 0 has six pixels, all in cluster 0, which has eight: P 3/4, R 1. Region 1
    # has four, two of them in cluster 1: P 1, R 1/2. Means: P 7/8, R 3/4.
    truth = [[[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]]
    found = [[[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]]
    expected = {
        "precision": 7 / 8,
        "recall": 3 / 4,
        "f_measure": 2 * 7 / 8 * 3 / 4 / (7 / 8 + 3 / 4),
        "density": 1.0,
        # F of the background is 6/7, of the object 2/3: 1 - 1 for the background.
        "extracted": 0.0,
        "visible": 1.0,
    }
    assert numbers(Official(), truth, found) == pytest.approx(expected)


def test_official_gives_a_region_without_cluster_precision_1_and_recall_0():
    # One cluster, 0, of eight pixels, for three regions of 4, 2, 2: it goes to region
    # 0, with P 1/2 and R 1; the others have P 1, R 0.
    truth = [[[0, 0, 1, 1], [0, 0, 2, 2]]]
    found = np.zeros((1, 2, 4), int)
    result = numbers(Official(), truth, found)
    assert result["precision"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert result["recall"] == pytest.approx(1 / 3)


def test_only_in_track_files_labels_without_tracks_are_clusters(tmp_path):
    # The same but that a track has two pixels of region 0. As track 1 there are two
    # clusters, and one region of the three is left without; as track 2 three, and that
    # region has the empty one: P 0 instead of 1. Regions 0 and 1 have, whichever of the
    # equal regions 1 and 2 is first, cluster 1 (P 1, R 1/2, F 2/3) and cluster 0 (P
    # 2/6, R 1, F 1/2).
    truth = [[[0, 0, 1, 1], [0, 0, 2, 2]]]
    found = np.array([[[1, 0, 0, 0], [1, 0, 0, 0]]])
    without = points_numbers(tmp_path, truth, found)
    assert without["precision"] == pytest.approx((1 + 2 / 6 + 1) / 3)
    assert without["recall"] == pytest.approx((1 / 2 + 1) / 3)
    empty = points_numbers(tmp_path, truth, 2 * found)
    assert empty["precision"] == pytest.approx((1 + 2 / 6 + 0) / 3)
    assert empty["recall"] == without["recall"]
    # With as many labels as regions and more, nothing changes any more.
    assert points_numbers(tmp_path, truth, 7 * found) == empty
    for ids in (found, 2 * found, 7 * found):
        assert numbers(Official(), truth, ids) == without


def points_numbers(tmp_path, truth, found):
    """The numbers of a track file in which each pixel is a track of one point."""
    found = np.asarray(found)
    tracks = [(found[i, y, x], i, [(x, y)]) for i, y, x in np.ndindex(found.shape)]
    path = write_points(tmp_path / "pixels.dat", len(found), tracks)
    points = read_point_tracks(path)
    measure = OfficialPoints(points=points, frame_count=len(found))
    return numbers(measure, truth, 0 * found)


def test_official_counts_objects_above_the_threshold_only():
    # The object has five pixels and its track three of them: P 1, R 3/5, F 3/4. The
    # background has 20 and its track two more: F 20/21.
    truth, found = np.zeros((2, 1, 5, 5), int)
    truth[0, 0], found[0, 0, :3] = 1, 1
    assert numbers(Official(0.75), truth, found)["extracted"] == 0
    assert numbers(Official(0.7499), truth, found)["extracted"] == 1
    # With the background's F below, the object that is found is taken off.
    assert numbers(Official(0.97), truth, truth)["extracted"] == 1
    halved = np.where(truth == 1, 1, np.arange(25).reshape(5, 5) % 2 * 2)
    assert numbers(Official(0.75), truth, halved)["extracted"] == 0


def test_official_weighs_pixels_and_leaves_out_regions_without_weight():
    # Region 0: weights 1, 1; region 1: 1, 128/255; region 2: 0, 0, so it is not there.
    truth = [[[0, 0], [1, 1], [2, 2]]]
    weights = np.float32([[[255, 255], [255, 128], [0, 0]]]) / np.float32(255)
    # Cluster 1 has the half sure pixel only: P 1, R 128/383. Cluster 0: P 510/765, R 1.
    found = [[[0, 0], [0, 1], [1, 1]]]
    result = numbers(Official(), truth, found, weights)
    assert result["precision"] == pytest.approx((510 / 765 + 1) / 2)
    assert result["recall"] == pytest.approx((1 + 128 / 383) / 2)
    assert result["visible"] == 1
    nothing = numbers(Official(), truth, found, 0 * weights)
    names = ("precision", "recall", "f_measure", "density")
    assert all(math.isnan(nothing[name]) for name in names)
    assert nothing["visible"] == nothing["extracted"] == 0


def test_weights_of_8_bits_add_up_exactly():
    # The object weighs 1 + 8 + 6, its track 1 + 8: F is 18/24, not above 3/4. In the
    # floating point numbers next to 1/255, 8/255 and 6/255 it would be.
    truth, found = np.array([[[1, 1, 1, 0]]]), np.array([[[1, 1, 0, 0]]])
    weights = np.float32([[[1, 8, 6, 255]]]) / np.float32(255)
    assert numbers(Official(), truth, found, weights)["extracted"] == 0
    assert numbers(Official(0.7499), truth, found, weights)["extracted"] == 1


def test_official_matches_what_barely_overlaps():
    # F of the object's only pixel and the second largest track is below 1/10000, which
    # the official program takes for 0: whether it counts would depend on the ids.
    truth, found = np.zeros((2, 1, 200, 240), int)
    found[0, :90] = 1
    truth[0, 5, 5] = 1
    for ids in ([0, 1], [1, 0]):
        result = numbers(Official(), truth, np.array(ids)[found])
        assert result["recall"] == pytest.approx((110 * 240 / 47999 + 1) / 2)
        assert result["precision"] == pytest.approx((1 + 1 / 21600) / 2)


def test_unlisted_colours_are_background():
    truth = np.array([[[-1, 0, 1], [0, 0, 1]]])
    for measure in MEASURES.values():
        listed = np.maximum(truth, 0)
        assert numbers(measure, truth, listed) == numbers(measure, listed, listed)


def test_figure_4_of_the_paper():
    """A false positive costs nothing officially, and precision as proposed."""
    truth, found, more = np.zeros((3, 1, 20, 20), int)
    truth[0, 2:7, 2:7] = 1
    found[0, 2:7, 3:8] = 1
    more[0, 2:7, 3:8] = 1
    more[0, 12:18, 12:18] = 2  # The dashed circle, on background that nobody labelled.
    one, two = (numbers(Official(), truth, f) for f in (found, more))
    assert two["extracted"] == one["extracted"] == 1
    # The object's pair is the same; the background loses the 36 pixels, in recall only.
    assert two["recall"] == pytest.approx(one["recall"] - 36 / 375 / 2)
    assert two["precision"] == pytest.approx(one["precision"], abs=1e-3)
    one, two = (numbers(Proposed(), truth, f) for f in (found, more))
    assert one == pytest.approx(
        {"precision": 20 / 25, "recall": 20 / 25, "f_measure": 4 / 5}
    )
    # 20 of 25 + 36 pixels are right.
    assert two["precision"] == pytest.approx(20 / 61)
    assert two["recall"] == one["recall"]


def test_f_is_of_the_means_officially_and_the_mean_of_f_as_proposed():
    # Of one sequence half of the object is found, of the other the object and as much
    # again: P 1, R 1/2 and P 1/2, R 1. Both have F 2/3, and F of the means is 3/4.
    truth = [[[0, 0, 0, 0, 1, 1]]]
    measure = Proposed()
    scores = [
        measure.add(compared(truth, found))
        for found in ([[[0, 0, 0, 0, 0, 1]]], [[[0, 0, 1, 1, 1, 1]]])
    ]
    assert measure.compute(measure.merge(scores)) == pytest.approx(
        {"precision": 3 / 4, "recall": 3 / 4, "f_measure": 2 / 3}
    )
    measure = Official()
    scores = [
        measure.add(compared(truth, found))
        for found in ([[[0, 0, 0, 0, 0, 1]]], [[[0, 0, 1, 1, 1, 1]]])
    ]
    result = measure.compute(measure.merge(scores))
    precision, recall = result["precision"], result["recall"]
    harmonic = 2 * precision * recall / (precision + recall)
    assert result["f_measure"] == pytest.approx(harmonic)


def test_proposed_works_without_background():
    everywhere, nowhere = np.ones((2, 2, 3), int), np.zeros((2, 2, 3), int)
    perfect = {"precision": 1.0, "recall": 1.0, "f_measure": 1.0}
    none = dict.fromkeys(perfect, 0.0)
    assert numbers(Proposed(), everywhere, 4 * everywhere) == perfect
    assert numbers(Proposed(), everywhere, nowhere) == none
    assert numbers(Proposed(), nowhere, everywhere) == none
    assert numbers(Proposed(), nowhere, nowhere) == none
    # All that is found is one track: that is the largest.
    assert numbers(Proposed("infer"), everywhere, everywhere) == none


def test_proposed_takes_the_background_that_it_is_told_or_the_largest():
    truth = np.array([[[0, 0, 0, 1, 2]]])
    found = np.array([[[9, 9, 9, 0, 5]]])
    perfect = {"precision": 1.0, "recall": 1.0, "f_measure": 1.0}
    assert numbers(Proposed(9), truth, found) == perfect
    assert numbers(Proposed("infer"), truth, found) == perfect
    # Of two equally large ones the pixels without a track, or what is seen first.
    assert numbers(Proposed("infer"), truth[..., 2:4], [[[7, 0]]])["recall"] == 0
    assert numbers(Proposed("infer"), truth[..., 2:4], [[[7, 3]]])["recall"] == 1
    assert numbers(Proposed("infer"), truth[..., 2:4], [[[3, 7]]])["recall"] == 1
    with pytest.raises(InputError, match='expected "infer" or a track\'s id'):
        Proposed(-1)


def test_three_d_counts_the_background_and_divides_by_the_regions_of_the_truth():
    # Region 0 has 6 pixels, track 0 has 8 with them: P 3/4, R 1, F 6/7. Region 1 has 3,
    # track 3 one of them and one of region 2: P 1/2, R 1/3, F 2/5. Region 2, one pixel,
    # is left without.
    truth = [[[0, 0, 0, 1, 1], [0, 0, 0, 1, 2]]]
    found = [[[0, 0, 0, 0, 3], [0, 0, 0, 0, 3]]]
    # But region 2 with track 3 is P 1/2, R 1, F 2/3, which is more.
    expected = {
        "precision": (3 / 4 + 1 / 2) / 3,
        "recall": (1 + 1) / 3,
        "f_measure": (6 / 7 + 2 / 3) / 3,
        "delta_objects": 1.0,
        "extracted": 1.0,
        "regions": 3.0,
    }
    assert numbers(ThreeD(), truth, found) == pytest.approx(expected)


def test_three_d_takes_an_f_of_exactly_three_quarters_for_found():
    truth, found = np.zeros((2, 1, 5, 5), int)
    truth[0, 0], found[0, 0, :3] = 1, 1  # F 6/8 and 40/42.
    assert numbers(ThreeD(), truth, found)["extracted"] == 2


def test_a_sequence_without_frames_has_no_numbers():
    assert math.isnan(numbers(Official(), [], [])["precision"])
    assert math.isnan(numbers(ThreeD(), [], [])["f_measure"])


# Points ----------------------------------------------------------------------------


def write_points(path, frame_count, tracks):
    lines = [frame_count, len(tracks)]
    for label, first, points in tracks:
        lines += [label, len(points)]
        lines += [f"{x} {y} {first + i}" for i, (x, y) in enumerate(points)]
    path.write_text("\n".join(map(str, lines)) + "\n")
    return path


def test_points_count_where_they_are_and_pixels_once(tmp_path):
    # Two labelled frames, 0 and 2. Region 0 has 4 pixels in each, region 1 two.
    truth = np.array([[[0, 0, 1], [0, 0, 1]]] * 2)
    tracks = [
        (0, 0, [(0, 0), (2, 0), (1, 1)]),  # Region 0 in both frames.
        (0, 1, [(1, 0), (0.4, 0.49)]),  # Only in frame 2: region 0, pixel (0, 0).
        (2, 2, [(1.5, 0.5), (9, 9)]),  # In frame 2 rounded to (2, 1): region 1.
        (2, 2, [(2, 1)]),  # The same pixel again.
        (2, 0, [(1, 0), (0, 0)]),  # In frame 0: region 0. It ends before frame 2.
        (0, 0, [(-1.5, 0), (0, 0), (3, 0)]),  # Outside in both frames.
    ]
    path = write_points(tmp_path / "a.dat", 3, tracks)
    measure = OfficialPoints(points=read_point_tracks(path), frame_count=3)
    score = measure.add(compared(truth, truth, indices=[0, 2]))
    # Cluster 0: region 0 three times: P 1, R 3/4. Cluster 2: once in region 0, twice in
    # region 1: P 2/3, R 1. Cluster 1 is empty. Density: 4/8 and 2/4.
    assert measure.compute(score) == pytest.approx(
        {
            "precision": (1 + 2 / 3) / 2,
            "recall": (3 / 4 + 1) / 2,
            "f_measure": 2 * 5 / 6 * 7 / 8 / (5 / 6 + 7 / 8),
            "density": 1 / 2,
            "extracted": 1.0,
            "visible": 1.0,
        }
    )


def test_points_of_the_first_frames_are_measured_up_to_the_frame_behind(tmp_path):
    truth = np.zeros((3, 2, 2), int)
    path = write_points(tmp_path / "a.dat", 10, [(0, 0, [(0, 0)] * 30)])
    points = read_point_tracks(path)
    frames = compared(truth, truth, indices=[9, 10, 11])
    score = OfficialPoints(points=points, frame_count=30).add(frames)
    assert [*score.frames] == ["00000", "00001"]
    with pytest.raises(
        InputError, match="is of 11 frames, expected 10, 50, 200 or all 30"
    ):
        OfficialPoints(points=points._replace(frame_count=11), frame_count=30)
    assert OfficialPoints(points=points._replace(frame_count=30), frame_count=30)


def test_no_tracks_have_precision_1_and_recall_0(tmp_path):
    points = read_point_tracks(write_points(tmp_path / "a.dat", 50, []))
    measure = OfficialPoints(points=points, frame_count=80)
    truth = [[[0, 1], [0, 1]]]
    result = measure.compute(measure.add(compared(truth, truth)))
    assert (result["precision"], result["recall"], result["f_measure"]) == (1, 0, 0)
    assert result["density"] == 0


def test_tracks_off_the_labelled_frames_have_no_f(tmp_path):
    path = write_points(tmp_path / "a.dat", 50, [(3, 7, [(0, 0)])])
    measure = OfficialPoints(points=read_point_tracks(path), frame_count=50)
    truth = [[[0, 1], [0, 1]]]
    result = measure.compute(measure.add(compared(truth, truth)))
    assert (result["precision"], result["recall"]) == (0, 0)
    assert math.isnan(result["f_measure"])


@pytest.mark.parametrize("case", GOLDEN)
def test_official_says_what_the_official_program_says(case, tmp_path):
    weights = case["weights"] and np.float32(case["weights"]) / np.float32(255)
    truth, frames = np.array(case["truth"]), case["frames"]
    tracks = case["tracks"]
    measures = []
    if tracks is None:
        ids = np.array(case["ids"])
        tracks = [
            (ids[i, y, x], frames[i], [(x, y)]) for i, y, x in np.ndindex(*ids.shape)
        ]
        # With fewer tracks than regions, the program counts empty labels as clusters.
        if len(np.unique(truth)) <= len({0, *ids.ravel()}):
            measures.append((Official(), ids))
    path = write_points(tmp_path / "a.dat", case["evaluated"], tracks)
    points = read_point_tracks(path)
    measures.append(
        (OfficialPoints(points=points, frame_count=case["frame_count"]), 0 * truth)
    )
    for measure, found in measures:
        score = measure.add(compared(truth, found, weights, frames))
        result, expected = measure.compute(score), case["expected"]
        values = [
            100 * result["density"],
            *(result[name] for name in ("precision", "recall", "f_measure")),
            result["visible"],
            result["extracted"],
            len(score.frames),
        ]
        keys = ("density", "means", "visible", "extracted", "frames")
        printed = [np.nan if v is None else v for key in keys for v in expected[key]]
        np.testing.assert_allclose(values, printed, rtol=2e-5)  # Of six digits.


# Loops -----------------------------------------------------------------------------


def matchings(rows, columns):
    """All ways to give rows columns, each at most once, and as many as there can be."""
    if len(rows) <= len(columns):
        for chosen in itertools.permutations(columns, len(rows)):
            yield list(zip(rows, chosen, strict=True))
    else:
        for chosen in itertools.permutations(rows, len(columns)):
            yield list(zip(chosen, columns, strict=True))


def pair(region, track, weight):
    """P, R, F of two sets of pixels, as fractions."""
    shared = sum((weight[p] for p in region & track), Fraction(0))
    sizes = [
        sum((weight[p] for p in pixels), Fraction(0)) for pixels in (track, region)
    ]
    p, r = (shared / size if size else Fraction(0) for size in sizes)
    return p, r, 2 * p * r / (p + r) if p + r else Fraction(0)


def sets(volume):
    found = {}
    for place in np.ndindex(*volume.shape):
        found.setdefault(int(volume[place]), set()).add(place)
    return found


def official_by_loops(truth, found, levels, threshold=Fraction(3, 4)):
    """All (P, R, extracted, visible) that equally good matchings give."""
    weight = {p: Fraction(int(levels[p]), 255) for p in np.ndindex(*truth.shape)}
    regions = {
        i: pixels
        for i, pixels in sets(truth).items()
        if sum(weight[p] for p in pixels) >= Fraction(1, 10_000)
    }
    tracks = sets(found)
    clusters = [tracks.pop(0, set()), *tracks.values()]
    visible, count = [*regions.values()], max(len(regions), len(clusters))
    if not visible:
        return set()
    fits = {
        (i, j): pair(visible[i], clusters[j], weight)
        for i in range(len(visible))
        for j in range(len(clusters))
    }
    outcomes = []
    for order in itertools.permutations(range(count)):
        precision = recall = total = steps = extracted = Fraction(0)
        for i, j in enumerate(order):
            p, r, f = fits.get((i, j), (0, 0, Fraction(0)))
            if len(clusters) < len(visible) and j >= len(clusters):
                p = 1
            if i < len(visible):
                precision, recall, total = precision + p, recall + r, total + f
                steps += int(f * 10_000)
                extracted += f > threshold
        n = len(visible)
        numbers = (precision / n, recall / n, max(extracted - 1, 0), n - 1)
        outcomes.append((steps, total, numbers))
    best = max(outcomes)[:2]
    return {numbers for steps, total, numbers in outcomes if (steps, total) == best}


def proposed_by_loops(truth, found, background):
    """All (P, R, F) that equally good matchings give."""
    weight = dict.fromkeys(np.ndindex(*truth.shape), Fraction(1))
    objects, tracks = sets(truth), sets(found)
    true = sum(len(pixels) for i, pixels in objects.items() if i)
    seen = sum(len(pixels) for i, pixels in tracks.items() if i != background)
    objects.pop(0, None)
    tracks.pop(background, None)
    outcomes = []
    for pairs in matchings([*objects], [*tracks]):
        total = sum(pair(objects[i], tracks[j], weight)[2] for i, j in pairs)
        correct = sum(len(objects[i] & tracks[j]) for i, j in pairs)
        p = Fraction(correct, seen) if seen else Fraction(0)
        r = Fraction(correct, true) if true else Fraction(0)
        f = 2 * p * r / (p + r) if p + r else Fraction(0)
        outcomes.append((total, (p, r, f)))
    best = max(outcomes)[0]
    return {numbers for total, numbers in outcomes if total == best}


def three_d_by_loops(truth, found):
    """All (P, R, F, delta, extracted) that equally good matchings give."""
    weight = dict.fromkeys(np.ndindex(*truth.shape), Fraction(1))
    regions, tracks = sets(truth), sets(found)
    delta, outcomes = abs(len(regions) - len(tracks)), []
    for pairs in matchings([*regions], [*tracks]):
        fits = [pair(regions[i], tracks[j], weight) for i, j in pairs]
        sums = [sum(column) / len(regions) for column in zip(*fits, strict=True)]
        extracted = sum(f >= Fraction(3, 4) for _, _, f in fits)
        outcomes.append((sums[2], (*sums, delta, extracted)))
    best = max(outcomes)[0]
    return {numbers for total, numbers in outcomes if total == best}


@st.composite
def sequences(draw):
    """Truth, tracks and weights of 255 of a few pixels; often alike."""
    shape = draw(
        st.sampled_from([(1, 1, 1), (1, 2, 3), (2, 2, 3), (3, 3, 2), (1, 4, 5)])
    )
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    ids = draw(st.sampled_from([[0], [0, 1], [0, 1, 2], [1, 3], [0, 0, 0, 2]]))
    truth = generator.choice(ids, shape)
    ids = draw(st.sampled_from([[0], [0, 1], [0, 1, 3], [0, 2], [2, 3], [1, 2, 3, 4]]))
    found = generator.choice(ids, shape)
    if draw(st.booleans()):
        found = np.where(generator.random(shape) < 0.7, truth, found)
    levels = generator.choice(
        draw(st.sampled_from([[255], [0, 20, 128, 255], [0]])), shape
    )
    return truth, found, levels


def is_among(result, outcomes):
    return any(np.allclose(result, [float(v) for v in o], atol=1e-9) for o in outcomes)


@settings(max_examples=150)
@given(sequences())
def test_official_is_what_loops_say(case):
    truth, found, levels = case
    weights = np.float32(levels) / np.float32(255)
    result = numbers(Official(), truth, found, weights)
    expected = official_by_loops(truth, found, levels)
    names = ("precision", "recall", "extracted", "visible")
    if expected:
        assert is_among([result[name] for name in names], expected)
    else:
        assert math.isnan(result["precision"])


@settings(max_examples=150)
@given(sequences())
def test_proposed_is_what_loops_say(case):
    truth, found, _ = case
    expected = proposed_by_loops(truth, found, 0)
    assert is_among([*numbers(Proposed(), truth, found).values()], expected)
    sizes = {i: len(pixels) for i, pixels in sets(found).items()}
    largest = [i for i in sizes if sizes[i] == max(sizes.values())]
    result = [*numbers(Proposed("infer"), truth, found).values()]
    assert any(is_among(result, proposed_by_loops(truth, found, i)) for i in largest)


@settings(max_examples=150)
@given(sequences())
def test_three_d_is_what_loops_say(case):
    truth, found, _ = case
    result = numbers(ThreeD(), truth, found)
    names = ("precision", "recall", "f_measure", "delta_objects", "extracted")
    assert is_among([result[name] for name in names], three_d_by_loops(truth, found))


# What holds for all of them --------------------------------------------------------


@settings(max_examples=100)
@given(
    sequences(),
    st.sampled_from([*MEASURES]),
    st.permutations(range(5)),
    st.permutations([1, 2, 5, 9]),
)
def test_ids_make_no_difference(case, name, order, with_gaps):
    truth, found, levels = case
    weights = np.float32(levels) / np.float32(255)
    objects = np.array([0, *[n for n in order if n]])
    tracks = np.array([0, *with_gaps])
    measure = MEASURES[name]
    one = measure.add(compared(truth, found, weights))
    other = measure.add(compared(objects[truth], tracks[found], weights))
    assert repr(one) == repr(other)


@settings(max_examples=100)
@given(sequences(), st.sampled_from([*MEASURES]))
def test_the_truth_itself_is_perfect(case, name):
    truth, _, levels = case
    weights = np.float32(levels) / np.float32(255)
    result = numbers(MEASURES[name], truth, truth, weights)
    score = MEASURES[name].add(compared(truth, truth, weights))
    if name == "inferred" or not (truth.any() and levels.any()):
        return
    for key in ("precision", "recall", "f_measure"):
        assert result[key] == 1
    assert set(score.frames.values()) == {1.0}
    assert result.get("delta_objects", 0) == 0
    if name == "three_d":
        assert result["extracted"] == result["regions"]
    if name == "official":
        assert result["extracted"] == result["visible"]


@settings(max_examples=50)
@given(st.lists(sequences(), min_size=1, max_size=6), st.randoms(), st.data())
def test_the_order_of_sequences_makes_no_difference(cases, random, data):
    measure = MEASURES[data.draw(st.sampled_from([*MEASURES]))]
    scores = [measure.add(compared(truth, found)) for truth, found, _ in cases]
    expected = repr(measure.compute(measure.merge(scores)))
    random.shuffle(scores)
    assert repr(measure.compute(measure.merge(scores))) == expected


@settings(max_examples=50)
@given(sequences(), st.sampled_from([*MEASURES]))
def test_an_empty_prediction_has_numbers(case, name):
    truth, _, _ = case
    result = numbers(MEASURES[name], truth, 0 * truth)
    assert all(0 <= result[key] <= 1 for key in ("precision", "recall"))


@pytest.mark.parametrize("name", MEASURES)
def test_the_worst_frame_has_the_lowest_score(name):
    truth = np.zeros((4, 10, 10), int)
    truth[:, 2:6, 2:6] = 1
    found = 3 * truth
    found[2] = np.roll(found[2], 3, axis=1)
    scores = MEASURES[name].add(compared(truth, found)).frames
    assert min(scores, key=scores.get) == "00002"
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores["00001"] == 1


def test_a_false_positive_makes_a_frame_worse_only_where_it_counts():
    truth = np.zeros((2, 10, 10), int)
    truth[:, 2:6, 2:6] = 1
    found = truth.copy()
    found[1, 8, 8] = 2
    assert Proposed().add(compared(truth, found)).frames["00001"] == 1 / 2
    assert ThreeD().add(compared(truth, found)).frames["00001"] > 0.99
    # Nor does a frame with nothing to find and nothing found count as bad.
    nothing = np.zeros((1, 2, 2), int)
    assert Proposed().add(compared(nothing, nothing)).frames == {"00000": 1.0}


@pytest.mark.parametrize("name", MEASURES)
def test_measures_hold_one_frame_at_a_time(name):
    alive = []

    def frames():
        for frame in compared(np.ones((6, 8, 8), int), np.ones((6, 8, 8), int)):
            assert not [reference for reference in alive[:-1] if reference()]
            alive.append(weakref.ref(frame))
            yield frame

    MEASURES[name].add(frames())
    assert len(alive) == 6


def test_ids_may_be_large():
    truth = np.array([[[0, 0, 1, 70000]]])
    found = np.array([[[0, 0, 2**31 - 1, 5]]])
    assert numbers(Proposed(), truth, found)["f_measure"] == 1
    assert numbers(ThreeD(), truth, found)["f_measure"] == 1
    assert numbers(Official(), truth, found)["f_measure"] == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(InputError, match=r"threshold is .*, expected an F of 0 to 1"):
        Official(threshold)


@needs(BEAR)
@pytest.mark.parametrize("name", MEASURES)
def test_the_truth_of_bear01_is_perfect_and_its_shift_is_not(name):
    truths = []
    for file in sorted(outside(BEAR).glob("*_gt.ppm"))[:3]:
        colours = read_rgb(file).astype(np.int64) @ [65536, 256, 1]
        values, regions = np.unique(colours, return_inverse=True)
        assert len(values) == 2
        truths.append(np.where(regions == np.bincount(regions.ravel()).argmax(), 0, 1))
    result = numbers(MEASURES[name], truths, truths)
    assert result["precision"] == result["recall"] == result["f_measure"] == 1
    shifted = np.roll(truths, 40, axis=2)
    assert numbers(MEASURES[name], truths, shifted)["f_measure"] < 0.99


def test_points_of_every_pixel_are_tracks_of_every_pixel(tmp_path):
    generator = np.random.default_rng(5)
    truth, found = generator.integers(0, 3, (2, 3, 4, 5))
    tracks = [(found[p], p[0], [(p[2], p[1])]) for p in np.ndindex(*found.shape)]
    path = write_points(tmp_path / "a.dat", 2, tracks)
    points = read_point_tracks(path)
    assert isinstance(points, PointTracks)
    sparse = OfficialPoints(points=points, frame_count=2).add(compared(truth, truth))
    assert repr(sparse) == repr(Official().add(compared(truth, found)))
