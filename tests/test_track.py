"""The released tracker against a literal second implementation, and cases by hand.

What the default does beyond it is tested in `test_track_things`.
"""

import dataclasses
import gc
import itertools
import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.track.linking import Linker, link, link_back
from movseg_jax.track.links import Links, TrackedFrames, to_tracked_frame
from movseg_jax.track.moving import drop_resting

EMPTY = FrameDetections((), ())
NAN = float("nan")


def segment(start, stop, score=0.95, motion=NAN):
    """A detection in a frame of one row."""
    mask = np.zeros((1, 200), bool)
    mask[:, start:stop] = True
    return Detection(masks.encode(mask), score, motion)


def frame(*moving, static=()):
    return FrameDetections(moving, tuple(static))


def released(**settings):
    return dataclasses.replace(TrackConfig.as_released(), **settings)


def linked(frames, **settings):
    links = link(frames, released(**settings))
    return [links[i] for i in range(len(links))]


# A second implementation, to the letter -------------------------------------------


class SlowDetection:
    def __init__(self, detection, moving, time):
        self.mask, self.score = masks.decode(detection.mask), detection.score
        self.moving, self.time, self.id = moving, time, 0


def slow_iou(a, b):
    both = (a.mask | b.mask).sum()
    return (a.mask & b.mask).sum() / both if both else 0.0


def slow_link(frames, config, bump=1.001):
    """Ids per frame as the authors' code finds them, bumped scores and all.

    Without a bump it is their tracker for one detector.
    """
    everything, video = [], []
    for time, detections in enumerate(frames):
        moving = [SlowDetection(d, True, time) for d in detections.moving]
        static = [SlowDetection(d, False, time) for d in detections.static]
        everything.append(moving + static)
        if bump:
            for d in moving:
                d.score += bump if d.score > config.start_score else 0
            sure = [d for d in moving if d.score > config.continue_score]
            static = [s for s in static if not slow_covered(s, sure, config)]
        video.append([d for d in moving + static if d.score > config.continue_score])
    tracks = []  # Lists of detections, by creation.
    for time, detections in enumerate(video):
        active = [t for t in tracks if time - max(d.time for d in t) <= config.max_gap]
        nearest = [max(t, key=lambda d: d.time) for t in active]
        slow_match(active, nearest, detections, time, config)
        for d in detections:
            if not d.id and d.score > (bump or config.start_score):
                d.id = len(tracks) + 1
                tracks.append([d])
    if config.bidirectional:
        for time in reversed(range(len(video))):
            free = [d for d in video[time] if not d.id]
            active = [t for t in tracks if slow_waits(t, time, config)]
            nearest = [
                min((d for d in t if d.time >= time), key=lambda d: d.time)
                for t in active
            ]
            slow_match(active, nearest, free, time, config)
    return [tuple(d.id for d in detections) for detections in everything]


def slow_covered(static, sure, config):
    overlaps = [slow_iou(static, m) for m in sure]
    if config.static_overlap == 0:
        return any(o > 0 for o in overlaps)
    return any(o >= config.static_overlap for o in overlaps)


def slow_waits(detections, time, config):
    times = [d.time for d in detections]
    return (
        max(times) > time and min(times) < time + config.max_gap and time not in times
    )


def slow_match(tracks, nearest, detections, time, config):
    pairs = list(zip(tracks, nearest, strict=True))
    age = {id(n): abs(n.time - time) for n in nearest}
    if config.matching == "at_once":
        age = dict.fromkeys(age, 0)
    for a in sorted(set(age.values())):
        group = [(t, n) for t, n in pairs if age[id(n)] == a]
        group.sort(key=lambda pair: -pair[1].score)
        free = sorted((d for d in detections if not d.id), key=lambda d: -d.score)
        table = np.zeros((len(group), len(free)))
        for (i, (_, n)), (j, d) in itertools.product(enumerate(group), enumerate(free)):
            table[i, j] = slow_iou(n, d)
        for i, j in zip(*linear_sum_assignment(-table), strict=True):
            if table[i, j] > config.min_iou:
                free[j].id = group[i][0][0].id
                group[i][0].append(free[j])


@st.composite
def detections(draw):
    mask = np.zeros((6, 8), bool)
    for _ in range(draw(st.integers(1, 2))):
        y, x = draw(st.integers(0, 5)), draw(st.integers(0, 7))
        height, width = draw(st.integers(0, 4)), draw(st.integers(1, 5))
        mask[y : y + height, x : x + width] = True
    score = draw(st.sampled_from([0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 0.92, 0.99, 1.0]))
    return Detection(masks.encode(mask), score)


