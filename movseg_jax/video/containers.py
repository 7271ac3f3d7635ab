"""Video files, decoded by FFmpeg's libraries (PyAV).

The frames are those that FFmpeg and players give: what follows the end of a container
is no part of it, what cannot be decoded is skipped, and frames that the decoder holds
back are given at the end. Whatever libav reports on the way is an error afterwards.

Pixels are the stored ones, turned upright as the file's display matrix says: 8 bits,
RGB, by the colour matrix and range that the stream is tagged with (untagged: BT.601,
limited range, as FFmpeg takes it). Alpha is dropped, fields of interlaced video stay
woven together, and pixels that are not square are not stretched.

A file is opened as that file and nothing else: formats that name other files or
addresses (playlists, image patterns, session descriptions) are not among `DEMUXERS`.
"""

import contextlib
import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from movseg_jax import images
from movseg_jax.errors import InputError

DEMUXERS = ",".join(
    (
        # Containers.
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,flv,live_flv",
        "kux,asf,asf_o,ogg,mxf,gxf,nut,rm,ivr,wtv,nsv,nuv,pva,pmp,lxf,dhav,r3d,swf,mv",
        "film_cpk,smjpeg,ivf,flic,roq,bink,smk,amv,gif,apng,yuv4mpegpipe",
        # Video without a container.
        "mjpeg,jpeg_pipe,mjpeg_2000,m4v,mpegvideo,h261,h263,h264,hevc,vvc,evc,obu,av1,vc1,vc1test",
        "avs2,avs3,cavsvideo,dirac,dnxhd,dv,ingenient,ipu",
        # Sound and subtitles, to say that a file holds nothing else.
        "mp3,aac,ac3,eac3,dts,flac,wav,w64,aiff,au,caf,ape,wv,tta,tak,amr,mlp,truehd",
        "srt,ass,webvtt,microdvd,subviewer,sup",
    )
)
_ONLY = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
# Covers of music, previews, and the tiles of HEIF pictures.
_STILL = (
    Disposition.attached_pic
    | Disposition.timed_thumbnails
    | Disposition.still_image
    | Disposition.dependent
)
_SLACK = Fraction(1)  # Seconds that a container may state beyond its last frame.

Picture = UInt8[np.ndarray, "h w 3"]


@dataclasses.dataclass(frozen=True)
class Header:
    """The facts in the header of a video file.

    Attributes:
        frame_count: The number of frames, if it is stated. A damaged file has fewer.
        fps: The average rate.
        pixel_aspect: The width of a pixel by its height.
    """

    frame_count: int | None
    fps: Fraction | None
    pixel_aspect: Fraction


def read_header(path: Path) -> Header:
    """Reads the header of a file, without decoding frames.

    Raises:
        InputError: The file cannot be opened, as in `decode_file`.
    """
    with _opened(path) as (_, stream):
        return _header(stream)


def decode_file(
    path: Path, *, start: int = 0, allow_truncated: bool = False
) -> Generator[tuple[int, Picture, float | None], None, None]:
    """Decodes a video's frames in order of presentation: number, picture, seconds.

    To start later, what comes before is decoded and dropped (at twice the speed):
    seeking is not exact in every format.

    Args:
        path: The video file.
        start: The number of the first frame to give.
        allow_truncated: Whether a damaged file that has any frames is no error.

    Raises:
        InputError: The file is not a video, changes its size, has more than
            `images.MAX_PIXELS`, or is damaged or cut off; the last is raised after
            all frames that can be decoded.
    """
    with _opened(path) as (container, stream):
        decoding = _Decoding(container, stream)
        seconds = _Clock(container, _header(stream))
        to_picture = _Conversion(path)
        index = 0
        for frame in decoding:
            try:
                to_picture.check_size(frame, index)
                time = seconds(frame, index)
                picture = to_picture(frame) if index >= start else None
            except InputError:
                raise
            except Exception as error:  # PyAV's, on nonsense in a damaged header.
                decoding.report(f"a frame cannot be shown: {_reason(error)}")
                break
            if picture is not None:
                yield index, picture, time
            index += 1
        damage = decoding.damage
    if index == 0:
        reason = damage[1] if damage else "none can be decoded"
        raise InputError(f"{path}: no frame can be read: {reason}.")
    if damage and not allow_truncated:
        before, reason = damage
        raise InputError(
            f"{path}: is damaged after {before} frames: {reason}. {index} frames can "
            "be read.",
            way_out="With `allow_truncated=True` these frames are used.",
        )


