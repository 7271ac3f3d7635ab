"""How fast objects move relative to the scene, in rooms whose depth is known."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from movseg_jax.config import ModelConfig
from movseg_jax.flow import object_motion
from movseg_jax.flow.encoding import flip_flow
from movseg_jax.flow.global_motion import camera_motion, residual_flow
from movseg_jax.masks import crop
from movseg_jax.segment.outputs import to_detections
from movseg_jax.types import Detections, Outputs

SIZE = (240, 426)
FOCAL, HEIGHT, HORIZON, WALL = 400.0, 1.5, 90, 8.0  # Pixels, metres, row, metres.
Y, X = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)


def object_speeds(flow, masks, *others, camera=None):
    crops = [crop(mask) for mask in masks]
    others = [crop(mask) for mask in others]
    found = object_motion.object_speeds(flow, crops, others, camera)
    return [speed.known for speed in found]


def room(camera, objects=(), noise=0.0):
    """Flow of a floor, a wall and of what stands upon the floor, and its masks.

    The camera moves by `camera` in metres (right, down, forwards). Objects are (foot,
    middle, size in pixels, motion of their own in pixels).
    """
    with np.errstate(divide="ignore"):
        depth = np.where(Y > HORIZON, FOCAL * HEIGHT / (Y - HORIZON), np.inf)
    depth = np.minimum(depth, WALL)
    masks, own = [], np.zeros((*SIZE, 2))
    for foot, middle, size, motion in objects:
        mask = (Y <= foot) & (foot - size < Y) & (2 * np.abs(X - middle) < size)
        depth[mask] = FOCAL * HEIGHT / (foot - HORIZON)
        own[mask] = motion
        masks.append(mask)
    x, y = X - SIZE[1] / 2, Y - HORIZON
    right, down, forwards = camera
    nearer = depth - forwards
    moved = np.stack(
        [
            (x * depth - FOCAL * right) / nearer - x,
            (y * depth - FOCAL * down) / nearer - y,
        ],
        axis=-1,
    )
    flow = moved + own + noise * np.random.default_rng(0).normal(size=own.shape)
    return flow.astype(np.float32), masks


CAMERAS = {
    "sideways": (0.08, 0.0, 0.0),
    "forwards": (0.0, 0.0, 0.12),
    "both": (0.05, 0.01, 0.1),
}


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_what_stands_near_a_travelling_camera_rests(camera, noise):
    """Though it moves relative to the homography that fits the rest."""
    flow, masks = room(camera, [(225, 130, 60, 0), (170, 300, 50, 0)], noise)
    parallax = np.linalg.norm(residual_flow(flow), axis=-1)
    assert np.median(parallax[masks[0]]) > 0.3
    assert np.isnan(object_speeds(flow, masks)).all()


def test_what_moves_with_a_third_of_its_surroundings_likely_moves():
    """It may stand on the floor, or drag the flow around it along."""
    flow, masks = room(CAMERAS["sideways"], [(225, 130, 60, 0), (170, 300, 50, 0)])
    crops = [crop(mask) for mask in masks]
    near, far = object_motion.object_speeds(flow, crops)
    assert math.isnan(near.known) and near.likely > 0.3
    # Half of the wall moves like the far one.
    assert math.isnan(far.known) and math.isnan(far.likely)


def test_detections_have_both_speeds():
    """Those of the static branch rest where their motion is unknown."""
    flow, (mask,) = room(CAMERAS["sideways"], [(225, 130, 60, 0)])
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    found = Detections(
        np.array([[box]], np.float32),
        np.full((1, 1), 0.9, np.float32),
        np.zeros((1, 1), np.int32),
        np.full((1, 1, 28, 28), 9, np.float32),
        np.ones((1, 1), bool),
    )
    detections = to_detections(
        Outputs(found, found),
        0,
        np.zeros((*SIZE, 3), np.uint8),
        flow,
        model=ModelConfig(),
        min_score=0.7,
        cut=False,
        refine_masks=False,
    )
    (moving,), (static,) = detections.moving, detections.static
    (speed,) = object_motion.object_speeds(flow, [crop(mask)])
    assert math.isnan(moving.motion) and static.motion == 0
    assert moving.likely_motion == pytest.approx(speed.likely, rel=0.01)
    assert static.likely_motion == moving.likely_motion


@pytest.mark.parametrize("own", [(5, 0), (0, -5), (-3, 4)])
@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_what_moves_by_itself_moves(camera, own):
    flow, masks = room(camera, [(225, 130, 60, own), (170, 300, 50, 0)], 0.1)
    residual = np.linalg.norm(residual_flow(flow), axis=-1)
    moving, resting = object_speeds(flow, masks)
    assert moving == pytest.approx(np.median(residual[masks[0]]))
    assert moving > 1.5 and math.isnan(resting)


def test_before_a_camera_that_rests_nothing_is_too_slow():
    flow, masks = room((0, 0, 0), [(225, 130, 60, (0.15, 0)), (170, 300, 50, 0)])
    assert_allclose(object_speeds(flow, masks), [0.15, 0], atol=1e-3)


def test_a_rider_moves_though_most_of_what_is_around_moves_with_it():
    """What else moves is no part of the scene, unless nothing else is around."""
    flow, (horse,) = room((0.08, 0, 0), [(225, 130, 90, (-5, 0))])
    rider = (115 < Y) & (Y <= 165) & (np.abs(X - 130) < 20)
    spot = (150 < Y) & (Y <= 180) & (np.abs(X - 130) < 10)
    flow[rider] = flow[200, 130]
    assert math.isnan(object_speeds(flow, [rider])[0])
    assert object_speeds(flow, [rider], horse | rider)[0] > 4
    assert math.isnan(object_speeds(flow, [spot], horse | rider)[0])


def test_the_camera_s_motion_can_be_given():
    flow, masks = room((0.05, 0.01, 0.1), [(225, 130, 60, (2, 1))])
    known = camera_motion(flow)
    assert object_speeds(flow, masks, camera=known) == object_speeds(flow, masks)
    still = object_speeds(flow, masks, camera=np.eye(3))
    assert still != object_speeds(flow, masks)


def test_turned_by_a_mirror_all_moves_as_before():
    objects = [(225, 130, 60, (2, 1)), (170, 300, 50, 0), (230, 350, 70, (0, 0.7))]
    flow, masks = room((0.05, 0.01, 0.1), objects, 0.1)
    mirrored = object_speeds(flip_flow(flow), [mask[:, ::-1] for mask in masks])
    assert_allclose(mirrored, object_speeds(flow, masks), atol=0.1)


@pytest.mark.parametrize("times", [2, 3])
def test_larger_frames_of_the_same_scene_say_the_same(times):
    """Speeds are in pixels, so that they are larger."""
    objects = [(225, 130, 60, (2, 1)), (170, 300, 50, 0), (230, 350, 70, (0, 0.7))]
    flow, masks = room((0.05, 0.01, 0.1), objects)
    larger = times * flow.repeat(times, 0).repeat(times, 1)
    found = object_speeds(
        larger, [mask.repeat(times, 0).repeat(times, 1) for mask in masks]
    )
    assert_allclose(found, times * np.array(object_speeds(flow, masks)), atol=0.1)


def test_objects_without_pixels_or_surroundings():
    flow, (mask,) = room((0.08, 0, 0), [(225, 130, 60, (3, 0))])
    nothing, everything = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    point, line = nothing.copy(), nothing.copy()
    point[200, 200] = line[:, 130] = True
    speeds = object_speeds(flow, [nothing, everything, point, line, mask])
    assert math.isnan(speeds[0]) and math.isfinite(speeds[1])
    assert all(math.isnan(speed) or speed >= 0 for speed in speeds)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 90), (9, 6), (40, 60)])
def test_flow_without_any_order_still_has_finite_speeds(size):
    rng = np.random.default_rng(0)
    for length in (0, 1, 1000):
        flow = (rng.normal(size=(*size, 2)) * length).astype(np.float32)
        masks = [np.ones(size, bool), rng.random(size) < 0.5]
        masks[1][0, 0] = True
        speeds = object_speeds(flow, masks, masks[1])
        assert np.isfinite(speeds).all() and min(speeds) >= 0


def test_a_shift_is_the_median_flow_of_an_object():
    flow = np.zeros((900, 1200, 2), np.float32)
    large, small, nothing = (np.zeros((900, 1200), bool) for _ in range(3))
    large[100:300, 200:500] = True
    flow[large], flow[100:180, 200:500] = (7, -2), (90, 90)  # Most of it is right.
    small[401, 401], flow[401, 401] = True, (1, 5)  # It lies between the grid's points.
    shifts = object_motion.object_shifts(flow, [*map(crop, (large, small, nothing))])
    assert shifts[:2] == [(7, -2), (1, 5)]
    assert all(map(math.isnan, shifts[2]))


def test_the_speed_of_what_lies_between_the_grid_s_points_is_known():
    size = (960, 1704)  # Every fourth pixel is on the grid.
    flow = np.zeros((*size, 2), np.float32)
    thin, small = np.zeros(size, bool), np.zeros(size, bool)
    thin[100:700, 401:404] = True
    small[401:404, 801:804] = True
    flow[thin], flow[small] = (3, 4), (0, -2)
    camera = np.array([[1.0, 0, 2], [0, 1, 1], [0, 0, 1]])
    flow += (2, 1)
    speeds = object_speeds(flow, [thin, small, np.zeros(size, bool)], camera=camera)
    assert_allclose(speeds, [5, 2, math.nan], atol=1e-5)
