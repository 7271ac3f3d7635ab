"""Video files, decoded by FFmpeg's libraries (PyAV).

Pixels are the stored ones, turned upright as the file's display matrix says: 8 bits,
RGB, by the colour matrix and range that the stream is tagged with (untagged: BT.601,
limited range, as FFmpeg takes it). Alpha is dropped, fields of interlaced video stay
woven together, and pixels that are not square are not stretched.

A file is opened as that file and nothing else: formats that name other files or
addresses (playlists, image patterns) are not among `DEMUXERS`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from movseg_jax import images
from movseg_jax.errors import InputError
from movseg_jax.video.completeness import what_is_missing

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ivf,"
    "flv,asf,ogg,gif,mxf,dv,yuv4mpegpipe"
)
# These give no presentation times that can be relied on; their rate is constant.
_WITHOUT_TIMES = {"avi", "h264", "hevc", "mpegvideo"}
# More would decode faster, and hold more frames in memory.
_THREADS = 4

Picture = UInt8[np.ndarray, "h w 3"]


class _Damage(Exception):
    """The rest of the video cannot be read; says why."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a video file says of itself.

    Attributes:
        frame_count: As stated; None where it is not. A damaged file has less.
        fps: The average rate.
        pixel_aspect: Width of a pixel by its height.
    """

    frame_count: int | None
    fps: Fraction | None
    pixel_aspect: Fraction


def read_header(path: Path) -> Header:
    """Reads what the file says of itself, without decoding.

    Raises:
        InputError: As `decode_file`.
    """
    with _opened(path) as (_, stream):
        return _header(stream)


def decode_file(
    path: Path, *, start: int = 0, allow_truncated: bool = False
) -> Generator[tuple[int, Picture, float | None], None, None]:
    """Decodes a video's frames in order of presentation: number, picture, seconds.

    To start later, what comes before is decoded and dropped (at twice the speed):
    seeking is not exact in every format.

    Raises:
        InputError: It is not a video, is damaged or cut off (after the frames before
            the damage), changes its size, or has more than `images.MAX_PIXELS`.
    """
    missing = _checked(path, what_is_missing)
    with _opened(path) as (container, stream):
        header = _header(stream)
        seconds = _Clock(container, header)
        to_picture = _Conversion(path)
        decoded = _decoded(container, stream, missing)
        index, damage = 0, None
        while True:
            try:
                frame = next(decoded, None)
                if frame is None:
                    break
                to_picture.check_size(frame, index)
                picture = to_picture(frame) if index >= start else None
            except InputError:
                raise
            except Exception as error:  # libav's, and PyAV's on nonsense in metadata.
                damage = _reason(error)
                break
            time = seconds(frame, index)
            if picture is not None:
                yield index, picture, time
            index += 1
    if index == 0:
        raise InputError(f"{path}: no frame can be read: {damage or 'it has none'}.")
    if damage and not allow_truncated:
        raise InputError(
            f"{path}: is damaged after {index} frames: {damage}.",
            way_out="With `allow_truncated=True` these frames are used.",
        )


class _Clock:
    """When frames are shown, in seconds after the first."""

    def __init__(self, container: InputContainer, header: Header):
        self._fps = header.fps
        self._constant = container.format.name in _WITHOUT_TIMES
        self._start: Fraction | None = None

    def __call__(self, frame: VideoFrame, index: int) -> float | None:
        if self._constant:
            return float(index / self._fps) if self._fps else None
        if frame.pts is None or frame.time_base is None:
            return None
        time = frame.pts * frame.time_base
        self._start = time if self._start is None else self._start
        return float(time - self._start)


class _Conversion:
    """Makes pictures of decoded frames; all have the size of the first."""

    def __init__(self, path: Path):
        self._path = path
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._turn: Callable[[np.ndarray], np.ndarray] | None = None

    def check_size(self, frame: VideoFrame, index: int) -> None:
        size = frame.height, frame.width
        if self._size is None:
            _check_pixels(self._path, *size)
            self._size, self._turn = size, _turn(frame, self._path)
        elif size != self._size:
            raise InputError(
                f"{self._path}: frame {index} has {size[1]}x{size[0]} pixels, those "
                f"before {self._size[1]}x{self._size[0]}; a video's frames must have "
                "one size. Split it there."
            )

    def __call__(self, frame: VideoFrame) -> Picture:
        # One thread: others cost more than they give at this size.
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        picture = rgb.to_ndarray()
        return np.ascontiguousarray(self._turn(picture) if self._turn else picture)


def _turn(frame: VideoFrame, path: Path) -> Callable[[np.ndarray], np.ndarray] | None:
    """Turns pictures as the display matrix says: x' = ax + cy, y' = bx + dy."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return None
    data = bytes(frame.side_data["DISPLAYMATRIX"])  # pyright: ignore[reportArgumentType]
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32).tolist()
    straight = b == c == 0 and a and d
    crossed = a == d == 0 and b and c
    if not (straight or crossed):
        raise InputError(
            f"{path}: is to be shown turned by {-frame.rotation} degrees, expected a "
            "multiple of 90. Encode it again, upright."
        )
    flip_x, flip_y = (a < 0, d < 0) if straight else (c < 0, b < 0)
    steps = (
        slice(None, None, -1 if flip_y else 1),
        slice(None, None, -1 if flip_x else 1),
    )

    def turn(picture: np.ndarray) -> np.ndarray:
        return (picture if straight else picture.transpose(1, 0, 2))[steps]

    return turn if crossed or flip_x or flip_y else None