def decode_times(path: Path) -> Iterator[float | None]:
    """Gives the times of the frames of `decode_file`, without making pictures.

    Damage ends it, without an error.

    Raises:
        InputError: The file is not a video.
    """
    with _opened(path) as (container, stream):
        seconds = _Clock(container, _header(stream))
        for index, frame in enumerate(_Decoding(container, stream)):
            try:
                time = seconds(frame, index)
            except Exception:  # PyAV's, on nonsense in a damaged header.
                return
            yield time


class _Decoding:
    """The frames of a stream in order of presentation, as FFmpeg decodes them.

    Attributes:
        damage: The number of frames before the first damage, and what it is.
    """

    def __init__(self, container: InputContainer, stream: VideoStream):
        self._container, self._stream = container, stream
        self._count = 0
        self.damage: tuple[int, str] | None = None

    def __iter__(self) -> Iterator[VideoFrame]:
        for packet in self._packets():
            for frame in self._decoded(packet):
                if frame.is_corrupt:
                    self.report("a frame's data are damaged")
                yield frame
                self._count += 1

    def _packets(self) -> Iterator[Packet | None]:
        """The stream's packets, then an empty one or None, which ends decoding."""
        end = Fraction(0)
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except Exception as error:  # libav's, and PyAV's on nonsense in metadata.
                self.report(_reason(error))
                yield None
                return
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and packet.time_base is not None:
                end = max(end, (time + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index == self._stream.index:
                if packet.is_corrupt:
                    self.report("a frame's data are incomplete")
                yield packet
        self._check_end(end)

    def _check_end(self, end: Fraction) -> None:
        """Compares with the stated duration where libav says nothing of a file's end.

        Matroska is read as far as it goes. Its duration is that of the longest stream,
        so all streams count.
        """
        stated = self._container.duration
        if stated is None or "matroska" not in self._container.format.name:
            return
        duration = Fraction(stated, av.time_base)
        interval = 1 / (self._stream.average_rate or 1)
        if end < duration - _SLACK - 2 * interval:
            self.report(
                f"the file ends after {float(end):.1f} of {float(duration):.1f} seconds"
            )

    def _decoded(self, packet: Packet | None) -> Sequence[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except EOFError:  # The decoder has ended already.
            return ()
        except Exception as error:
            self.report(f"a frame cannot be decoded: {_reason(error)}")
            return ()

    def report(self, reason: str) -> None:
        """Remembers the first damage and the number of frames before it."""
        # Broadcasts and streams without a container may be joined anywhere, so what
        # precedes their first frame is not damaged.
        joined = Flags.no_timestamps | Flags.ts_discont
        if self._count == 0 and self._container.format.flags & joined.value:
            return
        self.damage = self.damage or (self._count, reason)


class _Clock:
    """When frames are shown, in seconds after the first."""

    def __init__(self, container: InputContainer, header: Header):
        self._fps = header.fps
        # Neither AVI nor a stream without a container has times of presentation that
        # can be relied on; their rate is constant.
        raw = container.format.flags & Flags.no_timestamps.value
        self._constant = bool(raw) or container.format.name == "avi"
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


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and video stream; all that opening can raise is InputError."""
    with _open(path) as container:
        stream = _video_stream(path, container)
        context = stream.codec_context
        if context is None:
            raise InputError(
                f"{path}: there is no decoder for its video. {_way_out(path)}"
            )
        _check_pixels(path, context.height, context.width)
        context.options = {"max_pixels": str(images.MAX_PIXELS)}
        # Several threads may lose the frames after a damaged one, or conceal what is
        # missing in another way; one is quick compared with all that follows.
        context.thread_count = 1
        yield container, stream


def _open(path: Path) -> InputContainer:
    try:
        if not path.is_file():  # Opening a pipe may never end.
            raise InputError(f"{path}: is not a file.")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: is empty: it has no bytes.")
        return av.open(
            f"file:{path.absolute()}",
            "r",
            options={"max_pixels": str(images.MAX_PIXELS)},
            container_options=_ONLY,
            metadata_errors="replace",
            buffer_size=2**17,
        )
    except InputError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a video: {_explained(path, error)}"
        ) from None


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The stream that FFmpeg takes for the best, unless it is a single picture.

    Raises:
        InputError: The file has no video.
    """
    best = container.streams.best("video")
    streams = [
        stream
        for stream in sorted(container.streams.video, key=lambda s: s is not best)
        if not stream.disposition & _STILL
    ]
    if len(streams) > 1:
        chosen = _with_several_frames(path, [stream.index for stream in streams])
        return next(stream for stream in streams if stream.index == chosen)
    if streams:
        return streams[0]
    kinds = sorted({stream.type for stream in container.streams})
    if not {"video", "audio", "subtitle"} & {*kinds}:  # Data alone is an index cut off.
        raise InputError(f"{path}: cannot be read as a video: {_explained(path, None)}")
    names = ["video (a still picture)" if k == "video" else k for k in kinds]
    raise InputError(
        f"{path}: has no video stream; its streams: {', '.join(names)}. Name a file "
        "with moving pictures."
    )


def _with_several_frames(path: Path, streams: Sequence[int]) -> int:
    """The first of several video streams that has more than one frame.

    A picture may be muxed as a stream, even as the one to show by default. Only the
    packets tell how many frames a stream has, whatever the container.

    Args:
        path: The video file.
        streams: The indices of the streams in order of preference.

    Returns:
        The index of a stream; the first one if none has several frames.
    """
    counts = Counter()
    with _open(path) as container, contextlib.suppress(Exception):  # Damaged files.
        for packet in container.demux([container.streams[i] for i in streams]):
            counts[packet.stream_index] += packet.size > 0
            if counts[streams[0]] > 1:
                break
    return next((index for index in streams if counts[index] > 1), streams[0])


def _header(stream: VideoStream) -> Header:
    return Header(
        frame_count=stream.frames or None,
        fps=stream.average_rate or stream.guessed_rate or None,
        pixel_aspect=stream.sample_aspect_ratio or Fraction(1),
    )


def _check_pixels(path: Path, height: int, width: int) -> None:
    if height * width > images.MAX_PIXELS:
        raise InputError(
            f"{path}: has frames of {width}x{height} pixels, expected at most "
            f"{images.MAX_PIXELS} in all (images.MAX_PIXELS)."
        )


def _explained(path: Path, error: Exception | None) -> str:
    """Says what a file is that libav does not open, and what helps."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return (
            "its index (the box moov) is missing or incomplete, so recording or "
            "copying it did not finish. Copy it again from where it was recorded, or "
            "repair it with a tool such as untrunc."
        )
    with contextlib.suppress(InputError):
        height, width = images.image_size(path)
        return (
            f"it is a picture of {width}x{height} pixels. Give it a name that ends as "
            "pictures' names do, such as .jpg or .png."
        )
    if not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", start):
        return "it is text, such as a playlist. Name the video itself."
    if isinstance(error, ArgumentError):  # A format that is not among `DEMUXERS`.
        return f"videos of its format are not read. {_way_out(path)}"
    reason = _reason(error) if error else "no streams are found in it"
    return f"{reason}. It is damaged, or of another format. {_way_out(path)}"


def _way_out(path: Path) -> str:
    target = shlex.quote(f"{path.stem}_h264.mp4")
    return (
        "If FFmpeg reads it, this makes a video that can be read: "
        f"ffmpeg -i {shlex.quote(str(path))} -c:v libx264 {target}"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{error} ({type(error).__name__})"
