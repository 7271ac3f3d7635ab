import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.ops.anchors import cell_anchors, level_anchors

RATIOS = (0.5, 1.0, 2.0)
# Inclusive [x1, y1, x2, y2], as Detectron's `generate_anchors` returns them.
DETECTRON = {
    2: [[-22, -10, 25, 13], [-14, -14, 17, 17], [-10, -22, 13, 25]],
    3: [[-40, -20, 47, 27], [-28, -28, 35, 35], [-20, -44, 27, 51]],
    4: [[-84, -40, 99, 55], [-56, -56, 71, 71], [-36, -80, 51, 95]],
    5: [[-164, -72, 195, 103], [-112, -112, 143, 143], [-76, -168, 107, 199]],
    6: [[-332, -152, 395, 215], [-224, -224, 287, 287], [-148, -328, 211, 391]],
}


@pytest.mark.parametrize("level", DETECTRON)
def test_detectrons_anchors_are_those_of_its_table(level):
    anchors = cell_anchors(8.0 * 2**level, 2**level, RATIOS, "detectron")
    assert_array_equal(anchors - np.float32([0, 0, 1, 1]), DETECTRON[level])


def test_anchors_have_the_area_and_ratio_asked_for():
    anchors = cell_anchors(64.0, 8, RATIOS)
    sides = anchors[:, 2:] - anchors[:, :2]
    assert_allclose(sides.prod(axis=1), 64**2, rtol=1e-6)
    assert_allclose(sides[:, 1] / sides[:, 0], RATIOS, rtol=1e-6)
    assert_allclose(anchors[:, :2] + anchors[:, 2:], 0, atol=1e-5)


def test_corners_are_rounded_as_by_torchvision():
    # AnchorGenerator.generate_anchors((32,), (0.5, 1.0, 2.0)).
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert_array_equal(cell_anchors(32.0, 4, RATIOS, "corners"), expected)


def test_order_is_row_then_column_then_ratio():
    anchors = level_anchors((2, 3), 3)
    assert anchors.shape == (2 * 3 * 3, 4)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    x = np.tile(np.repeat([4, 12, 20], 3), 2)
    y = np.repeat([4, 12], 9)
    assert_allclose(centers, np.stack([x, y], 1), atol=1e-5)


def test_without_offset_centres_are_at_the_corners_of_the_cells():
    centers = level_anchors((1, 2), 4, offset=0.0)[[1, 4]]
    assert_allclose((centers[:, 0] + centers[:, 2]) / 2, [0, 16])


def test_cells_can_be_nearer_than_the_stride_as_in_torchvision():
    # An image padded to 800x1088 has 13x17 cells at level 6, 61 and 64 pixels apart.
    anchors = level_anchors((13, 17), 6, offset=0.0, strides=(800 // 13, 1088 // 17))
    centers = (anchors[1::3, :2] + anchors[1::3, 2:]) / 2
    assert_allclose(centers[-1], [16 * 64, 12 * 61])


def test_an_empty_level_has_no_anchors():
    assert level_anchors((0, 5), 2).shape == (0, 4)
