import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import (
    WAYS,
    encode_flow,
    flip_flow,
    from_picture,
    resize_flow,
    to_picture,
)
from movseg_jax.flow.files import write_flow


def wavy(height=20, width=30, seed=0, length=8.0):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(4, 4, 2)) * length
    flow = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return flow.astype(np.float32)


# Direct --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flow, angle",
    [((1, 0), 127.5), ((0, 1), 191.25), ((0, -1), 63.75), ((-1, -1e-6), 0)],
    ids=["right", "down", "up", "left"],
)
def test_the_angle_is_a_byte_s_range_from_left_over_right(flow, angle):
    encoded = encode_flow(np.full((3, 4, 2), flow, np.float32))
    assert_allclose(encoded[..., 2], angle, atol=1e-3)


def test_magnitude_is_in_sixths_of_the_diagonal_and_clipped_there():
    flow = np.zeros((3, 4, 2), np.float32)
    flow[0, 0], flow[1, 1] = (2.5, 0), (400, 300)
    magnitude = encode_flow(flow)[..., 1]
    assert_allclose([magnitude[0, 0], magnitude[1, 1], magnitude[2, 2]], [3, 6, 0])


def test_the_first_channel_is_empty():
    assert_array_equal(encode_flow(np.ones((3, 4, 2), np.float32))[..., 0], 0)


def test_a_way_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="one of direct, paper, relative, residual, v"):
        encode_flow(np.ones((3, 4, 2), np.float32), "papr")


# Paper ---------------------------------------------------------------------------


def bytes_in_float64(flow):
    """The authors' bytes before they are cut off, by loops, and the magnitudes."""
    height, width = flow.shape[:2]
    magnitudes = [
        [math.hypot(*flow[y, x]) for x in range(width)] for y in range(height)
    ]
    least, greatest = min(map(min, magnitudes)), max(map(max, magnitudes))
    angles = np.zeros((height, width))
    levels = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            angle = math.atan2(flow[y, x, 1], flow[y, x, 0])
            angles[y, x] = 255 * (angle + math.pi) / (2 * math.pi)
            if greatest > least:
                part = (magnitudes[y][x] - least) / (greatest - least)
                levels[y, x] = 255 * part
    return angles, levels, least, greatest


def cut_off_alike(found, exact):
    """Equal after cutting off, but where float32 may round over a whole number."""
    near = np.abs(exact - np.rint(exact)) < 1e-3
    return np.where(
        near, np.abs(found - exact) <= 1.001, found == np.floor(exact)
    ).all()


@pytest.mark.parametrize("length", [0.01, 8, 300], ids=["still", "usual", "wild"])
def test_the_paper_s_way_equals_its_description_in_float64(length):
    flow = wavy(length=length)
    angles, levels, least, greatest = bytes_in_float64(flow)
    picture, text = to_picture(flow)
    assert cut_off_alike(picture[..., 0], angles)
    assert cut_off_alike(picture[..., 1], levels)
    assert_array_equal(picture[..., 2], 0)
    assert_allclose([float(word) for word in text.split()], [least, greatest], 1e-6)

    encoded, diagonal = encode_flow(flow, "paper"), math.hypot(20, 30)
    for y in range(20):
        for x in range(30):
            magnitude = picture[y, x, 1] / 255 * (greatest - least) + least
            expected = min(magnitude, diagonal) / (diagonal / 6)
            assert_allclose(encoded[y, x], [0, expected, picture[y, x, 0]], 1e-5)


def test_the_paper_s_way_equals_files_read_as_the_authors_read_them(tmp_path):
    flow = wavy(length=40)
    write_flow(tmp_path / "00000.png", flow)
    image = cv2.imread(str(tmp_path / "00000.png")).astype(np.float64)
    text = (tmp_path / "00000_magnitude_minmax.txt").read_text()
    least, greatest = (float(word) for word in text.split())
    pixels = image[:, :, 1] / 255 * (greatest - least) + least
    diagonal = (20**2 + 30**2) ** 0.5
    image[:, :, 1] = pixels.clip(max=diagonal) / (diagonal / 6)
    assert_array_equal(encode_flow(flow, "paper"), image.astype(np.float32))


