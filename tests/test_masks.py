"""Masks against other implementations, pure Python decoders and malformed input.

Malformed RLEs and polygons crash or hang pycocotools, so the tests that look for them
run in a process of their own, with little memory and time: `python test_masks.py fuzz`.
"""

import json
import math
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from movseg_jax import config, masks
from movseg_jax.errors import InputError
from movseg_jax.metrics.davis import boundary
from movseg_jax.track.translation import translate

ROOT = Path(__file__).parents[1]
CONVENTIONS = list(config.CONVENTIONS)
SOURCE = "train.json: annotation 7"
GOLDEN = np.load(ROOT / "tests" / "golden" / "masks.npz")


def blob(height, width, seed, cells=5):
    coarse = np.random.default_rng(seed).normal(size=(cells, cells))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth.astype(np.float32)


# Pasting -------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("i", range(len(GOLDEN["boxes"])), ids=list(GOLDEN["names"]))
def test_paste_equals_the_original_of_its_convention(convention, i):
    frame_size = tuple(GOLDEN["frame_size"].tolist())
    original = "detectron2" if convention == "continuous" else convention
    expected = np.unpackbits(GOLDEN[original][i], axis=-1, count=frame_size[1])
    pasted = masks.paste(
        GOLDEN["mask_logits"][i], GOLDEN["boxes"][i], frame_size, convention=convention
    )
    assert_array_equal(pasted, expected.astype(bool))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_rles_are_those_of_the_pasted_masks(convention):
    logits, boxes = GOLDEN["mask_logits"], GOLDEN["boxes"]
    rles = masks.paste_rles(logits, boxes, (60, 90), convention=convention)
    for rle, mask_logits, box in zip(rles, logits, boxes, strict=True):
        assert rle == masks.encode(
            masks.paste(mask_logits, box, (60, 90), convention=convention)
        )


def test_paste_into_a_box_of_its_own_size_is_the_identity():
    logits = blob(28, 28, seed=0)
    pasted = masks.paste(logits, np.float32([10, 5, 38, 33]), (40, 50))
    assert_array_equal(pasted, np.pad(logits > 0, ((5, 7), (10, 12))))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_paste_moves_with_its_box(convention):
    logits, box = blob(28, 28, seed=1), np.float32([10.5, 7.25, 41.75, 30.5])
    moved = masks.paste(
        logits, box + np.float32([8, 16, 8, 16]), (80, 80), convention=convention
    )
    pasted = masks.paste(logits, box, (80, 80), convention=convention)
    assert_array_equal(moved, np.roll(pasted, (16, 8), (0, 1)))


def test_paste_of_a_full_mask_fills_the_pixels_with_their_centre_in_the_box():
    full = np.full((28, 28), 20, np.float32)
    pasted = masks.paste(full, np.float32([2.6, 3.4, 7.4, 8.6]), (12, 12))
    assert_array_equal(masks.tight_box(pasted), [3, 3, 7, 9])
    assert pasted.sum() == 4 * 6


def test_paste_mirrors_with_its_box():
    """Only this convention does: the others truncate towards the left."""
    logits = blob(28, 28, seed=2)
    mirrored = np.ascontiguousarray(logits[:, ::-1])
    pasted = masks.paste(logits, np.float32([11.5, 6, 38, 33]), (40, 50))
    mirrored = masks.paste(mirrored, np.float32([12, 6, 38.5, 33]), (40, 50))
    assert_array_equal(pasted[:, ::-1], mirrored)


NOWHERE = {
    "padding": [0, 0, 0, 0],
    "no width": [5, 5, 5, 9],
    "inverted": [20, 20, 5, 5],
    "left of the frame": [-50, 2, -10, 20],
    "right of the frame": [40, 2, 70, 20],
    "above the frame": [2, -50, 20, -10],
    "below the frame": [2, 40, 20, 70],
    "NaN": [1, 2, np.nan, 20],
    "infinite": [-np.inf, 2, np.inf, 20],
}


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("box", NOWHERE.values(), ids=NOWHERE.keys())
def test_paste_is_empty_for_a_box_that_is(convention, box):
    logits, box = np.full((28, 28), 9, np.float32), np.float32(box)
    assert not masks.paste(logits, box, (30, 30), convention=convention).any()
    rles = masks.paste_rles(logits[None], box[None], (30, 30), convention=convention)
    assert masks.area(rles[0]) == 0


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("reach", [1e6, 1e12, 3e38])
def test_paste_of_a_huge_box_covers_the_frame(convention, reach):
    logits = np.full((28, 28), 9, np.float32)
    box = np.float32([-reach, -reach, reach, reach])
    assert masks.paste(logits, box, (30, 40), convention=convention).all()


