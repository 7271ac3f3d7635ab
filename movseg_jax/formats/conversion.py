"""Reading and writing tracks in every format, by the format's name."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from movseg_jax.errors import InputError
from movseg_jax.formats import FORMATS, Format, json_text, load, parsing
from movseg_jax.formats.pictures import MaskFolder, OpenFrames
from movseg_jax.formats.survey import Survey, survey
from movseg_jax.results import TrackedFrame
from movseg_jax.system.atomic import make_folder


def write_tracks(
    tracks: Sequence[TrackedFrame],
    out: str | Path,
    *,
    to: Format,
    frames: OpenFrames | None = None,
    fps: int | float | Fraction | None = None,
    image_suffix: str = ".jpg",
    dilate: int = 0,
    labelled: Collection[int] | None = None,
    provenance: Mapping[str, Any] | None = None,
    surveyed: Survey | None = None,
) -> None:
    """Writes tracks in one format.

    Folders are made, and files of the same name are replaced. Every file is complete or
    missing, and its bytes depend on the arguments alone.

    Args:
        tracks: The tracked frames; they are read from the front, more than once.
        out: The file, or the folder of a format of pictures.
        to: The format, one of `FORMATS`.
        frames: A function that opens the video the tracks belong to: RGB, uint8
            [h, w, 3]. "cutouts" and "alpha" need it.
        fps: Frames per second of "alpha". None takes the tracks' times.
        image_suffix: The suffix of the frames' files in "tracks", "coco" and "colmap".
        dilate: Pixels by which objects grow in "colmap".
        labelled: Indices of the frames that "fbms" writes; None writes all.
        provenance: Values for the "info" of "tracks" and "coco".
        surveyed: The result of `survey.survey` for these tracks, if it is known: a
            caller who writes several formats need not have the tracks checked for each.

    Raises:
        InputError: There is no such format; the tracks do not fit into it; the video
            is needed and missing; or the output cannot be written.
    """
    out = Path(out)
    if to not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"{out}: {to!r} is not a format; expected one of {known}.")
    form = FORMATS[to]
    if form.needs_frames and frames is None:
        raise InputError(
            f"{out}: {to!r} shows the video's frames; hand in the video as well."
        )
    options = {
        "surveyed": surveyed or survey(tracks, out),
        "frames": frames,
        "fps": fps,
        "image_suffix": image_suffix,
        "dilate": dilate,
        "labelled": labelled,
        "provenance": provenance,
    }
    make_folder(out.parent)
    write = load(form.writer)
    write(tracks, out, **{name: options[name] for name in form.options})


def read_tracks(
    path: str | Path,
    *,
    sequence: int | str | None = None,
    max_text_bytes: int = parsing.MAX_TEXT_BYTES,
) -> parsing.Recorded | MaskFolder:
    """Reads tracks in one of the formats that hold them.

    A folder is read as "masks"; ".json" as "tracks", as results or ground truth of
    YouTube-VIS, or as "coco" with a "track_id" in each annotation; ".txt" as "mots" and
    ".npz" as "npz". What a format does not hold is as in ground truth: scores are 1,
    all tracks move, their motion is NaN, and frames are named by their numbers. Files
    of other programs may differ from their format: they are read if there is only one
    way to do so (see `dialects`), and an `errors.InputNote` says how.

    Args:
        path: The file or folder. The images of a folder are read one by one, as its
            frames are asked for.
        sequence: The id or name of one video, if the JSON holds several.
        max_text_bytes: The largest size of JSON or text that is read.

    Raises:
        InputError: The path has none of these formats, or its content is malformed or
            too large. A folder's images raise it when they are asked for.
    """
    path = Path(path)
    suffix = "" if path.is_dir() else path.suffix.lower()
    if sequence is not None and suffix != ".json":
        raise InputError(
            f"{path}: holds one video, since only JSON may hold several; leave out "
            "`sequence`."
        )
    if path.is_dir():
        return MaskFolder(path)
    match suffix:
        case ".json":
            data = parsing.read_json(path, max_text_bytes)
            json_text.refuse_newer(data, path)
            is_coco = isinstance(data, dict) and "images" in data
            read = load(READERS["coco" if is_coco else "tracks"])
            return read(data, path, sequence=sequence)
        case ".txt":
            return load(READERS["mots"])(path, max_text_bytes=max_text_bytes)
        case ".npz":
            return load(READERS["npz"])(path)
    parsing.check_file(path)
    raise InputError(
        f"{path}: has no format that is read; expected a folder of index PNGs, .json "
        "of YouTube-VIS or COCO, .txt of MOTS, or .npz."
    )


READERS = {name: form.reader for name, form in FORMATS.items() if form.reader}
