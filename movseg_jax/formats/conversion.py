"""Reading and writing tracks in every format, by its name."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from movseg_jax.errors import InputError
from movseg_jax.formats import (
    alpha,
    arrays,
    coco,
    fbms,
    mots,
    parsing,
    pictures,
    youtube_vis,
)
from movseg_jax.results import TrackedFrame
from movseg_jax.system.atomic import make_folder

Format = Literal[
    "tracks",
    "masks",
    "foreground",
    "cutouts",
    "alpha",
    "colmap",
    "coco",
    "mots",
    "mot",
    "fbms",
    "npz",
]


class About(NamedTuple):
    """What a command line needs to know of a format.

    Attributes:
        suffix: Of the file; "" is a folder.
        of_video: Whether writing it needs the video's frames.
        readable: Whether `read_tracks` reads it.
        text: What it is, in a line.
    """

    suffix: str
    of_video: bool
    readable: bool
    text: str


FORMATS: dict[Format, About] = {
    "tracks": About(
        ".json", False, True, "JSON that YouTube-VIS' API loads; all that is known"
    ),
    "masks": About(
        "", False, True, "palette PNGs of DAVIS 2017: a pixel is its track's number"
    ),
    "foreground": About(
        "", False, False, "PNGs of DAVIS 2016: 255 where a track is that moves"
    ),
    "cutouts": About(
        "", True, False, "an RGBA PNG of each object in each frame: TRACK/FRAME.png"
    ),
    "alpha": About(
        ".webm", True, False, "a video (.webm, .mov) transparent where nothing moves"
    ),
    "colmap": About(
        "", False, False, "masks for COLMAP and nerfstudio: 0 where a track is"
    ),
    "coco": About(".json", False, True, "JSON that COCO's API loads: an image a frame"),
    "mots": About(
        ".txt", False, True, "text of MOTS and KITTI MOTS: masks without overlap"
    ),
    "mot": About(".txt", False, False, "text of MOTChallenge: boxes"),
    "fbms": About(
        ".dat", False, False, "track file for the evaluation code of FBMS-59"
    ),
    "npz": About(
        ".npz",
        False,
        True,
        "an array [frame, row, column], as of the paper's authors",
    ),
}


def write_tracks(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    to: Format,
    frames: pictures.OpenFrames | None = None,
    fps: int | float | Fraction | None = None,
    image_suffix: str = ".jpg",
    dilate: int = 0,
    labelled: Collection[int] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes tracks in one format.

    Folders are made, files of the same name replaced. Every file is whole or not there,
    and its bytes depend on nothing but what is handed in.

    Args:
        tracks: Gone through from the front, more than once.
        out: The file, or for pictures the folder.
        to: One of `FORMATS`; the modules beside this one say where each is defined.
        frames: Opens the video that the tracks are of: RGB, uint8 [h, w, 3].
        fps: For "alpha". None takes the tracks' times.
        image_suffix: Of the frames' files, for "tracks", "coco" and "colmap".
        dilate: By how many pixels objects grow, for "colmap".
        labelled: For "fbms", the numbers of the frames to write, from 0; None is all.
        provenance: For "tracks" and "coco", what goes into the file's "info".

    Raises:
        InputError: There is no such format; the tracks do not fit into it; what it
            needs is missing; or it cannot be written.
    """
    make_folder(out.parent)
    match to:
        case "tracks" | "coco":
            is_coco = to == "coco"
            write = coco.write_coco if is_coco else youtube_vis.write_youtube_vis
            write(tracks, out, image_suffix=image_suffix, provenance=provenance)
        case "masks":
            pictures.write_masks(tracks, out)
        case "foreground":
            pictures.write_foreground(tracks, out)
        case "colmap":
            pictures.write_colmap(tracks, out, image_suffix=image_suffix, dilate=dilate)
        case "cutouts":
            pictures.write_cutouts(tracks, out, frames=_needed(frames, to, out))
        case "alpha":
            alpha.write_alpha(tracks, out, frames=_needed(frames, to, out), fps=fps)
        case "mots":
            mots.write_mots(tracks, out)
        case "mot":
            mots.write_mot(tracks, out)
        case "fbms":
            fbms.write_fbms(tracks, out, labelled=labelled)
        case "npz":
            arrays.write_npz(tracks, out)
        case _:
            known = ", ".join(FORMATS)
            raise InputError(f"{out}: {to!r} is no format; expected one of {known}.")


def read_tracks(
    path: Path,
    *,
    sequence: int | str | None = None,
    max_text_bytes: int = parsing.MAX_TEXT_BYTES,
) -> parsing.Recorded | pictures.MaskFolder:
    """Reads tracks in one of the formats that hold them.

    A folder is "masks"; ".json" is "tracks", results or ground truth of YouTube-VIS, or
    "coco" with a "track_id" of each annotation; ".txt" is "mots", ".npz" is "npz".
    What a format does not hold is as in ground truth: scores are 1, all moves, motion
    is NaN, and frames are named by their numbers. Of what others write otherwise, see
    `dialects`, is read what is plain; an `errors.InputNote` says how.

    Args:
        path: The file or folder. A folder is read while one goes through the frames.
        sequence: The id or name of one video, where JSON is of several.
        max_text_bytes: The size that JSON or text may have.

    Raises:
        InputError: It is none of these, malformed or too large. For a folder, also
            while one goes through the frames.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    if sequence is not None and suffix != ".json":
        raise InputError(
            f"{path}: is of one video, as only JSON may be of several; leave out "
            "`sequence`."
        )
    if path.is_dir():
        return pictures.MaskFolder(path)
    match suffix:
        case ".json":
            data = parsing.read_json(path, max_text_bytes)
            if isinstance(data, dict) and "images" in data:
                return coco.read_coco(data, path, sequence=sequence)
            return youtube_vis.read_youtube_vis(data, path, sequence=sequence)
        case ".txt":
            return mots.read_mots(path, max_text_bytes=max_text_bytes)
        case ".npz":
            return arrays.read_npz(path)
    parsing.check_file(path)
    raise InputError(
        f"{path}: is in no format that is read; expected a folder of index PNGs, .json "
        "of YouTube-VIS or COCO, .txt of MOTS, or .npz."
    )


def _needed(
    frames: pictures.OpenFrames | None, to: str, out: Path
) -> pictures.OpenFrames:
    if frames is None:
        raise InputError(
            f"{out}: {to!r} is made of the video's frames; hand in the video."
        )
    return frames
