"""The videos that arguments of a command name: one, or many with a folder each.

One video is a file, an address, standard input, a camera, or frames: a folder or
pattern that holds images. Many videos are a list, a folder or pattern that holds video
files or folders of frames, or several arguments.
"""

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from movseg_jax.errors import InputError
from movseg_jax.system import buckets, paths
from movseg_jax.system.bounded import MAX_LIST_BYTES, read_bytes
from movseg_jax.system.notes import note

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".m1v",
    ".m2v", ".ts", ".m2ts", ".mts", ".vob", ".flv", ".f4v", ".wmv", ".asf", ".ogv",
    ".ogg", ".mxf", ".dv", ".gif", ".3gp", ".3g2", ".y4m", ".mjpeg", ".nut", ".264",
    ".h264", ".265", ".h265", ".hevc", ".ivf",
)  # fmt: skip
LIST_SUFFIX = ".txt"
STDIN = "-"
SCHEMES = ("https",)  # Of addresses that are downloaded, besides those in buckets.
SHOWN = 3  # Files in a note.
LONGEST_NAME = 50  # Characters of a folder that is named after a video.

T = TypeVar("T")


class VideoList(NamedTuple):
    """The videos that were asked for.

    Attributes:
        videos: The videos, as `read_frames` takes them, or addresses. If there are
            several, their paths are absolute.
        several: Whether each has a folder of its own, even if there is only one.
    """

    videos: tuple[str, ...]
    several: bool


def find_videos(arguments: Sequence[str], *, several: bool = False) -> VideoList:
    """Returns the videos that the arguments of a command name.

    Args:
        arguments: Videos, folders, patterns, lists and addresses.
        several: Whether the videos have a folder each, even if it is only one.

    Raises:
        InputError: An argument may be meant in two ways, a list cannot be read, an
            address is of another kind, or one of several videos is standard input or a
            camera.
    """
    arguments = [*map(_checked, arguments)]
    if len(arguments) == 1 and not several:
        found = _expand(arguments[0])
        if found is None:
            return VideoList((arguments[0],), several=False)
        return VideoList(_distinct(found), several=True)
    videos = []
    for argument in arguments:
        found = _expand(argument)
        if found is None and _is_live(argument):
            raise InputError(
                f"{argument}: is not one of several videos, since it cannot be read "
                "again; segment it alone."
            )
        videos += [argument] if found is None else found
    return VideoList(_distinct(videos), several=True)


def is_address(video: str) -> bool:
    """Returns whether a video is to be downloaded."""
    scheme, separator, _ = video.partition("://")
    return bool(separator) and scheme.lower() in (*SCHEMES, *buckets.SCHEMES)


def _checked(video: str) -> str:
    """A video as it is; the scheme of an address in lower case.

    Raises:
        InputError: It is an address that cannot be downloaded.
    """
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", video):
        return video
    if not is_address(video):
        read = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, *buckets.SCHEMES))
        raise InputError(
            f"{video:.200} is an address that is not read; expected a path, or an "
            f"address that starts with one of {read}."
        )
    scheme, separator, rest = video.partition("://")
    return scheme.lower() + separator + rest


def _is_live(video: str) -> bool:
    """Whether a video is standard input or a camera."""
    return video == STDIN or paths.is_camera(video)


def _expand(argument: str) -> list[str] | None:
    """The videos that an argument holds; None if it is one video, or is missing."""
    if _is_live(argument) or is_address(argument):
        return None
    path = Path(argument)
    try:
        if path.is_dir():
            return _videos_among(list(path.iterdir()), argument)
        if path.exists():
            is_list = path.suffix.lower() == LIST_SUFFIX
            return read_list(path) if is_list else None
        if glob.has_magic(argument):
            return _videos_among(paths.matching(argument, lambda _: True), argument)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        raise InputError(f"{argument!r:.120}: cannot be read: {error}.") from None
    return None


def _videos_among(found: Iterable[Path], argument: str) -> list[str] | None:
    """The videos among files and folders; None if they are the frames of one video.

    Raises:
        InputError: They may be meant in two ways.
    """
    shown = [path for path in found if not path.name.startswith(".")]
    frames = _first(shown, lambda p: paths.is_image(p.name) and not p.is_dir())
    videos = [p for p in shown if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()]
    if frames is not None and not videos:
        return None
    folders = [path for path in shown if path.is_dir() and _has_images(path)]
    other = f"an image, {frames.name!r}" if frames else ""
    if folders and not other:
        other = f"a folder of images, {folders[0].name!r}"
    if videos and other:
        raise InputError(
            f"{argument}: holds a video, {videos[0].name!r}, and {other}, so it is not "
            f'clear what to segment. Name the videos alone ("*{videos[0].suffix}", in '
            "quotes), or the images."
        )
    # One kind at most is left; without any, reading says what is there instead.
    ordered = _in_order(videos or folders)
    others = [path.name for path in _in_order({*shown}.difference(videos))]
    if videos and others:
        more = ", ..." if len(others) > SHOWN else ""
        note(
            f"{argument}: what does not have the suffix of a video is left out "
            f"({len(others)}): {', '.join(others[:SHOWN])}{more}."
        )
    return [str(path) for path in ordered] or None


