"""Differences between the files of other programs and their formats.

Each function here handles one such difference for a whole file: it says in a note how
the file was read, and refuses one that could be read in two ways.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import parsing
from movseg_jax.formats.survey import MAX_ID
from movseg_jax.results import Sighting, joined
from movseg_jax.system.notes import note
from movseg_jax.system.paths import natural_key

Row = Mapping[str, Any]

# Where an annotation has its track: TAO's and ours; CocoVID's, of MMTracking. CVAT has
# them in "attributes".
TRACK_KEYS = ("track_id", "instance_id")
# Where an image has its place in the video: TAO's and ours; CocoVID's; others'; and
# seconds, which our files of earlier versions have alone.
PLACE_KEYS = ("frame_index", "frame_id", "frame_number", "frame", "time")
# Scores up to this may be more than 1 by rounding, or as the authors' tracker raises
# those that may start a track.
MOST_NEAR_ONE = 2.01
SHOWN = 10  # Videos in a message.


def choose_video(
    videos: Mapping[int | str, str], wanted: int | str | None, path: Path
) -> int | str:
    """The key of the video to read.

    Args:
        videos: The name of each video by its id; "" where it has none.
        wanted: The id or the name of one; None where there is only one.
        path: The file, for messages.

    Raises:
        InputError: There are several and none is wanted, or not that one.
    """
    if wanted is None:
        found = list(videos)
    else:
        found = [key for key in videos if str(key) == str(wanted)]
        found = found or [key for key, name in videos.items() if name == str(wanted)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(
        f"{key}: {name}" if name and name != key else str(key)
        for key, name in list(videos.items())[:SHOWN]
    )
    more = f", and {len(videos) - SHOWN} more" if len(videos) > SHOWN else ""
    asked = "" if wanted is None else f", and none or several are {wanted!r}"
    raise InputError(
        f"{path}: is of {len(videos)} videos ({shown or 'none'}{more}){asked}; "
        "expected one: choose it by its id or name (--sequence of `movseg "
        "convert-tracks`)."
    )


def time_order(images: Sequence[Row], names: Sequence[str], path: Path) -> list[int]:
    """The numbers of a video's images in order of time.

    Images are ordered by a number that each has for its place in the video. Without one
    they are ordered by their names, if these differ in numbers only, or are in natural
    order already.

    Args:
        images: The rows of a video's images.
        names: Their frames' names, each once.
        path: The file, for messages.

    Raises:
        InputError: Neither tells; or two images have the same place.
    """
    listed = list(range(len(images)))
    for key in PLACE_KEYS:
        places: list[float] = [
            row[key] for row in images if type(row.get(key)) in (int, float)
        ]
        if len(places) < len(images):
            continue
        order = sorted(listed, key=places.__getitem__)
        pairs = itertools.pairwise(order)
        equal = [(a, b) for a, b in pairs if places[a] == places[b]]
        if equal and key == "time":  # As in some damaged videos.
            continue
        if equal:
            a, b = equal[0]
            raise InputError(
                f'{path}: images {a} and {b} both have "{key}" {places[a]}; expected '
                "each frame of a video once."
            )
        return _said(order, f'"{key}"', path)
    order = sorted(listed, key=lambda i: natural_key(names[i]))
    patterns = {re.sub("[0-9]+", "0", name) for name in names}
    if order != listed and len(patterns) > 1:
        raise InputError(
            f"{path}: its images are not in the order of their names, and the names, "
            f"such as {names[0]!r:.80} and {names[1]!r:.80}, differ not only in "
            'numbers; expected "frame_index" in every image, its number in the video.'
        )
    return _said(order, "their names", path)


def _said(order: list[int], by: str, path: Path) -> list[int]:
    if order != sorted(order):
        note(f"{path}: its images are not in order of time; they are read by {by}.")
    return order


def track_ids(rows: Sequence[Row], path: Path) -> list[int]:
    """The track of each annotation, from 1.

    Args:
        rows: The annotations of a video.
        path: The file, for messages.

    Raises:
        InputError: One has no number of a track, or another key than the others.
    """
    found = [_own_ids(row) for row in rows]
    key = next((key for ids in found for key in ids), TRACK_KEYS[0])
    if key not in TRACK_KEYS:
        note(f"{path}: tracks are read from {key}.")
    ids = []
    for number, own in enumerate(found):
        try:
            ids.append(parsing.integer(own, key, f"{path}: annotation {number}", low=0))
        except InputError as error:
            raise InputError(
                f"{error} Every annotation needs its track; those of single images "
                "are no tracks."
            ) from None
    return from_one(ids, path)


def _own_ids(row: Row) -> dict[str, Any]:
    attributes = row.get("attributes")
    attributes = attributes if isinstance(attributes, Mapping) else {}
    own = {key: row[key] for key in TRACK_KEYS if row.get(key) is not None}
    within = {
        f'"attributes" "{key}"': attributes[key]
        for key in TRACK_KEYS
        if attributes.get(key) is not None
    }
    return own | within


def from_one(ids: list[int], path: Path) -> list[int]:
    """Tracks' numbers, raised by one where they count from 0."""
    if 0 not in ids:
        return ids
    if max(ids) >= MAX_ID:
        raise InputError(f"{path}: tracks are numbered from 0 to {max(ids)}.")
    note(f"{path}: tracks are numbered from 0; 1 is added, as 0 is the background.")
    return [track + 1 for track in ids]


def score_unit(values: Iterable[Any], path: Path) -> float:
    """The divisor of scores: 100 where they are in percent, else 1.

    Args:
        values: All scores of the file; what is no number is looked at elsewhere.
        path: The file, for messages.
    """
    numbers = [value for value in values if type(value) in (int, float)]
    most = max(numbers, default=0)
    if not MOST_NEAR_ONE < most <= 100 or min(numbers) < 0:
        return 1.0
    note(f"{path}: scores are up to {most}, so that they are read as percent.")
    return 100.0


def check_names(names: Iterable[Any], path: Path) -> None:
    """Says so where the names of images are paths of Windows, which `stem` reads."""
    if any(isinstance(name, str) and "\\" in name for name in names):
        note(f'{path}: names of images are read as paths of Windows, joined by "\\".')


class Pieces:
    """The sightings of a video; of a track that is twice in a frame the pieces joined.

    See `results.joined`.
    """

    def __init__(self, path: Path, *, overlapping: bool = True):
        """Holds nothing yet.

        Args:
            path: The file, for messages.
            overlapping: Whether two pieces of one track may overlap.
        """
        self._path, self._overlapping = path, overlapping
        self._frames: dict[int, dict[int, Sighting]] = {}
        self._joined = 0

    def add(self, index: int, sighting: Sighting, where: str) -> None:
        """Adds a sighting of a frame, painted over those before.

        Raises:
            InputError: It overlaps with another piece, and must not.
        """
        there = self._frames.setdefault(index, {})
        other = there.get(sighting.id)
        if other is None:
            there[sighting.id] = sighting
            return
        both = joined([other, sighting])
        areas = masks.area(other.mask) + masks.area(sighting.mask)
        if not self._overlapping and areas != masks.area(both.mask):
            raise InputError(
                f"{where}: is there twice, with pixels in common; expected an object "
                "once in a frame."
            )
        self._joined += 1
        there[sighting.id] = both

    def finish(self) -> dict[int, tuple[Sighting, ...]]:
        """The sightings by frame, in the order in which their first pieces came."""
        if self._joined:
            note(
                f"{self._path}: {self._joined} annotations are of a track that is in "
                "the frame already; they are read as pieces of one object."
            )
        return {index: tuple(there.values()) for index, there in self._frames.items()}
