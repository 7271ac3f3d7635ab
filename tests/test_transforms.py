import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import masks
from movseg_jax.data import transforms
from movseg_jax.data.example import Example
from movseg_jax.flow.encoding import encode_flow
from tests.fakes.memory_source import random_example

ROWS = ("masks", "classes", "ids", "ignore", "moving")


def check(example, name="memory/0"):
    """What holds of every example."""
    size, n = example.image.shape[:2], len(example.masks)
    assert example.name == name
    assert example.image.dtype == np.uint8 and example.image.shape == (*size, 3)
    assert example.masks.dtype == bool and example.masks.shape == (n, *size)
    for rows, dtype in zip(ROWS[1:], (np.int32, np.int32, bool, bool), strict=True):
        assert getattr(example, rows).dtype == dtype
        assert getattr(example, rows).shape == (n,)
    if example.flow is not None:
        assert example.flow.dtype == np.float32 and example.flow.shape == (*size, 2)
        assert np.isfinite(example.flow).all()
    for array in (example.image, example.flow, example.masks):
        assert array is None or array.flags.c_contiguous
    assert len(set(example.ids.tolist())) == n


def assert_equal(a, b):
    for field in dataclasses.fields(Example):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert (x is None) == (y is None)
        if x is not None:
            assert_array_equal(x, y)


SIDES = st.integers(1, 24)
SIZES = st.tuples(SIDES, SIDES)
EXAMPLES = st.builds(
    random_example, st.integers(0, 99), SIZES, st.integers(0, 4), st.booleans()
)
RNGS = st.integers(0, 2**32).map(np.random.default_rng)


def geometric(example, kind, rng):
    size = example.image.shape[:2]
    if kind == "flip":
        return transforms.flip(example)
    if kind == "crop":
        largest = tuple(rng.integers(1, 25, 2).tolist())
        return transforms.crop(example, transforms.random_window(size, largest, rng))
    if kind == "resize":
        return transforms.resize(example, tuple(rng.integers(1, 40, 2).tolist()))
    return transforms.jitter_colour(
        example, rng, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5
    )


KINDS = st.sampled_from(["flip", "crop", "resize", "colour"])


@given(EXAMPLES, KINDS, st.integers(0, 2**32))
def test_every_transform_keeps_an_example_valid_and_is_determined(example, kind, seed):
    before = dataclasses.replace(
        example, image=example.image.copy(), masks=example.masks.copy()
    )
    result = geometric(example, kind, np.random.default_rng(seed))
    check(result)
    assert_equal(result, geometric(example, kind, np.random.default_rng(seed)))
    assert_equal(example, before)
    kept = np.isin(example.ids, result.ids)
    for rows in ROWS[1:]:
        assert_array_equal(getattr(result, rows), getattr(example, rows)[kept])


# Flipping ------------------------------------------------------------------------


@given(EXAMPLES)
def test_flipping_twice_changes_nothing(example):
    assert_equal(transforms.flip(transforms.flip(example)), example)


def test_the_flow_of_a_flipped_scene_is_encoded_as_if_filmed_in_a_mirror():
    # Something that moves right, down and not at all; mirrored by hand.
    flow = np.float32([[[3, 0], [0, 2], [0, 0]]])
    mirrored = np.float32([[[0, 0], [0, 2], [-3, 0]]])
    example = dataclasses.replace(random_example(0, (1, 3)), flow=flow)
    flipped = transforms.flip(example)
    assert_array_equal(encode_flow(flipped.flow), encode_flow(mirrored))
    # At rest before is at rest after, to the bit: the angle of -0 is another.
    assert not np.signbit(flipped.flow[0, 0]).any()


def test_flipping_moves_boxes_to_the_other_side():
    example = random_example(3, (10, 20), objects=3)
    box, flipped = (
        masks.tight_boxes(e.masks) for e in (example, transforms.flip(example))
    )
    assert_array_equal(flipped[:, [0, 2]], 20 - box[:, [2, 0]])
    assert_array_equal(flipped[:, [1, 3]], box[:, [1, 3]])