def _in_order(found: Iterable[Path]) -> list[Path]:
    return sorted(found, key=lambda path: paths.natural_key(str(path)))


def _first(found: list[Path], wanted: Callable[[Path], bool]) -> Path | None:
    return min(filter(wanted, found), default=None)


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(paths.is_image(entry.name) and entry.is_file() for entry in entries)


def read_list(file: Path) -> list[str]:
    """Returns the videos that a list names, one in each line.

    Paths are relative to the list's folder, and may stand in quotes. Empty lines and
    those that start with "#" are left out. Names may have bytes that are not UTF-8, as
    those of files may.

    Raises:
        InputError: The list cannot be read, or names no video; or a line has a NUL, or
            is an address that cannot be downloaded.
    """
    data = read_bytes(file, MAX_LIST_BYTES, "bounded.MAX_LIST_BYTES")
    videos = []
    for line in data.decode("utf-8-sig", "surrogateescape").splitlines():
        video = re.sub(r"""^(["'])(.+)\1$""", r"\2", line.strip())
        if not video or video.startswith("#"):
            continue
        if "\0" in video:
            raise InputError(f"{file}: {video!r:.120} is not a file's name.")
        try:
            video = _checked(video)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        videos.append(video if is_address(video) else str(file.parent / video))
    if not videos:
        raise InputError(f"{file}: names no video; expected a path in each line.")
    return videos


def _distinct(videos: Iterable[str]) -> tuple[str, ...]:
    """The videos by their absolute paths, each once."""
    return tuple(
        dict.fromkeys(
            video if is_address(video) else os.path.abspath(video) for video in videos
        )
    )


def title(video: str) -> str:
    """Returns a name for the results of a video: its file's without the suffix."""
    if video == STDIN:
        return "stdin"
    text = re.split(r"[?#]", video)[0] if is_address(video) else video
    if paths.is_camera(text):
        return f"camera{text}"
    path = Path(os.path.abspath(text))
    if glob.has_magic(text) and not path.exists():  # A pattern of frames.
        path = next(p for p in path.parents if not glob.has_magic(p.name))
    is_file = path.suffix.lower() in (*VIDEO_SUFFIXES, *paths.IMAGE_SUFFIXES)
    name = path.stem if is_file or path.is_file() else path.name
    return re.sub(r"[\x00-\x1f\x7f/\\]", "_", name).lstrip(".") or "video"


def default_folder(argument: str) -> Path:
    """Returns where results go by default: beside the video, or in this folder."""
    name = f"{title(argument)}_movseg"
    if _is_live(argument) or is_address(argument):
        return Path(name)
    path = Path(argument)
    if path.name in ("", ".."):  # "." or "..", perhaps after other folders.
        path = Path(os.path.abspath(path))
    return path.with_name(name)


def name_folders(
    videos: Sequence[str], known: Mapping[str, str], reserved: Iterable[str] = ()
) -> dict[str, str]:
    """Returns the name of the folder of each video's results.

    It is the video's title. Where two are alike, a hash of the path follows, so that
    names do not depend on the order of the videos.

    Args:
        videos: The videos, by absolute paths or addresses.
        known: The names of videos that have one; they stay.
        reserved: Names that no video may have.
    """
    names = {video: known[video] for video in videos if video in known}
    new = [video for video in videos if video not in names]
    # File systems may not distinguish capitals.
    counts = Counter(title(video)[:LONGEST_NAME].casefold() for video in new)
    taken = {name.casefold() for name in (*known.values(), *reserved)}
    for video in sorted(new):
        whole = title(video)
        alike = len(whole) > LONGEST_NAME or counts[whole.casefold()] > 1
        possible = [*([] if alike else [whole]), *hashed_names(video)]
        names[video] = next(name for name in possible if name.casefold() not in taken)
        taken.add(names[video].casefold())
    return {video: names[video] for video in videos}


def hashed_names(video: str) -> Iterator[str]:
    """Gives names for a video's folder that hardly any other video has.

    The next one is for the case that another video has the one before.
    """
    digest = hashlib.sha256(os.fsencode(video)).hexdigest()
    for digits in (8, 16, 32, 64):
        yield f"{title(video)[:LONGEST_NAME]}-{digest[:digits]}"


class Shard(NamedTuple):
    """A part of a list of videos, such as the second of eight.

    Attributes:
        number: Number of the part, from 1.
        parts: Number of parts.
    """

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads a shard such as "2/8".

        Raises:
            InputError: It does not have this form.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.parts:
            raise InputError(
                f"`shard` is {text!r:.40}, expected a number from 1 and the number of "
                "shards, such as 1/8 to 8/8."
            )
        return shard

    def of(self, videos: Sequence[T]) -> list[T]:
        """Returns the videos, or their rows, of this part: every one in `parts`."""
        return [*videos[self.number - 1 :: self.parts]]


WHOLE = Shard(1, 1)  # All videos.
