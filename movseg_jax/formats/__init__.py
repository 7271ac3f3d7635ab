"""Formats of tracks on disk.

`FORMATS` is the one table of them; `conversion` writes and reads tracks by it. The
modules of the formats are imported when they are needed, so that this table is at hand
without NumPy, for instance for the help of the command line.
"""

import importlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

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


class FormatInfo(NamedTuple):
    """One format of tracks.

    Attributes:
        suffix: The suffix of its file; "" if the format is a folder.
        text: A description in one line.
        writer: The function that writes it, as "module.function" in this package. It
            takes the tracks, the output and `options`.
        options: Names of the writer's options, among those of `write_tracks`.
        reader: The function that reads it, or None.
    """

    suffix: str
    text: str
    writer: str
    options: tuple[str, ...] = ()
    reader: str | None = None

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
    ),
    "colmap": FormatInfo(
        "",
        "masks for COLMAP and nerfstudio: 0 where a moving object is",
        "pictures.write_colmap",
        ("surveyed", "image_suffix", "dilate"),
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
        ("surveyed",),
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
    ),
}


def load(function: str) -> Callable[..., Any]:
    """Imports a function that the table names, such as "coco.write_coco"."""
    module, name = function.split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
