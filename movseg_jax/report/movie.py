"""The video in the report: the frames that are shown, and their flow below them.

Frames and flow are in one picture, so that the page jumps to both at once. Around each
of them their edges are repeated, so that compression does not mix their colours.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax.video.writing import VideoWriter

SIDE = 640  # The largest longer side of a frame, in pixels.
GAP = 16  # Rows between a frame and its flow, half of them like either.
MAX_BYTES = 3_000_000  # The approximate size of the video, at most.
CRF = 24
KEYFRAME_INTERVAL = 12  # Frames; the page decodes up to so many to show one.
# Frames per second in the page: the video's own rate, within these.
RATES = (4.0, 60.0)


class Movie:
    """Writes the report's video, as a context manager; `add` adds frames.

    Attributes:
        size: Height and width of the frames in it, even numbers.
        flow_size: Height and width of the flow, which lies `GAP` rows below the frame
            on the left; None without flow.
        rate: Frames per second.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        *,
        count: int,
        rate: float,
        with_flow: bool,
    ):
        """Chooses sizes and rate.

        Args:
            path: The file, "NAME.mp4".
            size: Height and width of the video's frames.
            count: The number of frames that will be added.
            rate: Frames per second.
            with_flow: Whether there is flow of any frame.
        """
        factor = min(1.0, SIDE / max(size))
        self.size = _even(size[0] * factor), _even(size[1] * factor)
        self.flow_size = None
        if with_flow:
            self.flow_size = _even(self.size[0] / 2), _even(self.size[1] / 2)
        self.rate = min(max(rate, RATES[0]), RATES[1])
        below = GAP + self.flow_size[0] if self.flow_size else 0
        height, width = self.size
        self._picture = np.zeros((height + below, width, 3), np.uint8)
        self._writer = VideoWriter(
            path,
            self._picture.shape[:2],
            self.rate,
            crf=CRF,
            max_bit_rate=max(20_000, int(8 * MAX_BYTES * self.rate / count)),
            keyframe_interval=KEYFRAME_INTERVAL,
        )

    def __enter__(self) -> "Movie":
        self._writer.__enter__()
        return self

    def __exit__(self, *exception) -> bool | None:
        return self._writer.__exit__(*exception)

    def add(
        self,
        frame: UInt8[np.ndarray, "h w 3"],
        flow: UInt8[np.ndarray, "flow_h flow_w 3"] | None,
    ) -> None:
        """Adds a frame, and a picture of its flow if there is one."""
        height, width = self.size
        self._picture[:height] = _resize(frame, self.size)
        if self.flow_size is not None:
            self._picture[height : height + GAP // 2] = self._picture[height - 1]
            if flow is not None:
                right = width - self.flow_size[1]
                small = _resize(flow, self.flow_size)
                self._picture[height + GAP // 2 :] = cv2.copyMakeBorder(
                    small, GAP // 2, 0, 0, right, cv2.BORDER_REPLICATE
                )
        self._writer.write(self._picture)


def _even(side: float) -> int:
    return max(2, 2 * round(side / 2))


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == size:
        return picture
    # Averaging areas takes six times as long, and is only needed to reduce to less than
    # half.
    much = any(a > 2 * b for a, b in zip(picture.shape[:2], size, strict=True))
    way = cv2.INTER_AREA if much else cv2.INTER_LINEAR
    return cv2.resize(picture, size[::-1], interpolation=way)