def _decoded(
    container: InputContainer, stream: VideoStream, missing: str | None
) -> Iterator[VideoFrame]:
    """Frames in order of presentation; raises where the first damage is.

    The last packet of a file that is cut off may be incomplete, and decode to a
    patched-up picture; and of the frames that the decoder holds back then, some may
    belong after lost ones. So neither is given.
    """
    held = None
    for packet in container.demux(stream):  # The last one is empty and ends decoding.
        if packet.is_corrupt or (missing and packet.size == 0):
            raise _Damage(missing or "the next frame's data are not all there")
        ready, held = (held, packet) if missing else (packet, None)
        for frame in stream.decode(ready) if ready is not None else ():
            if frame.is_corrupt:
                raise _Damage("the next frame's data are damaged")
            yield frame


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and video stream; all that opening can raise is InputError."""
    limits = {"max_pixels": str(images.MAX_PIXELS)}
    only = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}

    def open_file(path: Path) -> InputContainer:
        return av.open(
            f"file:{path.absolute()}",
            "r",
            options=limits,
            container_options=only,
            metadata_errors="replace",
            buffer_size=2**17,
        )

    with _checked(path, open_file) as container:
        stream = _checked(path, lambda _: container.streams.best("video"))
        if not isinstance(stream, VideoStream) or (
            stream.disposition & stream.disposition.attached_pic
        ):
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "none"
            raise InputError(f"{path}: has no video stream; its streams: {kinds}.")
        context = stream.codec_context
        if context is None:
            raise InputError(f"{path}: no decoder for its video is known.")
        _check_pixels(path, context.height, context.width)
        context.options = limits
        context.thread_type = "AUTO"
        context.thread_count = _THREADS
        yield container, stream


def _header(stream: VideoStream) -> Header:
    return Header(
        frame_count=stream.frames or None,
        fps=stream.average_rate or stream.guessed_rate or None,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
    )


def _checked(path: Path, action):
    """`action(path)`, of which everything that goes wrong is an InputError."""
    try:
        if path.is_dir() or not path.is_file():  # Opening a pipe may never end.
            raise InputError(f"{path}: is not a file.")
        return action(path)
    except InputError:
        raise
    except Exception as error:
        missing = None
        with contextlib.suppress(Exception):
            missing = what_is_missing(path)
        raise InputError(
            f"{path}: cannot be read as a video: {missing or _reason(error)}."
        ) from None


def _check_pixels(path: Path, height: int, width: int) -> None:
    if height * width > images.MAX_PIXELS:
        raise InputError(
            f"{path}: has frames of {width}x{height} pixels, expected at most "
            f"{images.MAX_PIXELS} in all (images.MAX_PIXELS)."
        )


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text if isinstance(error, _Damage) else f"{text} ({type(error).__name__})"
