"""One thing, one track: what the default settings do beyond the released tracker."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.track.colour import colour_histogram, colour_similarity
from movseg_jax.track.joining import HANDOVER, join_tracks
from movseg_jax.track.linking import Linker, link, link_back
from movseg_jax.track.links import Links, to_tracked_frame
from movseg_jax.track.moving import drop_resting
from movseg_jax.track.objects import MATURE, Expected, find_objects

SIZE = (60, 120)
DEFAULT = TrackConfig()
EVERYTHING = masks.crop(np.ones((2, 2), bool))
RED, BLUE = (
    colour_histogram(
        np.full((2, 2, 3), colour, np.uint8), masks.crop(np.ones((2, 2), bool))
    )
    for colour in ((200, 20, 20), (20, 20, 200))
)


def box(x0, x1, y0=10, y1=50, score=0.95, **known):
    """A detection of a rectangle."""
    mask = np.zeros(SIZE, bool)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return Detection(masks.encode(mask), score, **known)


def frame(*moving, static=(), cut=False):
    return FrameDetections(moving, tuple(static), cut)


def linked(frames, config=DEFAULT):
    links = link(frames, config)
    if config.join:
        links = join_tracks(frames, links)
    return [links[i] for i in range(len(links))]


# Objects of a frame -------------------------------------------------------------------


def found(detections, **known):
    """By object, the number of its detection and those of its parts."""
    objects = find_objects(detections, DEFAULT, **known)
    return {o.candidate.number: sorted(o.parts) for o in objects}


def test_of_two_masks_of_one_thing_the_better_one_stands_for_it():
    both = frame(box(10, 50, score=0.92), box(12, 54, score=0.97), box(80, 90))
    assert found(both) == {1: [0], 2: []}


def test_a_part_belongs_to_its_whole_whichever_scores_higher():
    assert found(frame(box(10, 50), box(10, 50, 30, 50, score=0.91))) == {0: [1]}
    assert found(frame(box(10, 50), box(10, 50, 30, 50, score=0.99))) == {0: [1]}


def test_a_whole_that_may_not_start_a_track_does_not_replace_its_part():
    unsure = frame(box(10, 50, score=0.8), box(10, 50, 30, 50, score=0.99))
    assert found(unsure) == {1: []}


def test_a_mask_of_two_things_is_left_out_beside_them():
    three = frame(box(10, 90, score=0.91), box(10, 45), box(55, 90))
    assert found(three) == {1: [], 2: []}


def test_a_detection_that_follows_a_track_stands_for_it_though_others_score_more():
    both = frame(box(10, 50, score=0.92), box(30, 70, score=0.97))
    assert found(both) == {0: [], 1: []}  # They overlap by a third only.
    both = frame(box(10, 50, score=0.92), box(20, 60, score=0.97))
    assert found(both) == {1: [0]}
    last = Expected(box(4, 46).mask, 1)
    assert found(both, expected=[last]) == {0: [1]}
    assert found(both, linked=[0]) == {0: [1]}


def test_a_mask_of_two_mature_tracks_gives_way_to_masks_of_each():
    one, two = box(10, 45, score=0.8), box(55, 90, score=0.8)
    detections = frame(box(10, 90, score=0.99), one, two)
    assert found(detections) == {0: [1, 2]}
    mature = [Expected(d.mask, MATURE) for d in (one, two)]
    assert found(detections, expected=mature) == {1: [], 2: []}
    young = [Expected(one.mask, MATURE), Expected(two.mask, MATURE - 1)]
    assert found(detections, expected=young) == {1: [], 2: []}  # They follow tracks.
    alone = frame(box(10, 90, score=0.99))
    assert found(alone, expected=mature) == {0: []}


def test_a_duplicate_that_covers_another_thing_does_not_widen_its_own():
    wide = frame(box(10, 50, score=0.99), box(52, 60, score=0.98), box(14, 58))
    assert found(wide) == {0: [], 1: []}


@pytest.mark.parametrize("setting", [{"duplicate_iou": 1.0}, {"part_share": 1.0}])
def test_each_rule_can_be_switched_off(setting):
    config = dataclasses.replace(DEFAULT, **setting)
    duplicates = frame(box(10, 50), box(23, 63))
    parts = frame(box(10, 50), box(10, 50, 38, 50))
    counts = [len(find_objects(f, config)) for f in (duplicates, parts)]
    assert counts == ([2, 1] if "duplicate_iou" in setting else [1, 2])


# Linking ------------------------------------------------------------------------------


def test_a_thing_that_jumps_is_found_where_its_flow_takes_it():
    video = [frame(box(10 + 25 * t, 20 + 25 * t, shift=(25.0, 0.0))) for t in range(4)]
    assert linked(video) == [(1,)] * 4
    still = dataclasses.replace(DEFAULT, follow_flow=False)
    assert len(set(linked(video, still))) == 4
    # Backwards, too: only the last detection may start a track.
    faint = [frame(f.moving[0]._replace(score=0.8)) for f in video[:-1]]
    assert linked([*faint, video[-1]]) == [(1,)] * 4


def test_a_short_loss_is_bridged_along_the_flow():
    first = frame(box(10, 30, shift=(10.0, 0.0)))
    assert linked([first, frame(), frame(), frame(box(40, 60))])[-1] == (1,)
    assert linked([first, frame(), frame(), frame(box(65, 85))])[-1] == (2,)


def test_two_things_that_cross_keep_their_tracks():
    video = []
    for t in range(9):
        right = box(10 + 9 * t, 30 + 9 * t, shift=(9.0, 0.0))
        left = box(90 - 9 * t, 110 - 9 * t, 12, 48, shift=(-9.0, 0.0))
        one_hides_the_other = t == 4
        video.append(frame(right) if one_hides_the_other else frame(right, left))
    assert linked(video) == [(1, 2)] * 4 + [(1,)] + [(1, 2)] * 4


def test_wrong_flow_does_not_lose_what_hardly_moved():
    video = [frame(box(10, 50, shift=(60.0, 0.0))), frame(box(12, 52))]
    assert linked(video) == [(1,), (1,)]


def test_no_track_continues_across_a_cut():
    shots = [frame(box(10, 50)), frame(box(10, 50), cut=True), frame(box(10, 50))]
    assert linked(shots) == [(1,), (2,), (2,)]
    faint = [frame(box(10, 50, score=0.8)), *shots[1:]]
    assert linked(faint) == [(0,), (1,), (1,)]
    assert linked([frame(box(10, 50, score=0.8)), shots[0]]) == [(1,), (1,)]


def test_the_mask_of_a_track_is_the_union_of_what_belongs_to_it():
    detections = frame(box(10, 50, score=0.97, motion=2.0), box(14, 54, score=0.93))
    ids = Linker().add(detections)
    assert ids == (1, 1)
    (sighting,) = to_tracked_frame(detections, ids, name="0", size=SIZE).sightings
    assert sighting.mask == box(10, 54).mask
    assert (sighting.score, sighting.motion) == (0.97, 2.0)


@st.composite
def detections(draw):
    x, y = draw(st.integers(0, 90)), draw(st.integers(0, 40))
    wide, high = draw(st.integers(0, 40)), draw(st.integers(1, 30))
    score = draw(st.sampled_from([0.5, 0.75, 0.92, 0.97, 0.99]))
    shift = draw(st.sampled_from([(math.nan, math.nan), (0.0, 0.0), (12.0, -3.0)]))
    colour = draw(st.sampled_from([b"", RED, BLUE]))
    known = {"shift": shift, "colour": colour, "motion": 1.0}
    return box(x, x + wide, y, y + high, score, **known)


VIDEOS = st.lists(
    st.builds(
        lambda moving, still, cut: FrameDetections(tuple(moving), tuple(still), cut),
        st.lists(detections(), max_size=4),
        st.lists(detections(), max_size=3),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(VIDEOS)
def test_what_holds_of_every_video(video):
    forward_only = dataclasses.replace(DEFAULT, bidirectional=False)
    linker = Linker()
    online = Links.from_frames(linker.add(f) for f in video)
    forward = link(video, forward_only)
    np.testing.assert_array_equal(online.ids, forward.ids)
    both = link(video)
    np.testing.assert_array_equal(link_back(video, online).ids, both.ids)
    assert (both.ids[forward.ids > 0] == forward.ids[forward.ids > 0]).all()
    assert set(both.ids.tolist()) <= {0, *forward.ids.tolist()}
    joined = join_tracks(video, both)
    assert ((joined.ids > 0) == (both.ids > 0)).all()
    assert set(joined.ids.tolist()) <= {0, *both.ids.tolist()}
    shots: dict[int, set[int]] = {}
    shot = 0
    for i, f in enumerate(video):
        shot += f.cut
        for id in set(joined[i]) - {0}:
            shots.setdefault(id, set()).add(shot)
    assert all(len(of_track) == 1 for of_track in shots.values())


def test_tracks_of_a_short_shot_must_move_in_all_of_its_frames_but_the_last():
    moving = box(10, 50, motion=1.0)
    unknown = box(10, 50)
    video = [frame(moving), frame(moving), frame(unknown)] * 2
    video[3] = video[3]._replace(cut=True)
    links = link(video)
    assert [links[i] for i in range(6)] == [(1,)] * 3 + [(2,)] * 3
    kept = drop_resting(video, links, 0.5, 5)
    np.testing.assert_array_equal(kept.ids, links.ids)
    video[4] = frame(unknown)
    kept = drop_resting(video, links, 0.5, 5)
    assert kept.ids.tolist() == [1, 1, 1, 0, 0, 0]


# Joining ------------------------------------------------------------------------------


def walker(t, split):
    """A person, or body and legs apart."""
    x = 10 + t
    if split:
        return frame(box(x, x + 20, 5, 30), box(x, x + 20, 30, 50))
    return frame(box(x, x + 20, 5, 50))


def test_legs_that_are_apart_for_some_frames_are_part_of_the_person():
    split = [t in (4, 5, 6, 7) for t in range(12)]
    video = [walker(t, apart) for t, apart in enumerate(split)]
    apart = linked(video, dataclasses.replace(DEFAULT, join=False))
    assert len({id for ids in apart for id in ids}) == 2
    assert {id for ids in linked(video) for id in ids} == {1}


@pytest.mark.parametrize("whole, part", [(60, 40), (5, 3), (1, 1)])
@pytest.mark.parametrize("direction", ["right", "below"])
def test_a_part_touches_its_whole_up_to_a_gap_however_thin_both_are(
    whole, part, direction
):
    """The frame's longer side is 500, of which GAP is 10."""
    size = (400, 500)

    def strip(start, thickness):
        mask = np.zeros(size, bool)
        across = slice(start, start + thickness)
        mask[(slice(40, 360), across) if direction == "right" else across] = True
        return Detection(masks.encode(mask), 0.95, colour=RED)

    def joined(gap):
        start = 20 + whole + gap
        together = strip(20, whole + gap + part)  # The whole, with its part.
        apart = frame(strip(20, whole), strip(start, part))
        video = [frame(together), *[apart] * 9, frame(together)]
        ids = Links.from_frames([[1], *[[1, 2]] * 9, [1]])
        return set(join_tracks(video, ids).ids.tolist()) == {1}

    # Columns between the two are one fewer than the distance of pixels.
    assert [gap for gap in range(13) if joined(gap)] == [*range(10)]


