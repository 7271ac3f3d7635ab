"""Track files of FBMS-59 as predictions: what is at each pixel of the labelled frames.

`fbms-official` measures their points themselves. Every other protocol needs to know of
each pixel what it is in.
"""

import hashlib

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.evaluation.truth import TruthSequence
from movseg_jax.formats.parsing import Recorded
from movseg_jax.formats.pictures import sightings_of
from movseg_jax.metrics.point_tracks import PointTracks


def paint_points(
    points: PointTracks, truth: TruthSequence, *, dense: bool = True
) -> Recorded:
    """Points as frames in which a pixel is the label of its track, later ones on top.

    Args:
        points: Of a sequence; those of frames that are not annotated are left out.
        truth: Of the sequence.
        dense: Refuse points that leave pixels of annotated frames out, as these would
            be taken for background.

    Raises:
        InputError: `dense`, or the points are not of the whole video.
    """
    if dense and points.frame_count != len(truth.video):
        raise InputError(
            f"{points.source}: is of {points.frame_count} frames, expected all "
            f"{len(truth.video)} of the video."
        )
    sightings = {}
    for frame in truth.frames:
        places, labels = points.at(frame.index, truth.size)
        ids = np.full(truth.size, -1, np.int64)
        ids.reshape(-1)[places] = labels
        missing = np.count_nonzero(ids < 0)
        if dense and missing:
            raise InputError(
                f"{points.source}: {missing} of {ids.size} pixels of frame "
                f"{frame.name} have no track; expected every pixel of the annotated "
                "frames, the background as label 0. Only fbms-official measures "
                "trajectories that leave pixels out."
            )
        sightings[frame.place] = sightings_of(np.maximum(ids, 0))
    return Recorded(len(truth.video), truth.size, sightings)


def digest_points(points: PointTracks) -> str:
    """A digest of all points, however the file is laid out."""
    digest = hashlib.sha256(f"{points.frame_count}\n".encode())
    for array in (points.labels, points.first, points.start, points.points):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()
