"""Rendered clips: that the truth is true, and that clips are the same everywhere."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from movseg_jax.data.datasets.synthetic import SyntheticSource
from movseg_jax.errors import InputError
from movseg_jax.scenes.layout import all_surfaces
from movseg_jax.scenes.render import render_clip, render_frame
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.staging import make_scene

# What only the surfaces' motion changes: a frame is the one before, warped.
PLAIN = SceneConfig(
    size=(96, 168),
    frames=6,
    shadows=0.0,
    haze=0.0,
    motion_blur=0.0,
    defocus=0.0,
    noise=0.0,
    exposure=0.0,
    compression=0.0,
    nothing_moves=0.0,
)
SEEDS = range(5)


@functools.cache
def frame(index, number=2, config=PLAIN):
    scene = make_scene(config, 5, index)
    return scene, render_frame(scene, number)


def warped_back(image, flow):
    """The next frame where each pixel of this one goes."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def interior(pieces):
    """Pixels whose neighbours are of the same piece."""
    high = cv2.dilate(pieces, np.ones((5, 5), np.uint8))
    low = cv2.erode(pieces, np.ones((5, 5), np.uint8))
    return high == low


# The truth -----------------------------------------------------------------------


@pytest.mark.parametrize("index", SEEDS)
def test_the_next_frame_warped_back_is_this_one_where_nothing_hides_it(index):
    scene, now = frame(index)
    later = render_frame(scene, 3)
    kept = interior(now.pieces) & ~now.occluded
    # Neither may the surface be seen through a soft edge one frame later.
    edges = (~interior(later.pieces)).astype(np.float32)
    kept &= warped_back(edges, now.flow) == 0
    assert kept.mean() > 0.2
    error = np.abs(warped_back(later.image, now.flow).astype(int) - now.image)[kept]
    still = np.abs(later.image.astype(int) - now.image)[kept]
    assert error.mean() < 4.0
    assert np.percentile(error, 95) < 14
    assert error.mean() < still.mean() + 1e-9


@pytest.mark.parametrize("index", SEEDS)
def test_flow_is_that_of_the_surface_point_at_each_pixel(index):
    """Against rays and planes in space, pixel by pixel, in double precision."""
    scene, now = frame(index)
    here, there = all_surfaces(scene, 2), all_surfaces(scene, 3)
    before, after = scene.camera.view(2), scene.camera.view(3)
    rng = np.random.default_rng(index)
    for _ in range(60):
        y, x = rng.integers(96), rng.integers(168)
        piece = now.pieces[y, x]
        # The texel whose point is on the pixel's ray.
        seen = before.projection @ here[piece]
        texel = np.linalg.solve(seen, [x, y, 1])
        point, moved = (surfaces[piece] @ texel for surfaces in (here, there))
        x1, y1, depth1 = after.project((moved[:3] / moved[3])[None])[0]
        _, _, depth = before.project((point[:3] / point[3])[None])[0]
        if depth1 > 0.5:
            assert_allclose(now.flow[y, x], [x1 - x, y1 - y], atol=2e-3, rtol=1e-3)
        assert_allclose(now.depth[y, x], depth, rtol=1e-3)


@pytest.mark.parametrize("index", SEEDS)
def test_the_flow_of_what_is_static_is_that_of_the_camera(index):
    _, now = frame(index)
    static = now.ids == 0
    off = np.abs(now.flow - now.camera_flow)[static]
    assert off.max() <= 0.01 + 1e-3 * np.abs(now.flow[static]).max()


@pytest.mark.parametrize("index", SEEDS)
def test_objects_that_move_do_not_have_the_flow_of_the_camera(index):
    scene, now = frame(index)
    for thing in scene.objects:
        mask = now.ids == thing.number
        if mask.sum() > 30:
            off = np.linalg.norm(now.flow - now.camera_flow, axis=2)[mask]
            if not scene.truth.moving[thing.number - 1, 2]:
                # The threshold is of a percentile, over pieces seen or not.
                assert np.median(off) < 3 * scene.config.moving_threshold
            else:
                assert off.max() > 0.1


@pytest.mark.parametrize("index", SEEDS)
def test_masks_and_flow_change_at_the_same_pixels(index):
    """Within a piece flow is smooth; masks are unions of pieces."""
    scene, now = frame(index)
    assert_array_equal(now.ids, scene.object_of_piece[now.pieces])
    for axis in (0, 1):
        same = np.diff(now.pieces, axis=axis) == 0
        step = np.abs(np.diff(now.flow, axis=axis)).max(axis=2)[same]
        # Limbs turn by less than 0.6 radians per frame, so neighbours part by less
        # than 0.6 pixels; but for the few pixels of faces that show their edge.
        assert np.percentile(step, 99.5) < 0.6


@pytest.mark.parametrize("index", SEEDS)
def test_a_point_is_occluded_where_something_nearer_is_one_frame_later(index):
    scene, now = frame(index)
    later = render_frame(scene, 3)
    rows, columns = np.mgrid[:96, :168]
    x = np.rint(columns + now.flow[..., 0]).astype(int)
    y = np.rint(rows + now.flow[..., 1]).astype(int)
    outside = (x < 0) | (x >= 168) | (y < 0) | (y >= 96)
    assert now.occluded[outside].all()
    same = now.pieces == later.pieces[np.clip(y, 0, 95), np.clip(x, 0, 167)]
    assert not now.occluded[same & ~outside].any()


def test_without_movers_there_are_no_objects():
    config = dataclasses.replace(PLAIN, nothing_moves=1.0)
    scene = make_scene(config, 0, 3)
    assert not scene.objects and scene.truth.moving.shape == (0, 6)
    assert not any(rendered.ids.any() for rendered in render_clip(scene))