def test_what_is_thrown_and_caught_is_a_thing_of_its_own():
    video = []
    for t in range(14):
        person = box(10, 40)
        away = min(t, 13 - t)
        ball = box(28 + 5 * away, 38 + 5 * away, 20, 30, shift=(0.0, 0.0))
        video.append(frame(person, ball) if 0 < away else frame(person))
    ids = linked(video)
    assert ids[6][0] != ids[6][1]


def test_a_thing_that_passes_another_is_not_a_part_of_it():
    video = []
    for t in range(20):
        x = -20 + 6 * t
        passing = box(x, x + 15, 20, 40, shift=(6.0, 0.0))
        hidden = 40 <= x + 7 <= 70
        standing = box(40, 70)
        visible = x + 15 > 3 and not hidden
        video.append(frame(standing, passing) if visible else frame(standing))
    ids = linked(video)
    others = {of_frame[1] for of_frame in ids if len(of_frame) > 1}
    assert 1 not in others


@pytest.mark.parametrize(
    "pause, place, colour, same",
    [
        (30, 10, RED, True),
        (30, 10, BLUE, False),  # Another thing appears there.
        (30, 90, RED, False),  # A thing of the same colour appears elsewhere.
        (80, 10, RED, False),
        (30, 10, b"", False),
    ],
)
def test_what_comes_back_after_a_pause_is_the_same_track(pause, place, colour, same):
    first = [frame(box(10, 25, colour=RED))] * 3
    again = [frame(box(place, place + 15, colour=colour))] * 3
    ids = linked([*first, *[frame()] * pause, *again])
    assert (ids[0] == ids[-1]) == same
    cut = [*first, *[frame()] * (pause - 1), frame(cut=True), *again]
    assert linked(cut)[-1] != ids[0]


