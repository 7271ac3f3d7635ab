"""What decides about the results of a run, besides video and weights."""

import dataclasses
import math
from collections.abc import Sequence

from movseg_jax.config import MIN_FRAMES, MIN_MOTION, ModelConfig, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.formats.conversion import FORMATS, Format
from movseg_jax.results import FrameDetections
from movseg_jax.track.joining import join_tracks
from movseg_jax.track.linking import link
from movseg_jax.track.links import Links
from movseg_jax.track.moving import drop_resting

IMAGE_FPS = 25.0  # At which the overlay of a folder of images plays.
FPS_RANGE = (0.001, 1000.0)  # Of a video that is written.


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the results, besides video and weights.

    Attributes:
        flow: "dis", "dis_fast", "farneback", or a folder of flow files named as the
            frames.
        find_cuts: Whether shots are told apart: no track continues across a cut.
        track: How detections are linked.
        min_motion: A track must move faster than this relative to the scene, in pixels
            a frame; None is `MIN_MOTION` for models that see motion, else 0.
        min_frames: Number of frames in which it must: see `track.moving.drop_resting`.
        why: Show how fast objects move relative to the scene in the overlay.
        max_frames: How many to read at most.
        batch_size: Frames that the device gets at once.
        save: Formats to write besides masks and tracks.json.
        fps: The rate of the overlay for images, which have no times.
        white: The value that is white in images of 16 bits; see `read_frames`.
    """

    flow: str = "dis"
    find_cuts: bool = True
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    min_motion: float | None = None
    min_frames: int = MIN_FRAMES
    why: bool = False
    max_frames: int | None = None
    batch_size: int = 1
    save: tuple[Format, ...] = ()
    fps: float = IMAGE_FPS
    white: int | None = None

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


def link_moving(
    frames: Sequence[FrameDetections],
    model: ModelConfig,
    track: TrackConfig,
    min_motion: float | None = None,
    min_frames: int = MIN_FRAMES,
) -> Links:
    """Links a video's detections, without tracks that are not seen to move enough.

    Args:
        frames: The detections, read three times from an end, and a few in any order.
        model: The model that found them. One without flow finds stationary things, too.
        track: How detections are linked.
        min_motion: See `Settings`; None decides by the model.
        min_frames: See `track.drop_resting`.
    """
    if min_motion is None:
        min_motion = MIN_MOTION if model.motion is not None else 0.0
    links = link(frames, track)
    links = drop_resting(frames, links, min_motion, min_frames, track)
    return join_tracks(frames, links) if track.join else links
