"""Linking what moves: tracks that are not seen to move are left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from movseg_jax.config import MIN_FRAMES, MIN_MOTION, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.results import FrameDetections
from movseg_jax.track.linking import link
from movseg_jax.track.links import (
    Links,
    check_count,
    check_lengths,
    ranked,
)

# A track needs this many times as many frames if they are less certain, and this share
# of those in which the moving heads find it: in a long video, a few frames of a
# stationary thing always seem to move.
UNCERTAIN = 3
UNCERTAIN_SHARE = 0.5


def link_moving(
    frames: Sequence[FrameDetections],
    config: TrackConfig | None = None,
    *,
    min_motion: float = MIN_MOTION,
    min_frames: int = MIN_FRAMES,
) -> Links:
    """Links the detections of a video to tracks of what moves.

    Tracks are joined last, so that a stationary track is never joined to a moving one.

    Args:
        frames: The detections, which may be read from disk: they are read three times
            from an end, once more if tracks overlap in time, and some in any order.
        config: The settings of linking; the defaults if None.
        min_motion: A threshold of `drop_resting`.
        min_frames: A threshold of `drop_resting`.

    Raises:
        InputError: The masks of frames close to each other differ in size, or a
            threshold is negative.
    """
    config = config or TrackConfig()
    links = link(frames, config)
    links = drop_resting(frames, links, min_motion, min_frames, config)
    if not config.join:
        return links
    from movseg_jax.track.joining import join_tracks

    return join_tracks(frames, links)


class Evidence(NamedTuple):
    """The evidence that an object moves in a frame; see `drop_resting`.

    Attributes:
        sure: Whether it is seen to move.
        likely: Whether it is at least less certainly seen to move.
    """

    sure: bool
    likely: bool


def motion_evidence(
    frame: FrameDetections, config: TrackConfig, min_motion: float
) -> list[Evidence]:
    """Returns the evidence that each object of the moving heads moves."""
    evidence = []
    for _, detection, (may_start, _) in ranked(frame, config)[: len(frame.moving)]:
        known = min_motion == 0 or detection.motion > min_motion
        likely = known or detection.likely_motion > min_motion
        evidence.append(Evidence(may_start and known, likely))
    return evidence


def frames_needed(length: int, min_frames: int) -> int:
    """Returns the number of frames in which a track of a shot must be seen to move.

    In a short shot these are all frames but the last, which has no flow.
    """
    return min(min_frames, max(length - 1, 1))


def drop_resting(
    frames: Sequence[FrameDetections],
    links: Links,
    min_motion: float,
    min_frames: int = 1,
    config: TrackConfig | None = None,
) -> Links:
    """Leaves out tracks that are not seen to move in enough frames.

    A track is seen to move where its detection might have started it: the moving heads
    are confident of it, and it is fast enough. One frame is little evidence: what
    stands close to a travelling camera, or resembles what mostly moves, is taken for
    moving now and then. The authors' code has no such rule.

    The moving heads are seldom confident of a boat on waves, and water seems to move
    with it, but they find it in most frames. So a frame is less certain evidence if
    they find the object with any score and its `likely_motion` is fast enough. A track
    is also kept if it has `UNCERTAIN` times as many of these, and if they are at least
    half of the frames in which the moving heads find it.

    The other tracks keep their ids, so that results with different thresholds can be
    compared and agree with what `Linker` returned.

    Args:
        frames: The detections that were linked; read once, from the front.
        links: Links from `link`.
        min_motion: A detection counts if its motion is more than this, in pixels a
            frame; unknown motion is not. With 0 any motion will do, also unknown.
        min_frames: Number of frames that must count; in a shot with no more frames than
            that, one fewer than it has frames, as the last has no flow.
        config: The settings of linking; the defaults if None.

    Raises:
        InputError: A threshold is negative, or the links are not of the frames.
    """
    config = config or TrackConfig()
    for name, value in (("min_motion", min_motion), ("min_frames", min_frames)):
        if not value >= 0:
            raise InputError(f"{name} is {value}, expected 0 or more.")
    check_lengths(frames, links=links)
    tracks = links.ids.max(initial=0) + 1
    sure, likely, found, shot_of_track = np.zeros((4, tracks), int)
    shot_starts = [0]
    for time, frame in enumerate(frames):
        ids = links[time]
        check_count(frame, ids, time)
        if frame.cut:
            shot_starts.append(time)
        evidence = motion_evidence(frame, config, min_motion)
        # The ids after those of the moving heads are of the static branch.
        seen = [*zip(ids, evidence, strict=False)]
        sure[list({id for id, moves in seen if moves.sure})] += 1
        likely[list({id for id, moves in seen if moves.likely})] += 1
        found[list({id for id, _ in seen})] += 1
        shot_of_track[list(ids)] = len(shot_starts) - 1
    lengths = np.diff([*shot_starts, len(links)]).tolist()
    needed = np.array([frames_needed(n, min_frames) for n in lengths])[shot_of_track]
    enough = np.maximum(UNCERTAIN * min_frames, UNCERTAIN_SHARE * found)
    kept = (sure >= needed) | (likely >= enough)
    return Links(np.where(kept[links.ids], links.ids, 0), links.starts)
