"""Overlays: what is drawn where, and videos of them."""

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.video import labels, overlay
from movseg_jax.video.labels import Plate
from movseg_jax.video.reading import Frame
from tests.oracles import top_of_largest_piece

SIZE = (120, 200)


def rectangle(y0, y1, x0, x1, size=SIZE):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def sighting(id, mask, *, moving=True, motion=2.34):
    return Sighting(id, masks.encode(mask), 0.9, moving, motion)


def tracked(*sightings, size=SIZE, name="00000", at=None):
    return TrackedFrame(name, size, at, sightings)


def noise(size=SIZE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def inner(mask, by=3):
    """The pixels of a rectangle that lie `by` inside: neither outline nor label."""
    ys, xs = np.nonzero(mask)
    return slice(ys.min() + by, ys.max() + 1 - by), slice(
        xs.min() + by, xs.max() + 1 - by
    )


def blended(frame, id):
    mixed = frame.astype(np.float64) / 2 + np.array(overlay.track_colour(id)) / 2
    return mixed


def test_a_mask_is_the_mean_of_frame_and_colour_and_the_frame_stays():
    frame, mask = noise(), rectangle(40, 90, 30, 100)
    before = frame.copy()
    drawn = overlay.draw_tracks(frame, tracked(sighting(3, mask)))
    box = inner(mask)
    assert np.abs(drawn[box] - blended(frame, 3)[box]).max() <= 0.5
    assert_array_equal(drawn[100:], frame[100:])
    assert_array_equal(drawn[:, :25], frame[:, :25])
    assert (drawn[40, 30:100] == 255).all() and (drawn[40:90, 30] == 255).all()
    assert_array_equal(frame, before)


def test_masks_of_training_are_drawn_like_those_of_tracks_but_without_labels():
    frame, mask = noise(), rectangle(40, 90, 30, 100)
    drawn = overlay.draw_masks(frame, [mask])
    assert_array_equal(drawn[:40], frame[:40])
    with_label = overlay.draw_tracks(frame, tracked(sighting(1, mask)))
    assert_array_equal(drawn[40:], with_label[40:])
    assert (with_label[:40] != frame[:40]).any()


def test_what_is_painted_later_hides_what_is_below():
    """Also between the stripes of what stands still."""
    frame = noise()
    below, above = rectangle(30, 110, 20, 180), rectangle(50, 100, 60, 140)
    box = inner(above)
    for moving in (True, False):
        top = sighting(2, above, moving=moving)
        both = overlay.draw_tracks(frame, tracked(sighting(1, below), top))
        alone = overlay.draw_tracks(frame, tracked(top))
        assert_array_equal(both[box], alone[box])


def test_what_stands_still_is_hatched():
    frame, mask = noise(), rectangle(40, 100, 30, 130)
    stopped = tracked(sighting(1, mask, moving=False))
    drawn, box = overlay.draw_tracks(frame, stopped), inner(mask)
    same = (drawn[box] == frame[box]).all(axis=-1)
    mixed = (np.abs(drawn[box] - blended(frame, 1)[box]) <= 0.5).all(axis=-1)
    assert (same | mixed).all()
    assert 0.4 < same.mean() < 0.6 and 0.4 < mixed.mean() < 0.6


def test_labels_tell_the_motion_where_it_is_known():
    mask = rectangle(40, 90, 30, 100)
    assert overlay.label_text(sighting(7, mask)) == "7"
    assert overlay.label_text(sighting(7, mask), why=True) == "7: 2.3 px"
    unknown = sighting(7, mask, motion=float("nan"))
    assert overlay.label_text(unknown, why=True) == "7: ? px"


@pytest.mark.parametrize("scale", [1, 4])
def test_labels_grow_with_the_frame(scale):
    size = (270 * scale, 480 * scale)
    frame = np.zeros((*size, 3), np.uint8)
    mask = rectangle(100 * scale, 200 * scale, 100 * scale, 300 * scale, size)
    drawn = overlay.draw_tracks(frame, tracked(sighting(1, mask), size=size))
    rows = np.flatnonzero((drawn[: 99 * scale] > 0).any(axis=(1, 2)))
    assert 11 * scale / 2 <= len(rows) <= 16 * scale


@pytest.mark.parametrize(
    "box", [(0, 20, 0, 20), (0, 3, 190, 200), (119, 120, 199, 200), (0, 120, 0, 200)]
)
def test_at_the_edges_of_the_frame_labels_stay_inside(box):
    frame = np.zeros((*SIZE, 3), np.uint8)
    drawn = overlay.draw_tracks(frame, tracked(sighting(12, rectangle(*box))), why=True)
    plate = (drawn == overlay.track_colour(12)).all(axis=-1)
    assert plate.sum() > 50


def test_a_label_is_at_the_largest_piece_of_an_object():
    """A few pixels elsewhere, such as between another's legs, do not attract it."""
    frame, object_ = noise(), rectangle(60, 110, 110, 180)
    pieces = object_ | rectangle(30, 33, 20, 24)
    drawn = overlay.draw_tracks(frame, tracked(sighting(1, pieces)))
    alone = overlay.draw_tracks(frame, tracked(sighting(1, object_)))
    assert_array_equal(drawn[:, 100:], alone[:, 100:])
    assert_array_equal(drawn[:28], frame[:28])


@pytest.mark.parametrize("kind", ["blobs", "specks", "line", "ring", "nested"])
def test_a_piece_is_as_large_as_the_number_of_its_pixels(kind, monkeypatch):
    """So say the overlay and the report's page, which counts pixels, too."""
    places = []

    def record(drawn, text, place, *_):
        places.append(place)
        return Plate(0, 0, 1, 1)

    monkeypatch.setattr(overlay, "_label", record)
    mask = rectangle(60, 80, 110, 130)
    if kind in ("blobs", "specks"):
        blur = 4 if kind == "blobs" else 0.6
        grey = cv2.GaussianBlur(
            np.random.default_rng(0).normal(size=SIZE), (0, 0), blur
        )
        mask = grey > np.quantile(grey, 0.7)
    elif kind == "line":
        mask = rectangle(60, 63, 110, 113) | rectangle(20, 21, 10, 110)
    elif kind == "ring":
        mask |= rectangle(20, 50, 30, 60) & ~rectangle(21, 49, 31, 59)
    else:
        mask |= rectangle(50, 90, 100, 140) & ~rectangle(51, 89, 101, 139)
    overlay.draw_tracks(noise(), tracked(sighting(1, mask)))
    assert places == [top_of_largest_piece(mask)]


def test_colours_belong_to_ids_and_are_never_black():
    colours = [overlay.track_colour(id) for id in range(1, 256)]
    assert len(set(colours)) == 255 and (0, 0, 0) not in colours
    assert overlay.track_colour(256) == overlay.track_colour(1)


@given(
    st.lists(
        st.tuples(*[st.integers(0, 80)] * 2, st.integers(1, 20), st.just(10)),
        max_size=6,
    )
)
def test_labels_stay_in_the_picture_and_cover_no_other_one(rectangles):
    """A column of 100 rows has room for six labels of 10, wherever they should be."""
    placed = []
    for rectangle in rectangles:
        plate = labels.Plate(*rectangle)
        moved = labels.free_place(plate, placed, 100)
        assert moved._replace(top=plate.top) == plate and 0 <= moved.top <= 90
        assert not any(moved.covers(other) for other in placed)
        if not any(plate.covers(other) for other in placed):
            assert moved == plate
        placed.append(moved)


def test_the_labels_of_objects_at_one_place_are_all_seen():
    mask = rectangle(60, 100, 80, 120)
    many = tracked(*(sighting(id, mask) for id in range(1, 6)))
    drawn = overlay.draw_tracks(np.zeros((*SIZE, 3), np.uint8), many)
    plates = [(drawn == overlay.track_colour(id)).all(axis=-1) for id in range(1, 6)]
    areas = [plate.sum() for plate in plates]
    # Digits hide different parts of them, by the font of OpenCV's release.
    assert min(areas) > 0.5 * max(areas) > 30


def test_sightings_alone_and_frames_of_videos_can_be_drawn():
    image, found = noise(), sighting(3, rectangle(40, 90, 30, 100))
    expected = overlay.draw_tracks(image, tracked(found))
    assert_array_equal(overlay.draw_tracks(image, [found]), expected)
    frame = Frame(0, "00000", image, None)
    assert_array_equal(overlay.draw_tracks(frame, tracked(found)), expected)
    assert_array_equal(overlay.draw_tracks(frame, []), image)
    ids = np.where(rectangle(40, 90, 30, 100), 3, 0).astype(np.uint8)
    assert_array_equal(overlay.draw_tracks(image, ids), expected)


def test_no_tracks_an_empty_mask_and_a_tiny_frame_can_be_drawn():
    frame = noise()
    empty = sighting(1, np.zeros(SIZE, bool), moving=False)
    assert_array_equal(overlay.draw_tracks(frame, tracked()), frame)
    assert_array_equal(overlay.draw_tracks(frame, tracked(empty)), frame)
    one = sighting(1, np.ones((1, 1), bool))
    drawn = overlay.draw_tracks(noise((1, 1)), tracked(one, size=(1, 1)))
    assert drawn.shape == (1, 1, 3)


def test_frames_and_masks_of_other_sizes_are_refused():
    with pytest.raises(InputError, match=r"'00000': is uint8 \(9, 9, 3\)"):
        overlay.draw_tracks(noise((9, 9)), tracked())
    wrong = sighting(1, rectangle(0, 2, 0, 2, (9, 9)))
    with pytest.raises(InputError, match=r"mask of size \(9, 9\)"):
        overlay.draw_tracks(noise(), tracked(wrong))


# Videos ----------------------------------------------------------------------------


def decoded(path):
    with av.open(path) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def test_the_video_shows_the_masks_and_odd_sizes_are_padded(tmp_path):
    size = (61, 99)
    mask = rectangle(20, 60, 20, 80, size)
    frame = np.full((*size, 3), 200, np.uint8)
    tracks = [tracked(sighting(1, mask), size=size), tracked(size=size)]
    images = [frame, Frame(1, "00001", frame, 0.1)]  # Both kinds are taken.
    overlay.write_overlay(images, tracks, tmp_path / "o.mp4", 10)
    first, second = decoded(tmp_path / "o.mp4")
    assert first.shape == (62, 100, 3)
    difference = first[45, 50].astype(int) - second[45, 50]
    assert difference[1] < -60 and difference[2] < -60 and difference[0] > -60


def test_without_fps_frames_are_shown_at_their_times(tmp_path):
    tracks = [tracked(at=at) for at in (0.0, 0.5, 2.0)]
    overlay.write_overlay([noise()] * 3, tracks, tmp_path / "o.mp4", None)
    with av.open(tmp_path / "o.mp4") as container:
        times = [f.time for f in container.decode(video=0)]
    assert times == pytest.approx([0, 0.5, 2])


@pytest.mark.parametrize(
    "frames, tracks, message",
    [
        (2, 3, "has only 2 frames, but there are tracks for 3"),
        (3, 2, "has more than 2 frames, but there are tracks for 2"),
        (0, 0, "at least one frame"),
    ],
)
def test_other_numbers_of_frames_than_of_tracks_are_refused(
    tmp_path, frames, tracks, message
):
    with pytest.raises(InputError, match=message):
        overlay.write_overlay(
            [noise()] * frames, [tracked()] * tracks, tmp_path / "o.mp4", 10
        )
    assert not list(tmp_path.iterdir())
