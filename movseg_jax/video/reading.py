"""Frames of a video file, a folder or pattern of images, or a camera, one at a time."""

import contextlib
import dataclasses
import glob
import hashlib
import itertools
import time
import warnings
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax import images
from movseg_jax.config import DEFAULT_FPS, FPS_RANGE
from movseg_jax.errors import InputError, InputNote
from movseg_jax.system import paths
from movseg_jax.video.containers import decode_file, decode_times, read_header

DARK = 2**14 - 1  # Images of 16 bits with no value above this are noted.


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        index: The frame's number in the video, from 0, wherever reading started.
        name: The stem of an image's file name; otherwise, and for a file of several
            pictures, the number, as in "00012".
        image: RGB.
        time: Seconds after the first frame, when it is shown; None if unknown.
    """

    index: int
    name: str
    image: UInt8[np.ndarray, "h w 3"] = dataclasses.field(repr=False)
    time: float | None


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """The facts about a video that are known before all of it is read.

    Attributes:
        kind: The source of the frames.
        size: Height and width of the frames.
        frame_count: Number of frames; None if the file does not tell, and for cameras.
        fps: Frames per second, on average; None if unknown.
        names: Names of the frames, if they are images; otherwise None.
        pixel_aspect: Width of a pixel by its height. Frames are not stretched.
    """

    kind: Literal["file", "images", "camera"]
    size: tuple[int, int]
    frame_count: int | None = None
    fps: Fraction | None = None
    names: tuple[str, ...] | None = dataclasses.field(default=None, repr=False)
    pixel_aspect: Fraction = Fraction(1)

    def rate(self, default: float = DEFAULT_FPS) -> float:
        """Returns the frames per second of a video that is written from this one.

        Args:
            default: The rate if the video does not tell its own, or one that no video
                has.
        """
        least, most = FPS_RANGE
        rate = float(self.fps or 0)
        return rate if least <= rate <= most else default


def read_frames(
    source: str | Path | int,
    *,
    start: int = 0,
    max_frames: int | None = None,
    allow_truncated: bool = False,
    white: int | None = None,
) -> Generator[Frame, None, None]:
    """Reads frames one at a time, so that memory does not grow with the video.

    Args:
        source: A video file, an image file (of which every picture is a frame), a
            folder of images, a pattern of them such as `frames/*.png` (in natural
            order), or a camera's number. A name that is both a number and a file or
            folder is the latter.
        start: The number of the first frame to give.
        max_frames: The largest number of frames to give.
        allow_truncated: Whether the frames of a damaged video file that can be read are
            enough, if there are any. Otherwise an error follows them.
        white: The value that is white in images of 16 bits, such as 4095 for cameras of
            12 bits; None is 65535.

    Raises:
        InputError: There is nothing to read, it is damaged, not all frames have the
            same size, they have more than `images.MAX_PIXELS`, or `white` is given and
            they are not images of 16 bits.
    """
    if start < 0 or (max_frames is not None and max_frames < 0):
        raise InputError(
            f"`start` is {start} and `max_frames` {max_frames}, expected numbers "
            "from 0."
        )
    if white is not None and not 0 < white <= 65535:
        raise InputError(f"white is {white}, expected 1 to 65535.")
    kind, found = _find(source)
    if white is not None and kind != "images":
        raise InputError(
            f"{source}: is no image; white can be chosen for images of 16 bits only."
        )
    if kind == "camera":
        frames = _camera_frames(int(str(source)), start)
    elif kind == "images":
        frames = _image_frames(found, start, white)
    else:
        decoded = decode_file(found[0], start=start, allow_truncated=allow_truncated)
        frames = (Frame(i, f"{i:05d}", image, t) for i, image, t in decoded)
    return _first(frames, max_frames)


def frame_times(source: str | Path | int) -> Iterator[float | None]:
    """Gives the times of a video's frames, as in `Frame`, without reading pictures.

    Raises:
        InputError: There is nothing to read, or it is a camera.
    """
    kind, found = _find(source)
    if kind == "camera":
        raise InputError(f"{source}: is a camera, whose frames have no times yet.")
    if kind == "images":
        return (None for _ in _pictures(found))
    return decode_times(found[0])


def probe(source: str | Path | int, *, white: int | None = None) -> VideoInfo:
    """Returns the facts about a video; decodes its first frame only.

    Args:
        source: The video, see `read_frames`.
        white: The value that is white in images of 16 bits, see `read_frames`.

    Raises:
        InputError: The video cannot be read, see `read_frames`.
    """
    kind, found = _find(source)
    first = next(read_frames(source, max_frames=1, white=white))
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
        names = tuple(name for _, name in _pictures(found))
        return VideoInfo(kind, size, frame_count=len(names), names=names)
    return VideoInfo(kind, size)


def fingerprint(source: str | Path | int, copy_of: str | None = None) -> str:
    """Returns a text that tells a video from others, without reading the video.

    A file's text has its path, size and time of change; that of images has a hash of
    these. A camera's text is always a new one.

    Args:
        source: The video, see `read_frames`.
        copy_of: The name of what a file is a copy of. It replaces the path and time of
            the copy, which may be made again elsewhere.

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
    if copy_of is not None:
        return f"{copy_of} ({sum(size for _, size, _ in states)} bytes)"
    if kind == "file":
        ((path, size, changed),) = states
        return f"{path} ({size} bytes, of {changed})"
    digest = hashlib.sha256(repr(states).encode()).hexdigest()
    return f"{Path(str(source)).resolve()} ({len(found)} images, {digest[:16]})"