def test_paste_of_logits_that_are_not_numbers_is_empty():
    logits = blob(28, 28, seed=0)
    logits[3, 4] = np.nan
    assert not masks.paste(logits, np.float32([0, 0, 30, 30]), (30, 30)).any()


def test_paste_of_saturated_logits_is_their_sign():
    logits = np.where(blob(28, 28, seed=0) > 0, np.inf, -np.inf).astype(np.float32)
    pasted = masks.paste(logits, np.float32([0, 0, 28, 28]), (28, 28))
    assert_array_equal(pasted, logits > 0)


def test_a_convention_that_is_not_there_is_refused():
    logits, box = blob(28, 28, seed=0), np.float32([0, 0, 9, 9])
    unchecked = getattr(masks.paste, "__wrapped__", masks.paste)  # By jaxtyping.
    with pytest.raises(InputError, match=r"'caffe', expected one of continuous"):
        unchecked(logits, box, (30, 30), convention="caffe")


def test_no_detections_paste_to_no_rles():
    nothing = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert masks.paste_rles(*nothing, (30, 30)) == []


# Boxes and boundaries --------------------------------------------------------------


def test_tight_box_bounds_the_pixels():
    mask = np.zeros((20, 30), bool)
    mask[4, 7] = mask[9, 12] = True
    assert_array_equal(masks.tight_box(mask), [7, 4, 13, 10])


def test_tight_boxes_of_empty_masks_and_of_none_are_zeros():
    boxes = masks.tight_boxes(np.stack([np.zeros((5, 6), bool), np.ones((5, 6), bool)]))
    assert_array_equal(boxes, [[0, 0, 0, 0], [0, 0, 6, 5]])
    assert boxes.dtype == np.float32
    assert masks.tight_boxes(np.zeros((0, 5, 6), bool)).shape == (0, 4)


def test_boundary_differs_from_the_right_the_lower_or_the_lower_right_pixel():
    mask = blob(12, 17, seed=3) > 0
    expected = np.zeros_like(mask)
    for y, x in np.ndindex(12, 17):
        neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        inside = [p for p in neighbours if p[0] < 12 and p[1] < 17]
        expected[y, x] = any(mask[p] != mask[y, x] for p in inside)
    assert expected.any()
    assert_array_equal(boundary(mask), expected)


def test_boundary_is_not_where_the_frame_ends():
    assert not boundary(np.ones((5, 6), bool)).any()


# Run-length encoding ---------------------------------------------------------------


def read_ascii(text):
    """COCO's compressed text, one character at a time; None if it is malformed."""
    runs, number, shift = [], 0, 0
    for character in text:
        if not 48 <= character < 48 + 64 or shift > 30:
            return None
        number |= (character - 48 & 31) << shift
        shift += 5
        if character - 48 & 32:
            continue
        if character - 48 & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, shift = 0, 0
    return runs if shift == 0 else None


def write_ascii(runs):
    """The inverse, as the C code of pycocotools does it."""
    text = []
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        while True:
            chunk, number = number & 31, number >> 5
            more = number != (-1 if chunk & 16 else 0)
            text.append(48 + chunk + 32 * more)
            if not more:
                break
    return bytes(text)


def mask_of(runs, size):
    """The definition: pixels column by column. None if the runs do not fit."""
    if runs is None or any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        return None
    pixels = [i % 2 == 1 for i, run in enumerate(runs) for _ in range(run)]
    return np.array(pixels, bool).reshape(size[::-1]).T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (48, 85), (300, 200)])