def videos(most=4, static=4):
    return st.lists(
        st.builds(
            lambda moving, still: FrameDetections(tuple(moving), tuple(still)),
            st.lists(detections(), max_size=most),
            st.lists(detections(), max_size=static),
        ),
        max_size=7,
    )


# Keywords only: beartype's checks of a `TrackConfig` draw random numbers, which
# hypothesis does not allow within strategies.
SETTINGS = st.fixed_dictionaries(
    {
        "scores": st.tuples(*[st.sampled_from([0.0, 0.5, 0.7, 0.9])] * 2),
        "max_gap": st.integers(1, 4),
        "min_iou": st.sampled_from([0.0, 0.1, 0.5]),
        "bidirectional": st.booleans(),
        "matching": st.sampled_from(["by_age", "at_once"]),
        "static_overlap": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    }
)


def to_config(scores, **settings):
    return released(continue_score=min(scores), start_score=max(scores), **settings)


@settings(max_examples=100, deadline=None)
@given(videos(), SETTINGS)
def test_links_are_those_of_the_literal_implementation(video, settings):
    config = to_config(**settings)
    links = link(video, config)
    assert [links[i] for i in range(len(video))] == slow_link(video, config)


@settings(max_examples=40, deadline=None)
@given(videos())
def test_links_with_the_released_settings_are_those_of_the_literal_implementation(
    video,
):
    assert linked(video) == slow_link(video, TrackConfig.as_released())


@settings(max_examples=40, deadline=None)
@given(videos(static=0), SETTINGS)
def test_without_static_detections_it_is_the_tracker_of_one_detector(video, settings):
    config = to_config(**settings)
    links = link(video, config)
    assert [links[i] for i in range(len(video))] == slow_link(video, config, bump=0)


@settings(max_examples=40, deadline=None)
@given(videos(), SETTINGS)
def test_a_track_has_one_detection_a_frame_and_ids_are_dense(video, settings):
    config = to_config(**settings)
    links = link(video, config)
    for i in range(len(video)):
        ids = [n for n in links[i] if n]
        assert len(set(ids)) == len(ids)
    used = set(links.ids.tolist()) - {0}
    assert used == set(range(1, len(used) + 1))


@settings(max_examples=40, deadline=None)
@given(videos(), SETTINGS)
def test_the_backward_pass_only_adds(video, settings):
    config = to_config(**settings)
    forward = link(video, dataclasses.replace(config, bidirectional=False)).ids
    both = link(video, dataclasses.replace(config, bidirectional=True)).ids
    assert (both[forward > 0] == forward[forward > 0]).all()
    assert both.max(initial=0) == forward.max(initial=0)


# Cases worked out by hand -----------------------------------------------------------


def test_a_pair_that_overlaps_too_little_may_block_one_that_overlaps_enough():
    first = frame(segment(0, 100, 0.99), segment(100, 190, 0.95))
    # 0.50 with the first track and 0.07 with the second; 0.45 with the first only.
    second = frame(segment(45, 110), segment(0, 45))
    assert linked([first, second]) == [(1, 2), (3, 1)]


@pytest.mark.parametrize("gap, expected", [(10, 1), (11, 2)])
def test_a_track_continues_after_ten_frames_but_not_after_eleven(gap, expected):
    video = [frame(segment(0, 50)), *[EMPTY] * (gap - 1), frame(segment(0, 50))]
    assert linked(video)[-1] == (expected,)


@pytest.mark.parametrize("before, expected", [(9, 1), (10, 0)])
def test_a_track_grows_back_by_nine_frames_but_not_by_ten(before, expected):
    video = [frame(segment(0, 50, 0.8)), *[EMPTY] * (before - 1)]
    video.append(frame(segment(0, 50)))
    assert linked(video)[0] == (expected,)
    assert linked(video, bidirectional=False)[0] == (0,)


def test_the_backward_pass_fills_gaps_that_were_taken_for_another_object():
    # In frame 1, two detections want the track; the better overlap has it. The other
    # one is left for the track that starts in frame 2.
    video = [
        frame(segment(0, 50)),
        frame(segment(0, 50, 0.8), segment(60, 100, 0.8)),
        frame(segment(0, 50), segment(60, 100)),
    ]
    assert linked(video, bidirectional=False) == [(1,), (1, 0), (1, 2)]
    assert linked(video) == [(1,), (1, 2), (1, 2)]


