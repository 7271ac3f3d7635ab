"""What decides about the results of a run, besides video and weights."""

import dataclasses
import math
from collections.abc import Sequence

from movseg_jax.config import ModelConfig, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import FORMATS, Format
from movseg_jax.track import Links, drop_resting, link
from movseg_jax.tracks import FrameDetections

IMAGE_FPS = 25.0  # At which the overlay of a folder of images plays.
# Of tracks that are kept: see `track.drop_resting`. Compression and noise alone have
# flow of about a tenth of a pixel.
MIN_MOTION, MIN_FRAMES = 0.2, 5
FPS_RANGE = (0.001, 1000.0)  # Of a video that is written.


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the results, besides video and weights.

    Attributes:
        flow: "dis", "dis_fast", "farneback", or a folder of flow files named as the
            frames.
        track: How detections are linked.
        min_motion: A track must move faster than this relative to the scene, in pixels
            a frame; None is `MIN_MOTION` for models that see motion, else 0.
        min_frames: In this many frames: see `track.drop_resting`.
        why: Show how fast objects move relative to the scene in the overlay.
        max_frames: How many to read at most.
        batch_size: Frames that the device gets at once.
        save: Formats to write besides masks and tracks.json.
        fps: Of the overlay, for images, which have no times.
    """

    flow: str = "dis"
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    min_motion: float | None = None
    min_frames: int = MIN_FRAMES
    why: bool = False
    max_frames: int | None = None
    batch_size: int = 1
    save: tuple[Format, ...] = ()
    fps: float = IMAGE_FPS

    def __post_init__(self):
        least, most = FPS_RANGE
        for name, valid, expected in (
            ("min_motion", 0 <= (self.min_motion or 0) < math.inf, "0 or more"),
            ("min_frames", self.min_frames >= 0, "0 or more"),
            ("max_frames", self.max_frames is None or self.max_frames > 0, "1 or more"),
            ("batch_size", self.batch_size > 0, "1 or more"),
            ("save", not {*self.save} - {*FORMATS}, f"some of {', '.join(FORMATS)}"),
            ("fps", least <= self.fps <= most, f"{least} to {most}"),
        ):
            if not valid:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, expected {expected}."
                )


def link_moving(
    frames: Sequence[FrameDetections],
    model: ModelConfig,
    track: TrackConfig,
    min_motion: float | None = None,
    min_frames: int = MIN_FRAMES,
) -> Links:
    """Links a video's detections, without tracks that are not seen to move enough.

    Args:
        frames: Read three times; see `track.link`.
        model: That found them. One without flow is to find what rests, too.
        track: As in `Settings`, like the following.
        min_motion: None is by the model.
        min_frames: See `track.drop_resting`.
    """
    if min_motion is None:
        min_motion = MIN_MOTION if model.motion is not None else 0.0
    return drop_resting(frames, link(frames, track), min_motion, min_frames, track)
