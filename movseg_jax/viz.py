"""Pictures of what was found, drawn with OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from movseg_jax.images import palette

OPACITY = 0.5  # Of a mask over the frame.


def draw_masks(
    frame: UInt8[np.ndarray, "h w 3"],
    masks: Sequence[Bool[np.ndarray, "h w"]],
    ids: Sequence[int] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with masks laid over it, each in its own colour with a white outline.

    Args:
        frame: RGB; it is not changed.
        masks: Later ones over earlier ones.
        ids: Numbers of the colours of DAVIS' palette, from 1; counted without.
    """
    drawn, colours = frame.copy(), palette()
    for id, mask in zip(ids or range(1, len(masks) + 1), masks, strict=True):
        colour = colours[1 + (id - 1) % 255].astype(np.float32)
        blend = frame[mask] * (1 - OPACITY) + colour * OPACITY
        drawn[mask] = blend.round().astype(np.uint8)
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, outlines, -1, (255, 255, 255), 1, cv2.LINE_8)
    return drawn
