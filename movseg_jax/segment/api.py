"""Segmenting a complete video in memory: for scripts and notebooks."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.segment.detecting import FrameDetector, detect_frames
from movseg_jax.segment.flow_source import FlowSource
from movseg_jax.segment.section import find_section
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.track.links import TrackedFrames
from movseg_jax.track.moving import link_moving
from movseg_jax.video.reading import Frame, read_frames


def segment_video(
    video: str | Path | int | Iterable[Frame],
    detector: FrameDetector | None = None,
    config: SegmentConfig | None = None,
    *,
    flow: FlowSource | None = None,
    **changes: Any,
) -> TrackedFrames:
    """Finds, segments and tracks what moves in a video.

    Memory holds the run lengths of the masks, a few kilobytes per frame; `movseg
    segment` keeps them on disk.

    Args:
        video: A video that `read_frames` reads, or its frames.
        detector: A detector from `load_detector`. Default: the model that comes with
            the package.
        config: The settings; the defaults if None. `save`, `why` and `fps` concern
            files and have no effect here.
        flow: The source of optical flow, if it is not `config.flow`; it may also be a
            function, see `detect_frames`.
        **changes: Single settings that replace those of `config`, such as
            `min_frames=3`.

    Raises:
        InputError: The video has no frames or is damaged, or a setting is not valid.
    """
    config = dataclasses.replace(config or SegmentConfig(), **changes)
    if isinstance(video, str | Path | int):
        limits = config.start, config.end, config.max_frames
        first, count = find_section(str(video), *limits)
        video = read_frames(video, start=first, max_frames=count, white=config.white)
    if detector is None:
        from movseg_jax.model.loading import load_detector

        detector = load_detector()
    detections, names, times, size = [], [], [], (0, 0)
    for frame, _, found in detect_frames(
        video,
        detector,
        flow=config.flow if flow is None else flow,
        batch_size=config.batch_size,
        min_score=config.track.continue_score,
        find_cuts=config.find_cuts,
    ):
        detections.append(found)
        names.append(frame.name)
        times.append(frame.time)
        size = frame.image.shape[:2]
    if not detections:
        raise InputError("The video has no frames.")
    links = link_moving(
        detections,
        config.track,
        min_motion=config.least_motion(detector.config),
        min_frames=config.min_frames,
    )
    return TrackedFrames(
        detections, links, names=names, size=size, times=times, config=config.track
    )