# Resizing ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(20, 45), (40, 90), (7, 11), (10, 60)])
def test_resizing_a_translation_scales_its_flow_exactly(size):
    flow = np.full((20, 30, 2), [3.0, -2.0], np.float32)
    example = dataclasses.replace(random_example(0, (20, 30)), flow=flow)
    resized = transforms.resize(example, size)
    expected = np.float32([3 * size[1] / 30, -2 * size[0] / 20])
    assert_allclose(resized.flow, np.broadcast_to(expected, (*size, 2)), rtol=1e-6)


def coverage(mask, size):
    """How much of each pixel of another size a mask covers, by definition."""
    height, width = mask.shape
    weights = [
        np.array(
            [
                [
                    max(0, min((i + 1) * n / m, j + 1) - max(i * n / m, j)) * m / n
                    for j in range(n)
                ]
                for i in range(m)
            ]
        )
        for n, m in zip((height, width), size, strict=True)
    ]
    return weights[0] @ mask.astype(np.float64) @ weights[1].T


@given(st.integers(0, 99), SIZES, st.data())
def test_a_shrunk_mask_has_the_pixels_it_covers_by_half(seed, size, data):
    smaller = tuple(data.draw(st.integers(1, n)) for n in size)
    mask = np.random.default_rng(seed).random((1, *size)) < 0.5
    example = dataclasses.replace(random_example(0, size, objects=1), masks=mask)
    covered = coverage(mask[0], smaller)
    clear = np.abs(covered - 0.5) > 1 / 255  # OpenCV rounds to a 255th.
    resized = transforms.resize(example, smaller).masks[0]
    assert_array_equal(resized[clear], covered[clear] > 0.5)


@pytest.mark.parametrize("factor", [0.35, 0.45, 0.8, 1.7, 3.0])
def test_resized_masks_lie_where_they_did_and_are_as_large(factor):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    centres = rng.uniform((25, 25), (35, 55), (100, 2))
    discs = np.array([(y - v) ** 2 + (x - u) ** 2 < 19.5**2 for v, u in centres])
    example = random_example(0, (60, 80), objects=100)
    size = (round(60 * factor), round(80 * factor))
    resized = transforms.resize(dataclasses.replace(example, masks=discs), size).masks
    scale = np.array(size) / (60, 80)

    def centre(mask):
        return np.argwhere(mask).mean(axis=0) + 0.5

    pairs = list(zip(discs, resized, strict=True))
    shifts = [centre(after) - centre(before) * scale for before, after in pairs]
    # On average: one mask's outline is off by parts of a pixel. The nearest pixel, as
    # OpenCV takes it, would shift all by half a pixel.
    assert_allclose(np.mean(shifts, axis=0), 0, atol=0.03)
    assert_allclose(resized.sum() / discs.sum(), scale.prod(), rtol=0.01)


def test_resizing_to_the_own_size_changes_nothing():
    example = random_example(0, (9, 7))
    assert_equal(transforms.resize(example, (9, 7)), example)


@given(RNGS, SIZES, st.floats(0.1, 1), st.floats(1, 3))
def test_jittered_sizes_keep_their_shape_and_stay_in_range(rng, size, low, high):
    jittered = transforms.jitter_size(size, (low, high), rng)
    for n, m in zip(size, jittered, strict=True):
        assert max(1, n * low - 1) <= m <= n * high + 1


def test_jittered_sizes_are_as_often_smaller_as_larger():
    rng = np.random.default_rng(0)
    jitter = lambda: transforms.jitter_size((100, 100), (0.5, 2.0), rng)[0]
    sizes = np.array([jitter() for _ in range(2000)])
    assert 0.45 < (sizes < 100).mean() < 0.55
    assert min(sizes) < 53 and max(sizes) > 190


# Cropping ------------------------------------------------------------------------


@given(RNGS, SIZES, SIZES)
def test_a_window_is_inside_and_as_large_as_it_may_be(rng, size, largest):
    window = transforms.random_window(size, largest, rng)
    for part, side, most in zip(window, size, largest, strict=True):
        assert 0 <= part.start < part.stop <= side
        assert part.stop - part.start == min(side, most)


def test_windows_are_everywhere_equally_often():
    rng = np.random.default_rng(0)
    starts = [
        transforms.random_window((9, 9), (5, 9), rng)[0].start for _ in range(999)
    ]
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5 and counts.min() > 150


