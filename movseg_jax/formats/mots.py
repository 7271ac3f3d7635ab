"""Tracks as text, a sighting per line: MOTS' masks and MOTChallenge's boxes.

    time_frame id class_id img_height img_width rle                        MOTS
    frame,id,bb_left,bb_top,bb_width,bb_height,conf,-1,-1,-1               MOTChallenge

Voigtlaender et al., "MOTS: Multi-object tracking and segmentation", CVPR 2019. Its
masks do not overlap, and an id is 1000 times the class and then the object's number.
Leal-Taixé et al., "MOTChallenge 2015", 2015. Both count frames from 1, KITTI MOTS from
0; MOTChallenge counts pixels from 1, too.

A class is 1 for cars and 2 for pedestrians. TrackEval's reader of MOTSChallenge looks
at pedestrians alone, that of KITTI MOTS at one of the two at a time.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import dialects, parsing
from movseg_jax.formats.survey import Survey, box_of, visible
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file

PEDESTRIAN = 2  # The class that MOTSChallenge evaluates.
IDS_OF_CLASS = 1_000
IGNORE = 10_000  # The id of regions that MOTS leaves out.


def write_mots(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    class_id: int = PEDESTRIAN,
    first_frame: int = 1,
) -> None:
    """Writes what is visible of each track when the later is painted over the earlier.

    Args:
        tracks: The tracked frames.
        out: The file.
        surveyed: The survey of the tracks.
        class_id: The class of all objects, 1 to 9; 10 are regions to ignore.
        first_frame: The number of the first frame, 0 or 1.

    Raises:
        InputError: A track's number is above 999, where the next class begins; an
            option is out of range; or the file cannot be written.
    """
    ids = surveyed.ids
    if ids and ids[-1] >= IDS_OF_CLASS:
        raise InputError(
            f"{out}: of {len(ids)} tracks the last is number {ids[-1]}, and MOTS has 1 "
            f'to {IDS_OF_CLASS - 1}; choose "tracks" or "coco", or fewer tracks.'
        )
    if not 1 <= class_id < IGNORE // IDS_OF_CLASS:
        raise InputError(f"{out}: `class_id` is {class_id}, expected 1 to 9.")
    if first_frame not in (0, 1):
        raise InputError(f"{out}: `first_frame` is {first_frame}, expected 0 or 1.")
    _write_lines(out, _mots_lines(tracks, class_id, first_frame))


def write_mot(tracks: Sequence[TrackedFrame], out: Path) -> None:
    """Writes the tight box of each mask; empty ones are left out.

    Raises:
        InputError: The file cannot be written.
    """
    _write_lines(out, _mot_lines(tracks))


def read_mots(
    path: Path, *, max_text_bytes: int = parsing.MAX_TEXT_BYTES
) -> parsing.Recorded:
    """Reads MOTS' text, up to the last frame in which something is.

    Frames count from 1, or from 0, as in KITTI MOTS, if there is a line of frame 0.
    Regions to ignore are left out. Where all objects are of one class, an id such as
    1005 is track 5; otherwise tracks are numbered by the ids as they are. Lines of one
    object in one frame are its pieces. The format knows nothing of scores and motion:
    scores are 1, and all moves.

    Args:
        path: The file.
        max_text_bytes: The largest size of the file.

    Raises:
        InputError: It is malformed or too large.
    """
    lines = list(_parse(path, max_text_bytes))
    if not lines:
        raise InputError(f"{path}: holds no sightings; expected one a line.")
    start = min(1, min(frame for frame, *_ in lines))
    size = lines[0][3].size
    one_class = len({class_id for _, _, class_id, _ in lines}) == 1 and all(
        i // IDS_OF_CLASS == class_id and i % IDS_OF_CLASS
        for _, i, class_id, _ in lines
    )
    pieces, count = dialects.Pieces(path, overlapping=False), 0
    for frame, identity, _, mask in lines:
        track = identity % IDS_OF_CLASS if one_class else identity
        where = f"{path}: frame {frame}, object {identity}"
        if mask.size != size:
            raise InputError(
                f"{where} is of size {mask.size}, the first of {size} (height, width); "
                "expected the frames of one video."
            )
        sighting = Sighting(track, mask, 1.0, True, float("nan"))
        pieces.add(frame - start, sighting, where)
        count = max(count, frame - start + 1)
    parsing.check_count(count, str(path))
    return parsing.Recorded(count, size, pieces.finish())


def _parse(path: Path, max_bytes: int) -> Iterator[tuple[int, int, int, masks.Rle]]:
    """Frame, id, class and mask of each line that is none to ignore."""
    text = parsing.read_text(path, max_bytes)
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        where = f"{path}: line {number}"
        plain = all(re.fullmatch("[0-9]{1,9}", field) for field in fields[:5])
        if len(fields) != 6 or not plain:
            expected = '"time_frame id class_id img_height img_width rle"'
            raise parsing.unexpected(where, "the line", line, expected)
        frame, identity, class_id, height, width = map(int, fields[:5])
        if identity == IGNORE:
            continue
        if not identity:
            raise InputError(f"{where}: the object's id is 0, the background.")
        rle = {"size": [height, width], "counts": fields[5]}
        yield frame, identity, class_id, masks.from_json(rle, source=where)


def _mots_lines(
    tracks: Sequence[TrackedFrame], class_id: int, first_frame: int
) -> Iterator[str]:
    for number, frame in enumerate(tracks, start=first_frame):
        height, width = frame.size
        for sighting in visible(frame).sightings:
            if masks.area(sighting.mask):
                identity = class_id * IDS_OF_CLASS + sighting.id
                rle = sighting.mask.counts.decode("ascii")
                yield f"{number} {identity} {class_id} {height} {width} {rle}\n"


def _mot_lines(tracks: Sequence[TrackedFrame]) -> Iterator[str]:
    for number, frame in enumerate(tracks, start=1):
        for sighting in frame.sightings:
            x, y, width, height = box_of(sighting.mask)
            if width:
                box = f"{x + 1},{y + 1},{width},{height}"
                yield f"{number},{sighting.id},{box},{sighting.score:.6f},-1,-1,-1\n"


def _write_lines(out: Path, lines: Iterator[str]) -> None:
    with whole_file(out) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
