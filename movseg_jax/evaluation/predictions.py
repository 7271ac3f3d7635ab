"""Predictions in a folder: one for each sequence, in any of the formats that are read.

DIR/SEQUENCE/tracks.json, masks/     what `movseg segment` writes
DIR/SEQUENCE/FRAME.png               a pixel is its track's number
DIR/SEQUENCE.json, .npz, .dat        YouTube-VIS or COCO, an array, track files
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.evaluation.track_files import paint_points
from movseg_jax.evaluation.truth import TruthSequence, check_lossless, listed
from movseg_jax.formats.conversion import read_tracks
from movseg_jax.formats.parsing import Recorded
from movseg_jax.formats.pictures import MaskFolder
from movseg_jax.images import image_size
from movseg_jax.metrics.base import ComparedFrame
from movseg_jax.metrics.point_tracks import read_point_tracks
from movseg_jax.system.paths import list_images

Kind = Literal["masks", "tracks.json", ".json", ".npz", ".dat"]
SUFFIXES: Mapping[str, Kind] = {".json": ".json", ".npz": ".npz", ".dat": ".dat"}
# Kinds whose pixels are in one track each and have no scores.
FLAT: frozenset[Kind] = frozenset({"masks", ".npz", ".dat"})
# How the reports of evaluations begin, which are no predictions.
REPORT_HEAD = b'{\n "movseg eval"'
WORK = ".movseg"  # The folder that an unfinished run of `movseg segment` has.


class Prediction(NamedTuple):
    """Where the prediction of a sequence is.

    Attributes:
        kind: Of what.
        path: The file, or the folder of PNGs.
    """

    kind: Kind
    path: Path


class Survey(NamedTuple):
    """What a prediction says of its frames, before it is measured.

    Attributes:
        names: Of its frames.
        named: Whether the format knows names; otherwise they are numbers from 0.
        sizes: Of frames that are not of the truth's size, by name.
    """

    names: tuple[str, ...]
    named: bool
    sizes: Mapping[str, tuple[int, int]]


def find_predictions(folder: Path) -> dict[str, list[Prediction]]:
    """All that may be the prediction of a sequence, by the sequence's name.

    Raises:
        InputError: It cannot be read as a folder.
    """
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error}.") from None
    found: dict[str, list[Prediction]] = {}
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            found.setdefault(path.name, []).extend(_in_folder(path))
        elif path.suffix.lower() in SUFFIXES and not _is_report(path):
            kind = SUFFIXES[path.suffix.lower()]
            found.setdefault(path.stem, []).append(Prediction(kind, path))
    return found


def choose(name: str, candidates: Sequence[Prediction], folder: Path) -> Prediction:
    """The one prediction of a sequence.

    Raises:
        InputError: There are several, or none that can be read.
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
    """The names and sizes of a prediction's frames; of PNGs it reads only headers.

    Track files are of the truth's frames by definition; what is in them is seen when
    they are measured.

    Raises:
        InputError: It is damaged or no prediction.
    """
    if prediction.kind == ".dat":
        names = tuple(f"{i:05d}" for i in range(len(truth.video)))
        return Survey(names, False, {})
    named = True
    if prediction.kind == "masks":
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
    """The frames of a prediction; those of PNGs are read when asked for.

    Args:
        prediction: Of the sequence.
        truth: Of it.
        dense: Of a track file, see `track_files.paint_points`.

    Raises:
        InputError: It is damaged, no prediction, or as `paint_points`.
    """
    if prediction.kind == ".dat":
        return paint_points(read_point_tracks(prediction.path), truth, dense=dense)
    return read_tracks(prediction.path)


# What a prediction is, for the report ---------------------------------------------


class Digest:
    """A digest of tracks that does not depend on their ids, nor on the format.

    Two predictions have the same if they have the same tracks: in the same frames with
    the same masks and scores, and where masks overlap the same ones visible.
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
        whole = self._frames.copy()
        for track in sorted(track.digest() for track in self._tracks.values()):
            whole.update(track)
        return whole.hexdigest()


def _in_folder(folder: Path) -> list[Prediction]:
    found: list[Prediction] = []
    if (folder / "tracks.json").exists():
        found.append(Prediction("tracks.json", folder / "tracks.json"))
    if list_images(folder):
        found.append(Prediction("masks", folder))
    if not found and (folder / "masks").is_dir():  # Of `movseg segment`, too.
        found.append(Prediction("masks", folder / "masks"))
    return found


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(REPORT_HEAD)) == REPORT_HEAD
    except OSError:
        return False
