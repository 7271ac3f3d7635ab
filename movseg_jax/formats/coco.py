"""Tracks in COCO's JSON: an image per frame, an annotation per sighting.

Lin et al., "Microsoft COCO: Common objects in context", ECCV 2014. `COCO(file)` of
pycocotools loads it, and its `loadRes(file's "annotations")` takes them for results.
`track_id` says which annotations are one object, and `frame_index` which image is the
first, as in TAO (Dave et al., ECCV 2020).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import dialects, parsing
from movseg_jax.formats.json_text import CATEGORIES, info, to_text, write_list
from movseg_jax.formats.survey import box_of, check_suffix, stem
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file


def write_coco(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    image_suffix: str = ".jpg",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes all frames, numbered from 1, and their sightings in the order to paint.

    Args:
        tracks: The tracked frames.
        out: The file.
        image_suffix: The suffix of the frames' files.
        provenance: Values for the file's "info".

    Raises:
        InputError: An option is not valid, or the file cannot be written.
    """
    check_suffix(image_suffix, out)
    head = info(provenance, out)
    with whole_file(out) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write(f'{{"info":{head},\n"images":')
            write_list(file, _images(tracks, image_suffix))
            file.write(f',\n{CATEGORIES},\n"annotations":')
            write_list(file, _annotations(tracks))
            file.write("}\n")


def read_coco(
    data: Any, path: Path, *, sequence: int | str | None = None
) -> parsing.Recorded:
    """Reads images as the frames of one video, in order of time.

    That is the order of their numbers in the video, of their names, or of the file if
    that agrees: see `dialects.time_order`. Images are of several videos if they differ
    in "video_id", or else in the folder of "file_name". What others' files lack is as
    in ground truth: scores are 1 and all moves.

    Args:
        data: The file's content, from `parsing.read_json`.
        path: The file, for messages.
        sequence: The id or name of the video, needed if the images are of several.

    Raises:
        InputError: It is malformed, an annotation has no track, the order of the images
            cannot be told, or there is no such video.
    """
    indices, frames = _read_frames(data, sequence, path)
    rows, by_image = parsing.rows(data, "annotations", path), []
    for number, row in enumerate(rows):
        where = f"{path}: annotation {number}"
        image = parsing.integer(row, "image_id", where, low=0)
        if image not in indices:
            raise InputError(f"{where}: there is no image {image}.")
        if indices[image] is not None:
            by_image.append((where, indices[image], row))
    of_video = [row for _, _, row in by_image]
    tracks = dialects.track_ids(of_video, path)
    unit = dialects.score_unit((row.get("score") for row in of_video), path)
    reader, pieces = parsing.MaskReader(), dialects.Pieces(path)
    for (where, index, row), track in zip(by_image, tracks, strict=True):
        sighting = Sighting(
            track,
            reader.read(row.get("segmentation"), frames.size, source=where),
            parsing.score(row.get("score"), where, unit),
            parsing.flag(row.get("moving"), where),
            parsing.motion(row.get("motion"), where),
        )
        pieces.add(index, sighting, where)
    return parsing.Recorded(
        len(frames.names),
        frames.size,
        pieces.finish(),
        names=frames.names,
        times=frames.times,
    )


class _Frames(NamedTuple):
    """A video's frames in order of time, as far as they are known."""

    size: masks.Size
    names: list[str]
    times: list[float | None]


def _read_frames(
    data: Any, sequence: int | str | None, path: Path
) -> tuple[dict[int, int | None], _Frames]:
    """The frames of the video, and the number of each image's frame by the image's id.

    The number is None for images of other videos.
    """
    images = parsing.rows(data, "images", path)
    parsing.check_count(len(images), str(path))
    indices: dict[int, int | None] = {}
    for number, row in enumerate(images):
        image = parsing.integer(row, "id", f"{path}: image {number}", low=0)
        if image in indices:
            raise InputError(f'{path}: two images have the same "id", {image}.')
        indices[image] = None
    keys = _videos(data, images, path)
    chosen = dialects.choose_video(keys.names, sequence, path)
    numbers = [n for n, key in enumerate(keys.of_image) if key == chosen]
    rows = [images[n] for n in numbers]
    names, size = [], None
    for number, row in zip(numbers, rows, strict=True):
        where = f"{path}: image {number}"
        names.append(stem(row.get("file_name", ""), where))
        of_image = parsing.size(row, where)
        size = size or of_image
        if size != of_image:
            raise InputError(
                f"{where} is of size {of_image}, the first of {size} (height, "
                "width); expected the frames of one video."
            )
    assert size is not None  # There is an image.
    if len(set(names)) < len(names):
        raise InputError(f'{path}: two images have the same "file_name".')
    dialects.check_names((row.get("file_name") for row in rows), path)
    order = dialects.time_order(rows, names, path)
    for place, i in enumerate(order):
        indices[parsing.integer(rows[i], "id", str(path), low=0)] = place
    times = [
        parsing.real(rows[i].get("time"), f"{path}: image {numbers[i]}", '"time"')
        for i in order
    ]
    return indices, _Frames(size, [names[i] for i in order], times)


class _Videos(NamedTuple):
    """The videos that images are of."""

    of_image: list[int | str]  # The video's key for each image.
    names: dict[int | str, str]  # By the video's key.


def _videos(data: Any, images: Sequence[Mapping[str, Any]], path: Path) -> _Videos:
    if all(row.get("video_id") is not None for row in images):
        ids: list[int | str] = [
            parsing.integer(row, "video_id", f"{path}: image {number}", low=0)
            for number, row in enumerate(images)
        ]
        listed = data.get("videos")
        names = dict.fromkeys(ids, "")
        for row in listed if isinstance(listed, list) else ():
            own = (row.get("id"), row.get("name")) if isinstance(row, Mapping) else ()
            match own:
                case (int() as key, str() as name) if key in names:
                    names[key] = name
        return _Videos(ids, names)
    folders: list[int | str] = [
        str(row.get("file_name", "")).replace("\\", "/").rpartition("/")[0]
        for row in images
    ]
    return _Videos(folders, {f: str(f).rpartition("/")[2] for f in folders})


def _images(tracks: Sequence[TrackedFrame], image_suffix: str) -> Iterator[str]:
    for number, frame in enumerate(tracks, start=1):
        yield to_text(
            {
                "id": number,
                "frame_index": number - 1,
                "file_name": frame.name + image_suffix,
                "width": frame.size[1],
                "height": frame.size[0],
                "time": frame.time,
            }
        )


def _annotations(tracks: Sequence[TrackedFrame]) -> Iterator[str]:
    count = 0
    for number, frame in enumerate(tracks, start=1):
        for sighting in frame.sightings:
            count += 1
            text = to_text(
                {
                    "id": count,
                    "image_id": number,
                    "category_id": 1,
                    "track_id": int(sighting.id),
                    "iscrowd": 0,
                    "area": masks.area(sighting.mask),
                    "bbox": box_of(sighting.mask),
                    "score": float(sighting.score),
                    "moving": bool(sighting.moving),
                    "motion": float(sighting.motion),
                    "segmentation": masks.to_json(sighting.mask),
                }
            )
            yield f"\n{text}"