def test_static_things_are_labelled_if_asked_for_and_nothing_else_changes():
    _, plain = frame(0, 1)
    scene, labelled = frame(0, 1, dataclasses.replace(PLAIN, label_static=True))
    assert_array_equal(labelled.image, plain.image)
    assert_array_equal(labelled.flow, plain.flow)
    movers = plain.ids > 0
    assert_array_equal(labelled.ids[movers], plain.ids[movers])
    resting = np.unique(labelled.ids[~movers])[1:]
    assert len(resting) and resting[0] > plain.ids.max()
    assert not scene.truth.moving[resting - 1].any()


def test_a_static_camera_leaves_the_background_where_it_is():
    config = dataclasses.replace(PLAIN, static_camera=1.0)
    for index in range(3):
        _, now = frame(index, 1, config)
        assert np.abs(now.camera_flow).max() < 1e-3
        assert np.abs(now.flow[now.ids == 0]).max() < 1e-3


def test_an_object_moves_before_it_stops_or_after_it_starts():
    config = dataclasses.replace(
        PLAIN, frames=40, pauses=1.0, speed=(3.0, 6.0), static_camera=1.0, movers=(3, 3)
    )
    changed = 0
    for index in range(4):
        scene = make_scene(config, 0, index)
        for thing, moving in zip(scene.objects, scene.truth.moving, strict=True):
            turns = np.flatnonzero(np.diff(moving.astype(int)))
            if len(turns) == 1:
                changed += 1
                assert moving[-1] == (thing.path.starts > 0)
    assert changed >= 6


def test_a_camera_goes_along_with_an_object():
    config = dataclasses.replace(
        PLAIN,
        static_camera=0.0,
        following_camera=1.0,
        handheld=0.0,
        movers=(1, 1),
        zoom=0.0,
    )
    slower = 0
    for index in range(8):
        scene, now = frame(index, 2, config)
        mask = now.ids == 1
        if mask.sum() > 30 and scene.camera.travels:
            # It stays where it is in the image; what moves is the rest.
            own = np.median(np.linalg.norm(now.flow[mask], axis=1))
            rest = np.median(np.linalg.norm(now.flow[now.ids == 0], axis=1))
            slower += own < rest
    assert slower >= 2


# Determinism and the config ------------------------------------------------------


def test_equal_numbers_give_equal_clips_and_others_others():
    config = SceneConfig(size=(64, 96), frames=3)
    first = render_frame(make_scene(config, 1, 2), 1)
    again = render_frame(make_scene(config, 1, 2), 1)
    for a, b in zip(first, again, strict=True):
        assert_array_equal(a, b)
    for seed, index in ((1, 3), (2, 2)):
        other = render_frame(make_scene(config, seed, index), 1)
        assert (first.image != other.image).mean() > 0.5


def test_a_clip_has_the_frames_that_are_rendered_alone():
    config = SceneConfig(size=(64, 96), frames=3)
    scene = make_scene(config, 4, 0)
    for number, rendered in enumerate(render_clip(scene)):
        alone = render_frame(scene, number)
        for a, b in zip(rendered, alone, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": (8, 100)},
        {"size": (4096, 4096)},
        {"frames": 0},
        {"movers": (3, 2)},
        {"speed": (0.0, 2.0)},
        {"pauses": 1.5},
        {"noise": float("nan")},
        {"distractors": (0, 1000)},
    ],
    ids=str,
)
def test_a_config_out_of_range_is_an_input_error_that_names_the_field(changes):
    with pytest.raises(InputError, match=f"SceneConfig.{next(iter(changes))}"):
        dataclasses.replace(SceneConfig(), **changes)


@pytest.mark.parametrize("size", [(16, 16), (33, 200), (120, 50)])
def test_frames_of_any_size_are_rendered(size):
    config = dataclasses.replace(SceneConfig(), size=size, frames=2, movers=(2, 2))
    for index in range(3):
        rendered = render_frame(make_scene(config, 0, index), 0)
        assert rendered.image.shape == (*size, 3)
        assert np.isfinite(rendered.flow).all() and np.isfinite(rendered.depth).all()


# The source ----------------------------------------------------------------------


def test_a_source_gives_examples_of_what_is_seen():
    config = dataclasses.replace(PLAIN, frames=3, visible_pixels=50, movers=(4, 4))
    source = SyntheticSource(config, clips=2, seed=3)
    assert len(source) == 6 and source.sizes[5] == (96, 168)
    assert [*source.sequences.values()] == [range(0, 3), range(3, 6)]
    for index in range(6):
        example = source[index]
        scene = make_scene(config, 3, index // 3)
        rendered = render_frame(scene, index % 3)
        assert (example.flow is not None) == source.has_flow[index] == (index % 3 < 2)
        assert_array_equal(example.image, rendered.image)
        assert example.masks.any(axis=(1, 2)).all()
        for k, number in enumerate(example.ids):
            assert_array_equal(example.masks[k], rendered.ids == number)
            assert example.ignore[k] == (example.masks[k].sum() < 50)
            assert example.moving[k] == scene.truth.moving[number - 1, index % 3]
    assert len({source[i].name for i in range(6)}) == 6
    for index in (-1, 6):
        with pytest.raises(IndexError):
            source[index]


@pytest.mark.parametrize("clips, seed", [(0, 0), (-1, 0), (10**9, 0), (1, -1)])
def test_a_source_without_clips_or_with_a_negative_seed_is_an_input_error(clips, seed):
    with pytest.raises(InputError, match="expected"):
        SyntheticSource(SceneConfig(), clips, seed)
