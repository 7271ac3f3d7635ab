"""The settings of segmenting a video: `SegmentConfig`.

This module imports neither JAX nor NumPy, so that the command line can show the
settings in its help without loading them.
"""

import dataclasses
import math

from movseg_jax.config import MIN_FRAMES, MIN_MOTION, ModelConfig, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.formats import FORMATS, Format

FPS_RANGE = (0.001, 1000.0)  # Frames per second of a video that is written.


@dataclasses.dataclass(frozen=True)
class SegmentConfig:
    """Everything that decides about the results, besides the video and the weights.

    `run.json` stores it, and a run resumes only with the settings it was started with.

    Raises:
        InputError: A value is out of range, or there is no such format.
    """

    flow: str = "dis"
    """Optical flow: "dis", "dis_fast", "farneback", or a folder of flow files that are
    named as the frames."""
    find_cuts: bool = True
    """Find the cuts between the video's shots: no track continues across a cut."""
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    """How detections are linked to tracks."""
    min_motion: float | None = None
    """Leave out tracks that are slower than this relative to the scene, in pixels per
    frame. Default: 0.2, or 0 if the model does not see motion."""
    min_frames: int = MIN_FRAMES
    """Leave out tracks that are seen to move in fewer frames than this."""
    why: bool = False
    """Show in the overlay how fast each object moves relative to the scene."""
    max_frames: int | None = None
    """Largest number of frames to read. Default: all frames."""
    batch_size: int = 1
    """Number of frames that the device processes at once."""
    save: tuple[Format, ...] = ()
    """Formats to write besides masks and tracks.json: see `movseg convert-tracks
    --help`."""
    fps: float = 25.0
    """Frames per second of the overlay, where the video does not have a rate: a folder
    of images."""
    white: int | None = None
    """The value that is white in 16-bit images, such as 4095 for a 12-bit camera.
    Default: 65535."""

    def __post_init__(self):
        least, most = FPS_RANGE
        for name, valid, expected in (
            ("min_motion", 0 <= (self.min_motion or 0) < math.inf, "0 or more"),
            ("min_frames", self.min_frames >= 0, "0 or more"),
            ("max_frames", self.max_frames is None or self.max_frames > 0, "1 or more"),
            ("batch_size", self.batch_size > 0, "1 or more"),
            ("save", not {*self.save} - {*FORMATS}, f"some of {', '.join(FORMATS)}"),
            ("fps", least <= self.fps <= most, f"{least} to {most}"),
            ("white", self.white is None or 0 < self.white < 2**16, "1 to 65535"),
        ):
            if not valid:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, expected {expected}."
                )

    def least_motion(self, model: ModelConfig) -> float:
        """Returns `min_motion`, or its default for a model.

        A model without flow also finds stationary objects, so nothing is left out.
        """
        if self.min_motion is not None:
            return self.min_motion
        return MIN_MOTION if model.motion is not None else 0.0