@pytest.mark.parametrize("vector", [(0, 0), (3, -4)])
def test_constant_flow_keeps_its_magnitude_on_the_paper_s_way(vector):
    flow = np.full((6, 8, 2), vector, np.float32)
    encoded = encode_flow(flow, "paper")
    assert_allclose(encoded[..., 1], math.hypot(*vector) * 6 / 10, rtol=1e-6)
    assert_array_equal(encoded[..., 2], np.floor(encode_flow(flow)[..., 2]))
    assert to_picture(flow)[1] == f"{math.hypot(*vector)} {math.hypot(*vector)}"


def test_the_text_has_the_shortest_numbers_that_give_back_a_float32():
    flow = np.zeros((1, 2, 2), np.float32)
    flow[0, 1, 0] = 1.1
    assert to_picture(flow)[1] == "0.0 1.1"


def test_the_ways_agree_but_for_eight_bits():
    flow = wavy()
    direct, paper = encode_flow(flow), encode_flow(flow, "paper")
    assert (np.abs(direct - paper)[..., 2] <= 1.001).all()
    step = np.ptp(direct[..., 1]) / 255
    assert (np.abs(direct - paper)[..., 1] <= step * 1.001).all()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 5.0, 500.0]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_the_flow_of_a_picture_has_that_picture(seed, length, size):
    rng = np.random.default_rng(seed)
    flow = (rng.normal(size=(*size, 2)) * length).astype(np.float32)
    flow[rng.random(size) < 0.3] = 0
    picture, text = to_picture(flow)
    read = from_picture(picture, *(float(word) for word in text.split()))
    error = np.abs(np.linalg.norm(read, axis=-1) - np.linalg.norm(flow, axis=-1))
    length_range = np.ptp(np.linalg.norm(flow, axis=-1))
    step = (length_range + 1e-6) / 255
    # With one length, a step is less than the rounding of that length.
    rounding = np.finfo(np.float32).eps * np.abs(flow).max()
    assert (error <= 1.01 * step + rounding).all()
    if length:
        again = to_picture(read)[0]
        assert np.abs(picture.astype(int) - again).max() <= 1
        assert np.mean(picture != again) <= 2 / picture.size


# Residual ------------------------------------------------------------------------


def test_the_residual_s_first_channel_is_motion_relative_to_the_camera():
    flow = np.full((60, 80, 2), (4, -3), np.float32)
    flow[20:40, 30:50] = (4, 3)
    encoded = encode_flow(flow, "residual")
    assert_array_equal(encoded[..., 1:], encode_flow(flow)[..., 1:])
    moving = np.zeros((60, 80))
    moving[20:40, 30:50] = 6 * 6 / 100
    assert_allclose(encoded[..., 0], moving, atol=1e-3)


def test_the_camera_s_motion_can_be_given():
    flow = np.full((6, 8, 2), (4, 0), np.float32)
    camera = np.array([[1, 0, 9], [0, 1, 0], [0, 0, 1]], np.float64)
    encoded = encode_flow(flow, "residual", camera)
    assert_allclose(encoded[..., 0], 5 * 6 / 10, rtol=1e-6)


def test_relative_flow_is_zero_where_the_camera_alone_moves():
    flow = np.full((60, 80, 2), (4, -3), np.float32)
    flow[20:40, 30:50] = (4, 3)
    moving = np.zeros_like(flow)
    moving[20:40, 30:50] = (0, 6)
    encoded = encode_flow(flow, "relative")
    assert_allclose(encoded[..., 1], encode_flow(moving)[..., 1], atol=1e-3)
    inside = (slice(20, 40), slice(30, 50))
    assert_allclose(encoded[inside], encode_flow(moving)[inside], atol=0.1)


