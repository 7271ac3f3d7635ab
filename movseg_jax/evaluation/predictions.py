"""Reads a folder of predictions, which has one for each sequence.

DIR/SEQUENCE/tracks.json, masks/     the results of `movseg segment`
DIR/SEQUENCE/FRAME.png               masks, in which a pixel is its track's number
DIR/SEQUENCE.json, .npz, .dat        YouTube-VIS or COCO, an array, track files of FBMS
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.evaluation.detection_files import (
    FOREGROUND_SCORE,
    DetectedSequence,
    read_detections,
)
from movseg_jax.evaluation.truth import TruthSequence, check_lossless, listed
from movseg_jax.formats.conversion import read_tracks
from movseg_jax.formats.parsing import Recorded
from movseg_jax.formats.pictures import MaskFolder, sightings_of
from movseg_jax.images import image_size
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.point_tracks import PointTracks, read_point_tracks
from movseg_jax.segment.batch_folder import MARKER, ROWS
from movseg_jax.segment.run_folder import WORK
from movseg_jax.system.paths import list_images

Kind = Literal["masks", "tracks.json", ".json", ".npz", ".dat", "detections"]
SUFFIXES: Mapping[str, Kind] = {".json": ".json", ".npz": ".npz", ".dat": ".dat"}
# Kinds in which each pixel is in one track, and tracks have no scores.
FLAT: frozenset[Kind] = frozenset({"masks", ".npz", ".dat"})
# The first bytes of metrics.json, by which it is told from predictions.
REPORT_HEAD = b'{\n "movseg eval"'
# The files that `movseg segment` writes beside the results of many videos.
BATCH = frozenset({MARKER, ROWS})


class Prediction(NamedTuple):
    """The place of a sequence's prediction.

    Attributes:
        kind: Format of the prediction.
        path: Path of the file, or of the folder of PNGs.
        detections: Content of the file, if it is of detections.
    """

    kind: Kind
    path: Path
    detections: DetectedSequence | None = None


class Survey(NamedTuple):
    """The frames of a prediction, as read before it is measured.

    Attributes:
        names: Names of the frames.
        named: Whether the format has names; otherwise they are numbers from 0.
        sizes: Sizes of the frames that differ from the truth's size, by name.
    """

    names: tuple[str, ...]
    named: bool
    sizes: Mapping[str, tuple[int, int]]


def find_predictions(folder: Path) -> dict[str, list[Prediction]]:
    """Lists all candidates for the predictions, by the name of their sequence.

    Args:
        folder: The folder of predictions, or a file of `movseg detect`.

    Raises:
        InputError: The path cannot be read as a folder, or the file is malformed.
    """
    if folder.is_file():
        return {
            name: [Prediction("detections", folder, sequence)]
            for name, sequence in read_detections(folder).items()
        }
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error}.") from None
    found: dict[str, list[Prediction]] = {}
    of_batch = BATCH if {path.name for path in paths} >= BATCH else frozenset()
    for path in paths:
        if path.name.startswith(".") or path.name in of_batch:
            continue
        if path.is_dir():
            found.setdefault(path.name, []).extend(_in_folder(path))
        elif path.suffix.lower() in SUFFIXES and not _is_report(path):
            kind = SUFFIXES[path.suffix.lower()]
            found.setdefault(path.stem, []).append(Prediction(kind, path))
    return found


def choose(name: str, candidates: Sequence[Prediction], folder: Path) -> Prediction:
    """Chooses the prediction of a sequence among the candidates.

    Raises:
        InputError: There are several, or none, or its run is not finished.
    """
    if (folder / name / WORK).is_dir():
        raise InputError(
            f"{folder / name}: segmenting this video is not finished; start the same "
            "command again."
        )
    if not candidates:
        raise InputError(
            f"{folder / name}: holds neither tracks.json, as `movseg segment` writes "
            "it, nor PNGs whose pixels are tracks' numbers."
        )
    if len(candidates) > 1:
        paths = [str(prediction.path) for prediction in candidates]
        raise InputError(
            f"{name}: {listed(paths)} may each be the prediction; expected one for "
            "each sequence."
        )
    return candidates[0]


def survey(prediction: Prediction, truth: TruthSequence) -> Survey:
    """Reads the names and sizes of a prediction's frames; of PNGs only the headers.

    Track files have the truth's frames by definition; they are read when they are
    measured.

    Raises:
        InputError: The file is damaged or not a prediction.
    """
    if prediction.kind == ".dat":
        names = tuple(f"{i:05d}" for i in range(len(truth.video)))
        return Survey(names, False, {})
    named = True
    if prediction.detections is not None:
        names = prediction.detections.names
        sizes = dict(zip(names, prediction.detections.sizes, strict=True))
    elif prediction.kind == "masks":
        files = list_images(prediction.path)
        check_lossless(files, prediction.path)
        sizes = {file.stem: image_size(file) for file in files}
        names = tuple(file.stem for file in files)
    else:
        frames = read_tracks(prediction.path)
        named = not isinstance(frames, Recorded) or frames.named
        names = tuple(frame.name for frame in frames)
        sizes = {frame.name: frame.size for frame in frames}
    other = {name: size for name, size in sizes.items() if size != truth.size}
    return Survey(names, named, other)


def open_tracks(
    prediction: Prediction, truth: TruthSequence, *, dense: bool = True
) -> Recorded | MaskFolder:
    """Opens the frames of a prediction; PNGs are read when a frame is asked for.

    A file of detections gives those that are foreground. For `DetectionPrecision`,
    `scoring.score_sequence` takes all of them instead.

    Args:
        prediction: Place of the prediction.
        truth: Truth of the sequence.
        dense: Whether a track file must not leave out pixels, see `paint_points`.

    Raises:
        InputError: The file is damaged, not a prediction, or leaves out pixels.
    """
    if prediction.detections is not None:
        return prediction.detections.sightings(FOREGROUND_SCORE)
    if prediction.kind == ".dat":
        return paint_points(read_point_tracks(prediction.path), truth, dense=dense)
    return read_tracks(prediction.path)


def paint_points(
    points: PointTracks, truth: TruthSequence, *, dense: bool = True
) -> Recorded:
    """Paints points as frames in which a pixel is its track's label, later ones on top.

    Args:
        points: Points of a sequence; those of frames without annotation are left out.
        truth: Truth of the sequence.
        dense: Whether to refuse points that leave out pixels of annotated frames, which
            would be taken for background.

    Raises:
        InputError: `dense` is True, and pixels or frames are left out.
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


