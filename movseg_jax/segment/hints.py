"""Says why a video has no tracks."""

import itertools
import math
from collections.abc import Iterable

from movseg_jax.config import TrackConfig
from movseg_jax.results import FrameDetections
from movseg_jax.track.links import ranked
from movseg_jax.track.moving import UNCERTAIN, is_fast


def why_no_tracks(
    frames: Iterable[FrameDetections],
    config: TrackConfig,
    *,
    min_motion: float,
    min_frames: int,
) -> str:
    """Returns the threshold that the detections of a video without tracks missed.

    Args:
        frames: The detections that were linked; read once.
        config: The settings of linking.
        min_motion: A threshold of `drop_resting`, in pixels per frame.
        min_frames: A threshold of `drop_resting`.
    """
    best, fastest = 0.0, -math.inf
    moving_frames = 0
    count = 0
    for frame in frames:
        count += 1
        speeds = [
            candidate.detection.motion
            for candidate in ranked(frame, config)
            if candidate.rank[0]  # It may start a track.
        ]
        scores = [detection.score for detection in frame.moving]
        best = max(itertools.chain(scores, [best]))
        known = [speed for speed in speeds if not math.isnan(speed)]
        fastest = max(itertools.chain(known, [fastest]))
        moving_frames += any(is_fast(speed, min_motion) for speed in speeds)
    if count == 1 and min_motion > 0:
        return "One frame alone shows no motion, so no track can be seen to move."
    if not best:
        return (
            "Nothing that moves was detected with a score above "
            f"{config.continue_score}. `continue_score` and `start_score` set lower "
            "thresholds."
        )
    if best <= config.start_score:
        return (
            f"The best score of a detection is {best:.2f}, but a track starts above "
            f"{config.start_score}. `start_score` sets a lower threshold."
        )
    if not moving_frames and math.isinf(fastest):
        return (
            f"Objects were detected with scores up to {best:.2f}, but their "
            "surroundings move as they do, so nothing shows that they move by "
            "themselves. `min_motion=0` keeps them all the same."
        )
    if not moving_frames:
        return (
            f"Objects were detected with scores up to {best:.2f}, but none moves by "
            f"more than {fastest:.2f} pixels per frame relative to the scene, and a "
            f"track needs more than {min_motion}. `min_motion` sets a lower threshold."
        )
    return (
        f"Something was seen to move in {moving_frames} frames in all, but a track "
        f"needs {min_frames}, or {UNCERTAIN * min_frames} less certain ones. "
        "`min_frames` sets a lower threshold."
    )