# Vectors -------------------------------------------------------------------------


def test_vectors_are_the_length_and_the_relative_flow_in_parts_of_the_diagonal():
    flow = np.full((60, 80, 2), (4, -3), np.float32)
    flow[20:40, 30:50] = (4, 3)
    encoded = encode_flow(flow, "vectors")
    assert encoded.dtype == np.float32
    # The diagonal is 100 pixels, so a pixel is 5 units.
    assert_allclose(np.sinh(encoded[..., 0]), 25, rtol=1e-5)
    moving = np.zeros_like(flow)
    moving[20:40, 30:50] = (0, 30)
    assert_allclose(np.sinh(encoded[..., 1:]), moving, atol=5e-2)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_vectors_do_not_depend_on_the_resolution(seed, times):
    flow = wavy(seed=seed)
    camera = np.array([[1, 0, 2], [0, 1, -1], [0, 0, 1]], np.float64)
    large = np.diag([times, times, 1]) @ camera @ np.diag([1 / times, 1 / times, 1])
    enlarged = np.repeat(np.repeat(flow, times, 0), times, 1) * np.float32(times)
    encoded = encode_flow(enlarged, "vectors", large)[::times, ::times]
    assert_allclose(encoded, encode_flow(flow, "vectors", camera), atol=1e-4)


def test_vectors_of_a_flipped_flow_are_mirrored():
    flow = wavy()
    camera = np.array([[1, 0, 2], [0, 1, -1], [0, 0, 1]], np.float64)
    mirrored = np.array([[1, 0, -2], [0, 1, -1], [0, 0, 1]], np.float64)
    encoded = encode_flow(flip_flow(flow), "vectors", mirrored)
    expected = encode_flow(flow, "vectors", camera)[:, ::-1] * [1, -1, 1]
    assert_allclose(encoded, expected, atol=1e-6)


# Flip and resize -----------------------------------------------------------------


def test_flipping_flow_negates_x_and_mirrors():
    flow = wavy()
    flipped = flip_flow(flow)
    assert_array_equal(flipped[4, 7], flow[4, 22] * [-1, 1])
    assert_array_equal(flip_flow(flipped), flow)


@pytest.mark.parametrize("way", WAYS)
def test_a_still_pixel_is_encoded_alike_after_a_flip(way):
    still = np.zeros((4, 5, 2), np.float32)
    assert_array_equal(encode_flow(flip_flow(still), way), encode_flow(still, way))


def test_encoding_a_flipped_flow_mirrors_the_magnitude():
    flow = wavy()
    mirrored = encode_flow(flow)[:, ::-1, 1]
    assert_array_equal(encode_flow(flip_flow(flow))[..., 1], mirrored)


def test_resizing_scales_the_vectors():
    flow = np.full((10, 20, 2), (3, 5), np.float32)
    resized = resize_flow(flow, (40, 30))
    assert resized.shape == (40, 30, 2) and resized.dtype == np.float32
    assert_allclose(resized, np.full((40, 30, 2), (4.5, 20)), rtol=1e-6)


def test_resizing_a_zoom_gives_the_zoom_of_the_new_size():
    def zoom(height, width):
        y, x = np.mgrid[:height, :width] + 0.5
        flow = 0.1 * np.stack([x - width / 2, y - height / 2], axis=-1)
        return flow.astype(np.float32)

    resized = resize_flow(zoom(20, 30), (40, 90))
    assert_allclose(resized[2:-2, 3:-3], zoom(40, 90)[2:-2, 3:-3], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (20, 30)])
def test_any_size_can_be_resized_to_any(size):
    assert resize_flow(wavy(*size), (3, 4)).shape == (3, 4, 2)
    assert resize_flow(wavy(*size), size).shape == (*size, 2)
