"""The camera's effects on a picture: grading, exposure, noise and compression."""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8


@dataclasses.dataclass(frozen=True)
class Effects:
    """The settings of the camera's effects in a clip; 0 or None switches one off.

    Attributes:
        gains: The factors of red, green and blue.
        contrast: The contrast about middle grey; 1 leaves it as it is.
        shutter: The time for which the shutter is open, frames; it sets the length of
            motion blur.
        defocus: The strongest blur, its standard deviation in pixels.
        focus: The distance that is sharp, metres.
        noise: The noise's standard deviation, grey levels of 255.
        exposure: The strongest change of brightness, as a share.
        exposure_phase: The brightness wave's radians per frame, and its phase at frame
            0.
        quality: The quality of JPEG compression, 1 to 100; None for no compression.
        seed: The seed of the noise.
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
    """Returns a frame as the camera records it."""
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
        bgr = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
        image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    return image


def _curve(effects, frame) -> UInt8[np.ndarray, "1 256 3"]:
    """Returns the lookup table from recorded to graded levels, per channel."""
    speed, phase = effects.exposure_phase
    exposure = 1 + effects.exposure * math.sin(speed * frame + phase)
    levels = np.arange(256)[:, None] / 255 * effects.gains * exposure
    curved: Float32[np.ndarray, "256 3"] = 0.5 + (levels - 0.5) * effects.contrast
    # A soft shoulder keeps highlights from clipping hard.
    curved = np.where(curved > 0.8, 0.8 + 0.2 * np.tanh((curved - 0.8) / 0.2), curved)
    return np.clip(curved * 255, 0, 255).round().astype(np.uint8)[None]
