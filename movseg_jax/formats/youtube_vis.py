"""Tracks in the JSON of YouTube-VIS: a list with an entry per frame for each track.

Yang et al., "Video instance segmentation", ICCV 2019; the files are those that their
API, cocoapi's `pycocotools.ytvos`, loads: `videos`, `categories`, and `annotations`
with `segmentations`, `bboxes` and `areas`, each null where the track is not seen.

What a `TrackedFrame` holds beyond that is in fields of our own, which the API leaves
alone: `scores`, `moving` and `motion` beside `segmentations`; `times` of the frames in
seconds beside `file_names`; `order`, the tracks of each frame as they are painted;
`cuts`, the numbers of the frames with which a new shot starts, counted from 0; and
`first_frame`, if only a part of the video was segmented: the number of its first frame.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import dialects, parsing
from movseg_jax.formats.json_text import (
    CATEGORIES,
    info,
    to_text,
    write_list,
)
from movseg_jax.formats.spool import Spool
from movseg_jax.formats.survey import Survey, box_of, check_suffix, stem
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file

OURS = ("scores", "moving", "motion")
LISTS = ("segmentations", "bboxes", "areas", *OURS)
OF_FRAMES = ("file_names", "times", "order")


# Writing ---------------------------------------------------------------------------


def write_youtube_vis(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    image_suffix: str = ".jpg",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes all tracks as one video.

    Memory grows with the number of tracks only. The file is ordered by track, but the
    tracks come frame by frame; so their rows wait on disk, beside `out`.

    Args:
        tracks: The tracked frames.
        out: The file.
        surveyed: The survey of the tracks.
        image_suffix: The suffix of the frames' files.
        provenance: Values for the file's "info".

    Raises:
        InputError: An option is not valid, or the file cannot be written.
    """
    check_suffix(image_suffix, out)
    head = info(provenance, out)
    with whole_file(out) as temporary, Spool(out.parent) as spool:
        spans, cuts, first = _fill(spool, tracks, image_suffix)
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write(f'{{"info":{head},\n"videos":[')
            _write_video(file, spool, surveyed, cuts, first)
            file.write(f'],\n{CATEGORIES},\n"annotations":[')
            for number, track in enumerate(surveyed.ids):
                file.write(",\n" if number else "\n")
                _write_track(file, spool, track, spans[track], surveyed)
            file.write("\n]}\n")


def _fill(spool: Spool, tracks: Sequence[TrackedFrame], image_suffix: str):
    """Spools the frames. A row of a track has the frame's number, then JSON by line.

    Returns the first and last frame of each track with the sum and number of its
    scores, the frames with which a new shot starts, and the number of the first frame
    in the video.
    """
    spans: dict[int, tuple[int, int, float, int]] = {}
    cuts, first_frame = [], None
    for index, frame in enumerate(tracks):
        if index == 0:
            first_frame = frame.number
        if frame.cut:
            cuts.append(index)
        order = [int(sighting.id) for sighting in frame.sightings]
        values = (frame.name + image_suffix, frame.time, order)
        for key, value in zip(OF_FRAMES, values, strict=True):
            spool.append(key, to_text(value).encode())
        for sighting in frame.sightings:
            score = float(sighting.score)
            first, _, total, count = spans.get(sighting.id, (index, index, 0.0, 0))
            spans[sighting.id] = (first, index, total + score, count + 1)
            values = (
                masks.to_json(sighting.mask),
                box_of(sighting.mask),
                masks.area(sighting.mask),
                score,
                bool(sighting.moving),
                float(sighting.motion),
            )
            texts = [str(index), *map(to_text, values)]
            spool.append(int(sighting.id), "\n".join(texts).encode())
    return spans, cuts, first_frame


def _write_video(
    file: TextIO,
    spool: Spool,
    surveyed: Survey,
    cuts: Sequence[int],
    first_frame: int | None,
) -> None:
    height, width = surveyed.size
    file.write(
        f'{{"id":1,"width":{width},"height":{height},"length":{surveyed.frame_count}'
    )
    for key in OF_FRAMES:
        file.write(f',"{key}":')
        write_list(file, (row.decode() for row in spool.rows(key)))
    file.write(f',"cuts":{to_text(cuts)}')
    if first_frame is not None:
        file.write(f',"first_frame":{first_frame}')
    file.write("}")


