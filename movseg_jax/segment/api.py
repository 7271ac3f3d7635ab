"""A whole video at once, in memory: for scripts and notebooks."""

from collections.abc import Iterable
from pathlib import Path

from movseg_jax.config import MIN_FRAMES, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.model.loading import TrainedDetector, load_detector
from movseg_jax.segment.detecting import FlowSource, detect_frames
from movseg_jax.segment.settings import link_moving
from movseg_jax.track.links import TrackedFrames
from movseg_jax.video.reading import Frame, read_frames


def segment_video(
    video: str | Path | int | Iterable[Frame],
    detector: TrainedDetector | None = None,
    *,
    flow: FlowSource = "dis",
    find_cuts: bool = True,
    track: TrackConfig | None = None,
    min_motion: float | None = None,
    min_frames: int = MIN_FRAMES,
    max_frames: int | None = None,
    batch_size: int = 1,
) -> TrackedFrames:
    """Finds, segments and tracks what moves in a video.

    The frames are read one after the other and forgotten; what stays in memory is their
    masks' run lengths, some kilobytes a frame. `movseg segment` keeps these on disk.

    Args:
        video: What `read_frames` takes, or frames.
        detector: From `load_detector`; None loads the one that comes with the package.
        flow: See `detect_frames`.
        find_cuts: Whether shots are told apart: no track continues across a cut.
        track: How detections are linked; the defaults of `TrackConfig` if None.
        min_motion: Tracks are kept that move faster than this relative to the scene, in
            pixels a frame; None is 0.2 for models that see motion, else 0.
        min_frames: Number of frames in which they must at least: see
            `track.moving.drop_resting`.
        max_frames: How many to read at most; of frames that are handed in, all are.
        batch_size: See `detect_frames`.

    Raises:
        InputError: The video has no frames or is damaged; see `read_frames`.
    """
    if isinstance(video, str | Path | int):
        video = read_frames(video, max_frames=max_frames)
    track, detector = track or TrackConfig(), detector or load_detector()
    detections, names, times, size = [], [], [], (0, 0)
    for frame, _, found in detect_frames(
        video,
        detector,
        flow=flow,
        batch_size=batch_size,
        min_score=track.continue_score,
        find_cuts=find_cuts,
    ):
        detections.append(found)
        names.append(frame.name)
        times.append(frame.time)
        size = frame.image.shape[:2]
    if not detections:
        raise InputError("The video has no frames.")
    links = link_moving(detections, detector.config, track, min_motion, min_frames)
    return TrackedFrames(
        detections, links, names=names, size=size, times=times, config=track
    )
