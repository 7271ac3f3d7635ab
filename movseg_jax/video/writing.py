"""Videos that play everywhere: written whole or not at all."""

import contextlib
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import Flags as ContainerFlags
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    VideoReformatter,
)
from av.video.stream import VideoStream

from movseg_jax import images
from movseg_jax.config import FPS_RANGE
from movseg_jax.errors import InputError
from movseg_jax.system.atomic import whole_file


class _Format(NamedTuple):
    muxer: str
    codec: str
    pixels: str
    options: dict[str, str]
    crf: int | None  # The default; None: the codec has no such setting.


# By the file's suffix and whether it has alpha. The number of threads is fixed, as the
# bytes depend on it: the same frames give the same file. For the same reason x264's
# macroblock tree is off: with AVX-512 it gave other bytes at every run.
_FORMATS = {
    (".mp4", False): _Format(
        "mp4",
        "libx264",
        "yuv420p",
        {"preset": "superfast", "threads": "4", "x264-params": "mbtree=0"},
        20,
    ),
    (".webm", True): _Format(
        "webm",
        "libvpx-vp9",
        "yuva420p",
        {"deadline": "good", "cpu-used": "5", "threads": "4", "auto-alt-ref": "0"},
        24,
    ),
    (".mov", True): _Format(
        "mov", "prores_ks", "yuva444p10le", {"profile": "4444", "threads": "4"}, None
    ),
}
LEAST_INTERVAL = 1e-4  # Seconds between two frames, at least.
_TICKS = 90_000  # Of a second, where frames have times; the clock of MPEG.


