"""Says why a video has no tracks."""

import math
from collections.abc import Iterable

from movseg_jax.config import TrackConfig
from movseg_jax.report.html import counted
from movseg_jax.results import FrameDetections
from movseg_jax.track.moving import UNCERTAIN, frames_needed, motion_evidence


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
    sure = likely = count = shot = longest = 0
    for frame in frames:
        count += 1
        shot = 1 if frame.cut else shot + 1
        longest = max(longest, shot)
        evidence = motion_evidence(frame, config, min_motion)
        sure += any(seen.sure for seen in evidence)
        likely += any(seen.likely for seen in evidence)
        for detection in frame.moving:
            best = max(best, detection.score)
            # An unknown motion, which is NaN, is not faster.
            if detection.score > config.start_score and detection.motion > fastest:
                fastest = detection.motion
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
    if likely:
        return _too_few(sure, likely, longest, min_frames)
    found = f"Objects were detected with scores up to {best:.2f}, but"
    if math.isinf(fastest):
        return (
            f"{found} it is unknown whether they move by themselves, since their "
            "surroundings move as they do. `min_motion=0` does not ask for motion."
        )
    return (
        f"{found} none moves by more than {fastest:.2f} pixels per frame relative to "
        f"the scene, and a track needs more than {min_motion}. `min_motion` sets a "
        "lower threshold."
    )


def _too_few(sure: int, likely: int, longest: int, min_frames: int) -> str:
    """Says that nothing moves in enough of the `longest` shot's frames."""
    needed, more = frames_needed(longest, min_frames), UNCERTAIN * min_frames
    return (
        f"Something was seen to move in {counted(sure, 'frame')}, and less certainly "
        f"in {likely - sure}, but a track needs {needed}"
        f"{f', or {more} less certain ones' if more < longest else ''}. "
        "`min_frames` sets a lower threshold."
    )