@pytest.mark.parametrize(
    "static, score, expected",
    [
        ((45, 100), 0.8, 0),  # IoU 10/100.
        ((45, 101), 0.8, 1),  # IoU 10/101.
        ((45, 100), 0.7, 1),  # The moving detection does not count.
    ],
)
def test_static_detections_are_left_out_from_an_iou_of_a_tenth(static, score, expected):
    video = [
        frame(segment(60, 100)),
        frame(segment(0, 55, score), static=[segment(*static)]),
    ]
    assert linked(video)[1] == (0, expected)
    assert linked(video, static_overlap=0.0)[1] == (0, int(score == 0.7))


def test_static_detections_continue_tracks_but_start_none():
    still = frame(static=[segment(0, 50, 1.0)])
    assert linked([still, still]) == [(0,), (0,)]
    assert linked([frame(segment(0, 50)), still, still]) == [(1,), (1,), (1,)]
    assert linked([still, still, frame(segment(0, 50))]) == [(1,), (1,), (1,)]


@pytest.mark.parametrize("score, expected", [(0.7, 0), (0.71, 1)])
def test_detections_of_the_least_score_are_dropped(score, expected):
    assert linked([frame(segment(0, 9)), frame(segment(0, 9, score))]) == [
        (1,),
        (expected,),
    ]


@pytest.mark.parametrize("score, expected", [(0.9, 0), (0.91, 1)])
def test_a_track_needs_more_than_the_score_to_start(score, expected):
    assert linked([frame(segment(0, 9, score))]) == [(expected,)]


def test_recent_tracks_choose_first_unless_all_are_assigned_at_once():
    # The last detection has IoU 100/125 with track 1 and 25/190 with track 2.
    video = [frame(segment(0, 100)), frame(segment(100, 190)), frame(segment(0, 125))]
    assert linked(video) == [(1,), (2,), (2,)]
    assert linked(video, matching="at_once") == [(1,), (2,), (1,)]
    published = link(video, TrackConfig.as_published())
    assert published.ids.tolist() == [1, 2, 1]


def test_ids_are_given_in_the_order_of_detections():
    video = [frame(segment(0, 9, 0.91), segment(20, 29, 0.99), segment(40, 49, 0.95))]
    assert linked(video) == [(1, 2, 3)]


def test_empty_masks_are_never_linked():
    assert linked([frame(segment(0, 0))] * 3) == [(1,), (2,), (3,)]


def test_videos_without_frames_or_detections_have_no_tracks():
    assert linked([]) == []
    assert linked([EMPTY] * 3) == [(), (), ()]
    assert linked([frame(segment(0, 9))]) == [(1,)]


def test_a_reversed_video_has_the_same_objects():
    # Two objects come to rest, one after the other, and are found surely but once.
    video = [
        frame(
            segment(t, t + 40, 0.95 if t == 3 else 0.8),
            segment(150 - t, 190 - t, 0.95 if t == 9 else 0.8),
        )
        for t in range(12)
    ]
    there, back = linked(video), linked(video[::-1])[::-1]
    assert there == [(1, 2)] * 12
    assert back == [(2, 1)] * 12


def test_masks_of_different_sizes_are_refused():
    other = Detection(masks.encode(np.ones((2, 3), bool)), 0.95)
    with pytest.raises(InputError, match="different sizes"):
        linked([frame(segment(0, 9)), frame(other)])


# Streams ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(videos(), SETTINGS)
def test_frame_by_frame_it_is_the_forward_pass(video, settings):
    config = to_config(**settings)
    linker = Linker(config)
    online = [linker.add(f) for f in video]
    forward = link(video, dataclasses.replace(config, bidirectional=False))
    assert online == [forward[i] for i in range(len(video))]
    both = link(video, dataclasses.replace(config, bidirectional=True))
    later = link_back(video, Links.from_frames(online), config)
    np.testing.assert_array_equal(later.ids, both.ids)


class ManyTracks(Sequence):
    """A video with a new track in every frame, made anew when it is read.

    Every track is first found unsurely, five frames before it starts. Measures the
    memory in use while it is read.
    """

    def __init__(self, frames):
        self.frames, self.peak = frames, 0
        self.places = [segment(6 * i, 6 * i + 5) for i in range(32)]

    def __len__(self):
        return self.frames

    def __getitem__(self, index):
        time = range(self.frames)[index]
        if time % 200 == 10:
            gc.collect()  # Else Python keeps thousands of tuples for later.
            self.peak = max(self.peak, tracemalloc.get_traced_memory()[0])
        sure = self.places[time % 32]._replace(motion=float(time))
        unsure = self.places[(time + 5) % 32]._replace(score=0.8, motion=float(time))
        return frame(sure, unsure, static=[sure._replace(score=0.75)])