class VideoWriter:
    """Writes a video file, as a context manager; `write` adds frames.

    "NAME.mp4" is H.264 (yuv420p, BT.709, its index first), which all browsers play.
    With alpha, "NAME.webm" is VP9, for browsers, and "NAME.mov" ProRes 4444, for video
    editors. Sizes must be even: an odd one gets a copy of its last row or column.

    The complete file is there when the block ends without an exception. Until then, a
    file that had its name before stays.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        fps: int | float | Fraction | None,
        *,
        alpha: bool = False,
        crf: int | None = None,
        max_bit_rate: int | None = None,
        keyframe_interval: int | None = None,
    ):
        """Checks the settings; nothing is written yet.

        Args:
            path: The file; its suffix is ".mp4", or with alpha ".webm" or ".mov".
            size: Height and width of the frames.
            fps: Frames per second; None if each frame comes with its time.
            alpha: Whether frames are RGBA (alpha not multiplied in) instead of RGB.
            crf: Quality: less is better and larger; 20 and 24 are hard to tell from
                the original in H.264 and VP9. ProRes has no such setting.
            max_bit_rate: The largest number of bits per second, over two seconds;
                where the quality would need more, it is lowered. For H.264.
            keyframe_interval: The largest number of frames from one keyframe to the
                next. A player that jumps to a frame decodes from the keyframe before.

        Raises:
            InputError: A setting is not valid.
        """
        path = Path(path)
        height, width = size
        chosen = _FORMATS.get((path.suffix.lower(), alpha))
        if chosen is None:
            known = ", ".join(s for s, with_alpha in _FORMATS if with_alpha == alpha)
            kind = "with alpha " if alpha else ""
            raise InputError(f"{path}: expected a video {kind}to end in {known}.")
        if height < 1 or width < 1 or height * width > images.MAX_PIXELS:
            raise InputError(
                f"{path}: size {height}x{width}, expected at least 1x1 and at most "
                f"{images.MAX_PIXELS} pixels (images.MAX_PIXELS)."
            )
        least, most = FPS_RANGE
        if fps is not None and not (math.isfinite(fps) and least <= fps <= most):
            raise InputError(f"{path}: {fps} fps, expected {least} to {most:g}.")
        if crf is not None and (chosen.crf is None or not 0 <= crf <= 51):
            raise InputError(
                f"{path}: crf {crf}, expected 0 to 51, and none for ProRes (.mov)."
            )
        self._path, self._size, self._alpha = path, size, alpha
        # A thousandth more or less: 29.97 is what it says, 30000/1001 stays exact.
        self._fps = None if fps is None else Fraction(fps).limit_denominator(1001)
        self._format = chosen
        self._crf = chosen.crf if crf is None else crf
        self._limits = _limits(max_bit_rate, keyframe_interval)
        self._reformatter = VideoReformatter()
        self._count, self._last_tick = 0, -1

    def __enter__(self) -> "VideoWriter":
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(whole_file(self._path))
            self._container = self._tried(
                lambda: av.open(
                    f"file:{temporary.absolute()}",
                    "w",
                    format=self._format.muxer,
                    container_options={"movflags": "+faststart"}
                    if self._format.muxer == "mp4"
                    else {},
                )
            )
            stack.callback(self._close)
            self._stream: VideoStream = self._tried(self._add_stream)
            # A thread encodes a frame while the caller makes the next one.
            self._thread = stack.enter_context(ThreadPoolExecutor(1))
            self._encoding: Future[None] | None = None
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exception) -> bool | None:
        if exception[0] is None:
            try:
                self._finish()
            except BaseException as error:
                self._open.__exit__(type(error), error, error.__traceback__)
                raise
        return self._open.__exit__(*exception)

    def write(self, frame: np.ndarray, time: int | float | None = None) -> None:
        """Adds a frame.

        Args:
            frame: RGB, or RGBA with alpha; uint8 [h, w, 3 or 4].
            time: Seconds after the start of the video, when it is shown; for videos
                without fps, and only for them. Each is later than the one before.

        Raises:
            InputError: The frame or the time is not as expected, or the disk is full,
                which may be noticed one frame later.
        """
        expected = (*self._size, 4 if self._alpha else 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise InputError(
                f"{self._path}: frame {self._count} is {frame.dtype} {frame.shape}, "
                f"expected uint8 {expected}."
            )
        tick = self._tick(time)
        height, width = self._size
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        # A copy, so that the caller may use the array again.
        copied = VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format="rgba" if self._alpha else "rgb24"
        )
        self._wait()
        self._encoding = self._thread.submit(self._encode, copied, tick)
        self._count, self._last_tick = self._count + 1, tick

    def _wait(self) -> None:
        """Waits until the frame before is encoded, and raises what went wrong."""
        if self._encoding is not None:
            running, self._encoding = self._encoding, None
            self._tried(running.result)

    def _tick(self, time: int | float | None) -> int:
        if (time is None) != (self._fps is not None):
            raise InputError(
                f"{self._path}: frame {self._count} has time {time}; expected times if "
                "and only if fps is None."
            )
        if time is None:
            return self._count
        tick = round(time * _TICKS) if math.isfinite(time) and time < 1e9 else -1
        if tick <= self._last_tick:
            raise InputError(
                f"{self._path}: frame {self._count} is shown at {time} s, expected "
                f"later than {self._last_tick / _TICKS:.5f} s, and from 0."
            )
        return tick

    def _add_stream(self) -> VideoStream:
        options = self._format.options | self._limits
        if self._crf is not None:
            options["crf"] = str(self._crf)
        if self._format.codec == "libvpx-vp9":
            options["b"] = "0"  # Else a bit rate limits the quality asked for.
        self._container.flags |= ContainerFlags.bitexact.value  # No random numbers.
        rate = self._fps or Fraction(30)
        stream = self._container.add_stream(self._format.codec, rate, options)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.height, context.width = (side + side % 2 for side in self._size)
        context.pix_fmt = self._format.pixels
        context.time_base = Fraction(1, _TICKS) if self._fps is None else 1 / rate
        context.colorspace = 1  # BT.709, in the numbers of ISO/IEC 23091-2.
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.color_range = ColorRange.MPEG
        return stream

    def _encode(self, frame: VideoFrame, tick: int) -> None:
        encodable = self._reformatter.reformat(
            frame,
            format=self._format.pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=None,
            threads=1,
        )
        encodable.pts = tick
        encodable.time_base = self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(encodable))

    def _finish(self) -> None:
        if not self._count:
            raise InputError(f"{self._path}: a video needs at least one frame.")
        self._wait()

        def flush() -> None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

        self._tried(flush)

    def _close(self) -> None:
        # After `_finish` this does nothing; otherwise the file is thrown away, so that
        # what goes wrong does not matter.
        with contextlib.suppress(Exception):
            self._container.close()

    def _tried(self, action: Callable):
        try:
            return action()
        except (OSError, FFmpegError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self._path}: cannot be written: {reason}.") from error


def _limits(max_bit_rate: int | None, keyframe_interval: int | None) -> dict[str, str]:
    """The options of the encoder that keep a video small, and quick to jump in."""
    limits = {}
    if max_bit_rate is not None:
        limits |= {"maxrate": str(max_bit_rate), "bufsize": str(2 * max_bit_rate)}
    if keyframe_interval is not None:
        limits["g"] = str(keyframe_interval)
    return limits
