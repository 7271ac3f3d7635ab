import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.flow.encoding import encode_flow


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
