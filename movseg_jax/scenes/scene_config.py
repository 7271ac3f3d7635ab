"""What a set of rendered clips looks like; one frozen dataclass."""

import dataclasses
import math

from movseg_jax.errors import InputError

MAX_PIXELS = 2**22  # Of a rendered frame.
MAX_FRAMES = 10_000  # Of a clip.


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """How clips are drawn; probabilities are of a clip unless said otherwise.

    Equal configs, seeds and numbers of a clip give equal clips. Folders of photographs
    are no part of a config: they are handed in as a `Library`.
    """

    size: tuple[int, int] = (256, 448)  # Height and width of frames, pixels.
    frames: int = 24  # Of a clip.

    # What moves.
    movers: tuple[int, int] = (1, 5)  # Fewest and most moving objects, if there are.
    nothing_moves: float = 0.08  # Probability that only the camera moves.
    distractors: tuple[int, int] = (2, 12)  # Fewest and most static things.
    speed: tuple[float, float] = (0.6, 20.0)  # Of objects: pixels per frame, log-even.
    pauses: float = 0.25  # Probability, of an object, that it starts or stops.
    moving_threshold: float = 0.3  # Pixels per frame; see `Scene.truth`.
    label_static: bool = False  # Static things are objects too, which always rest.
    visible_pixels: int = 24  # Slivers of objects with fewer are to be ignored.

    # The camera.
    static_camera: float = 0.2  # Probability that it stands on a tripod.
    following_camera: float = 0.15  # Probability that it goes or turns with an object.
    handheld: float = 0.6  # Probability of shake, if it is not on a tripod.
    shake: float = 1.2  # Most shake: pixels, root mean square.
    camera_speed: tuple[float, float] = (0.3, 12.0)  # Image motion, pixels per frame.
    zoom: float = 0.15  # Probability of zooming.

    # Where.
    outdoors: float = 0.7  # Probability of landscapes and streets; else rooms.
    photographs: float = 0.7  # Probability of a photograph, if a library has some.
    cutouts: float = 0.6  # Probability, of a thing, of a cut-out, likewise.
    shadows: float = 0.45  # Most of the light that a shadow takes away.
    haze: float = 0.6  # Most haze at the farthest thing, as a share of its colour.

    # What a camera adds; all strengths 0 give frames that a warp reproduces.
    motion_blur: float = 0.5  # Longest shutter time, frames.
    defocus: float = 1.5  # Strongest blur, standard deviation in pixels.
    noise: float = 5.0  # Strongest, standard deviation in grey levels of 255.
    exposure: float = 0.06  # Strongest change of brightness within a clip, a share.
    compression: float = 0.5  # Probability of JPEG artefacts, quality 30 to 90.

    def __post_init__(self):
        """Raises InputError where a value cannot be drawn from."""
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
    return f"at most {globals()[limit]} (synthetic.config.{limit})"


def _check(valid, name, value, expected):
    if not valid:
        raise InputError(f"SceneConfig.{name} is {value}, expected {expected}.")
