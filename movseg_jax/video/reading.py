"""Frames of a video file, a folder or pattern of images, or a camera, one at a time."""

import contextlib
import dataclasses
import glob
import hashlib
import itertools
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax import images, paths
from movseg_jax.errors import InputError
from movseg_jax.video.files import decode_file, read_header


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: Its number in the video, from 0, wherever reading started.
        name: The stem of an image's file name; otherwise the number, as in "00012".
        image: RGB.
        time: Seconds after the first frame, when it is shown; None if unknown.
    """

    index: int
    name: str
    image: UInt8[np.ndarray, "h w 3"]
    time: float | None


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before reading it all.

    Attributes:
        kind: Where the frames come from.
        size: Height and width of the frames.
        frame_count: None if the file does not say, and of cameras.
        fps: Frames per second, on average; None if unknown.
        names: Of images, their names; otherwise None.
        pixel_aspect: Width of a pixel by its height. Frames are not stretched.
    """

    kind: Literal["file", "images", "camera"]
    size: tuple[int, int]
    frame_count: int | None = None
    fps: Fraction | None = None
    names: tuple[str, ...] | None = None
    pixel_aspect: Fraction = Fraction(1)


def read_frames(
    source: str | Path | int,
    *,
    start: int = 0,
    max_frames: int | None = None,
    allow_truncated: bool = False,
) -> Iterator[Frame]:
    """Reads frames one at a time, so that memory does not grow with the video.

    Args:
        source: A video file, an image, a folder of images, a pattern of them such as
            "frames/*.png" (in natural order), or a camera's number. Of a name that is
            both, a number and a file or folder, it is the latter.
        start: The number of the first frame to give.
        max_frames: How many to give at most.
        allow_truncated: Of a damaged video file, the frames before the damage are
            enough, if there are any. Otherwise an error follows them.

    Raises:
        InputError: There is nothing to read, it is damaged, not all frames have the
            same size, or they have more than `images.MAX_PIXELS`.
    """
    if start < 0 or (max_frames is not None and max_frames < 0):
        raise InputError(
            f"`start` is {start} and `max_frames` {max_frames}, expected numbers "
            "from 0."
        )
    kind, found = _find(source)
    if kind == "camera":
        frames = _camera_frames(int(str(source)), start)
    elif kind == "images":
        frames = _image_frames(found, start)
    else:
        decoded = decode_file(found[0], start=start, allow_truncated=allow_truncated)
        frames = (Frame(i, f"{i:05d}", image, t) for i, image, t in decoded)
    return _first(frames, max_frames)


def probe(source: str | Path | int) -> VideoInfo:
    """What is known of a video before reading it all; decodes its first frame.

    Raises:
        InputError: As `read_frames`.
    """
    kind, found = _find(source)
    first = next(read_frames(source, max_frames=1))
    size = first.image.shape[:2]
    if kind == "file":
        header = read_header(found[0])
        return VideoInfo(
            kind,
            size,
            frame_count=header.frame_count,
            fps=header.fps,
            pixel_aspect=header.pixel_aspect,
        )
    if kind == "images":
        names = tuple(path.stem for path in found)
        return VideoInfo(kind, size, frame_count=len(found), names=names)
    return VideoInfo(kind, size)


def fingerprint(source: str | Path | int) -> str:
    """Tells a video from another of the same name, without reading it.

    Of a file the path, size and time of change are in it, of images a hash of these;
    a camera's is always another.

    Raises:
        InputError: There is nothing to read.
    """
    kind, found = _find(source)
    if kind == "camera":
        return f"camera {source} at {time.time_ns()}"
    try:
        states = [
            (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
            for path in found
        ]
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error}.") from None
    if kind == "file":
        ((path, size, changed),) = states
        return f"{path} ({size} bytes, of {changed})"
    digest = hashlib.sha256(repr(states).encode()).hexdigest()
    return f"{Path(str(source)).resolve()} ({len(found)} images, {digest[:16]})"


def _first(frames: Generator[Frame, None, None], count: int | None) -> Iterator[Frame]:
    with contextlib.closing(frames):  # A camera or file, whenever the reader stops.
        yield from itertools.islice(frames, count)


def _find(
    source: str | Path | int,
) -> tuple[Literal["file", "images", "camera"], list[Path]]:
    text = str(source)
    path = Path(text)
    try:
        exists = not isinstance(source, int) and path.exists()
    except (OSError, ValueError):  # ValueError: a NUL in the name.
        raise InputError(f"{text!r:.120}: is not a file's name.") from None
    if exists and path.is_dir():
        return "images", _distinct(paths.list_images(path), text)
    if exists:
        is_image = path.name.lower().endswith(paths.IMAGE_SUFFIXES)
        return ("images" if is_image else "file"), [path]
    if text.isdecimal() and text.isascii():
        return "camera", []
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True), key=paths.natural_key)
        names = [Path(m) for m in matches if m.lower().endswith(paths.IMAGE_SUFFIXES)]
        return "images", _distinct(names, text)
    raise InputError(
        f"{text}: there is no such file or folder; expected a video, a folder of "
        'images, a pattern such as "frames/*.png" or a camera\'s number.'
    )


def _distinct(found: list[Path], text: str) -> list[Path]:
    """Results are named after frames, so no two may have the same name."""
    if not found:
        kinds = " ".join(paths.IMAGE_SUFFIXES)
        raise InputError(f"{text}: has no images; expected some of {kinds}.")
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{text}: {other} and {path} are both called {path.stem!r}; expected "
                "frames of different names."
            )
    return found


def _image_frames(found: list[Path], start: int) -> Generator[Frame, None, None]:
    size = None
    for index, path in enumerate(found[start:], start):
        image = images.read_rgb(path, upright=True)
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise InputError(
                f"{path}: has {image.shape[1]}x{image.shape[0]} pixels, {found[start]} "
                f"{size[1]}x{size[0]}; a video's frames must have one size."
            )
        yield Frame(index, path.stem, image, None)


def _camera_frames(number: int, start: int) -> Generator[Frame, None, None]:
    if start:
        raise InputError(f"camera {number}: cannot start at frame {start}, only at 0.")
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise InputError(f"camera {number}: cannot be opened.")
        began = time.monotonic()
        for index in itertools.count():
            success, image = camera.read()
            now = time.monotonic()
            if not success or image is None:
                raise InputError(f"camera {number}: stopped after {index} frames.")
            began = began if index else now
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            yield Frame(index, f"{index:05d}", rgb, now - began)
    finally:
        camera.release()