def peak_of(function, frames):
    video = ManyTracks(frames)
    tracemalloc.start()
    try:
        function(video)
        return video.peak
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_of_a_linker_does_not_grow_with_the_video():
    def run(video):
        linker = Linker(TrackConfig())
        for detections_of_frame in video:
            linker.add(detections_of_frame)

    peak_of(run, 20)  # What is made once.
    assert peak_of(run, 220) < peak_of(run, 20) + 2000


@pytest.mark.slow
def test_memory_of_linking_grows_by_a_few_bytes_a_detection():
    def run(video):
        links = link(video)
        assert links.ids.max() == len(video)
        assert (links.ids > 0).sum() == 2 * len(video) - 5

    peak_of(run, 20)
    growth = peak_of(run, 220) - peak_of(run, 20)
    assert growth < 3 * 200 * 16


# What is seen ------------------------------------------------------------------------


def test_sightings_are_in_the_order_to_paint_them():
    still = [segment(0, 9, 0.99), segment(0, 9, 0.8)]
    moving = [segment(0, 9, 0.8), segment(0, 9, 0.91), segment(0, 9, 0.95)]
    seen = to_tracked_frame(
        frame(*moving, static=still), (1, 2, 3, 4, 5), name="00007", size=(1, 200)
    )
    order = [(s.id, s.score, s.moving) for s in seen.sightings]
    assert order == [
        (1, 0.8, True),
        (5, 0.8, False),
        (4, 0.99, False),
        (2, 0.91, True),
        (3, 0.95, True),
    ]
    assert (seen.name, seen.size, seen.time) == ("00007", (1, 200), None)


@given(st.data())
def test_of_equal_scores_the_newer_track_is_painted_last(data):
    """The oracle is the authors' sort of all tracks' detections in a frame.

    Theirs are in the order in which the tracks were started, and sorted by score alone;
    the moving ones that may start a track have 1.001 added.
    """
    scores = st.lists(st.sampled_from([0.75, 0.8, 0.95]), max_size=4)
    moving, still = data.draw(scores), data.draw(scores)
    ids = data.draw(st.permutations(range(1, len(moving + still) + 1)))
    seen = to_tracked_frame(
        frame(
            *(segment(0, 9, score) for score in moving),
            static=[segment(0, 9, score) for score in still],
        ),
        ids,
        name="0",
        size=(1, 200),
    )
    raised = [score + 1.001 * (score > 0.9) for score in moving] + still
    by_track = dict(sorted(zip(ids, raised, strict=True)))
    expected = sorted(by_track, key=lambda track_id: by_track[track_id])
    assert [s.id for s in seen.sightings] == expected


def test_tracked_frames_are_made_one_by_one():
    video = [frame(segment(0, 9)), EMPTY, frame(segment(0, 9, 0.8, 2.5))]
    frames = TrackedFrames(
        video,
        link(video),
        names=["a", "b", "c"],
        size=(1, 200),
        times=[0.0, 0.5, None],
    )
    assert len(frames) == 3
    assert [(f.name, f.time, len(f.sightings)) for f in frames] == [
        ("a", 0.0, 1),
        ("b", 0.5, 0),
        ("c", None, 1),
    ]
    assert frames[-1] == frames[2] == frames[1:][1]
    assert frames[2].sightings[0] == (1, segment(0, 9).mask, 0.8, True, 2.5)
    with pytest.raises(IndexError):
        frames[3]


def test_tracked_frames_of_other_lengths_are_refused():
    video = [frame(segment(0, 9))] * 2
    links = link(video)
    with pytest.raises(InputError, match="2 frames of detections, but names of 1"):
        TrackedFrames(video, links, names=["a"], size=(1, 200))
    with pytest.raises(InputError, match="3 frames of detections, but links of 2"):
        link_back([*video, EMPTY], links)
    with pytest.raises(InputError, match="Frame 1 has 0 detections, but links of 1"):
        drop_resting([video[0], EMPTY], links, 1.0)
    with pytest.raises(InputError, match="min_motion is -1"):
        drop_resting(video, links, -1.0)
    with pytest.raises(InputError, match="min_frames is -1"):
        drop_resting(video, links, 0.0, -1)


# Tracks at rest --------------------------------------------------------------------


