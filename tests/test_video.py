"""Videos decoded against OpenCV, encoded and read back, and damaged in every way.

Damaged files may crash a decoder, so those tests run in a process of their own, with
little memory and time: `python test_video.py fuzz SEED COUNT FOLDER`.
"""

import contextlib
import itertools
import os
import re
import resource
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from movseg_jax import images
from movseg_jax.errors import InputError, InputNote
from movseg_jax.video.reading import probe, read_frames
from movseg_jax.video.writing import VideoWriter
from tests.outside import needs, outside

ROOT = Path(__file__).parents[1]
CLIPS = {  # Real ones: frames, size, rate.
    "video/01_dog.mp4": (289, (720, 1280), Fraction(30000, 1001)),
    "video/05_default_juggle.mp4": (247, (720, 1280), Fraction(24)),
    "video/bikes.mp4": (250, (272, 640), Fraction(25)),
    "fbms_bear01/bear.mp4": (100, (540, 960), Fraction(25)),
}
real_clips = pytest.mark.parametrize(
    "clip", [pytest.param(clip, marks=needs(f"data/{clip}")) for clip in CLIPS]
)


def picture(index, size=(48, 64)):
    """Smooth and colourful; moves from frame to frame."""
    y, x = np.mgrid[: size[0], : size[1]] / 4
    waves = x / 9 + index / 5, y / 7 - index / 7, (x + y) / 11 + index / 3
    return np.stack([127 + 120 * np.sin(w) for w in waves], -1).astype(np.uint8)


def psnr(a, b):
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def make(
    path, codec="libx264", pixels="yuv420p", *, n=12, size=(48, 64), muxer=None,
    options=None, ticks=None, frames=None, tags=None, prepare=None,
):  # fmt: skip
    """A video by PyAV alone; x265 and others print, so they are not used."""
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, 10, options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        if ticks:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if prepare:
            prepare(stream)
        for i in range(n):
            frame = frames(i) if frames else picture(i, size)
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
                frame = frame.reformat(format=pixels)
            frame.pts = ticks[i] if ticks else i
            frame.time_base = Fraction(1, 1000 if ticks else 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path, **options):
    return [frame.image for frame in read_frames(path, **options)]


# Reading video files ---------------------------------------------------------------

KINDS = {
    "mp4": ("a.mp4", "libx264", "yuv420p"),
    "mp4, 10 bits": ("a.mp4", "libx264", "yuv420p10le"),
    "mp4, 4:4:4": ("a.mp4", "libx264", "yuv444p"),
    "mkv": ("a.mkv", "libx264", "yuv420p"),
    "webm": ("a.webm", "libvpx-vp9", "yuv420p"),
    "webm, alpha": ("a.webm", "libvpx-vp9", "yuva420p"),
    "mov, ProRes with alpha": ("a.mov", "prores_ks", "yuva444p10le"),
    "mov, lossless alpha": ("a.mov", "qtrle", "argb"),
    "mkv, lossless": ("a.mkv", "ffv1", "bgr0"),
    "avi, MJPEG": ("a.avi", "mjpeg", "yuvj420p"),
    "avi, MPEG-4": ("a.avi", "mpeg4", "yuv420p"),
    "avi, H.264": ("a.avi", "libx264", "yuv420p"),
    "transport stream": ("a.ts", "libx264", "yuv420p"),
    "MPEG-2": ("a.mpg", "mpeg2video", "yuv420p"),
    "raw H.264": ("a.h264", "libx264", "yuv420p"),
    "flash": ("a.flv", "flv", "yuv420p"),
    "raw MJPEG": ("a.mjpeg", "mjpeg", "yuvj420p"),
    "raw MPEG-4": ("a.m4v", "mpeg4", "yuv420p"),
    "raw MPEG-2": ("a.m2v", "mpeg2video", "yuv420p"),
    "NUT": ("a.nut", "mpeg4", "yuv420p"),
    "RealMedia": ("a.rm", "rv10", "yuv420p"),
    "Windows Media": ("a.wmv", "wmv2", "yuv420p"),
    "IVF": ("a.ivf", "libvpx-vp9", "yuv420p"),
    "animated PNG": ("a.apng", "apng", "rgb24"),
    "uncompressed": ("a.y4m", "rawvideo", "yuv420p"),
}
MUXERS = {".m4v": "m4v", ".m2v": "mpeg2video", ".y4m": "yuv4mpegpipe"}


@pytest.mark.parametrize("kind", KINDS)
def test_reads(kind, tmp_path):
    name, codec, pixels = KINDS[kind]
    muxer = MUXERS.get(Path(name).suffix)
    path = make(tmp_path / name, codec, pixels, options={"b": "3000000"}, muxer=muxer)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.name for frame in frames] == [f"{i:05d}" for i in range(12)]
    for i, frame in enumerate(frames):
        assert psnr(frame.image, picture(i)) > 29, i  # Some of these are coarse.
        assert frame.image.flags.c_contiguous and frame.image.flags.writeable
    info = probe(path)
    assert (info.kind, info.size, info.names) == ("file", (48, 64), None)
    assert info.frame_count in (12, None)
    rate = 25 if kind.startswith("raw") else 10  # They have no rate of their own.
    assert info.fps == rate
    assert_allclose([f.time for f in frames], np.arange(12) / rate, atol=1.1e-3)


