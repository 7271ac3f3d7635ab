"""Writing JSON that strict readers accept, with the same bytes for the same values."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from movseg_jax.errors import InputError
from movseg_jax.system.bounded import check_format

# The only category of our files, as COCO and YouTube-VIS list them.
CATEGORIES = '"categories":[{"id":1,"name":"object","supercategory":"object"}]'


def to_text(value: Any) -> str:
    """Returns a value as compact JSON; NaN and infinity become null."""
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)


# The format of our own fields, in "info"; files without it are of format 1. It is
# raised when an older version would misread a newer file.
FORMAT = 1
DESCRIPTION = "tracks by movseg_jax"


def info(provenance: Mapping[str, Any] | None, out: Path) -> str:
    """Returns the "info" of a file, as COCO defines it.

    Args:
        provenance: The caller's account of where the tracks come from; any JSON.
        out: The file, for messages.

    Raises:
        InputError: The provenance cannot be written as JSON.
    """
    try:
        return to_text(
            {
                "description": DESCRIPTION,
                "format": FORMAT,
                "provenance": provenance or {},
            }
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{out}: the provenance is not JSON: {error}.") from None


def refuse_newer(data: Any, path: Path) -> None:
    """Refuses a file of ours that a newer version wrote.

    Raises:
        InputError: The file's format is not known here.
    """
    about = data.get("info") if isinstance(data, dict) else None
    if isinstance(about, dict) and about.get("description") == DESCRIPTION:
        check_format(about.get("format", FORMAT), FORMAT, path)


def write_list(file: TextIO, items: Iterable[str]) -> None:
    """Writes a list whose items are JSON already."""
    file.write("[")
    for number, item in enumerate(items):
        file.write(f",{item}" if number else item)
    file.write("]")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