def test_decoding_inverts_encoding(size, seed):
    mask = np.random.default_rng(seed).random(size) > [0.05, 0.5, 0.95][seed]
    rle = masks.encode(mask)
    assert_array_equal(masks.decode(rle), mask)
    assert_array_equal(mask_of(read_ascii(rle.counts), size), mask)
    assert masks.area(rle) == mask.sum()
    assert masks.Rle(rle.size, rle.counts) == rle
    assert masks.from_json(masks.to_json(rle), size, source=SOURCE) == rle
    assert pickle.loads(pickle.dumps(rle)) == rle  # Between worker processes.
    assert json.loads(json.dumps(masks.to_json(rle))) == masks.to_json(rle)


@pytest.mark.parametrize("value", [True, False])
def test_decoding_inverts_encoding_of_a_uniform_mask(value):
    mask = np.full((5, 7), value)
    assert_array_equal(masks.decode(masks.encode(mask)), mask)


def test_counts_of_any_form_give_the_same_rle():
    mask = blob(20, 30, seed=0) > 0
    rle = masks.encode(mask)
    for counts in (rle.counts, rle.counts.decode(), read_ascii(rle.counts)):
        same = masks.from_json({"size": [20, 30], "counts": counts}, source=SOURCE)
        assert same == rle


def test_runs_without_pixels_are_taken_out():
    """pycocotools finds IoU 0 between two masks that have such runs."""
    size, runs = (2, 4), [0, 0, 2, 0, 0, 2, 4, 0]
    rle = masks.from_json({"size": size, "counts": runs}, source=SOURCE)
    assert read_ascii(rle.counts) == [2, 2, 4]
    assert masks.iou([rle], [rle]) == 1
    rle = masks.from_json({"size": size, "counts": [0, 3, 0, 5]}, source=SOURCE)
    assert rle == masks.encode(np.ones(size, bool))


def test_iou_is_that_of_the_pixels():
    dense = [blob(48, 60, seed, cells=3) > 0.3 for seed in range(6)]
    dense += [np.zeros((48, 60), bool), np.ones((48, 60), bool)]
    rles = [masks.encode(mask) for mask in dense]
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in dense] for a in dense]
    assert_array_equal(masks.iou(rles, rles[:3]), np.array(expected)[:, :3])
    assert_array_equal(masks.iou(rles, rles), expected)
    assert masks.iou([], rles).shape == (0, 8)
    assert masks.iou(rles, []).shape == (8, 0)


def test_union_has_the_pixels_of_all():
    dense = [blob(48, 60, seed, cells=9) > 0.5 for seed in range(4)]
    rles = [masks.encode(mask) for mask in dense]
    assert masks.union(rles) == masks.encode(np.any(dense, axis=0))
    assert masks.union(rles[:1]) == rles[0]


def test_containment_is_the_share_of_the_first_masks_pixels():
    whole = np.zeros((6, 8), bool)
    whole[1:5, 1:7] = True
    part = np.zeros((6, 8), bool)
    part[1:5, 5:8] = True  # Two of its three columns lie inside the whole.
    empty = np.zeros((6, 8), bool)
    a = [masks.encode(m) for m in (whole, part, empty)]
    expected = [[1, 8 / 24, 0], [8 / 12, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(masks.containment(a, a), expected)
    assert masks.containment([], a).shape == (0, 3)


@given(
    mask=st.integers(1, 9).flatmap(
        lambda height: st.integers(1, 9).flatmap(
            lambda width: st.lists(
                st.lists(st.booleans(), min_size=width, max_size=width),
                min_size=height,
                max_size=height,
            )
        )
    ),
    x=st.integers(-10, 10),
    y=st.integers(-10, 10),
)
def test_translation_moves_the_pixels_and_drops_those_that_leave(mask, x, y):
    mask = np.array(mask)
    height, width = mask.shape
    padded = np.pad(mask, ((10, 10), (10, 10)))
    expected = padded[10 - y : 10 - y + height, 10 - x : 10 - x + width]
    assert translate(masks.encode(mask), x, y) == masks.encode(expected)


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 9),
    st.integers(0, 9),
)
@settings(max_examples=200)
def test_boxes_and_windows_are_those_of_the_decoded_mask(mask, top, left, high, wide):
    encoded = masks.encode(mask)
    assert_array_equal(masks.boxes([encoded, encoded]), [masks.tight_box(mask)] * 2)
    height, width = mask.shape
    window = np.s_[
        min(top, height) : min(top + high, height),
        min(left, width) : min(left + wide, width),
    ]
    assert_array_equal(masks.decode_window(encoded, window), mask[window])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 17)), max_size=6),
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 17)), max_size=6),
    st.integers(0, 20),
)
def test_masks_are_near_if_two_of_their_pixels_are(some, others, distance):
    size = (14, 18)
    a, b = np.zeros((2, *size), bool)
    for mask, pixels in ((a, some), (b, others)):
        for pixel in pixels:
            mask[pixel] = True
    expected = any(math.dist(p, q) <= distance for p in some for q in others)
    assert masks.near(masks.encode(a), masks.encode(b), distance) == expected
    assert masks.near(masks.encode(b), masks.encode(a), distance) == expected