def test_times_are_those_of_presentation(tmp_path):
    ticks = [0, 40, 80, 500, 510, 640, 1000, 1001, 1500, 1700, 2000, 2500]
    for name in ("a.mp4", "a.mkv"):
        path = make(tmp_path / name, ticks=ticks, options={"bf": "3"})
        frames = list(read_frames(path))
        assert_allclose([f.time for f in frames], np.divide(ticks, 1000), atol=1e-6)
        for i, frame in enumerate(frames):
            assert psnr(frame.image, picture(i)) > 30


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.avi", "a.webm"])
def test_a_later_start_gives_exactly_the_later_frames(name, tmp_path):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    options = {"g": "5", "bf": "2"} if codec == "libx264" else {"g": "5"}
    path = make(tmp_path / name, codec, n=17, options=options)
    whole = list(read_frames(path))
    for start, count in itertools.product((0, 1, 5, 7, 16, 17, 90), (None, 0, 3)):
        some = list(read_frames(path, start=start, max_frames=count))
        expected = whole[start:][:count]
        assert [f.index for f in some] == [f.index for f in expected]
        assert [f.time for f in some] == [f.time for f in expected]
        for a, b in zip(some, expected, strict=True):
            assert_array_equal(a.image, b.image)


ORIENTATIONS = {
    # Degrees counterclockwise and flips, as the muxer takes them: what shows them.
    (90, False, False): lambda p: np.rot90(p, 1),
    (180, False, False): lambda p: np.rot90(p, 2),
    (-90, False, False): lambda p: np.rot90(p, -1),
    (0, True, False): lambda p: p[:, ::-1],
    (0, False, True): lambda p: p[::-1],
    (90, True, False): lambda p: np.rot90(p, 1)[:, ::-1],
    (90, False, True): lambda p: np.rot90(p, 1)[::-1],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_frames_are_turned_upright(orientation, tmp_path):
    degrees, hflip, vflip = orientation

    def prepare(stream):
        stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)

    stored = read(make(tmp_path / "stored.mp4", n=3))
    path = make(tmp_path / "a.mp4", n=3, prepare=prepare)
    capture = cv2.VideoCapture(str(path))
    for i, frame in enumerate(read(path)):
        assert_array_equal(frame, ORIENTATIONS[orientation](stored[i]))
        if not (hflip or vflip):  # OpenCV knows of turning only.
            assert_array_equal(frame, capture.read()[1][..., ::-1])
    assert probe(path).size == frame.shape[:2]


def test_a_video_to_be_shown_askew_is_refused(tmp_path):
    path = make(tmp_path / "a.mp4", prepare=lambda s: s.set_display_rotation(30))
    with pytest.raises(InputError, match=r"a\.mp4: .*multiple of 90"):
        read(path)


SWATCHES = np.uint8(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255],
     [0, 0, 0], [200, 100, 50], [50, 100, 200], [128, 128, 128]]
)  # fmt: skip


def yuv_of(rgb, red, blue, full):
    """ITU-R BT.601 and BT.709, from their definitions."""
    r, g, b = rgb.astype(np.float64).T / 255
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    scale, chroma, offset = (255, 255, 0) if full else (219, 224, 16)
    yuv = [scale * y + offset, chroma * cb + 128, chroma * cr + 128]
    return np.clip(np.round(yuv), 0, 255).astype(np.uint8).T


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["BT.709", "BT.601", "untagged"])
def test_colours_follow_the_tags(matrix, full, tmp_path):
    red, blue = (0.2126, 0.0722) if matrix == "BT.709" else (0.299, 0.114)
    values = yuv_of(SWATCHES, red, blue, full)

    def frame(_):
        planes = np.repeat(np.repeat(values.T[:, None], 16, 1), 16, 2)
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), "yuv444p")

    tags = {"color_range": 2 if full else 1}
    tags["colorspace"] = {"BT.709": 1, "BT.601": 6, "untagged": 2}[matrix]
    path = make(
        tmp_path / "a.mkv", "ffv1", "yuv444p", n=1, size=(16, 128), frames=frame,
        tags=tags,
    )  # fmt: skip
    [image] = read(path)
    assert_allclose(image[8, 8::16].astype(int), SWATCHES, atol=3)


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le"])
def test_grey_video_becomes_rgb(pixels, tmp_path):
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    deep = {"gray": grey, "gray16le": grey.astype(np.uint16) * 257}
    deep["gray10le"] = np.round(grey.astype(np.float64) / 255 * 1023).astype(np.uint16)

    def frame(_):
        return av.VideoFrame.from_ndarray(deep[pixels], pixels)

    path = make(tmp_path / "a.mkv", "ffv1", pixels, n=1, frames=frame,
                tags={"color_range": 2})  # fmt: skip
    [image] = read(path)
    assert_allclose(image.astype(int), np.repeat(grey[..., None], 3, 2), atol=1)


