"""Segmenting a complete video in memory: for scripts and notebooks."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.segment.detecting import FrameDetector, detect_frames
from movseg_jax.segment.flow_source import FlowSource, chosen_flow
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.segment.tracks import Previews, Tracks
from movseg_jax.system.progress import Progress, phase, shown_progress
from movseg_jax.track.links import TrackedFrames
from movseg_jax.track.moving import link_moving
from movseg_jax.video.reading import Frame, probe, read_frames, source_paths


def segment_video(
    video: str | Path | int | Iterable[Frame],
    detector: FrameDetector | None = None,
    config: SegmentConfig | None = None,
    *,
    flow: FlowSource | None = None,
    progress: bool | Progress = False,
    **changes: Any,
) -> Tracks:
    """Finds, segments and tracks what moves in a video.

    Memory holds the run lengths of the masks, a few kilobytes per frame, and twelve
    small frames; `movseg segment` keeps the masks on disk.

    Args:
        video: A video that `read_frames` reads, or its frames, all of them or the first
            `max_frames`.
        detector: A detector from `load_detector`. Default: the model that comes with
            the package.
        config: The settings; the defaults if None. `save`, `why` and `fps` concern
            files and have no effect here.
        flow: The source of optical flow, if it is not `config.flow`; it may also be a
            function, see `detect_frames`.
        progress: Whether to show progress bars; or a function that is called with the
            number of frames done, that of all frames or None, and the phase: "detect"
            or "track".
        **changes: Single settings that replace those of `config`, such as
            `min_frames=3`.

    Raises:
        InputError: The video has no frames or is damaged, or a setting is not valid,
            such as `start` or `end` of frames that are given themselves.
    """
    config = dataclasses.replace(config or SegmentConfig(), **changes)
    if detector is None:
        from movseg_jax.model.loading import load_detector

        detector = load_detector()
    with shown_progress(progress, "frame") as show:
        return _segment(video, detector, config, flow, show)


def _segment(video, detector, config, flow, show: Progress) -> Tracks:
    frames, first, total, again = _open(video, config)
    whole = not first and config.end is None and config.max_frames is None
    detections, names, times, size = [], [], [], (0, 0)
    previews = Previews()
    show(0, total, "detect")
    found_frames = detect_frames(
        frames,
        detector,
        flow=chosen_flow(config, detector.config) if flow is None else flow,
        batch_size=config.batch_size,
        min_score=config.track.continue_score,
        find_cuts=config.find_cuts,
        refine_masks=config.refine_masks,
    )
    # In this order: the threads of detecting read the frames. Closing them closes a
    # camera, also after Control-C in a notebook, which keeps the variables here.
    with contextlib.closing(frames), contextlib.closing(found_frames):
        for frame, _, found in found_frames:
            previews.add(len(detections), frame.image)
            detections.append(found)
            names.append(frame.name)
            times.append(frame.time)
            size = frame.image.shape[:2]
            show(len(detections), total, "detect")
    if not detections:
        raise InputError("The video has no frames.")
    with phase("track", detections, show, passes=3) as read:
        links = link_moving(
            read,
            config.track,
            min_motion=config.least_motion(detector.config),
            min_frames=config.min_frames,
        )
    tracks = TrackedFrames(
        detections,
        links,
        names=names,
        size=size,
        times=times,
        config=config.track,
        first=None if whole else first,
    )
    return Tracks(tracks, again, first=first, white=config.white, previews=previews)


def _given(frames: Iterable[Frame], config: SegmentConfig):
    """Opens frames that are given themselves, see `_open`."""
    if config.start is not None or config.end is not None:
        raise InputError(
            "`start` and `end` choose a section of a video that is read from a file; "
            "hand in only the frames of the section instead."
        )
    again = frames if isinstance(frames, Sequence) else None
    total = None
    if again is not None:
        total = min(len(again), config.max_frames or len(again))
    # A generator of our own, which can be closed; that of the caller stays open.
    chosen = (frame for frame in itertools.islice(frames, config.max_frames))
    return chosen, None, total, again


def _open(video, config: SegmentConfig):
    """The frames, the index of the first one, their number if it is known, the video.

    The video is None if it is a camera or an iterator, which can be read only once. The
    index is None if the frames are given themselves.
    """
    if not isinstance(video, str | Path | int):
        return _given(video, config)
    first, count = 0, config.max_frames
    if config.start is not None or config.end is not None:
        # Imported here, as sections are rarely asked for.
        from movseg_jax.segment.section import find_section

        first, count = find_section(str(video), config.start, config.end, count)
    frames = read_frames(video, start=first, max_frames=count, white=config.white)
    if not source_paths(video):  # A camera.
        return frames, first, count, None
    there = probe(video, white=config.white).frame_count
    known = [n for n in (count, None if there is None else there - first) if n]
    return frames, first, min(known, default=None), video