@pytest.mark.parametrize(
    "behind, away, colour, same",
    [
        (3, 0, RED, True),
        (HANDOVER, 0, RED, True),
        (HANDOVER + 1, 0, RED, False),  # Two things that are there for longer.
        (0, 0, RED, True),
        (3, 0, BLUE, False),
        (3, 60, RED, False),  # The second one is elsewhere.
    ],
)
def test_what_passes_behind_a_pole_is_one_thing(behind, away, colour, same):
    """While it does, its two sides are two tracks, with the pole between them."""
    left, right = box(20, 32, colour=RED), box(42 + away, 54 + away, colour=colour)
    video = [
        *(frame(box(x, x + 20, colour=RED, shift=(3.0, 0.0))) for x in range(8, 26, 3)),
        *[frame(left, right)] * behind,
        *[frame(box(40 + away, 60 + away, colour=colour))] * 6,
    ]
    ids = [[1]] * 6 + [[1, 2]] * behind + [[2]] * 6
    joined = join_tracks(video, Links.from_frames(ids))
    assert (joined[0] == joined[len(video) - 1]) == same
    # What does not move may keep a track where its thing has been, or will be.
    pole = box(34, 40, colour=RED)
    video = [each._replace(static=(pole,)) for each in video]
    ids = [[1, 2]] * 6 + [[1, 2, 1]] * behind + [[2, 1]] * 6
    joined = join_tracks(video, Links.from_frames(ids))
    assert (joined[0][0] == joined[len(video) - 1][0]) == same


def test_after_a_pause_each_thing_goes_on_as_one_other():
    left, right = box(10, 25, colour=RED), box(14, 29, colour=RED, y0=52, y1=58)
    video = [frame(left, right)] * 3 + [frame()] * 20 + [frame(right, left)] * 3
    ids = linked(video)
    assert ids[0] == ids[-1][::-1] and len(set(ids[0])) == 2


# Colours ------------------------------------------------------------------------------


def test_colours_are_compared_by_the_share_in_common():
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, 5:] = 255
    half = colour_histogram(image, masks.crop(np.ones((10, 10), bool)))
    dark = colour_histogram(
        image, masks.crop(np.arange(10)[None] < np.full((10, 1), 5))
    )
    assert len(half) == 64
    assert colour_similarity(half, half) == colour_similarity(dark, dark) == 1
    assert colour_similarity(half, dark) == pytest.approx(0.5, abs=0.01)
    assert colour_similarity(RED, BLUE) == 0
    assert colour_histogram(image, masks.crop(np.zeros((10, 10), bool))) == b""
    assert colour_similarity(b"", half) == 0