def test_tracks_that_never_exceed_the_least_motion_are_dropped_and_ids_stay():
    video = [
        frame(
            segment(0, 9, 0.95, 0.5), segment(20, 29, 0.95, 1.5), segment(40, 49, 0.95)
        ),
        frame(
            segment(0, 9, 0.95, 1.0), segment(20, 29, 0.95, 0.0), segment(60, 69, 0.5)
        ),
    ]
    links = link(video)
    assert [links[0], links[1]] == [(1, 2, 3), (1, 2, 0)]
    moving = drop_resting(video, links, 1.0)
    assert [moving[0], moving[1]] == [(0, 2, 0), (0, 2, 0)]
    slower = drop_resting(video, links, 0.75)
    assert [slower[0], slower[1]] == [(1, 2, 0), (1, 2, 0)]
    unchanged = drop_resting(video, links, 0.0)
    np.testing.assert_array_equal(unchanged.ids, links.ids)


def test_tracks_that_are_seen_to_move_too_seldom_are_dropped():
    """Sure and fast together, frame by frame; static detections are no evidence."""
    often = segment(0, 9, 0.95, 1.0)
    unsure, slow = segment(20, 29, 0.8, 1.0), segment(40, 49, 0.95, 0.1)
    sure, fast = segment(20, 29, 0.95, 1.0), segment(40, 49, 0.95, 1.0)
    rests = segment(60, 69, 0.95, 1.0)
    video = [
        frame(often, sure, fast, rests),
        frame(often, sure, fast, static=[rests]),
        frame(often, unsure, slow, static=[rests]),
        frame(often, unsure, slow, static=[rests]),
    ]
    links = link(video)
    assert [links[i] for i in range(4)] == [(1, 2, 3, 4)] * 4
    for least, kept in ((0, 4), (1, 4), (2, 3), (3, 1)):
        found = drop_resting(video, links, 0.5, least)
        assert [*found[3]] == [*range(1, kept + 1)] + [0] * (4 - kept)
    # Only as many as there can be: the last frame of a video has no flow.
    np.testing.assert_array_equal(
        drop_resting(video, links, 0.5, 99).ids,
        drop_resting(video, links, 0.5, 3).ids,
    )
    unsure_counts = released(start_score=0.75)
    found = drop_resting(video, links, 0.5, 3, unsure_counts)
    assert found[3] == (1, 2, 0, 0)


def test_many_less_certain_frames_are_enough():
    """Of a thing that is seldom surely moving, but mostly seems to."""
    start = segment(0, 9, 0.95)
    unsure = segment(0, 9, 0.8)._replace(likely_motion=1.0)
    slow = segment(0, 9, 0.8)._replace(likely_motion=0.1)
    resting = frame(static=[unsure])
    for found, rest, kept in (
        (6 * [frame(unsure)], 5 * [frame(slow)], True),
        (5 * [frame(unsure)], 5 * [frame(slow)], False),
        # Fewer than half of those in which the moving heads find it.
        (6 * [frame(unsure)], 6 * [frame(slow)], False),
        (6 * [frame(unsure)], 9 * [resting], True),
        (5 * [frame(unsure)], 9 * [resting], False),
    ):
        video = [frame(start), *found, *rest]
        links = link(video)
        assert set(links.ids.tolist()) == {1}
        moving = drop_resting(video, links, 0.5, 2)
        np.testing.assert_array_equal(moving.ids, links.ids * kept)


def test_a_known_motion_is_a_likely_one():
    """Also of detections that somebody else made, without a `likely_motion`."""
    known = frame(segment(0, 9, 0.8, motion=1.0))
    video = [frame(segment(0, 9, 0.95)), *[known] * 6]
    assert drop_resting(video, link(video), 0.5, 2).ids.all()


@given(st.integers(0, 30), st.integers(0, 9), st.integers(0, 30), st.integers(0, 9))
def test_a_lower_threshold_keeps_no_fewer_tracks(unsure, sure, slow, least):
    shown = segment(0, 9, 0.95, motion=1.0)
    faint = segment(0, 9, 0.8)._replace(likely_motion=1.0)
    video = [frame(shown)] * sure + [frame(faint)] * unsure
    video = [frame(segment(0, 9, 0.95)), *video, *[frame(segment(0, 9, 0.8))] * slow]
    links = link(video)
    kept = [
        drop_resting(video, links, motion, frames).ids.any()
        for motion, frames in ((0.5, least + 1), (0.5, least), (0.0, least))
    ]
    assert kept == sorted(kept)


# Settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"continue_score": -0.1},
        {"start_score": 1.1},
        {"start_score": 0.6},
        {"min_iou": math.nan},
        {"static_overlap": 2.0},
        {"max_gap": 0},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(InputError, match=f"TrackConfig.{next(iter(setting))}"):
        TrackConfig(**setting)