def _write_track(
    file: TextIO, spool: Spool, track: int, span, surveyed: Survey
) -> None:
    first, last, total, count = span
    height, width = surveyed.size
    facts = {
        "id": track,
        "video_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "width": width,
        "height": height,
        "length": surveyed.frame_count,
        "score": total / count,
        "first": first,
        "last": last,
    }
    file.write(to_text(facts).removesuffix("}"))
    for place, key in enumerate(LISTS, start=1):
        file.write(f',"{key}":')
        write_list(file, _with_gaps(spool.rows(track), place, surveyed.frame_count))
    file.write("}")


def _with_gaps(rows: Iterator[bytes], place: int, count: int) -> Iterator[str]:
    """Picks an entry of each row, with nulls for the frames between them."""
    next_frame = 0
    for row in rows:
        texts = row.decode().split("\n")
        yield from _nulls(int(texts[0]) - next_frame)
        yield texts[place]
        next_frame = int(texts[0]) + 1
    yield from _nulls(count - next_frame)


def _nulls(count: int) -> Iterator[str]:
    """Gives `count` nulls as one item of a list; nothing if the count is 0."""
    if count:
        yield "null" + ",null" * (count - 1)


# Reading ---------------------------------------------------------------------------


class _Video(NamedTuple):
    """The facts of a video in a file; None where the file does not tell."""

    id: int
    size: tuple[int, int] | None = None
    names: list[str] | None = None
    times: list[float | None] | None = None
    order: list | None = None
    cuts: frozenset[int] = frozenset()
    first_frame: int | None = None


def read_youtube_vis(
    data: Any, path: Path, *, sequence: int | str | None = None
) -> parsing.Recorded:
    """Reads our files, ground truth of YouTube-VIS, or a list of results.

    What others' files lack is as in ground truth: scores are 1 and all moves. A score
    of the whole track is that of each frame. Without "order", the highest score is
    painted last.

    Args:
        data: The file's content, from `parsing.read_json`.
        path: The file, for messages.
        sequence: The video's "id", or the name of its folder in "file_names"; needed if
            the file is of several.

    Raises:
        InputError: It is malformed, or holds no such video.
    """
    if isinstance(data, list):
        annotations, known = _results(data, path), None
    else:
        annotations = parsing.rows(data, "annotations", path)
        known = parsing.rows(data, "videos", path)
    found = _choose(annotations, known, sequence, path)
    rows = [
        (number, row)
        for number, row in enumerate(annotations)
        if parsing.integer(row, "video_id", f"{path}: annotation {number}", low=0)
        == found.id
    ]
    tracks = _track_ids(rows, path)
    unit = dialects.score_unit(_scores(row for _, row in rows), path)
    by_frame: dict[int, list[Sighting]] = {}
    count = None if found.names is None else len(found.names)
    size, reader = found.size, parsing.MaskReader()
    for (number, row), track in zip(rows, tracks, strict=True):
        where = f"{path}: annotation {number}"
        entries = row.get("segmentations")
        if not isinstance(entries, list) or len(entries) != (count or len(entries)):
            expected = f"a list of {count or 'all'} frames"
            raise parsing.unexpected(where, '"segmentations"', entries, expected)
        count = len(entries)
        size = _add_track(row, track, size, by_frame, reader, where, unit)
    if count is None or size is None:
        raise InputError(f"{path}: holds no masks of video {found.id}, nor its size.")
    parsing.check_count(count, f"{path}: video {found.id}")
    _sort(by_frame, found.order, path)
    return parsing.Recorded(
        count,
        size,
        by_frame,
        names=found.names,
        times=found.times,
        cuts=found.cuts,
        first=found.first_frame,
    )


def _results(data: list, path: Path) -> list[Mapping[str, Any]]:
    """The rows of a list of results."""
    rows = parsing.rows({"results": data}, "results", path)
    if rows and "video_id" not in rows[0] and "image_id" in rows[0]:
        raise InputError(
            f"{path}: is a list of COCO's results, which says nothing of the images; "
            'expected an object with "images" and "annotations", the results, of which '
            'each has a "track_id".'
        )
    return rows


def _choose(
    annotations: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]] | None,
    sequence: int | str | None,
    path: Path,
) -> _Video:
    """The video to read; a list of results, whose `known` is None, has only its id."""
    key = "video_id" if known is None else "id"
    by_id: dict[int | str, Mapping[str, Any]] = {}
    for row in annotations if known is None else known:
        by_id.setdefault(parsing.integer(row, key, str(path), low=0), row)
    names = {i: _folder(row) if known is not None else "" for i, row in by_id.items()}
    chosen = dialects.choose_video(names, sequence, path)
    if known is None:
        return _Video(int(chosen))
    return _video(int(chosen), by_id[chosen], path)