def test_odd_sizes_and_single_pixels_are_read(tmp_path):
    for size in ((1, 1), (37, 53), (2, 501)):
        path = make(tmp_path / "a.mkv", "ffv1", "bgr0", n=2, size=size)
        assert_array_equal(read(path), [picture(0, size), picture(1, size)])


def test_interlaced_video_is_read_woven(tmp_path):
    path = make(tmp_path / "a.mpg", "mpeg2video", options={"flags": "+ildct+ilme"})
    assert len(read(path)) == 12


def test_pixels_that_are_not_square_stay_and_are_told(tmp_path):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    info = probe(make(tmp_path / "a.mp4", prepare=prepare))
    assert (info.size, info.pixel_aspect) == ((48, 64), Fraction(4, 3))


def test_decoding_holds_no_reference_to_later_frames(tmp_path):
    path = make(tmp_path / "a.mp4")
    at_once = [image.copy() for image in map(lambda f: f.image, read_frames(path))]
    assert_array_equal(read(path), at_once)


@real_clips
def test_the_first_frames_of_real_clips_equal_opencvs(clip):
    path = outside(f"data/{clip}")
    count, size, fps = CLIPS[clip]
    info = probe(path)
    assert (info.frame_count, info.size, info.fps) == (count, size, fps)
    capture = cv2.VideoCapture(str(path))
    for frame in read_frames(path, max_frames=8):
        assert_array_equal(frame.image, capture.read()[1][..., ::-1])


@pytest.mark.slow
@real_clips
def test_all_frames_of_real_clips_equal_opencvs(clip):
    path = outside(f"data/{clip}")
    count, size, fps = CLIPS[clip]
    capture, times = cv2.VideoCapture(str(path)), []
    for frame in read_frames(path):
        assert frame.image.shape[:2] == size
        assert_array_equal(frame.image, capture.read()[1][..., ::-1])
        times.append(frame.time)
    assert not capture.read()[0]
    assert_allclose(times, np.arange(count) / float(fps), atol=1e-3)


# Videos that are not, or not wholly ------------------------------------------------