def test_polygons_cover_their_inside():
    """Integer corners: the pixels within. Two polygons: those of either."""
    square = [2, 3, 6, 3, 6, 8, 2, 8]
    rle = masks.from_json([square], (10, 12), source=SOURCE)
    assert_array_equal(masks.tight_box(masks.decode(rle)), [2, 3, 6, 8])
    assert masks.area(rle) == 4 * 5
    shifted = [number + 1 for number in square]
    both = masks.from_json([square, shifted], (10, 12), source=SOURCE)
    assert masks.area(both) == 2 * 4 * 5 - 3 * 4


def test_masks_of_different_sizes_are_refused():
    a, b = masks.encode(np.ones((4, 5), bool)), masks.encode(np.ones((5, 4), bool))
    for wrong in (
        lambda: masks.iou([a], [b]),
        lambda: masks.containment([a], [b]),
        lambda: masks.union([a, b]),
    ):
        with pytest.raises(InputError, match="different sizes"):
            wrong()
    with pytest.raises(InputError, match="no masks"):
        masks.union([])


def test_masks_without_pixels_are_refused():
    with pytest.raises(InputError, match=r"mask: the size is \(0, 5\)"):
        masks.encode(np.zeros((0, 5), bool))


# Malformed input -------------------------------------------------------------------


def rle(counts, size=(4, 5)):
    return {"size": size, "counts": counts}


DEEP = [0]
for _ in range(10_000):
    DEEP = [DEEP]
