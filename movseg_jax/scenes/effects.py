"""What a camera adds to the light: grading, exposure, noise, compression."""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8


@dataclasses.dataclass(frozen=True)
class Effects:
    """The camera's habits in a clip; 0 and None are none.

    Attributes:
        gains: Of red, green and blue.
        contrast: About middle grey; 1 leaves it.
        shutter: Time that it is open, frames: the length of motion blur.
        defocus: Strongest blur, standard deviation in pixels.
        focus: Distance that is sharp, metres.
        noise: Standard deviation, grey levels of 255.
        exposure: Strongest change of brightness, a share.
        exposure_phase: Radians per frame, and at frame 0.
        quality: Of JPEG, 1 to 100.
        seed: Of the noise.
    """

    gains: Float64[np.ndarray, "3"]
    contrast: float = 1.0
    shutter: float = 0.0
    defocus: float = 0.0
    focus: float = 10.0
    noise: float = 0.0
    exposure: float = 0.0
    exposure_phase: tuple[float, float] = (0.1, 0.0)
    quality: int | None = None
    seed: tuple[int, ...] = (0,)


def finish(
    effects: Effects, frame: int, image: UInt8[np.ndarray, "h w 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A frame as the camera writes it."""
    image = cv2.LUT(image, _curve(effects, frame))
    if effects.noise:
        rng = np.random.default_rng((*effects.seed, frame))
        grain = rng.standard_normal(image.shape, np.float32)
        image = cv2.convertScaleAbs(
            np.maximum(image + np.float32(effects.noise) * grain, 0)
        )
    if effects.quality is not None:
        options = [cv2.IMWRITE_JPEG_QUALITY, effects.quality]
        _, file = cv2.imencode(".jpg", image[..., ::-1], options)
        image = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))
    return image


def _curve(effects, frame) -> UInt8[np.ndarray, "1 256 3"]:
    speed, phase = effects.exposure_phase
    exposure = 1 + effects.exposure * math.sin(speed * frame + phase)
    levels = np.arange(256)[:, None] / 255 * effects.gains * exposure
    curved: Float32[np.ndarray, "256 3"] = 0.5 + (levels - 0.5) * effects.contrast
    # A shoulder, so that highlights do not clip hard.
    curved = np.where(curved > 0.8, 0.8 + 0.2 * np.tanh((curved - 0.8) / 0.2), curved)
    return np.clip(curved * 255, 0, 255).round().astype(np.uint8)[None]