def test_objects_outside_of_the_crop_are_dropped_with_all_that_is_theirs():
    example = random_example(0, (10, 10), objects=3)
    mask = np.zeros((3, 10, 10), bool)
    mask[0, 8:, 8:] = mask[1, 2:5, 3:7] = True  # The third was empty before.
    example = dataclasses.replace(example, masks=mask)
    cropped = transforms.crop(example, (slice(0, 5), slice(4, 9)))
    check(cropped)
    assert_array_equal(cropped.ids, example.ids[1:2])
    assert_array_equal(masks.tight_boxes(cropped.masks), [[0, 2, 3, 5]])
    assert_array_equal(cropped.image, example.image[:5, 4:9])
    assert_array_equal(cropped.flow, example.flow[:5, 4:9])


# Image pairs related by their flow --------------------------------------------------


def smooth_pair(size, shift):
    """Two smooth frames and the flow between them: the scene turns and moves."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5

    def look(x, y):
        channels = [
            np.sin(x / (9 + 4 * c)) + np.cos(y / (11 - 2 * c) + c) for c in range(3)
        ]
        return np.round(127 + 60 * np.stack(channels, axis=-1)).astype(np.uint8)

    turn = np.array([[1.02, -0.03], [0.03, 0.98]])  # Where a point comes to lie.
    there = np.stack([x, y], axis=-1) @ turn.T + shift
    flow = there - np.stack([x, y], axis=-1)
    back = (np.stack([x, y], axis=-1) - shift) @ np.linalg.inv(turn).T
    make = lambda image: dataclasses.replace(
        random_example(0, size, objects=0),
        image=image,
        flow=flow.astype(np.float32),
    )
    return make(look(x, y)), make(look(back[..., 0], back[..., 1]))


def mean_warp_error(first, second):
    """Mean difference of the first frame from what its flow leads to in the second."""
    height, width = first.image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + first.flow[..., 0], y + first.flow[..., 1]
    warped = cv2.remap(
        second.image.astype(np.float32), x, y, interpolation=cv2.INTER_LINEAR
    )
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    assert inside.mean() > 0.5
    return np.abs(warped - first.image)[inside].mean()


@pytest.mark.parametrize("kind", ["none", "flip", "crop", "half", "double", "wider"])
def test_a_pair_of_frames_stays_related_by_its_flow(kind):
    change = {
        "none": lambda e: e,
        "flip": transforms.flip,
        "crop": lambda e: transforms.crop(e, (slice(11, 60), slice(20, 93))),
        "half": lambda e: transforms.resize(e, (36, 50)),
        "double": lambda e: transforms.resize(e, (144, 200)),
        "wider": lambda e: transforms.resize(e, (72, 163)),
    }[kind]
    first, second = map(change, smooth_pair((72, 100), np.array([3.0, -2.0])))
    # Half the rounding to whole grey levels, twice, and some for interpolation.
    assert mean_warp_error(first, second) < 0.8
    still = dataclasses.replace(first, flow=-first.flow)
    assert mean_warp_error(still, second) > 8  # The test would notice.


# Colour --------------------------------------------------------------------------


COLOURS = ("brightness", "contrast", "saturation", "hue")


@pytest.mark.parametrize("name", COLOURS)
def test_only_the_image_changes_and_not_where_there_is_nothing_to_change(name):
    example = random_example(0, (12, 12))
    changed = transforms.jitter_colour(example, np.random.default_rng(0), **{name: 0.5})
    assert (changed.image != example.image).any()
    assert_equal(dataclasses.replace(changed, image=example.image), example)
    same = transforms.jitter_colour(example, np.random.default_rng(0))
    assert_equal(same, example)


def test_colour_jitter_does_what_its_names_say():
    def jitter(image, seed, **amounts):
        example = dataclasses.replace(
            random_example(0, image.shape[:2], objects=0), image=image
        )
        rng = np.random.default_rng(seed)
        drawn = np.random.default_rng(seed).uniform(-1, 1, 4)
        image = transforms.jitter_colour(example, rng, **amounts).image
        return image.astype(np.float64), drawn

    rng = np.random.default_rng(1)
    image = rng.integers(90, 160, (8, 8, 3), np.uint8)
    grey = image @ [0.299, 0.587, 0.114]
    for seed in range(5):
        bright, drawn = jitter(image, seed, brightness=0.4)
        assert_allclose(bright, image * (1 + 0.4 * drawn[0]), atol=0.51)
        contrast, drawn = jitter(image, seed, contrast=0.4)
        expected = (image - grey.mean()) * (1 + 0.4 * drawn[1]) + grey.mean()
        assert_allclose(contrast, expected, atol=1)
        saturation, drawn = jitter(image, seed, saturation=0.4)
        expected = grey[..., None] + (image - grey[..., None]) * (1 + 0.4 * drawn[2])
        assert_allclose(saturation, expected, atol=1)
        hue, drawn = jitter(image, seed, hue=0.5)
        assert_allclose(hue.max(axis=2), image.max(axis=2), atol=2)  # Value.
        assert_allclose(hue.min(axis=2), image.min(axis=2), atol=3)
        red = np.full((1, 1, 3), [200, 0, 0], np.uint8)
        turned, drawn = jitter(red, seed, hue=0.5)
        angle = cv2.cvtColor(turned.astype(np.uint8), cv2.COLOR_RGB2HSV)[0, 0, 0]
        assert int(angle) == round(90 * drawn[3]) % 180


# Objects -------------------------------------------------------------------------


def test_resting_objects_become_ignore_regions():
    example = dataclasses.replace(
        random_example(0, (5, 5), objects=3),
        ignore=np.array([False, True, False]),
        moving=np.array([True, True, False]),
    )
    result = transforms.ignore_resting(example)
    assert_array_equal(result.ignore, [False, True, True])
    assert_equal(dataclasses.replace(result, ignore=example.ignore), example)


@given(EXAMPLES, EXAMPLES, st.integers(0, 2**32))
def test_pasting_puts_moving_objects_in_front(example, other, seed):
    result = transforms.paste(example, other, np.random.default_rng(seed))
    check(result)
    again = transforms.paste(example, other, np.random.default_rng(seed))
    assert_equal(result, again)
    added = ~np.isin(result.ids, example.ids)
    front = result.masks[added].any(axis=0)
    assert_array_equal(result.image[~front], example.image[~front])
    assert not (result.masks[~added] & front).any()
    for i, mask in zip(example.ids, example.masks, strict=True):
        left = result.masks[result.ids == i].any(axis=0)
        if added.any():
            assert_array_equal(left, mask & ~front)
    assert not result.ignore[added].any() and result.moving[added].all()
    if example.flow is not None:
        assert_array_equal(result.flow[~front], example.flow[~front])
        assert other.flow is not None or not added.any()
    if not added.any():
        assert_array_equal(result.image, example.image)


def test_pasted_pixels_are_those_of_the_other_example_with_their_flow():
    example, other = random_example(0, (20, 30)), random_example(1, (16, 12))
    mask = np.zeros((2, 16, 12), bool)
    mask[0, 2:6, 3:8] = mask[1, 9:14, 1:5] = True
    other = dataclasses.replace(
        other, masks=mask, moving=np.array([True, False]), ignore=np.zeros(2, bool)
    )
    places, times = set(), 0
    for seed in range(60):
        result = transforms.paste(example, other, np.random.default_rng(seed))
        if len(result.ids) and result.ids.max() == 3:
            times += 1
            pasted = result.masks[result.ids == 3][0]
            x0, y0, x1, y1 = masks.tight_box(pasted).astype(int)
            places.add((x0, y0))
            if (y1 - y0, x1 - x0) == (4, 5):  # Nothing is cut off.
                for field in ("image", "flow"):
                    got = getattr(result, field)[y0:y1, x0:x1]
                    assert_array_equal(got, getattr(other, field)[2:6, 3:8])
            assert result.classes[result.ids == 3] == other.classes[0]
    assert 15 < times < 45 and len(places) > 10


def test_nothing_is_pasted_where_its_motion_is_not_known():
    example = random_example(0, (9, 9))
    other = dataclasses.replace(
        random_example(1, (9, 9), flow=False), ignore=np.zeros(2, bool)
    )
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert_equal(transforms.paste(example, other, rng), example)
