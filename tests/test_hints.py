"""What is said when a video has no tracks names the threshold that was missed."""

import numpy as np

from movseg_jax import masks
from movseg_jax.config import TrackConfig
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.hints import why_no_tracks
from movseg_jax.track.moving import link_moving

MASK = masks.encode(np.ones((4, 4), bool))


def video(score, motion, frames=8):
    found = (Detection(MASK, score, motion, (0.0, 0.0)),)
    return [FrameDetections(found) for _ in range(frames)]


def explain(frames, **thresholds):
    limits = {"min_motion": 0.2, "min_frames": 6} | thresholds
    links = link_moving(frames, TrackConfig(), **limits)
    assert not links.ids.any()
    return why_no_tracks(frames, TrackConfig(), **limits)


def test_a_score_that_is_too_low_is_named_with_its_threshold():
    said = explain(video(0.81, 3.0))
    assert "best score of a detection is 0.81" in said and "`start_score`" in said


def test_motion_that_is_too_slow_is_named_with_its_threshold():
    said = explain(video(0.95, 0.13))
    assert "0.13 pixels per frame" in said and "`min_motion`" in said


def test_too_few_frames_are_counted():
    still = video(0.95, 0.0, frames=5)
    said = explain(video(0.95, 3.0, frames=3) + still)
    assert "in 3 frames" in said and "needs 6." in said
    assert "`min_frames`" in said
    said = explain(video(0.95, 3.0, frames=3) + 4 * still)
    assert "needs 6, or 18 less certain" in said


def test_less_certain_frames_are_counted():
    unsure = Detection(MASK, 0.95, likely_motion=3.0)
    frames = [FrameDetections((unsure,))] * 17 + video(0.95, 0.05)
    said = explain(frames)
    assert "in 0 frames, and less certainly in 17" in said and "or 18" in said
    assert link_moving(frames, TrackConfig(), min_motion=0.2, min_frames=5).ids.any()


def test_in_a_short_shot_fewer_frames_are_enough():
    frames = [*video(0.95, 3.0, frames=1), *video(0.95, 0.0, frames=5)]
    assert "a track needs 5." in explain(frames)
    frames[3] = frames[3]._replace(cut=True)
    assert "a track needs 2." in explain(frames)


def test_a_video_without_detections_names_the_lowest_threshold():
    said = explain([FrameDetections(())] * 3)
    assert "above 0.7" in said and "`continue_score`" in said


def test_motion_that_is_not_known_is_not_said_to_be_slow():
    said = explain(video(0.95, float("nan")))
    assert "surroundings" in said and "`min_motion=0` does not ask" in said
    said = explain(video(0.95, float("nan")) + video(0.95, 0.0))
    assert "0.00 pixels per frame" in said and "`min_motion`" in said


def test_the_rules_are_those_of_leaving_out_tracks():
    """Without a threshold of motion, unknown motion counts, and one frame may do."""
    unknown = explain(
        video(0.95, float("nan"), frames=3) + [FrameDetections(())] * 9, min_motion=0.0
    )
    assert "in 3 frames" in unknown and "`min_frames`" in unknown
    low = explain(video(0.8, float("nan"), frames=1), min_motion=0.0)
    assert "best score of a detection is 0.80" in low
    alone = explain(video(0.95, float("nan"), frames=1))
    assert alone.startswith("One frame alone")
