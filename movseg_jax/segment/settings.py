"""The settings of segmenting a video: `SegmentConfig`.

This module imports neither JAX nor NumPy, so that the command line can show the
settings in its help without loading them.
"""

import dataclasses
import math
from typing import Literal

from movseg_jax.config import (
    DEFAULT_FPS,
    FPS_RANGE,
    MIN_FRAMES,
    MIN_MOTION,
    ModelConfig,
    TrackConfig,
)
from movseg_jax.config_checks import check_fields
from movseg_jax.errors import InputError
from movseg_jax.formats import Format

Reading = Literal["release", "text"]  # Of the paper's tracker.


@dataclasses.dataclass(frozen=True)
class SegmentConfig:
    """Everything that decides about the results, besides the video and the weights.

    `run.json` stores it, and a run resumes only with the settings it was started with.

    Attributes:
        flow: Source of the optical flow: "dis", "dis_fast" or "farneback" estimate it,
            "raft_small", "raft_large", "liteflownet" or "flownet2" with --flow-weights;
            a folder holds a flow file for each frame, named as the frame.
        flow_weights: Weights of a flow network, converted by `movseg convert`.
        flow_updates: Number of steps in which RAFT improves the flow. Default: 12.
        find_cuts: Split the video into shots. No track continues across a cut.
        refine_masks: Move the outlines of masks to edges of the image. The model's
            masks have 28x28 cells, so their outlines often miss the edge a little.
        track: Rules by which detections are linked to tracks.
        min_motion: Leave out tracks that are not faster than this relative to the
            scene, in pixels per frame. Default: 0.2, or 0 if the model does not use
            flow.
        min_frames: Leave out tracks that are seen to move in fewer frames than this and
            in fewer than three times as many less certain ones.
        why: Write at each object in the overlay how fast it moves relative to the
            scene.
        start: Moment of the first frame, as for FFmpeg: seconds (12.5), minutes and
            seconds (1:30) or hours, too (1:02:03); or a frame's number (250f). Default:
            the start of the video.
        end: Moment after the last frame, likewise. Default: the end of the video.
        max_frames: Largest number of frames to read. Default: all frames.
        batch_size: Number of frames that are processed at once. All devices of the
            machine share them if it is a multiple of their number.
        save: Formats to write besides masks and tracks.json; they are described by
            `movseg convert-tracks --help`.
        fps: Frame rate of the overlay if the video is a folder of frames.
        white: Value of white in 16-bit images, such as 4095 for a 12-bit camera.
            Default: 65535.

    Raises:
        InputError: A value is out of range, or there is no such format.
    """

    flow: str = "dis"
    flow_weights: str | None = None
    flow_updates: int | None = None
    find_cuts: bool = True
    refine_masks: bool = True
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    min_motion: float | None = None
    min_frames: int = MIN_FRAMES
    why: bool = False
    start: str | None = None
    end: str | None = None
    max_frames: int | None = None
    batch_size: int = 1
    save: tuple[Format, ...] = ()
    fps: float = DEFAULT_FPS
    white: int | None = None

    def __post_init__(self):
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None:
                from movseg_jax.segment.section import Moment  # It is rarely needed.

                try:
                    Moment.parse(moment)
                except InputError as error:
                    raise InputError(f"`{name}`: {error}") from None
        check_fields(
            self,
            may_be_zero=("min_frames",),
            min_motion=(0.0, math.inf),
            fps=FPS_RANGE,
            white=(1.0, 2.0**16 - 1),
        )

    @classmethod
    def as_paper(cls, reading: Reading = "release") -> "SegmentConfig":
        """Returns the settings that reproduce Dave et al. (2019).

        Neither reading knows cuts, refines masks, or leaves out tracks that are not
        seen to move.

        Args:
            reading: "release" is the code that the authors released, with which they
                track backwards, too; "text" is section 3.4 to the letter, which does so
                for FBMS only.
        """
        readings = {
            "release": TrackConfig.as_released,
            "text": TrackConfig.as_published,
        }
        track = readings[reading]()
        return cls(
            find_cuts=False,
            refine_masks=False,
            track=track,
            min_motion=0.0,
            min_frames=0,
        )

    def least_motion(self, model: ModelConfig) -> float:
        """Returns `min_motion`, or its default for a model.

        A model without flow also finds stationary objects, so nothing is left out.
        """
        if self.min_motion is not None:
            return self.min_motion
        return MIN_MOTION if model.motion is not None else 0.0
