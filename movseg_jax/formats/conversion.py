"""Reading and writing tracks in every format, by the format's name."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict, Unpack

from movseg_jax.errors import InputError
from movseg_jax.formats import (
    FORMATS,
    Format,
    json_text,
    load,
    parsing,
    result_name,
)
from movseg_jax.formats.pictures import MaskFolder, OpenFrames
from movseg_jax.formats.survey import Survey, survey
from movseg_jax.results import TrackedFrame
from movseg_jax.system.atomic import make_folder
from movseg_jax.system.paths import list_images


class Options(TypedDict, total=False):
    """Options of the formats; a format takes those that `FORMATS` lists for it.

    Attributes:
        frames: A function that opens the video the tracks belong to: RGB, uint8
            [h, w, 3]. "cutouts", "alpha" and "vggt" need it.
        fps: Frames per second of "alpha". Default: the tracks' times, or 25 if there
            are none.
        image_suffix: The suffix of the frames' files in "tracks", "coco" and "colmap".
            Default: ".jpg".
        dilate: Pixels by which objects grow in "colmap", "nerfstudio" and "vggt".
            Default: 0.
        class_id: The number of the objects' class in "mots". Default: 2, a pedestrian,
            the class that MOTSChallenge evaluates.
        first_frame: The number of the first frame in "mots". Default: 1; KITTI MOTS
            counts from 0.
        labelled: Indices of the frames that "fbms" writes. Default: all.
        prompt_frames: Indices of the frames of "prompts". Default: for each track the
            frame that shows most of it.
        positive_points: The number of points in each object of "prompts". Default: 1.
        negative_points: Whether "prompts" has points in other objects. Default: False.
        provenance: Values for the "info" of "tracks" and "coco".
    """

    frames: OpenFrames | None
    fps: int | float | Fraction | None
    image_suffix: str
    dilate: int
    class_id: int
    first_frame: int
    labelled: Collection[int] | None
    prompt_frames: Collection[int] | None
    positive_points: int
    negative_points: bool
    provenance: Mapping[str, Any] | None


def write_tracks(
    tracks: Sequence[TrackedFrame],
    out: str | Path,
    *,
    to: Format,
    surveyed: Survey | None = None,
    **options: Unpack[Options],
) -> None:
    """Writes tracks in one format.

    Folders are made, and files of the same name are replaced. Every file is complete or
    missing, and its bytes depend on the arguments alone.

    Args:
        tracks: The tracked frames; they are read from the front, more than once.
        out: The file, or the folder of a format of pictures.
        to: The format, one of `FORMATS`.
        surveyed: The result of `survey.survey` for these tracks, if it is known: a
            caller who writes several formats need not have the tracks checked for each.
        options: Options of formats, see `Options`. A format ignores those of others.

    Raises:
        InputError: There is no such format or option; the tracks do not fit into the
            format; the video is needed and missing; or the output cannot be written.
    """
    out = Path(out)
    if to not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"{out}: {to!r} is not a format; expected one of {known}.")
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise InputError(
            f"{out}: there is no option {', '.join(unknown)}; expected some of "
            f"{', '.join(Options.__annotations__)}."
        )
    form = FORMATS[to]
    if form.needs_frames and options.get("frames") is None:
        raise InputError(
            f"{out}: {to!r} shows the video's frames; hand in the video as well."
        )
    given = {**options, "surveyed": surveyed or survey(tracks, out)}
    make_folder(out.parent)
    write = load(form.writer)
    write(tracks, out, **{name: given[name] for name in form.options if name in given})


def tracks_path(path: Path) -> Path:
    """Returns the file of the tracks, if the path is the folder of a video's results.

    Args:
        path: A file, a folder of masks, or the folder that `movseg segment` wrote.
    """
    file = path / result_name("tracks")
    return file if file.is_file() and not list_images(path) else path


def read_tracks(
    path: str | Path,
    *,
    sequence: int | str | None = None,
    max_text_bytes: int = parsing.MAX_TEXT_BYTES,
) -> parsing.Recorded | MaskFolder:
    """Reads tracks in one of the formats that hold them.

    A folder is read as "masks", or if it is the folder of a video's results, its
    "tracks.json" is read; ".json" is read as "tracks", as results or ground truth of
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
    path = tracks_path(Path(path))
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
