"""A detector of bright squares for tests of what is around it; compiles nothing."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.images import encode_png
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.types import Detections, Outputs
from movseg_jax.video.writing import VideoWriter

SIZE = (48, 64)
SIDE = 12  # Of the squares.
WHITE, RED = (255, 255, 255), (255, 0, 0)
ROWS = 8  # As detections are padded.


class SquareDetector(TrainedDetector):
    """White squares move; white and red ones are seen by the static branch.

    `before` is called before each batch.
    """

    before = staticmethod(lambda: None)

    def __call__(self, inputs, min_score=0.0):
        self.before()
        arithmetic = self.config.arithmetic
        images = inputs.image * np.array(arithmetic.std) + np.array(arithmetic.mean)
        images = images[..., ::-1] if arithmetic.channel_order == "bgr" else images
        rows = [
            [found(np.where(bright, 255, 0), scale) for bright in colours(image)]
            for image, scale in zip(images, inputs.scale, strict=True)
        ]
        white, red = zip(*rows, strict=True)
        both = [[*w, *r] for w, r in zip(white, red, strict=True)]
        static = padded(both) if self.config.static_branch else None
        return Outputs(padded(white), static)


def colours(image):
    """Where a picture is white, and where it is red."""
    red, green = image[..., 0] > 200, image[..., 1] > 200
    return red & green, red & (image[..., 1] < 60)


def found(bright, scale):
    """The boxes of the connected parts, in pixels of the frame."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8))
    y, x = scale
    return [
        (left / x, top / y, (left + width) / x, (top + height) / y)
        for left, top, width, height, area in sorted(stats[1:].tolist())
        if area >= 4
    ]


def padded(frames):
    """Detections of a batch, with scores of 0.95, 0.94, ..."""
    shape = (len(frames), ROWS)
    boxes = np.zeros((*shape, 4), np.float32)
    valid = np.zeros(shape, bool)
    for row, frame in enumerate(frames):
        boxes[row, : len(frame)] = np.reshape(frame, (-1, 4))
        valid[row, : len(frame)] = True
    scores = np.broadcast_to(0.95 - 0.01 * np.arange(ROWS), shape).astype(np.float32)
    logits = np.full((*shape, 28, 28), 10, np.float32)
    return Detections(boxes, scores * valid, np.zeros(shape, np.int32), logits, valid)


def make_detector(before=None, **config):
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    defaults = {"appearance": trunk, "motion": trunk, "static_branch": True}
    defaults |= {"short_side": SIZE[0], "long_side": SIZE[1]}
    detector = SquareDetector(ModelConfig(**defaults | config), {}, "squares", "0" * 64)
    if before is not None:
        detector.before = before
    return detector


def background(size=SIZE, seed=0):
    """Smooth texture of middling brightness, with which flow can be found."""
    noise = np.random.default_rng(seed).uniform(0, 255, (*size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    low, high = smooth.min(), smooth.max()
    return (70 + 100 * (smooth - low) / max(high - low, 1e-6)).astype(np.uint8)


def square_mask(index, size=SIZE, *, start=4, top=16, speed=3):
    mask = np.zeros(size, bool)
    left = start + speed * index
    mask[top : top + SIDE, left : left + SIDE] = True
    return mask


def scene(count, size=SIZE):
    """A white square that moves 3 pixels a frame before what stands still."""
    for index in range(count):
        image = background(size)
        image[square_mask(index, size)] = WHITE
        yield image


def write_images(folder, pictures, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        (folder / f"shot{index:03d}{suffix}").write_bytes(encode_png(picture))
    return folder


def write_video(path, pictures, fps=25):
    pictures = list(pictures)
    with VideoWriter(path, pictures[0].shape[:2], fps, crf=8) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def load_squares(*_, pause=0.0, log="", killed_by="", **__):
    """Loads the detector, as `load_model` does; for processes of their own.

    Args:
        pause: Seconds that each batch takes.
        log: A file that gets a line with the process's id for each batch.
        killed_by: A file; for each letter that it still has, a process dies at a batch.
    """

    def before():
        if killed_by and (left := Path(killed_by).read_text()):
            Path(killed_by).write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        if log:
            with open(log, "a") as file:
                file.write(f"{os.getpid()}\n")
        time.sleep(pause)

    return make_detector(before)