def test_what_is_no_video_is_an_error_that_names_it(tmp_path):
    def write(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    audio = tmp_path / "audio.mp4"
    with av.open(str(audio), "w") as container:
        stream = container.add_stream("aac", 8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), np.float32), "fltp", "mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    no_decoder = make(tmp_path / "codec.avi", "mjpeg", "yuvj420p").read_bytes()
    video = make(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "fast").mkdir()
    index = make_container(tmp_path / "fast", "a.mp4").read_bytes()
    playlist = b"#EXTM3U\n#EXTINF:1,\nfile://" + bytes(tmp_path / "a.mp4") + b"\n"
    subtitles = b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n\n" * 9
    noise = np.random.default_rng(0).bytes(9999)
    os.mkfifo(tmp_path / "pipe.mp4")
    cases = {
        tmp_path / "missing.mp4": "no such file",
        tmp_path / "pipe.mp4": "not a file",
        write("empty.mp4", b""): "is empty",
        write("text.mp4", b"This is no video. " * 999): "it is text",
        write("noise.mp4", noise): r"damaged, or of .* ffmpeg -i \S*noise\.mp4 -c:v",
        write("it's.mkv", noise): r"ffmpeg -i '\S*it'\"'\"'s\.mkv' .*s_h264\.mp4'",
        write("playlist.m3u8", playlist): "it is text, such as a playlist",
        write("half.mp4", video[: len(video) // 2]): r"index \(the box moov\)",
        write("index.mp4", index[:300]): r"index \(the box moov\)",
        write("box.mp4", index[:30]): r"index \(the box moov\)",
        write("codec.avi", no_decoder.replace(b"MJPG", b"ZZZZ")): "no decoder.*ffmpeg",
        write("picture", images.encode_png(picture(0))): "is a picture of 64x48 pixels",
        write("subtitles.srt", subtitles): "no video stream; its streams: subtitle",
        audio: "no video stream; its streams: audio",
        write(
            "a.pvf", b"PVF1\n1 8000 16\n" + bytes(99)
        ): "its format are not read.*-c:v",
        add_cover(tmp_path / "cover.mp3"): r"audio, video \(a still picture\)",
    }
    for path, reason in cases.items():
        for use in (read, probe):
            with pytest.raises(InputError, match=reason) as error:
                use(path)
            message = str(error.value)
            assert path.stem.strip("its'") in message and "\n" not in message
            assert "Error)" not in message and "_io" not in message, message


def add_cover(path):
    """Music with a picture of its cover."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", 8000, layout="mono")
        cover = container.add_stream("png", 1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "rgb24"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
        for packet in [*cover.encode(frame), *cover.encode(None)]:
            container.mux(packet)
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 5760), np.float32), "fltp", "mono"
        )
        silence.sample_rate = 8000
        for packet in [*sound.encode(silence), *sound.encode(None)]:
            container.mux(packet)
    return path


def test_names_that_no_file_can_have_are_errors():
    for source in ("a\0b.mp4", "x" * 5000, "", "https://example.com/a.mp4", -1):
        with pytest.raises(InputError):
            read(source)
    with pytest.raises(InputError, match="`start` is -1"):
        read("0", start=-1)


CONTAINERS = {
    "a.mp4": ("libx264", "yuv420p"), "a.mov": ("mpeg4", "yuv420p"),
    "a.mkv": ("libx264", "yuv420p"), "a.webm": ("libvpx-vp9", "yuv420p"),
    "a.avi": ("mjpeg", "yuvj420p"), "b.avi": ("mpeg4", "yuv420p"),
    "a.ts": ("libx264", "yuv420p"), "a.flv": ("flv", "yuv420p"),
    "a.gif": ("gif", "rgb8"),
}  # fmt: skip


def make_container(folder, name, n=40):
    """A video whose index comes first, so that it can be read up to where it is cut."""
    codec, pixels = CONTAINERS[name]
    options = {"bf": "3", "g": "12"} if codec == "libx264" else {"g": "12"}
    path = make(folder / name, codec, pixels, n=n, options=options)
    if path.suffix not in (".mp4", ".mov"):
        return path
    remux(path, folder / f"fast_{name}", movflags="faststart")
    return (folder / f"fast_{name}").replace(path)


def remux(path, new, **options):
    with av.open(str(path)) as source, av.open(str(new), "w", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


class NoVideo(Exception):
    """No stream of a file can be decoded."""


def decoded_as_ffmpeg_does(path):
    """All frames that one thread decodes, whether libav reports damage, and packets.

    As in FFmpeg's own loop, a packet that cannot be decoded is skipped, an error of the
    demuxer ends the file, and frames that the decoder holds are taken in the end.
    """
    frames, damaged, count = [], False, 0
    with av.open(str(path)) as container:
        if not container.streams.video or not container.streams.video[0].codec_context:
            raise NoVideo
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                packet, damaged = None, True
            if packet is not None:
                damaged |= packet.is_corrupt
                count += packet.size > 0
            try:
                for frame in stream.decode(packet):
                    damaged |= frame.is_corrupt
                    frames.append(frame.reformat(format="rgb24").to_ndarray())
            except EOFError:
                pass
            except av.FFmpegError:
                damaged = True
            if packet is None:
                return frames, damaged, count


def read_and_error(path):
    frames = []
    try:
        for frame in read_frames(path):
            frames.append(frame.image)
    except InputError as error:
        return frames, str(error)
    return frames, None


BEHIND = {
    "a camera's record": b"SEFHe\0\0\0abcdefghijklmnopqrstuvwxyz0123456789SEFT",
    "one byte": b"x", "zeros": bytes(5000), "line": b"\r\n",
    "noise": np.random.default_rng(0).bytes(5000),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_follows_the_end_of_a_container_is_no_part_of_it(name, tmp_path):
    path = make_container(tmp_path, name, n=24)
    whole, data = read(path), path.read_bytes()
    assert len(whole) == 24
    for behind in BEHIND.values():
        path.write_bytes(data + behind)
        assert_array_equal(read(path), whole)


@pytest.mark.parametrize("name", CONTAINERS)
def test_of_a_cut_off_video_all_frames_that_ffmpeg_decodes_are_read(name, tmp_path):
    path = make_container(tmp_path, name)
    data, counts, errors = path.read_bytes(), set(), 0
    lengths = np.random.default_rng(0).uniform(0.1, 1, 30) * len(data)
    for length in [*lengths.astype(int), len(data) - 1]:
        path.write_bytes(data[:length])
        try:
            expected, damaged, packets = decoded_as_ffmpeg_does(path)
        except (av.FFmpegError, OSError, NoVideo):
            with pytest.raises(InputError, match=re.escape(name)):
                read(path)
            continue
        frames, error = read_and_error(path)
        counts.add(len(frames))
        errors += error is not None
        assert_array_equal(frames, expected)
        if not frames:
            assert "no frame can be read" in error
            continue
        # Without a word of libav's, Matroska tells by the duration that it states.
        matroska = path.suffix in (".mkv", ".webm")
        assert (error is not None) == (damaged or (matroska and packets < 28))
        if error:
            assert f"{name}: is damaged after" in error
            assert f"{len(frames)} frames can be read" in error
        assert_array_equal(read(path, allow_truncated=True), frames)
        assert_array_equal(read(path, start=3, allow_truncated=True), frames[3:])
    assert len(counts) > 5
    # A transport stream or a GIF may end anywhere.
    assert errors > 5 or path.suffix in (".ts", ".gif")


@pytest.mark.parametrize("name", ["a.ts", "a.flv"])
def test_a_broadcast_may_be_joined_anywhere(name, tmp_path):
    path = make_container(tmp_path, "a.ts")
    whole, data = read(path), path.read_bytes()
    for part in (0.1, 0.3, 0.5):
        path.write_bytes(data[int(part * len(data)) :])
        frames = read(path)
        assert 5 < len(frames) < 40
        assert_array_equal(frames[-5:], whole[-5:])


def test_damage_within_loses_what_ffmpeg_loses_and_is_an_error_at_the_end(tmp_path):
    path = make(tmp_path / "a.avi", "mpeg4", "yuv420p", n=20)
    data, whole = bytearray(path.read_bytes()), read(path)
    at = [m.start() for m in re.finditer(b"00dc", data)][12] + 8  # Behind its header.
    data[at : at + 100] = bytes(100)
    path.write_bytes(data)
    expected, damaged, _ = decoded_as_ffmpeg_does(path)
    frames, error = read_and_error(path)
    assert damaged and 0 < len(frames) < 20
    assert_array_equal(frames, expected)
    assert_array_equal(frames[:10], whole[:10])
    assert re.search(r"damaged after 1\d frames.*18 frames can be read", error)
    assert_array_equal(read(path, allow_truncated=True), frames)


def test_a_video_of_matroska_may_state_no_duration_or_that_of_its_sound(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", 8000, layout="mono")
        for i in range(80):
            if i < 20:
                frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 800), np.int16), "s16", "mono"
            )
            samples.sample_rate, samples.pts = 8000, 800 * i
            container.mux(sound.encode(samples))
        container.mux(stream.encode(None))
    assert len(read(tmp_path / "a.mkv")) == 20
    source, live = make(tmp_path / "a.mp4", n=40), tmp_path / "b.mkv"
    remux(source, live, live="1")
    live.write_bytes(live.read_bytes()[:-1500])
    assert 0 < len(read(live)) < 40


def add_still(folder, name, disposition, source):
    """A video with a picture as a second stream, which is the one to show."""
    path = folder / name
    with av.open(str(source)) as video, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(video.streams.video[0])
        still = container.add_stream("mjpeg", 10)
        still.height, still.width, still.pix_fmt = 96, 128, "yuvj420p"
        still.disposition, stream.disposition = disposition, Disposition(0)
        frame = av.VideoFrame.from_ndarray(picture(0, (96, 128)), format="rgb24")
        packets = [*still.encode(frame.reformat(format="yuvj420p")), *still.encode()]
        for packet in packets:
            container.mux(packet)
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["s.mp4", "s.mkv", "s.avi", "s.mov"])
@pytest.mark.parametrize(
    "disposition",
    [Disposition.default, Disposition.default | Disposition.attached_pic],
    ids=["default", "cover"],
)
def test_a_single_picture_never_wins_over_a_video(name, disposition, tmp_path):
    source = make(tmp_path / "a.mp4", "mpeg4", n=24)
    path = add_still(tmp_path, name, disposition, source)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert_array_equal(read(path), read(source))
    assert probe(path).size == (48, 64)


def test_a_size_that_changes_midway_is_an_error(tmp_path):
    first = make(tmp_path / "a.h264", n=5).read_bytes()
    second = make(tmp_path / "b.h264", n=5, size=(64, 96)).read_bytes()
    (tmp_path / "a.h264").write_bytes(first + second)
    frames = []
    with pytest.raises(InputError, match=r"frame 5 has 96x64 pixels.*64x48"):
        for frame in read_frames(tmp_path / "a.h264", allow_truncated=True):
            frames.append(frame)
    assert len(frames) == 5


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.h264"])
def test_frames_of_too_many_pixels_are_refused(name, tmp_path, monkeypatch):
    path = make(tmp_path / name)
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 64)
    assert len(read(path)) == 12
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(InputError, match=name):
        read(path)


def test_libav_prints_nothing(tmp_path, capfd):
    path = make(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    data[80:-900:7] = bytes(len(data[80:-900:7]))
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        read(path)
    assert capfd.readouterr() == ("", "")


# Images and cameras ----------------------------------------------------------------


def save(path, image):
    path.write_bytes(images.encode_png(image))
    return path


def test_a_folder_is_read_in_natural_order(tmp_path):
    order = ["frame2", "frame10", "frame100"]
    for i, name in enumerate(order):
        save(tmp_path / f"{name}.png", picture(i))
    (tmp_path / "notes.txt").write_text("no image")
    for source in (tmp_path, str(tmp_path / "*.png"), f"{tmp_path}/frame*"):
        frames = list(read_frames(source))
        assert [frame.name for frame in frames] == order
        assert [frame.time for frame in frames] == [None] * 3
        assert_array_equal([f.image for f in frames], [picture(i) for i in range(3)])
        info = probe(source)
        assert (info.kind, info.size, info.fps) == ("images", (48, 64), None)
        assert (info.frame_count, info.names) == (3, tuple(order))
    [last] = read_frames(tmp_path, start=2)
    assert (last.index, last.name) == (2, "frame100")
    [one] = read_frames(tmp_path / "frame10.png")
    assert_array_equal(one.image, picture(1))


def test_images_of_two_sizes_or_one_name_are_errors_that_name_both(tmp_path):
    save(tmp_path / "a1.png", picture(0))
    save(tmp_path / "a2.png", picture(0, (48, 66)))
    with pytest.raises(InputError, match=r"a2\.png: has 66x48 pixels, .*a1\.png 64x48"):
        read(tmp_path)
    save(tmp_path / "a1.PNG", picture(0))
    with pytest.raises(InputError, match=r"a1\.PNG and .*a1\.png are both called"):
        read(tmp_path)


def test_folders_without_images_and_with_damaged_ones_are_errors(tmp_path):
    for source in (tmp_path, str(tmp_path / "*.png")):
        with pytest.raises(InputError, match="has no images"):
            probe(source)
    data = save(tmp_path / "a1.png", picture(0)).read_bytes()
    (tmp_path / "a2.png").write_bytes(data[:-100])
    with pytest.raises(InputError, match=r"a2\.png"):
        read(tmp_path)


def test_every_picture_of_a_file_is_a_frame(tmp_path):
    pages = [Image.fromarray(picture(i)) for i in range(24)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    frames = list(read_frames(tmp_path / "a.tif"))
    assert [frame.name for frame in frames] == [f"{i:05d}" for i in range(24)]
    assert_array_equal([f.image for f in frames], [picture(i) for i in range(24)])
    for source in (tmp_path, str(tmp_path / "*.tif")):  # With nothing else in it.
        assert_array_equal(read(source, start=20), [picture(i) for i in range(20, 24)])
        info = probe(source)
        assert (info.frame_count, info.kind) == (24, "images")
        assert info.names == tuple(f"{i:05d}" for i in range(24))
    save(tmp_path / "b.png", picture(0))
    with pytest.raises(InputError, match=r"a\.tif: holds 24 pictures, expected one"):
        read(tmp_path)
    pages[9] = Image.fromarray(picture(9, (48, 66)))
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"picture 9: has 66x48 pixels, .* 64x48"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_of_12_bits_in_16_are_noted_and_what_is_white_can_be_said(
    suffix, tmp_path
):
    for i in range(3):
        deep = picture(i)[..., 0].astype(np.uint16) * 16
        cv2.imwrite(str(tmp_path / f"{i}{suffix}"), deep)
    message = rf"0{suffix}: no value is above \d+ of 65535, .*--white 4095 "
    with pytest.warns(InputNote, match=message):
        dark = read(tmp_path)
    bright = read(tmp_path, white=4095)  # Without a note.
    assert dark[0].max() < 16
    for i, image in enumerate(bright):
        assert np.abs(image[..., 0] - picture(i)[..., 0].astype(int)).max() <= 1
    with pytest.raises(InputError, match="white is 0"):
        read(tmp_path, white=0)
    with pytest.raises(InputError, match="8 bits"):
        read(save(tmp_path / "c.png", picture(0)), white=4095)
    with pytest.raises(InputError, match="16 bits only"):
        read(make(tmp_path / "a.mp4"), white=4095)


@pytest.mark.parametrize(
    "folder", ["dir [x]", "[0-9]", "a*b", "what?", "[", "x]", "dir [x]/[y]"]
)
def test_patterns_below_folders_of_any_name_are_found(folder, tmp_path):
    place = tmp_path / folder
    place.mkdir(parents=True)
    for i in (2, 10):
        save(place / f"f{i}.png", picture(i))
        save(place / f"g[{i}].png", picture(i))
    (tmp_path / "dir x").mkdir()
    save(tmp_path / "dir x" / "f1.png", picture(1))
    assert_array_equal(read(f"{place}/f*.png"), [picture(2), picture(10)])
    assert_array_equal(read(f"{place}/f[1]*.png"), [picture(10)])
    assert_array_equal(read(f"{place}/g[*.png"), [picture(2), picture(10)])
    assert_array_equal(read(f"{place}/g[2].p*"), [picture(2)])
    assert_array_equal(read(f"{place}/**/f*.png"), [picture(2), picture(10)])


def test_a_folder_without_images_says_what_it_has(tmp_path):
    with pytest.raises(InputError, match=r"has no images.* It is empty"):
        read(tmp_path)
    (tmp_path / "b.mp4").touch()
    with pytest.raises(InputError, match=r"has no images.*'b\.mp4': name a file"):
        read(tmp_path)
    (tmp_path / "frames").mkdir()
    save(tmp_path / "frames" / "0.png", picture(0))
    with pytest.raises(InputError, match=r"Images are in \S*frames: name that folder"):
        read(tmp_path)


def test_the_order_of_frames_is_that_of_their_numbers_or_refused(tmp_path):
    for i in (-2, -1, 0, 1):
        save(tmp_path / f"{i}.png", picture(i))
    for source in (tmp_path, f"{tmp_path}/*.png"):
        assert [frame.name for frame in read_frames(source)] == ["-2", "-1", "0", "1"]
    for i in (0.5, 0.25):
        save(tmp_path / f"{i}.png", picture(0))
    for source in (tmp_path, f"{tmp_path}/*.png"):
        with pytest.raises(InputError, match="order of its frames is ambiguous"):
            read(source)


class Camera:
    """Gives three frames, then fails, as one that is unplugged."""

    released = 0

    def __init__(self, number):
        self.number, self.count = number, 0

    def isOpened(self):
        return self.number == 0

    def read(self):
        self.count += 1
        return self.count <= 3, picture(self.count)[..., ::-1].copy()

    def release(self):
        Camera.released += 1


def test_a_camera_is_read_until_it_stops(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    for source in ("0", 0):
        frames = []
        with pytest.raises(InputError, match="camera 0: stopped after 3 frames"):
            for frame in read_frames(source):
                frames.append(frame)
        assert_array_equal([f.image for f in frames], [picture(i) for i in (1, 2, 3)])
        assert frames[0].time == 0 <= frames[1].time <= frames[2].time
    assert len(read("0", max_frames=2)) == 2
    assert probe(0).kind == "camera"
    assert Camera.released == 4
    with pytest.raises(InputError, match="camera 7: cannot be opened"):
        read("7")
    with pytest.raises(InputError, match="cannot start at frame 1"):
        read("0", start=1)


# Writing ---------------------------------------------------------------------------


def write(path, frames, fps=25, times=None, **options):
    size = frames[0].shape[:2]
    with VideoWriter(path, size, None if times else fps, **options) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, times[i] if times else None)
    return path


@pytest.mark.parametrize("size", [(48, 64), (49, 65), (1, 1), (120, 214)])
@pytest.mark.parametrize("fps", [25, 29.97, Fraction(30000, 1001), 0.5])
def test_what_is_written_is_read_back(size, fps, tmp_path):
    frames = [picture(i, size) for i in range(7)]
    path = write(tmp_path / "a.mp4", frames, fps)
    back = list(read_frames(path))
    even = tuple(side + side % 2 for side in size)
    assert len(back) == 7
    for frame, original in zip(back, frames, strict=True):
        assert frame.image.shape[:2] == even
        assert psnr(frame.image[: size[0], : size[1]], original) > 35
        assert psnr(frame.image[: size[0], -1], original[:, -1]) > 24  # Edges too.
    info = probe(path)
    assert info.frame_count == 7 and abs(float(info.fps) - float(fps)) < 1e-6
    assert_allclose([f.time for f in back], np.arange(7) / float(fps), atol=1e-4)


def test_an_mp4_plays_in_browsers(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(9)])
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = context.colorspace, context.color_primaries, context.color_trc
        assert (*tags, context.color_range) == (1, 1, 1, 1)  # BT.709, limited.


def test_flat_colours_are_read_back_as_they_were(tmp_path):
    frame = np.repeat(np.repeat(SWATCHES[None], 32, 0), 32, 1)
    [back] = read(write(tmp_path / "a.mp4", [frame], crf=5))
    assert_allclose(back[16, 16::32].astype(int), SWATCHES, atol=3)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_times_are_kept(suffix, tmp_path):
    times = [0, 0.04, 0.1, 0.5, 0.51, 2.25]
    shape = (48, 64, 3 if suffix == ".mp4" else 4)
    frames = [np.full(shape, 40 * i, np.uint8) for i in range(6)]
    path = write(tmp_path / f"a{suffix}", frames, times=times, alpha=shape[2] == 4)
    atol = 1e-3 if suffix == ".webm" else 1e-4  # Its clock ticks in milliseconds.
    assert_allclose([f.time for f in read_frames(path)], times, atol=atol)


@pytest.mark.parametrize(
    "suffix, decoder", [(".webm", "libvpx-vp9"), (".mov", "prores")]
)
def test_alpha_is_read_back(suffix, decoder, tmp_path):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    frames = [np.dstack([picture(i), np.roll(ramp, 5 * i, 1)]) for i in range(5)]
    path = write(tmp_path / f"a{suffix}", frames, alpha=True)
    back = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r")
        if stream.codec_context.extradata:
            context.extradata = stream.codec_context.extradata
        context.codec_tag = stream.codec_context.codec_tag
        context.width, context.height = 64, 48
        for packet in container.demux(stream):
            for frame in context.decode(packet if packet.size else None):
                back.append(frame.to_ndarray(format="rgba"))
    assert len(back) == 5
    for frame, original in zip(back, frames, strict=True):
        assert psnr(frame[..., 3], original[..., 3]) > 30
        assert psnr(frame[..., :3], original[..., :3]) > 35


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_the_same_frames_give_the_same_bytes(suffix, tmp_path):
    size = (120, 214)
    frames = [picture(i, size) for i in range(12)]
    if suffix != ".mp4":
        frames = [np.dstack([f, f[..., 0]]) for f in frames]
    files, disturbance = set(), []
    for i in range(4):
        path = write(tmp_path / f"{i}{suffix}", frames, alpha=suffix != ".mp4")
        files.add(path.read_bytes())
        disturbance.append(np.random.default_rng(i).bytes(100_000 * i))
    assert len(files) == 1


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.mp4"
    for before in (None, b"before"):
        if before:
            path.write_bytes(before)
        for frames in (0, 1, 30):
            with pytest.raises(KeyError):
                with VideoWriter(path, (48, 64), 25) as writer:
                    for i in range(frames):
                        writer.write(picture(i))
                    raise KeyError
            with pytest.raises(InputError, match="at least one frame"):
                write_nothing(path)
            expected = {path: before} if before else {}
            assert {p: p.read_bytes() for p in tmp_path.iterdir()} == expected


def write_nothing(path):
    with VideoWriter(path, (48, 64), 25):
        pass


def test_invalid_settings_and_frames_are_errors(tmp_path):
    mp4 = tmp_path / "a.mp4"
    for path, size, fps, options in [
        (tmp_path / "a.gif", (4, 4), 25, {}),
        (tmp_path / "a.webm", (4, 4), 25, {}),
        (mp4, (4, 4), 25, {"alpha": True}),
        (mp4, (0, 4), 25, {}),
        (mp4, (10**5, 10**5), 25, {}),
        (mp4, (4, 4), 0, {}),
        (mp4, (4, 4), float("nan"), {}),
        (mp4, (4, 4), 25, {"crf": 52}),
        (tmp_path / "a.mov", (4, 4), 25, {"alpha": True, "crf": 5}),
    ]:
        with pytest.raises(InputError, match=path.name):
            VideoWriter(path, size, fps, **options)
    for frames, times in [
        ([picture(0), picture(0, (48, 66))], None),
        ([picture(0), picture(0).astype(np.float32)], None),
        ([picture(0)] * 2, [1, 1]),
        ([picture(0)], [-1]),
        ([picture(0)], [float("nan")]),
    ]:
        with pytest.raises(InputError, match=r"a\.mp4: frame"):
            write(mp4, frames, times=times)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "missing" / "a.mp4", [picture(0)])
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from movseg_jax.errors import InputError
from movseg_jax.video.writing import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
def write():
    with VideoWriter(path, (64, 64), 25) as writer:
        for frame in frames:
            writer.write(frame)
write()
size = path.stat().st_size
path.unlink()
for limit in (0, 100, 3000, size // 2, size - 2000, size - 500, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write()
        raise SystemExit(f"{limit} of {size} bytes were enough")
    except InputError as error:
        assert "cannot be written" in str(error), error
    assert not list(path.parent.iterdir()), limit
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")]
    result = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, result.stderr


MEMORY = """
import sys
from movseg_jax.video.reading import read_frames
from tests.memory import peak_megabytes
count = sum(1 for _ in read_frames(sys.argv[1]))
print(count, peak_megabytes())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path):
    peaks = []
    for n in (40, 400):
        path = tmp_path / f"{n}.mp4"
        with VideoWriter(path, (480, 854), 25) as writer:
            for i in range(n):
                writer.write(np.roll(picture(0, (480, 854)), 3 * i, 1))
        command = [sys.executable, "-c", MEMORY, str(path)]
        output = subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        count, peak = output.stdout.split()
        assert int(count) == n
        peaks.append(float(peak))
    assert peaks[1] < peaks[0] + 12, peaks  # MiB; ten more frames are 12.


# Mutated files ---------------------------------------------------------------------


def mutants(data, generator, count):
    for _ in range(count):
        mutant = bytearray(data)
        kind = generator.integers(4)
        for _ in range(1 + generator.integers(8)):
            at = int(generator.integers(len(mutant)))
            if kind == 0:
                mutant[at] ^= 1 << generator.integers(8)
            elif kind == 1:
                mutant[at : at + 4] = generator.bytes(4)
            elif kind == 2:
                mutant[at : at + 4] = struct.pack(
                    ">i", generator.choice([0, -1, 2**31 - 1])
                )
            else:
                del mutant[at : at + 1 + int(generator.integers(64))]
        yield bytes(mutant[: generator.integers(len(mutant))] if kind == 3 else mutant)


FUZZED = [
    ("a.mp4", "libx264", "yuv420p"), ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.avi", "mjpeg", "yuvj420p"), ("a.mov", "prores_ks", "yuv422p10le"),
    ("a.mkv", "ffv1", "bgr0"), ("a.ts", "mpeg2video", "yuv420p"),
    ("b.avi", "mpeg4", "yuv420p"), ("a.gif", "gif", "rgb8"),
]  # fmt: skip


def fuzz(seed, count, folder):
    """Every mutant gives frames or an InputError that names it; prints how many."""
    generator = np.random.default_rng(seed)
    outcomes = {"frames": 0, "errors": 0}
    for name, codec, pixels in FUZZED:
        data = make(folder / name, codec, pixels, n=6).read_bytes()
        for number, mutant in enumerate(mutants(data, generator, count)):
            path = folder / f"mutant{number}_{name}"
            path.write_bytes(mutant)
            print(path.name, flush=True)  # So that a crash names its file.
            try:
                for frame in read_frames(path, max_frames=100):
                    assert frame.image.ndim == 3 and frame.image.dtype == np.uint8
                outcomes["frames"] += 1
            except InputError as error:
                assert path.name in str(error), error
                outcomes["errors"] += 1
            path.unlink()
    print(outcomes)


def run_fuzz(seed, count, folder):
    command = [sys.executable, __file__, "fuzz", str(seed), str(count), str(folder)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-200:] + result.stderr[-2000:]
    outcomes = result.stdout.splitlines()[-1]
    assert "'frames': 0" not in outcomes and "'errors': 0" not in outcomes


def test_mutated_files_give_frames_or_input_errors(tmp_path):
    run_fuzz(0, 25, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_mutated_files_give_frames_or_input_errors(seed, tmp_path):
    run_fuzz(seed, 400, tmp_path)


if __name__ == "__main__" and sys.argv[1:2] == ["fuzz"]:
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    fuzz(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
