"""Measures how well tracks keep identities: HOTA, IDF1 and identity switches.

- HOTA, DetA and AssA: Luiten et al., "HOTA: A higher order metric for evaluating
  multi-object tracking", IJCV 2020.
- IDF1, IDP and IDR: Ristani et al., "Performance measures and a data set for
  multi-target, multi-camera tracking", ECCV workshops 2016.
- Identity switches: Bernardin and Stiefelhagen, "Evaluating multiple object tracking
  performance: the CLEAR MOT metrics", 2008.

The numbers are those of TrackEval 1.3.0 (Luiten and Hoffhues, 2020), with which tests
compare them. This module does not know pixels: a frame is the similarity, 0 to 1, of
every visible object to every visible track. For masks the similarity is their IoU.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(0.05, 0.99, 0.05)  # The thresholds over which HOTA is a mean.
THRESHOLD = 0.5  # Least similarity of a match in IDF1 and in identity switches.
_EPSILON = float(np.finfo(float).eps)
# A bonus that makes matches of the previous frame better than all others.
_KEEP = 1000


class IdentityParts(NamedTuple):
    """The sums over a sequence, from which the numbers are computed.

    Attributes:
        objects: Number of visible objects, summed over the frames.
        tracks: Number of visible tracks, summed over the frames.
        matches: Number of matched pairs at each of `ALPHAS`.
        association: Sum of these pairs' association scores at each of `ALPHAS`.
        id_matches: Number of frames in which an object is covered by the one track
            that is assigned to it for the whole video (IDTP).
        switches: Number of identity switches.
    """

    objects: int
    tracks: int
    matches: tuple[int, ...]
    association: tuple[float, ...]
    id_matches: int
    switches: int


class _Frame(NamedTuple):
    """A frame's objects and tracks, as rows and columns of the whole video."""

    rows: Int64[np.ndarray, " n"]
    columns: Int64[np.ndarray, " m"]
    similarity: Float64[np.ndarray, "n m"]


class Identities:
    """Collects a sequence frame by frame.

    Between equally good assignments, the objects and tracks that were added first are
    preferred. So the numbers do not depend on ids if the caller's order does not.
    """

    def __init__(self):
        self._rows: dict[int, int] = {}
        self._columns: dict[int, int] = {}
        self._frames: list[_Frame] = []
        self._last: dict[int, int] = {}  # The last track of each object.
        self._previous: dict[int, int] = {}  # The same for the previous frame only.
        self._switches = 0

    def add(
        self,
        objects: Sequence[int],
        tracks: Sequence[int],
        similarity: Float64[np.ndarray, "n m"],
    ) -> None:
        """Adds the next frame.

        Args:
            objects: Ids of the visible objects, each once.
            tracks: Ids of the visible tracks, each once.
            similarity: Similarity of each object to each track, 0 to 1.
        """
        rows = [self._rows.setdefault(i, len(self._rows)) for i in objects]
        columns = [self._columns.setdefault(i, len(self._columns)) for i in tracks]
        frame = _Frame(np.array(rows, int), np.array(columns, int), similarity)
        self._frames.append(frame)
        if rows and columns:
            self._count_switches(frame)

    def _count_switches(self, frame: _Frame) -> None:
        """Matches the frame as CLEAR does, and prefers the previous frame's pairs."""
        rows, columns = frame.rows.tolist(), frame.columns.tolist()
        before = np.array([self._previous.get(row, -1) for row in rows])
        score = _KEEP * (frame.columns == before[:, None]) + frame.similarity
        score[frame.similarity < THRESHOLD - _EPSILON] = 0
        matched = {
            rows[i]: columns[j]
            for i, j in zip(*linear_sum_assignment(-score), strict=True)
            if score[i, j] > _EPSILON
        }
        self._switches += sum(
            self._last.get(row, column) != column for row, column in matched.items()
        )
        self._last |= matched
        self._previous = matched

    def parts(self) -> IdentityParts:
        """The sums over the frames that were added."""
        shape = len(self._rows), len(self._columns)
        object_frames = np.zeros((shape[0], 1))
        track_frames = np.zeros((1, shape[1]))
        potential = np.zeros(shape)
        covered = np.zeros(shape)
        for rows, columns, similarity in self._frames:
            object_frames[rows] += 1
            track_frames[0, columns] += 1
            potential[np.ix_(rows, columns)] += _normalised(similarity)
            covered[np.ix_(rows, columns)] += similarity >= THRESHOLD
        total = object_frames + track_frames
        alignment = potential / (total - potential)
        matches, association = _matches_at_alphas(self._frames, alignment, total)
        return IdentityParts(
            objects=int(object_frames.sum()),
            tracks=int(track_frames.sum()),
            matches=matches,
            association=association,
            id_matches=int(
                covered[linear_sum_assignment(covered, maximize=True)].sum()
            ),
            switches=self._switches,
        )


