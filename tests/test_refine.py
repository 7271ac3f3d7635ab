"""Outlines at edges of the image: the guided filter, and what it does to masks."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax import masks
from movseg_jax.masks import crop, refine
from movseg_jax.masks.refine import EPSILON, guided_filter

SIZE = (90, 120)


def disc(centre, radius, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2


def picture(mask, seed=0):
    """A picture of an object: noise around one colour, before noise around another."""
    rng = np.random.default_rng(seed)
    colours = np.where(mask[..., None], (200, 90, 60), (70, 120, 150))
    noisy = colours + rng.normal(0, 8, colours.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def refined(mask, image):
    found = refine(crop(mask), image)
    whole = np.zeros(mask.shape, bool)
    whole[found.window] = found.pixels
    return whole


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("kind", ["coloured", "grey", "black"])
def test_the_filter_is_he_s(kind):
    """Computed window by window, as section 3 of the paper defines it.

    The covariance of grey pixels has no inverse but for its least variance.
    """
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (12, 9, 3)).astype(np.uint8)
    if kind == "grey":
        frame[:] = frame[..., :1]
    if kind == "black":
        frame[:] = 0
    image = frame / 255
    mask = rng.random((12, 9)).astype(np.float32)
    radius = 2  # Pixels.
    padded, target = (
        np.pad(x, [(radius, radius)] * 2 + [(0, 0)] * (x.ndim - 2), "edge")
        for x in (image, mask.astype(np.float64))
    )
    functions = np.zeros((12, 9, 4))
    for y, x in np.ndindex(12, 9):
        window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        colours, wanted = padded[window].reshape(-1, 3), target[window].ravel()
        middle = colours.mean(axis=0)
        matrix = np.cov(colours.T, bias=True) + EPSILON * np.eye(3)
        shared = (colours * wanted[:, None]).mean(axis=0) - middle * wanted.mean()
        slope = np.linalg.solve(matrix, shared)
        functions[y, x] = [*slope, wanted.mean() - slope @ middle]
    around = np.pad(functions, [(radius, radius)] * 2 + [(0, 0)], "edge")
    expected = np.zeros((12, 9))
    for y, x in np.ndindex(12, 9):
        window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        mean = around[window].reshape(-1, 4).mean(axis=0)
        expected[y, x] = mean[:3] @ image[y, x] + mean[3]
    assert_allclose(guided_filter(mask, frame, float(radius)), expected, atol=2e-4)


@pytest.mark.parametrize("shift", [(3, 0), (0, -3), (2, 2)])
def test_an_outline_beside_the_edge_moves_to_it(shift):
    truth = disc((45, 60), 24)
    found = disc((45 + shift[0], 60 + shift[1]), 24)
    better = refined(found, picture(truth))
    assert (better != truth).sum() < 0.6 * (found != truth).sum()


def test_a_coarse_mask_gets_the_outline_of_its_object():
    truth = disc((200, 300), 110, (400, 600)) | disc((120, 300), 60, (400, 600))
    cells = cv2.resize(truth.astype(np.float32), (30, 20), interpolation=cv2.INTER_AREA)
    found = cv2.resize(cells, (600, 400)) > 0.5
    better = refined(found, picture(truth))
    assert iou(better, truth) > 0.985 > iou(found, truth)


def test_without_edges_an_outline_stays():
    mask = disc((45, 60), 30)
    flat = np.full((*SIZE, 3), 128, np.uint8)
    smoothed = refined(mask, flat)  # It becomes a little smaller.
    assert iou(smoothed, mask) > 0.97
    assert not (smoothed & ~mask).any()


def test_nothing_far_from_the_outline_changes():
    mask, rng = disc((45, 60), 30), np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    better = refined(mask, image)
    margin = np.ceil(2 * 0.1 * np.sqrt(mask.sum())) + 1
    assert better[disc((45, 60), 30 - margin)].all()
    assert not better[~disc((45, 60), 30 + margin + 1)].any()


def test_mirrored_pictures_give_mirrored_masks():
    truth, found = disc((45, 60), 24), disc((47, 57), 25)
    image = picture(truth)
    expected = refined(found, image)
    mirrored = refined(found[:, ::-1].copy(), image[:, ::-1].copy())[:, ::-1]
    assert (mirrored != expected).mean() < 1e-3  # Sums are in another order.


def test_a_hair_is_not_lost():
    hair = np.zeros(SIZE, bool)
    hair[40, 10:110] = True
    flat = np.full((*SIZE, 3), 128, np.uint8)
    assert_array_equal(refined(hair, flat), hair)


def test_an_empty_mask_stays_empty_and_a_full_one_full():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    assert not refine(crop(np.zeros(SIZE, bool)), image).pixels.size
    assert refined(np.ones(SIZE, bool), image).all()


shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(shapes.flatmap(lambda s: st.tuples(arrays(bool, s), arrays(np.uint8, (*s, 3)))))
def test_any_mask_of_any_picture_stays_in_the_frame(pair):
    mask, image = pair
    before = mask.copy(), image.copy()
    found = refine(crop(mask), image)
    assert found.pixels.dtype == bool
    assert found.pixels.any() == mask.any()
    assert masks.encode_crop(found, mask.shape).size == mask.shape
    assert_array_equal(mask, before[0])
    assert_array_equal(image, before[1])
