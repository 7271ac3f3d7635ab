"""The settings of how rendered clips look."""

import dataclasses
import math

from movseg_jax.errors import InputError

MAX_PIXELS = 2**22  # The most pixels of a rendered frame.
MAX_FRAMES = 10_000  # The most frames of a clip.


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """The distribution from which clips are drawn.

    Probabilities are per clip unless the comment says otherwise. Equal configs, seeds
    and clip numbers give equal clips. Photographs are not part of a config; they are
    passed as a `Library`.
    """

    size: tuple[int, int] = (256, 448)  # Height and width of frames, pixels.
    frames: int = 24  # The number of frames in a clip.

    # Motion.
    movers: tuple[int, int] = (
        1,
        5,
    )  # Fewest and most moving objects, if there are any.
    nothing_moves: float = 0.08  # Probability that only the camera moves.
    distractors: tuple[int, int] = (2, 12)  # Fewest and most static things.
    # The range of objects' speeds, pixels per frame; their logarithm is uniform.
    speed: tuple[float, float] = (0.6, 20.0)
    pauses: float = 0.25  # Probability, per object, that it starts or stops.
    moving_threshold: float = 0.3  # Pixels per frame; see `Scene.truth`.
    label_static: bool = False  # Whether static things are labelled as objects, too.
    visible_pixels: int = 24  # Objects with fewer pixels in a frame are ignored.

    # The camera.
    static_camera: float = 0.2  # Probability that it stands on a tripod.
    following_camera: float = 0.15  # Probability that it follows an object.
    handheld: float = 0.6  # Probability of shake, if it is not on a tripod.
    shake: float = 1.2  # The strongest shake, root mean square in pixels.
    camera_speed: tuple[float, float] = (0.3, 12.0)  # Image motion, pixels per frame.
    zoom: float = 0.15  # Probability of zooming.

    # Places.
    outdoors: float = 0.7  # Probability of a landscape or street instead of a room.
    photographs: float = 0.7  # Probability of a photograph, if the library has some.
    cutouts: float = 0.6  # Probability, per thing, of a cut-out, if there are some.
    shadows: float = 0.45  # Most of the light that a shadow takes away.
    haze: float = 0.6  # Most haze at the farthest thing, as a share of its colour.

    # Effects of the camera. If all are 0, a warp along the flow reproduces frames.
    motion_blur: float = 0.5  # Longest shutter time, frames.
    defocus: float = 1.5  # Strongest blur, standard deviation in pixels.
    noise: float = 5.0  # Strongest noise, standard deviation in grey levels of 255.
    exposure: float = 0.06  # Strongest change of brightness within a clip, a share.
    compression: float = 0.5  # Probability of JPEG artefacts, quality 30 to 90.

    def __post_init__(self):
        """Raises InputError if a value is out of range."""
        height, width = self.size
        _check(min(height, width) >= 16, "size", self.size, "at least 16 x 16 pixels")
        _check(height * width <= MAX_PIXELS, "size", self.size, _at_most("MAX_PIXELS"))
        _check(0 < self.frames <= MAX_FRAMES, "frames", self.frames,
               f"1 to {_at_most('MAX_FRAMES')}")  # fmt: skip
        for name in ("movers", "distractors", "speed", "camera_speed"):
            low, high = getattr(self, name)
            lowest = 0 if name in ("movers", "distractors") else 1e-3
            highest = 50 if name in ("movers", "distractors") else 200
            expected = f"two numbers, {lowest} <= lowest <= highest <= {highest}"
            _check(lowest <= low <= high <= highest, name, (low, high), expected)
        for name in (
            "nothing_moves", "pauses", "static_camera", "following_camera", "handheld",
            "zoom", "outdoors", "photographs", "cutouts", "shadows", "haze",
            "compression",
        ):  # fmt: skip
            value = getattr(self, name)
            _check(0 <= value <= 1, name, value, "a number from 0 to 1")
        for name, highest in (
            ("moving_threshold", 10), ("visible_pixels", 10**6), ("shake", 20),
            ("motion_blur", 1), ("defocus", 10), ("noise", 100), ("exposure", 0.5),
        ):  # fmt: skip
            value = getattr(self, name)
            expected = f"a number from 0 to {highest}"
            _check(
                0 <= value <= highest and math.isfinite(value), name, value, expected
            )


def _at_most(limit):
    return f"at most {globals()[limit]} (scene_config.{limit})"


def _check(valid, name, value, expected):
    if not valid:
        raise InputError(f"SceneConfig.{name} is {value}, expected {expected}.")
