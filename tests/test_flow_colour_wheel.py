"""Flow pictures against the published definition of their colours, by loops."""

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from movseg_jax.flow.colour_wheel import colour_wheel, flow_picture


def published_wheel():
    """The 55 colours of `colorcode.cpp`, in integers as there."""
    colours = [(255, 255 * i // 15, 0) for i in range(15)]
    colours += [(255 - 255 * i // 6, 255, 0) for i in range(6)]
    colours += [(0, 255, 255 * i // 4) for i in range(4)]
    colours += [(0, 255 - 255 * i // 11, 255) for i in range(11)]
    colours += [(255 * i // 13, 0, 255) for i in range(13)]
    colours += [(255, 0, 255 - 255 * i // 6) for i in range(6)]
    return colours


def published_colour(x, y):
    """Of a vector whose length is 1 at full colour."""
    wheel = published_wheel()
    radius = math.sqrt(x * x + y * y)
    place = (math.atan2(-y, -x) / math.pi + 1) / 2 * 54
    first = int(place)
    part = place - first
    colour = []
    for channel in range(3):
        left = wheel[first][channel] / 255
        right = wheel[(first + 1) % 55][channel] / 255
        value = (1 - part) * left + part * right
        value = 1 - radius * (1 - value) if radius <= 1 else value * 0.75
        colour.append(int(255 * value))
    return colour


def test_the_wheel_is_the_published_one():
    assert_array_equal(colour_wheel(), published_wheel())


@pytest.mark.parametrize("max_magnitude", [None, 4.0])
def test_every_pixel_has_the_published_colour(max_magnitude):
    rng = np.random.default_rng(0)
    flow = (rng.normal(size=(20, 30, 2)) * 3).astype(np.float32)
    flow[0, :3] = [(0, 0), (-2, 0), (3, 0)]
    full = max_magnitude or np.linalg.norm(flow.astype(float), axis=-1).max()
    picture = flow_picture(flow, max_magnitude)
    expected = [
        [published_colour(*(vector.astype(float) / full)) for vector in row]
        for row in flow
    ]
    # The last digit of a sum may differ where it decides between two bytes.
    difference = np.abs(picture.astype(int) - expected)
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.01


def test_what_rests_is_white_and_what_is_unknown_black():
    flow = np.zeros((2, 3, 2), np.float32)
    assert_array_equal(flow_picture(flow), 255)
    flow[0] = [(np.nan, 0), (0, np.inf), (2e9, 0)]
    picture = flow_picture(flow)
    assert_array_equal(picture[0], 0)
    assert_array_equal(picture[1], 255)


def test_the_four_directions_have_their_hues():
    flow = np.float32([[(1, 0), (0, 1), (-1, 0), (0, -1)]])
    red, yellow, cyan, violet = flow_picture(flow)[0].astype(int)
    assert red[0] > 250 and red[1:].max() < 60
    assert yellow[:2].min() > 200 and yellow[2] < 60
    assert cyan[0] < 60 and cyan[1:].min() > 150
    assert violet[1] < 60 and violet[2] > 250


def test_an_empty_flow_has_an_empty_picture():
    assert flow_picture(np.zeros((0, 4, 2), np.float32)).shape == (0, 4, 3)
