"""Tracks as the track files of FBMS-59's evaluation code, `MoSegEval_PR`.

    number of frames
    number of tracks
    label, number of points, then "x y frame" of each point: of each track

Ochs, Malik, Brox: "Segmentation of moving objects by long term video analysis", PAMI
2014. Pixels and frames count from 0. Point trajectories fill such a file with tracks of
many frames; the evaluation asks for the labels of pixels in labelled frames only. So,
as the authors of "Towards Segmenting Anything That Moves" do for it, every pixel is a
track of one point, the background, label 0, included. The evaluation takes labels that
no track has for empty clusters, so the tracks that are visible are numbered anew if
their numbers have gaps.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.formats.survey import Survey, paint
from movseg_jax.results import TrackedFrame
from movseg_jax.system.atomic import whole_file


def write_fbms(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    labelled: Collection[int] | None = None,
) -> None:
    """Writes the visible track of each pixel.

    Args:
        tracks: The tracked frames.
        out: The file, which ends in ".dat".
        surveyed: The survey of the tracks.
        labelled: Indices of the frames to write. The evaluation reads only those that
            the ground truth's Def.dat lists. None writes all, about 16 bytes per pixel:
            8 MB for a frame of FBMS.

    Raises:
        InputError: There is no such frame, or the file cannot be written.
    """
    chosen = set(range(surveyed.frame_count) if labelled is None else labelled)
    missing = [i for i in chosen if not 0 <= i < surveyed.frame_count]
    if missing or not chosen:
        raise InputError(
            f"{out}: `labelled` is {sorted(chosen)[:10]}, expected some of 0 to "
            f"{surveyed.frame_count - 1}."
        )
    shown = {0}
    for index, frame in enumerate(tracks):
        if index in chosen:
            shown.update(np.unique(paint(frame)).tolist())
    labels = {id: label for label, id in enumerate(sorted(shown))}
    pixels = surveyed.size[0] * surveyed.size[1]
    with whole_file(out) as temporary:
        with temporary.open("w", encoding="ascii", newline="\n") as file:
            file.write(f"{surveyed.frame_count}\n{pixels * len(chosen)}\n")
            for index, frame in enumerate(tracks):
                if index in chosen:
                    file.writelines(_rows(frame, index, labels))


def _rows(frame: TrackedFrame, index: int, labels: dict[int, int]) -> Iterator[str]:
    """The text of each row of pixels, with the labels of the tracks' numbers."""
    for y, ids in enumerate(paint(frame).tolist()):
        yield "".join(f"{labels[id]}\n1\n{x} {y} {index}\n" for x, id in enumerate(ids))
