"""Reading files whose size is bounded, so that no file exhausts the memory."""

import json
import stat
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError

MAX_LIST_BYTES = 2**24  # A list of names; the longest one of DAVIS has 200 KB.
MAX_JSON_BYTES = 2**30  # Annotations; those of COCO have 470 MB.


def check_format(found: object, known: int, source: object) -> None:
    """Refuses a file whose format number is not known here.

    Raises:
        InputError: The numbers differ; a newer version may have written the file.
    """
    if found != known:
        raise InputError(
            f"{source}: has format {found!r:.20}; this version of movseg-jax reads "
            f"format {known}."
        )


def read_bytes(file: Path, max_bytes: int, limit: str) -> bytes:
    """Returns the content of a file.

    Args:
        file: The path of a regular file; reading a pipe or a device may never end.
        max_bytes: The largest size that is read.
        limit: The name of the constant or option that sets `max_bytes`, for messages.

    Raises:
        InputError: The file is missing, unreadable, larger, or not a regular file.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{file}: is not a file.")
        data = b""
        if status.st_size <= max_bytes:
            with file.open("rb") as stream:
                data = stream.read(max_bytes + 1)  # It may be growing.
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: cannot be read: {error}.") from None
    size = max(status.st_size, len(data))
    if size > max_bytes:
        raise InputError(
            f"{file}: has {size} bytes, expected at most {max_bytes} ({limit})."
        )
    return data


def read_text(
    file: Path,
    max_bytes: int = MAX_LIST_BYTES,
    limit: str = "bounded.MAX_LIST_BYTES",
) -> str:
    """Returns the content of a text file in UTF-8, with any line ends.

    Raises:
        InputError: `read_bytes` refuses the file, or it is not UTF-8.
    """
    try:
        return read_bytes(file, max_bytes, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not text in UTF-8: {error}.") from None


def read_json(file: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        InputError: `read_text` refuses the file, or it is not a JSON object.
    """
    try:
        value = json.loads(
            read_text(
                file, max_bytes, "bounded.MAX_JSON_BYTES or the option max_json_bytes"
            )
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is not JSON, or cut off: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected a JSON object, found a {type(value)}.")
    return value
