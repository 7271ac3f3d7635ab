"""Formats of tracks on disk.

`FORMATS` is the one table of them; `conversion` writes and reads tracks by it. The
modules of the formats are imported when they are needed, so that this table is at hand
without NumPy, for instance for the help of the command line.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

Format = Literal[
    "tracks",
    "masks",
    "foreground",
    "cutouts",
    "alpha",
    "colmap",
    "nerfstudio",
    "vggt",
    "coco",
    "mots",
    "mot",
    "fbms",
    "npz",
    "prompts",
]


class FormatInfo(NamedTuple):
    """A format of tracks.

    Attributes:
        suffix: The suffix of its file; "" if the format is a folder.
        text: A description in one line.
        writer: The function that writes it, as "module.function" in this package. It
            takes the tracks, the output and `options`.
        options: Names of the writer's options, among `conversion.Options`, and of
            "surveyed", the survey of the tracks.
        reader: The function that reads it, or None.
        other_suffixes: Other suffixes that its file may have.
        stem: The name without suffix among the results of a video; "" if it is that of
            the format.
    """

    suffix: str
    text: str
    writer: str
    options: tuple[str, ...] = ()
    reader: str | None = None
    other_suffixes: tuple[str, ...] = ()
    stem: str = ""

    @property
    def needs_frames(self) -> bool:
        """Whether writing it needs the frames of the video."""
        return "frames" in self.options


FORMATS: dict[Format, FormatInfo] = {
    "tracks": FormatInfo(
        ".json",
        "JSON that the YouTube-VIS API loads; it holds all that is known of tracks",
        "youtube_vis.write_youtube_vis",
        ("surveyed", "image_suffix", "provenance"),
        "youtube_vis.read_youtube_vis",
    ),
    "masks": FormatInfo(
        "",
        "palette PNGs of DAVIS 2017: a pixel is the number of its track",
        "pictures.write_masks",
        ("surveyed",),
        reader="pictures.MaskFolder",
    ),
    "foreground": FormatInfo(
        "",
        "PNGs of DAVIS 2016: 255 where a moving object is",
        "pictures.write_foreground",
        ("surveyed",),
    ),
    "cutouts": FormatInfo(
        "",
        "an RGBA PNG of each object in each frame: TRACK/FRAME.png",
        "pictures.write_cutouts",
        ("frames",),
    ),
    "alpha": FormatInfo(
        ".webm",
        "a video (.webm, .mov) that is transparent where nothing moves",
        "alpha.write_alpha",
        ("surveyed", "frames", "fps"),
        other_suffixes=(".mov",),
    ),
    "colmap": FormatInfo(
        "",
        "masks for COLMAP: 0 where a moving object is",
        "pictures.write_colmap",
        ("surveyed", "image_suffix", "dilate"),
    ),
    "nerfstudio": FormatInfo(
        "",
        "masks for nerfstudio: 0 where a moving object is",
        "pictures.write_nerfstudio",
        ("surveyed", "dilate"),
    ),
    "vggt": FormatInfo(
        "",
        "frames for VGGT: black in the boxes of moving objects",
        "pictures.write_vggt",
        ("surveyed", "frames", "dilate"),
    ),
    "coco": FormatInfo(
        ".json",
        "JSON that the COCO API loads: an image per frame",
        "coco.write_coco",
        ("image_suffix", "provenance"),
        "coco.read_coco",
    ),
    "mots": FormatInfo(
        ".txt",
        "text of MOTS and KITTI MOTS: masks that do not overlap",
        "mots.write_mots",
        ("surveyed", "class_id", "first_frame"),
        reader="mots.read_mots",
    ),
    "mot": FormatInfo(".txt", "text of MOTChallenge: boxes", "mots.write_mot"),
    "fbms": FormatInfo(
        ".dat",
        "a track file for the evaluation code of FBMS-59",
        "fbms.write_fbms",
        ("surveyed", "labelled"),
    ),
    "npz": FormatInfo(
        ".npz",
        "an array [frame, row, column], as the paper's authors write it",
        "arrays.write_npz",
        ("surveyed",),
        reader="arrays.read_npz",
        stem="masks",
    ),
    "prompts": FormatInfo(
        ".json",
        "JSON of boxes and points for models of the kind of SAM 2",
        "prompts.write_prompts",
        ("surveyed", "prompt_frames", "positive_points", "negative_points"),
    ),
}


def result_name(form: Format) -> str:
    """Returns the name of a format's file or folder among the results of a video."""
    return (FORMATS[form].stem or form) + FORMATS[form].suffix


def output_path(out: Path, form: Format) -> Path:
    """Returns the path that is written if the user asks for another one.

    If the format is a file, and the path is an existing folder, the file is in it, with
    the name of `result_name`. If the path does not end with a suffix of the format, the
    suffix is added.

    Args:
        out: The path that the user asked for.
        form: The format.
    """
    suffix = FORMATS[form].suffix
    if not suffix:
        return out
    if out.is_dir():
        return out / result_name(form)
    known = out.suffix.lower() in (suffix, *FORMATS[form].other_suffixes)
    return out if known else out.with_name(out.name + suffix)


def load(function: str) -> Callable[..., Any]:
    """Imports a function that the table names, such as "coco.write_coco"."""
    module, name = function.split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
