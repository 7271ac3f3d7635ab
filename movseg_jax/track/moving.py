"""Linking what moves: tracks that are not seen to move are left out."""

from collections.abc import Sequence

import numpy as np

from movseg_jax.config import MIN_FRAMES, MIN_MOTION, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.results import FrameDetections
from movseg_jax.track.linking import link
from movseg_jax.track.links import (
    Candidate,
    Links,
    check_count,
    check_lengths,
    ranked,
)

# A track needs this many times as many frames if they are less certain.
UNCERTAIN = 3


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


def is_fast(motion: float, min_motion: float) -> bool:
    """Whether a detection's motion counts; see `drop_resting`."""
    return min_motion == 0 or motion > min_motion


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
    they find the object with any score and its `likely_motion` is fast enough; a track
    with `UNCERTAIN` times as many of these is kept, too.

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
    certain, likely = np.zeros(tracks, int), np.zeros(tracks, int)
    shot_of_track = np.zeros(tracks, int)
    shot_starts = [0]
    for time, frame in enumerate(frames):
        ids = links[time]
        check_count(frame, ids, time)
        if frame.cut:
            shot_starts.append(time)
        moving = ranked(frame, config)[: len(frame.moving)]
        sure, seen = _seen_to_move(moving, ids, min_motion)
        certain[list(sure)] += 1
        likely[list(seen)] += 1
        shot_of_track[list(ids)] = len(shot_starts) - 1
    lengths = np.diff([*shot_starts, len(links)])
    needed = np.minimum(min_frames, np.maximum(lengths - 1, 1))[shot_of_track]
    kept = (certain >= needed) | (likely >= UNCERTAIN * min_frames)
    return Links(np.where(kept[links.ids], links.ids, 0), links.starts)


def _seen_to_move(
    moving: Sequence[Candidate], ids: Sequence[int], min_motion: float
) -> tuple[set[int], set[int]]:
    """The tracks that certainly move in a frame, and those that likely do."""
    sure, seen = set(), set()
    for number, detection, (may_start, _) in moving:
        if may_start and is_fast(detection.motion, min_motion):
            sure.add(ids[number])
        if is_fast(detection.likely_motion, min_motion):
            seen.add(ids[number])
    return sure, seen