SQUARE = [1, 1, 3, 1, 3, 3]
MALFORMED = {
    "counts that are short": (rle([3, 4]), "list of run lengths is [3, 4]"),
    "counts that are long": (rle([3, 40]), "sum of 4x5 pixels"),
    "a negative run": (rle([10, -5, 15]), "no negative ones"),
    "runs that overflow": (rle([2**62] * 4 + [20]), "sum of 4x5"),
    "runs beyond 64 bits": (rle([2**70]), "expected text or a list of integers"),
    "runs beyond 63 bits": (rle([2**63]), "expected text or a list of integers"),
    "no runs": (rle([]), "counts is []"),
    "fractions": (rle([10.0, 10.0]), "expected text or a list of integers"),
    "ragged counts": (rle([[1], [2, 3]]), "expected text or a list of integers"),
    "deep counts": (rle(DEEP), "expected text or a list of integers"),
    "a number as counts": (rle(20), "expected text or a list of integers"),
    "empty text": (rle(b""), "not cut off"),
    "text that is cut off": (rle(b"d"), "not cut off"),
    "text of other characters": (rle("é0"), "COCO's compressed text"),
    "text with a number beyond 35 bits": (rle(b"oooooooo0"), "compressed text"),
    "text of too many pixels": (rle(b"ooooo0"), "sum of 4x5 pixels"),
    "a size of 2^31": (rle([2**31], [2**31, 1]), "masks.MAX_PIXELS"),
    "a size whose product overflows": (rle([1], [2**32, 2**32]), "masks.MAX_PIXELS"),
    "a size of 0": (rle([0], [0, 5]), "at least 1x1"),
    "a negative size": (rle([20], [-4, -5]), "at least 1x1"),
    "a size of fractions": (rle([20], [4.5, 5]), "expected [height, width]"),
    "a size of NaN": (rle([20], [float("nan"), 5]), "expected [height, width]"),
    "a size of three numbers": (rle([20], [4, 0.5, 5]), "expected [height, width]"),
    "a size of one number": (rle([20], 20), "expected [height, width]"),
    "a size that is not its frame's": (rle([42], (6, 7)), "frame of 4x5"),
    "no counts": ({"size": (4, 5)}, 'expected polygons or an RLE, {"size"'),
    "nothing": (None, "the segmentation is None"),
    "no polygons": ([], "0 polygons, expected 1 to 1000"),
    "too many polygons": ([SQUARE] * 1001, "masks.MAX_POLYGONS"),
    "a box": ([[1, 1, 3, 3]], "at least 3 points"),
    "half a point": ([[*SQUARE, 5]], "[x, y, x, y, ...]"),
    "no list": ([SQUARE, 5], "polygon 1 is 5"),
    "numbers": (SQUARE, "polygon 0 is 1"),
    "text as polygon": ([["1"] * 6], "polygon 0 is ['1'"),
    "a ragged polygon": ([[*SQUARE, [1]]], "polygon 0"),
    "NaN in a polygon": ([[*SQUARE, float("nan"), 1]], "coordinates within ±1000000"),
    "a polygon at 1e9": ([[*SQUARE, 1e9, -1e9]], "masks.MAX_COORDINATE"),
    "a polygon at -2^63": ([[*SQUARE, -(2**63), 1]], "masks.MAX_COORDINATE"),
    "a long polygon": ([[0, 0, 1e6, 0, 1e6, 1e6] * 3], "masks.MAX_OUTLINE"),
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
def test_the_error_names_the_source_and_what_is_wrong_with(malformed):
    segmentation, message = malformed
    with pytest.raises(InputError) as error:
        masks.from_json(segmentation, (4, 5), source=SOURCE)
    assert str(error.value).startswith(f"{SOURCE}: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 300


def test_polygons_without_a_frame_are_refused():
    with pytest.raises(InputError, match="hand in `frame_size`"):
        masks.from_json([SQUARE], source=SOURCE)


def test_an_rle_cannot_be_made_of_malformed_counts():
    with pytest.raises(InputError, match="Rle: the list of run lengths"):
        masks.Rle((4, 5), b"33")


def check_use(result, expected):
    """Everything that hands the RLE to pycocotools computes with the right mask."""
    assert_array_equal(masks.decode(result), expected)
    assert masks.area(result) == expected.sum()
    assert result == masks.encode(expected)
    assert result == masks.Rle(result.size, result.counts)
    part = masks.encode(np.indices(expected.shape).sum(axis=0) % 3 > 0)
    both = masks.union([result, part, result])
    assert_array_equal(masks.decode(both), expected | masks.decode(part))
    assert masks.iou([result], [both]) == expected.sum() / max(masks.area(both), 1)


def read(segmentation, frame_size=None):
    """The RLE, or None if it was refused in the way it should be."""
    try:
        return masks.from_json(segmentation, frame_size, source=SOURCE)
    except InputError as error:
        assert str(error).startswith(SOURCE)
        return None


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
ANY_SIZES = SIZES | st.lists(
    st.integers(-1, 9) | st.sampled_from([2**16, 2**31, 2**32, 2**64, 0.5, None]),
    max_size=3,
)
RUNS = st.lists(st.integers(-2, 30) | st.integers(-(2**65), 2**65), max_size=9)


@st.composite
def fitting_runs(draw, size):
    """Run lengths that cover the size, some of them 0."""
    pixels = size[0] * size[1]
    edges = draw(st.lists(st.integers(0, pixels), max_size=12).map(sorted))
    return np.diff([0, *edges, pixels]).tolist()


@st.composite
def damaged_text(draw, size):
    """Compressed counts with a few characters changed, dropped or repeated."""
    text = bytearray(write_ascii(draw(fitting_runs(size))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.text("0OPo`1n", max_size=2).map(str.encode)
        )
    return bytes(text)


LIMITS = settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@LIMITS
@given(st.data(), SIZES)
def fuzz_list(data, size):
    runs = data.draw(fitting_runs(size) | RUNS)
    result, expected = read(rle(runs, size)), mask_of(runs or None, size)
    assert (result is None) == (expected is None)
    if result is not None:
        check_use(result, expected)


@LIMITS
@given(st.data(), SIZES)
def fuzz_text(data, size):
    text = data.draw(damaged_text(size) | st.binary(max_size=20))
    result, expected = read(rle(text, size)), mask_of(read_ascii(text), size)
    assert (result is None) == (expected is None)
    if result is not None:
        check_use(result, expected)


@LIMITS
@given(st.data(), ANY_SIZES)
def fuzz_size(data, size):
    numbers = [n if isinstance(n, int) else 1 for n in size]
    counts = data.draw(st.just([math.prod(numbers)]) | RUNS | st.text(max_size=9))
    check_large(rle(counts, size))


def check_large(segmentation):
    result = read(segmentation)
    if result is not None:
        assert result.size == tuple(segmentation["size"])
        assert masks.decode(result).sum() == masks.area(result)
        assert masks.union([result, result]) == result
        assert masks.iou([result], [result]) == (masks.area(result) > 0)


def fuzz_largest_size():
    check_large(rle([2**26], [2**13, 2**13]))
    check_large(rle([1] * 9 + [2**26 - 9], [2**26, 1]))
    check_large(rle([1] * 9 + [2**26 - 9], [1, 2**26]))


def inside(points, y, x):
    """Whether a point is in a polygon (even-odd rule), and how far from its outline."""
    odd, nearest = False, np.inf
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, 1, axis=0), strict=True):
        if (y0 > y) != (y1 > y):
            odd ^= bool(x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
        edge, to = np.array([x1 - x0, y1 - y0]), np.array([x - x0, y - y0])
        along = np.clip(to @ edge / max(edge @ edge, 1e-300), 0, 1)
        nearest = min(nearest, np.hypot(*(to - along * edge)))
    return odd, nearest


COORDINATES = st.integers(-3, 14) | st.floats(-3, 14) | st.floats(-200, 200)
CORNERS = st.lists(COORDINATES, min_size=6, max_size=12).filter(
    lambda p: len(p) % 2 == 0
)
WILD = st.floats() | st.sampled_from([1e9, -1e9, 2**31, 1e6, -1e6]) | COORDINATES


@LIMITS
@given(st.lists(COORDINATES, min_size=6, max_size=14), SIZES)
def fuzz_polygon(numbers, size):
    """Rasterising rounds to a fifth of a pixel, so only pixels further off are told."""
    result = read([numbers], size)
    assert (result is None) == (len(numbers) % 2 == 1)
    if result is not None:
        mask = masks.decode(result)
        check_use(result, mask)
        for y, x in np.ndindex(size):
            odd, distance = inside(np.reshape(numbers, (-1, 2)), y + 0.5, x + 0.5)
            assert distance < 1 or mask[y, x] == odd


@LIMITS
@given(
    st.lists(CORNERS, min_size=1, max_size=4)
    | st.lists(CORNERS | st.lists(WILD, max_size=9) | st.text() | WILD, max_size=3),
    SIZES,
)
@example([[0, 0, 1e5, 0, 1e5, 1e5, 0, 1e5]], (9, 9))
@example([[1e6, 1e6] * 3, [-1e6, -1e6] * 3], (9, 9))
@example([[0, 0, 400, 0, 400, 400]] * 800, (8192, 8192))
def fuzz_wild_polygons(polygons, size):
    result = read(polygons, size)
    if result is not None and max(size) < 10:
        dense = [masks.decode(masks.from_json([p], size, source="")) for p in polygons]
        check_use(result, np.any(dense, axis=0))


def fuzz_known():
    for segmentation, _ in MALFORMED.values():
        assert read(segmentation, (4, 5)) is None


FUZZERS = {name: f for name, f in globals().items() if name.startswith("fuzz_")}


@pytest.mark.parametrize("name", FUZZERS)
def test_malformed_input_never_crashes_or_hangs(name):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, name],
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_jax_is_not_imported():
    code = "import sys, movseg_jax.masks; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # Bytes.
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # Seconds.
    FUZZERS[sys.argv[1]]()
