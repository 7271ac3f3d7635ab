"""The camera's motion, against scenes whose motion is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.flow.encoding import flip_flow, resize_flow
from movseg_jax.flow.global_motion import (
    camera_motion,
    homography_flow,
    median,
    residual_flow,
    resized_homography,
)

SIZE = (240, 427)


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.integers(1, 9),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_the_median_is_numpy_s(values):
    assert median(values) == np.median(values)


def random_homography(seed):
    rng = np.random.default_rng(seed)
    homography = np.eye(3) + rng.normal(size=(3, 3)) * [
        [0.02, 0.02, 8],
        [0.02, 0.02, 8],
        [4e-5, 4e-5, 0],
    ]
    return homography / homography[2, 2]


def scene(seed, share, noise=0.0):
    """Flow of a plane before a moving camera, and of an object that shifts."""
    rng = np.random.default_rng(seed + 100)
    background = homography_flow(random_homography(seed), SIZE)
    flow, objects = background.copy(), np.zeros(SIZE, bool)
    side = [round(length * share**0.5) for length in SIZE]
    top, left = (rng.integers(0, n - s + 1) for n, s in zip(SIZE, side, strict=True))
    objects[top : top + side[0], left : left + side[1]] = True
    angle = rng.uniform(0, 2 * np.pi)
    shift = 6 * np.array([np.cos(angle), np.sin(angle)])
    flow[objects] += shift.astype(np.float32)
    flow += (noise * rng.normal(size=flow.shape)).astype(np.float32)
    return flow, background, objects, shift


def around(point, matrix):
    """A linear map around a point, as a homography."""
    homography = np.eye(3)
    homography[:2, :2] = matrix
    homography[:2, 2] = point - matrix @ point
    return homography


def test_the_flow_of_a_homography_is_that_of_every_pixel():
    homography = random_homography(3)
    flow = homography_flow(homography, (5, 7))
    for y in range(5):
        for x in range(7):
            moved = homography @ [x, y, 1]
            expected = moved[:2] / moved[2] - [x, y]
            assert_allclose(flow[y, x], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("resized", [(120, 214), (480, 500), (240, 427), (31, 1000)])
def test_the_homography_of_resized_frames_is_that_of_the_resized_flow(resized):
    homography = random_homography(3)
    expected = resize_flow(homography_flow(homography, SIZE), resized)
    flow = homography_flow(resized_homography(homography, SIZE, resized), resized)
    inside = (slice(3, -3), slice(3, -3))  # Resizing repeats pixels at the border.
    assert_allclose(flow[inside], expected[inside], atol=2e-2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
@pytest.mark.parametrize("seed", range(4))
def test_the_background_rests_and_objects_move_as_they_do(seed, share):
    flow, _, objects, shift = scene(seed, share)
    residual = residual_flow(flow)
    assert np.abs(residual[~objects]).max() < 0.05
    assert np.abs(residual[objects] - shift).max() < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_noise_in_the_flow_averages_out(seed):
    flow, background, _, _ = scene(seed, 0.3, noise=0.3)
    camera = homography_flow(camera_motion(flow), SIZE)
    assert np.abs(camera - background).mean() < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_scattered_errors_in_forty_per_cent_of_the_pixels_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    camera = random_homography(seed)
    flow = homography_flow(camera, SIZE)
    wrong = rng.random(SIZE) < 0.4
    flow[wrong] += rng.uniform(-40, 40, (wrong.sum(), 2)).astype(np.float32)
    found = homography_flow(camera_motion(flow), SIZE)
    assert np.abs(found - homography_flow(camera, SIZE)).max() < 0.05


@pytest.mark.parametrize(
    "camera",
    [
        np.eye(3),
        np.array([[1, 0, 7.5], [0, 1, -3.25], [0, 0, 1]]),
        around(np.array([200, 100]), 1.08 * np.eye(2)),
        around(np.array([213, 120]), np.array([[0.995, -0.1], [0.1, 0.995]])),
        around(np.array([100, 10]), np.array([[1.05, 0.03], [-0.01, 0.97]])),
    ],
    ids=["still", "shift", "zoom", "rotation", "affine"],
)
def test_simple_motions_are_found(camera):
    found = camera_motion(homography_flow(camera, SIZE))
    assert found.dtype == np.float64 and found[2, 2] == 1
    residual = residual_flow(homography_flow(camera, SIZE), found)
    assert np.abs(residual).max() < 0.01


def test_unknown_pixels_do_not_count():
    flow, background, objects, _ = scene(1, 0.7)
    flow[objects] = 1e8
    camera = homography_flow(camera_motion(flow, ~objects), SIZE)
    assert np.abs(camera - background).max() < 0.05


def test_mirrored_flow_has_the_mirrored_camera():
    flow, _, _, _ = scene(2, 0.3, noise=0.1)
    mirrored = residual_flow(flip_flow(flow))
    assert_allclose(flip_flow(mirrored), residual_flow(flow), atol=0.15)


def test_the_same_flow_gives_the_same_camera():
    flow, _, _, _ = scene(2, 0.4, noise=0.5)
    assert_array_equal(camera_motion(flow), camera_motion(flow.copy()))
    other = homography_flow(camera_motion(flow, seed=5), SIZE)
    assert np.abs(other - homography_flow(camera_motion(flow), SIZE)).mean() < 0.2


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (2, 2), (1, 300), (300, 1), (2, 90), (4, 4), (9, 6)]
)
@pytest.mark.parametrize("vector", [(0, 0), (2.5, -1)], ids=["zero", "constant"])
def test_frames_of_any_size_have_a_camera(size, vector):
    flow = np.full((*size, 2), vector, np.float32)
    camera = camera_motion(flow)
    assert_allclose(homography_flow(camera, size), flow, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 90), (9, 6), (40, 60)])
def test_flow_without_any_order_still_gives_a_finite_camera(size):
    rng = np.random.default_rng(0)
    for length in (1, 1000):
        flow = (rng.normal(size=(*size, 2)) * length).astype(np.float32)
        assert np.isfinite(residual_flow(flow)).all()


def test_without_a_known_pixel_the_camera_rests():
    flow = np.full((40, 60, 2), np.nan, np.float32)
    assert_array_equal(camera_motion(flow, np.zeros((40, 60), bool)), np.eye(3))
