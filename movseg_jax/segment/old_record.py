"""Detections that version 0.1.0 recorded, as lines of JSON.

Its unfinished runs resume: what they have recorded is copied into a `Record`.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.record import Record, RecordedFrame

OLD_RECORD = "detections.jsonl"  # In the folder's `.movseg`.
MAX_LINE = 2**27  # Bytes: thousands of detections.


def import_old_record(old: Path, new: Path, about: dict[str, Any]) -> None:
    """Copies an old file of detections into a new record, then removes it.

    The old file is removed last. So if it is there, an import was killed, and the new
    file beside it is made again.

    Args:
        old: The old file, which may be missing.
        new: The file of the record.
        about: JSON that says whose detections these are, as for `Record`.

    Raises:
        InputError: The old file is about something else or damaged.
    """
    if not old.exists():
        return
    for suffix in ("", "-wal"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    with Record(new, about) as record, old.open("rb") as file:
        header = file.readline(MAX_LINE)
        if header != json.dumps(about, sort_keys=True).encode() + b"\n":
            if header.endswith(b"\n"):
                raise InputError(
                    f"{old}: has detections of another video, or made with other "
                    "settings."
                )
        # A process that was killed may have left the last line incomplete.
        while (line := file.readline(MAX_LINE)).endswith(b"\n"):
            record.add(_parse(line, f"{old}, frame {len(record)}"))
    old.unlink()


def _parse(line: bytes, source: str) -> RecordedFrame:
    try:
        row = json.loads(line)
        height, width = row["size"]
        size = (int(height), int(width))
        moving, static = (
            tuple(_detection(d, size, source) for d in row[kind])
            for kind in ("moving", "static")
        )
        detections = FrameDetections(moving, static, bool(row["cut"]))
        return RecordedFrame(str(row["name"]), row["time"], size, detections)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{source}: is damaged: {error!r:.200}; start anew, with `overwrite=True`."
        ) from None


def _detection(row: Any, size: masks.Size, source: str) -> Detection:
    counts, score, *numbers, colour = row
    mask = masks.from_json({"size": list(size), "counts": counts}, size, source=source)
    motion, x, y = (math.nan if n is None else float(n) for n in numbers)
    return Detection(mask, float(score), motion, (x, y), base64.b64decode(colour))
