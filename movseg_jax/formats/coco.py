"""Tracks in COCO's JSON: an image per frame, an annotation per sighting.

Lin et al., "Microsoft COCO: Common objects in context", ECCV 2014. `COCO(file)` of
pycocotools loads it, and its `loadRes(file's "annotations")` takes them for results.
`track_id` says which annotations are one object, as in TAO (Dave et al., ECCV 2020).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats import reading
from movseg_jax.formats.json_text import info, to_text, write_list
from movseg_jax.formats.survey import box_of, check_suffix, stem, survey
from movseg_jax.tracks import Sighting, TrackedFrame
from movseg_jax.writing import whole_file


def write_coco(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    image_suffix: str = ".jpg",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes all frames, numbered from 1, and their sightings in the order to paint.

    Args:
        tracks: To write.
        out: The file.
        image_suffix: Of the frames' files; that of frames of a video file is made up.
        provenance: Goes into the file's "info".

    Raises:
        InputError: As `survey.survey`, an option is not valid, or the file cannot be
            written.
    """
    check_suffix(image_suffix, out)
    head = info(provenance, out)
    survey(tracks, out)
    with whole_file(out) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write(f'{{"info":{head},\n"images":')
            write_list(file, _images(tracks, image_suffix))
            file.write(',\n"categories":[{"id":1,"name":"object",')
            file.write('"supercategory":"object"}],\n"annotations":')
            write_list(file, _annotations(tracks))
            file.write("}\n")


def read_coco(data: Any, path: Path) -> reading.Recorded:
    """Reads images as the frames of one video, in the file's order.

    What others' files lack is as in ground truth: scores are 1 and all moves.

    Args:
        data: What `reading.read_json` gives.
        path: The file, for messages.

    Raises:
        InputError: It is malformed, or an annotation has no "track_id".
    """
    images = reading.rows(data, "images", path)
    reading.check_count(len(images), str(path))
    names, times, indices = [], [], {}
    size = None
    for index, row in enumerate(images):
        where = f"{path}: image {index}"
        indices.setdefault(reading.integer(row, "id", where, low=0), index)
        names.append(stem(row.get("file_name", ""), where))
        times.append(reading.real(row.get("time"), where, '"time"'))
        of_image = reading.size(row, where)
        size = size or of_image
        if size != of_image:
            raise InputError(
                f"{where} is of size {of_image}, the first of {size} (height, "
                "width); expected the frames of one video."
            )
    if len(indices) < len(images) or len(set(names)) < len(images):
        raise InputError(f'{path}: two images have the same "id" or "file_name".')
    assert size is not None  # There is an image.
    by_frame: dict[int, dict[int, Sighting]] = {}
    reader = reading.MaskReader()
    for number, row in enumerate(reading.rows(data, "annotations", path)):
        where = f"{path}: annotation {number}"
        image = reading.integer(row, "image_id", where, low=0)
        if image not in indices:
            raise InputError(f"{where}: there is no image {image}.")
        sighting = _sighting(row, size, reader, where)
        there = by_frame.setdefault(indices[image], {})
        if there.setdefault(sighting.id, sighting) is not sighting:
            raise InputError(
                f"{where}: image {image} already holds track {sighting.id}."
            )
    sightings = {index: tuple(there.values()) for index, there in by_frame.items()}
    return reading.Recorded(len(images), size, sightings, names=names, times=times)


def _images(tracks: Sequence[TrackedFrame], image_suffix: str) -> Iterator[str]:
    for number, frame in enumerate(tracks, start=1):
        yield to_text(
            {
                "id": number,
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


def _sighting(
    row: Mapping[str, Any], size: masks.Size, reader: reading.MaskReader, where: str
) -> Sighting:
    return Sighting(
        reading.integer(row, "track_id", where),
        reader.read(row.get("segmentation"), size, source=where),
        reading.score(row.get("score"), where),
        reading.flag(row.get("moving"), where),
        reading.motion(row.get("motion"), where),
    )
