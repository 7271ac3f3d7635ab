"""Videos that are not files: addresses and standard input, copied to a folder.

A video is known by its address, or by the hash of what standard input gave, and not by
the path of its copy. So a run that was stopped recognises it when it is copied again,
perhaps on another machine.
"""

import contextlib
import hashlib
import http.client
import io
import os
import re
import secrets
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from movseg_jax.errors import InputError
from movseg_jax.segment import video_list
from movseg_jax.segment.video_list import is_address
from movseg_jax.system import buckets
from movseg_jax.system.atomic import make_folder, whole_file
from movseg_jax.system.process import installed_version, user_cache
from movseg_jax.video.reading import fingerprint

MAX_BYTES = 2**34  # Of a video; 16 GiB.
TIMEOUT = 60.0  # Seconds without an answer.
CHUNK = 2**20  # Bytes.


def address_name(video: str) -> str | None:
    """Returns the name of an address in results; None for other videos.

    A hash stands for the part after a question mark, which may be a password.
    """
    if not is_address(video):
        return None
    shown, *rest = re.split("[?#]", video, maxsplit=1)
    return f"{shown}?{_hash(video)}" if rest else video


def identifies(known: object, video: str) -> bool:
    """Whether a stored `fingerprint` is that of a video; downloads nothing.

    An address is compared without the size, which is a part of its fingerprint.
    """
    if is_address(video):
        return str(known).rpartition(" (")[0] == address_name(video)
    try:
        return known == fingerprint(video)
    except InputError:  # There is no such video.
        return False


def _hash(video: str) -> str:
    return hashlib.sha256(os.fsencode(video)).hexdigest()[:16]


def _cache() -> Path:
    return user_cache() / "videos"


def fetched(video: str, folder: Path | None = None) -> str:
    """Returns a path to read a video from; an address is downloaded if it is not there.

    Args:
        video: The video.
        folder: The folder for copies; None is the user's cache.

    Raises:
        InputError: It cannot be downloaded: there is no such file, the network fails,
            it leads to an address that is not https, or has more than `MAX_BYTES`.
    """
    if not is_address(video):
        return video
    path = urllib.parse.unquote(re.split("[?#]", video)[0])
    name = re.sub(r"[^\w.-]", "_", Path(path).name)[-80:].lstrip(".")
    copy = (folder or _cache()) / _hash(video) / (name or "video")
    if copy.is_file():
        return str(copy)
    make_folder(copy.parent)
    if buckets.bucket_address(video):
        with whole_file(copy) as temporary:
            buckets.download(video, temporary, MAX_BYTES)
    else:
        _fetch(video, copy)
    return str(copy)


def _fetch(video: str, copy: Path) -> None:
    """Downloads from an https address."""
    try:
        request = urllib.request.Request(
            video, headers={"User-Agent": f"movseg_jax/{installed_version() or '0'}"}
        )
        with _opener().open(request, timeout=TIMEOUT) as answer:
            stated = answer.headers.get("Content-Length", "")
            size = int(stated) if stated.isdecimal() else None
            _check_size(video, size or 0)
            with whole_file(copy) as temporary:
                read = _copy(_reading(answer.read, video), temporary, video)
                if size is not None and read != size:
                    raise InputError(
                        f"{video}: its download ended after {read} of {size} bytes; "
                        "try again."
                    )
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(
            f"{video}: cannot be downloaded: {error.code} {error.reason}."
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _not_downloaded(video, error) from None


def _reading(read: Callable[[int], bytes], video: str) -> Callable[[int], bytes]:
    """Reads from the network; its errors are not those of the file written to."""

    def checked(size: int) -> bytes:
        try:
            return read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _not_downloaded(video, error) from None

    return checked


def _not_downloaded(video: str, error: Exception) -> InputError:
    reason = getattr(error, "reason", error)
    return InputError(f"{video}: cannot be downloaded: {reason}.")


class _OnlySafe(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if newurl.partition("://")[0] not in video_list.SCHEMES:
            raise InputError(
                f"{req.full_url}: leads to {newurl:.200}, which is not https; expected "
                "an address of the video itself."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_OnlySafe)


def _check_size(video: str, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"{video}: has more than {MAX_BYTES} bytes (fetching.MAX_BYTES); store it "
            "in a file yourself, and name that."
        )


def _copy(read: Callable[[int], bytes], target: Path, video: str) -> int:
    """Copies to a file; returns the number of bytes."""
    count = 0
    with target.open("wb") as file:
        while data := read(CHUNK):
            count += len(data)
            _check_size(video, count)
            file.write(data)
    return count


@contextlib.contextmanager
def standard_input(stream: io.BufferedIOBase | None = None) -> Iterator[str]:
    """Gives a path to read standard input from, in a folder named by its content.

    It is removed after the block, unless that raises: then a run that was stopped can
    resume if it gets the same input.

    Args:
        stream: The input; None is that of this process.

    Raises:
        InputError: It is a terminal, empty or too large.
    """
    source = sys.stdin.buffer if stream is None else stream
    if source.isatty():
        raise InputError(
            "-: standard input is a terminal; expected a video from a pipe."
        )
    folder = _cache()
    make_folder(folder)
    partial = folder / f".stdin.{secrets.token_hex(4)}.tmp"
    try:
        if not _copy(source.read, partial, "-"):
            raise InputError("-: standard input is empty; expected a video.")
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        copy = folder / f"stdin-{digest[:16]}" / "stdin"
        make_folder(copy.parent)
        partial.replace(copy)
    except OSError as error:
        raise InputError(f"-: standard input cannot be copied: {error}.") from None
    finally:
        partial.unlink(missing_ok=True)
    yield str(copy)
    shutil.rmtree(copy.parent, ignore_errors=True)