def source_paths(source: str | Path | int) -> list[Path]:
    """Returns the files that frames are read from, or their folder; none for a camera.

    Raises:
        InputError: There is nothing to read.
    """
    kind, found = _find(source)
    folder = Path(str(source))
    return [folder] if kind == "images" and folder.is_dir() else found


def _first(
    frames: Generator[Frame, None, None], count: int | None
) -> Generator[Frame, None, None]:
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
        found = paths.list_images(path)
        return "images", _distinct(found, text, path)
    if exists:
        is_image = path.name.lower().endswith(paths.IMAGE_SUFFIXES)
        return ("images" if is_image else "file"), [path]
    if paths.is_camera(source):
        return "camera", []
    if glob.has_magic(text):
        return "images", _distinct(_matching(text), text)
    raise InputError(
        f"{text}: there is no such file or folder; expected a video, a folder of "
        'images, a pattern such as "frames/*.png" or a camera\'s number.'
    )


def _matching(pattern: str) -> list[Path]:
    """The images that match a pattern."""
    by_folder: dict[Path, list[str]] = {}
    for path in paths.matching(pattern, lambda path: paths.is_image(path.name)):
        if not path.is_dir():
            by_folder.setdefault(path.parent, []).append(path.name)
    return [
        parent / name
        for parent in sorted(by_folder, key=lambda path: paths.natural_key(str(path)))
        for name in paths.order_frames(by_folder[parent], source=str(parent))
    ]


def _distinct(found: list[Path], text: str, folder: Path | None = None) -> list[Path]:
    """Results are named after frames, so no two may have the same name."""
    if not found:
        kinds = " ".join(paths.IMAGE_SUFFIXES)
        raise InputError(
            f"{text}: has no images; expected some of {kinds}."
            f"{_what_is_there(folder) if folder else ''}"
        )
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{text}: {other} and {path} are both called {path.stem!r}; expected "
                "frames of different names."
            )
    return found


def _what_is_there(folder: Path) -> str:
    """Lists the contents of a folder without images; "" if it is empty."""
    there = sorted(folder.iterdir(), key=lambda path: paths.natural_key(path.name))
    for path in there:
        with contextlib.suppress(InputError):
            if path.is_dir() and paths.list_images(path, frames=False):
                return f" Images are in {path}: name that folder."
    names = [path.name for path in there if not path.name.startswith(".")]
    if not names:
        return " It is empty."
    return f" It holds {names[0]!r:.80}: name a file in it if that is the video."


def _pictures(found: list[Path]) -> list[tuple[Path, str]]:
    """The file and the name of each frame; a file alone may hold several of them."""
    if len(found) == 1 and (count := images.read_header(found[0]).pictures) > 1:
        return [(found[0], f"{index:05d}") for index in range(count)]
    return [(path, path.stem) for path in found]


def _image_frames(
    found: list[Path], start: int, white: int | None
) -> Generator[Frame, None, None]:
    if white is None:
        _note_dark(found[0])
    named = _pictures(found)
    if len(named) > len(found):
        pictures = images.read_pictures(found[0], upright=True, white=white)
        read = itertools.islice(pictures, start, None)
    else:
        read = (images.read_rgb(p, upright=True, white=white) for p in found[start:])
    size = None
    for index, (path, name) in enumerate(named[start:], start):
        image = next(read)
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            frame = path if len(named) == len(found) else f"{path}: picture {index}"
            raise InputError(
                f"{frame}: has {image.shape[1]}x{image.shape[0]} pixels, "
                f"{named[start][0]} {size[1]}x{size[0]}; a video's frames must have "
                "one size."
            )
        yield Frame(index, name, image, None)


def _note_dark(path: Path) -> None:
    """Notes that values of fewer bits may be stored in 16."""
    top = images.brightest(path)
    if not top or top > DARK:  # A first frame that is all black says nothing.
        return
    white = max(2 ** top.bit_length() - 1, 255)
    warnings.warn(
        f"{path}: no value is above {top} of 65535, so frames are nearly black. If "
        f"{white} is meant to be white, say so: --white {white} (white={white}).",
        InputNote,
        stacklevel=2,
    )


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