def identity_numbers(sequences: Sequence[IdentityParts]) -> dict[str, float]:
    """The numbers of all sequences together, as TrackEval combines sequences.

    Counts are summed over the sequences; the association score at a threshold is the
    mean over all matched pairs. "hota", "det_a" and "ass_a" are means over `ALPHAS`.
    All numbers but "id_switches" are NaN where there are neither objects nor tracks.
    """
    objects = sum(part.objects for part in sequences)
    tracks = sum(part.tracks for part in sequences)
    correct = sum(part.id_matches for part in sequences)
    switches = float(sum(part.switches for part in sequences))
    if not objects + tracks:
        names = ("hota", "det_a", "ass_a", "idf1", "idp", "idr")
        return {**dict.fromkeys(names, math.nan), "id_switches": switches}
    hota: list[float] = []
    detection: list[float] = []
    association: list[float] = []
    for i in range(len(ALPHAS)):
        matches = sum(part.matches[i] for part in sequences)
        found = matches / (objects + tracks - matches)
        kept = math.fsum(part.association[i] for part in sequences) / max(matches, 1)
        detection.append(found)
        association.append(kept)
        hota.append(math.sqrt(found * kept))
    return {
        "hota": math.fsum(hota) / len(ALPHAS),
        "det_a": math.fsum(detection) / len(ALPHAS),
        "ass_a": math.fsum(association) / len(ALPHAS),
        "idf1": 2 * correct / (objects + tracks),
        "idp": correct / max(tracks, 1),
        "idr": correct / max(objects, 1),
        "id_switches": switches,
    }


def _normalised(
    similarity: Float64[np.ndarray, "n m"],
) -> Float64[np.ndarray, "n m"]:
    """Each similarity divided by all similarities of its object or its track."""
    total = similarity.sum(0)[None] + similarity.sum(1)[:, None] - similarity
    known = total > _EPSILON
    return np.where(known, similarity / np.where(known, total, 1), 0)


def _matches_at_alphas(
    frames: Sequence[_Frame],
    alignment: Float64[np.ndarray, "rows columns"],
    total: Float64[np.ndarray, "rows columns"],
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Matched pairs, and the sums of their association scores, at each of `ALPHAS`.

    Args:
        frames: All frames.
        alignment: Agreement of an object and a track over the whole video, 0 to 1.
        total: Number of frames with the object plus number of frames with the track.
    """
    pairs = [np.empty(0, int)]
    similarities = [np.empty(0)]
    for rows, columns, similarity in frames:
        score = alignment[np.ix_(rows, columns)] * similarity
        i, j = linear_sum_assignment(-score)
        pairs.append(rows[i] * alignment.shape[1] + columns[j])
        similarities.append(similarity[i, j])
    pair = np.concatenate(pairs)
    similar = np.concatenate(similarities)
    matches = []
    association = []
    for alpha in ALPHAS:
        chosen = pair[similar >= alpha - _EPSILON]
        distinct, counts = np.unique(chosen, return_counts=True)
        matches.append(len(chosen))
        scores = counts * (counts / (total.ravel()[distinct] - counts))
        association.append(math.fsum(scores.tolist()))
    return tuple(matches), tuple(association)