# Digests ---------------------------------------------------------------------------


class Digest:
    """A digest of tracks that depends neither on their ids nor on the format.

    Two predictions have the same digest if they have the same tracks: in the same
    frames, with the same masks and scores, and with the same ones visible where masks
    overlap.
    """

    def __init__(self):
        self._tracks: dict[int, hashlib._Hash] = {}
        self._frames = hashlib.sha256()

    def add(self, frame: ComparedFrame) -> None:
        """Adds the next frame."""
        sightings = frame.tracks.sightings
        self._frames.update(f"{frame.name} {frame.tracks.size}\n".encode())
        areas = sum(masks.area(sighting.mask) for sighting in sightings)
        overlap = areas > np.count_nonzero(frame.found)
        for sighting in sightings:
            if not masks.area(sighting.mask):
                continue
            parts = [frame.name, f"{sighting.score:.9g}", sighting.mask.counts.decode()]
            if overlap:
                visible = masks.encode(frame.found == sighting.id)
                parts.append(visible.counts.decode())
            track = self._tracks.setdefault(sighting.id, hashlib.sha256())
            track.update(("\n".join(parts) + "\n\n").encode())

    def hexdigest(self) -> str:
        """The digest of all frames that were added."""
        total = self._frames.copy()
        for track in sorted(track.digest() for track in self._tracks.values()):
            total.update(track)
        return total.hexdigest()


def digest_points(points: PointTracks) -> str:
    """A digest of all points, which does not depend on the file's layout."""
    digest = hashlib.sha256(f"{points.frame_count}\n".encode())
    for array in (points.labels, points.first, points.start, points.points):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def _in_folder(folder: Path) -> list[Prediction]:
    found: list[Prediction] = []
    if (folder / "tracks.json").exists():
        found.append(Prediction("tracks.json", folder / "tracks.json"))
    if list_images(folder):
        found.append(Prediction("masks", folder))
    if not found and (folder / "masks").is_dir():  # `movseg segment` wrote it, too.
        found.append(Prediction("masks", folder / "masks"))
    return found


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(REPORT_HEAD)) == REPORT_HEAD
    except OSError:
        return False