def _folder(video: Mapping[str, Any]) -> str:
    """The name of the folder that the video's first frame is in; "" if in none."""
    files = video.get("file_names")
    first = files[0] if isinstance(files, list) and files else ""
    return (["", *re.split(r"[/\\]", str(first))])[-2]


def _track_ids(
    rows: Sequence[tuple[int, Mapping[str, Any]]], path: Path
) -> Sequence[int]:
    """The tracks of annotations, by their ids; otherwise by their place in the file."""
    ids: dict[int, None] = {}  # In the order of the annotations.
    for number, row in rows:
        where = f"{path}: annotation {number}"
        own = parsing.integer(row, "id", where, low=0) if "id" in row else number + 1
        if own in ids:
            raise InputError(f"{where}: there already is a track {own}.")
        ids[own] = None
    return dialects.from_one(list(ids), path)


def _scores(rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """All scores of annotations, of tracks and of their frames."""
    for row in rows:
        yield row.get("score")
        scores = row.get("scores")
        yield from scores if isinstance(scores, list) else ()


def _video(number: int, row: Mapping[str, Any], path: Path) -> _Video:
    where = f"{path}: video {number}"
    size = parsing.size(row, where)
    files = row.get("file_names")
    if not isinstance(files, list) or row.get("length", len(files)) != len(files):
        expected = f'as many names as "length" says, {row.get("length")!r:.20}'
        raise parsing.unexpected(where, '"file_names"', files, expected)
    parsing.check_count(len(files), where)
    names = [stem(name, f"{where}: frame {i}") for i, name in enumerate(files)]
    dialects.check_names(files, path)
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two frames have the same name.")
    times = _entries(row, "times", len(files), where)
    seconds = [parsing.real(t, where, '"times"') for t in times]
    order = _entries(row, "order", len(files), where) if row.get("order") else None
    cuts = row.get("cuts", [])
    known = isinstance(cuts, list) and all(
        type(cut) is int and 0 < cut < len(files) for cut in cuts
    )
    if not known:
        expected = "a list of frames after the first, counted from 0"
        raise parsing.unexpected(where, '"cuts"', cuts, expected)
    first = None
    if row.get("first_frame") is not None:
        first = parsing.integer(row, "first_frame", where, low=0)
    return _Video(number, size, names, seconds, order, frozenset(cuts), first)


def _add_track(
    row, track, size, by_frame, reader, where, unit
) -> tuple[int, int] | None:
    """Adds the sightings of a track; returns the size of the frames, if known."""
    count = len(row["segmentations"])
    lists = [_entries(row, key, count, where) for key in OURS]
    for index, entry in enumerate(row["segmentations"]):
        if entry is None:
            continue
        source = f"{where}, frame {index}"
        mask = reader.read(entry, size, source=source)
        size = mask.size
        score, moving, motion = (values[index] for values in lists)
        sighting = Sighting(
            track,
            mask,
            parsing.score(row.get("score") if score is None else score, source, unit),
            parsing.flag(moving, source),
            parsing.motion(motion, source),
        )
        by_frame.setdefault(index, []).append(sighting)
    return size


def _entries(row: Mapping[str, Any], key: str, count: int, where: str) -> list[Any]:
    """A list with an entry per frame; of nulls, if there is none."""
    values = row.get(key)
    if values is None:
        return [None] * count
    if not isinstance(values, list) or len(values) != count:
        raise parsing.unexpected(where, f'"{key}"', values, f"a list of {count} frames")
    return values


def _sort(by_frame, order: list | None, path: Path) -> None:
    """Puts the sightings of each frame in the order to paint them."""
    for index, sightings in by_frame.items():
        if order is None:
            sightings.sort(key=lambda sighting: sighting.score)
            continue
        by_id = {sighting.id: sighting for sighting in sightings}
        listed = order[index]
        plain = isinstance(listed, list) and all(type(i) is int for i in listed)
        if not plain or sorted(listed) != sorted(by_id):
            expected = f"the tracks of frame {index}: {json.dumps(sorted(by_id))}"
            raise parsing.unexpected(str(path), '"order"', listed, expected)
        sightings[:] = [by_id[i] for i in listed]
