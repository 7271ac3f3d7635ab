"""What decides about the results of a run, besides video and weights."""

import dataclasses
import math

from movseg_jax.config import TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import FORMATS, Format

IMAGE_FPS = 25.0  # At which the overlay of a folder of images plays.
FPS_RANGE = (0.001, 1000.0)  # Of a video that is written.


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the results, besides video and weights.

    Attributes:
        flow: "dis", "farneback", or a folder of flow files named as the frames.
        track: How detections are linked.
        min_motion: Tracks that never move faster than this relative to the scene are
            left out, in pixels a frame.
        why: Show how fast objects move relative to the scene in the overlay.
        max_frames: How many to read at most.
        batch_size: Frames that the device gets at once.
        save: Formats to write besides masks and tracks.json.
        fps: Of the overlay, for images, which have no times.
    """

    flow: str = "dis"
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    min_motion: float = 0.0
    why: bool = False
    max_frames: int | None = None
    batch_size: int = 1
    save: tuple[Format, ...] = ()
    fps: float = IMAGE_FPS

    def __post_init__(self):
        least, most = FPS_RANGE
        for name, valid, expected in (
            ("min_motion", 0 <= self.min_motion < math.inf, "0 or more"),
            ("max_frames", self.max_frames is None or self.max_frames > 0, "1 or more"),
            ("batch_size", self.batch_size > 0, "1 or more"),
            ("save", not {*self.save} - {*FORMATS}, f"some of {', '.join(FORMATS)}"),
            ("fps", least <= self.fps <= most, f"{least} to {most}"),
        ):
            if not valid:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, expected {expected}."
                )
