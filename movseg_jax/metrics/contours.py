"""Finds the longest outline of a mask as a polygon, for DAVIS' temporal stability.

An outline runs along the edges between pixels that differ, from pixel corner to pixel
corner; pixels outside of the frame are off. Corners are (row, column). If two pixels
touch at a corner only, four edges meet in a *junction*. There an outline turns left or
right, and it never visits a junction twice. The turns, the starts and the order of
outlines follow the code of Perazzi et al. (2016), which builds on polycont and psimpl:
their polygons are reproduced corner by corner.

Coordinates are doubled where the originals double them, so that edges lie between
corners, at odd coordinates.
"""

from collections import defaultdict
from collections.abc import Container

import numpy as np
from jaxtyping import Bool, Float64, Int64

# The tolerances are in doubled coordinates; the first merges straight lines only.
_TOLERANCES = (0.1, 3.0)
_FEWEST_POINTS = 4  # Of a polygon that counts; its first point is also its last.
# The sizes of hash tables in GNU's C++ library, up to those that masks need.
_BUCKETS = frozenset(
    int(size)
    for size in (
        "2 3 5 7 11 13 17 19 23 29 31 37 41 43 47 53 59 61 67 71 73 79 83 89 97 103 "
        "109 113 127 137 139 149 157 167 179 193 199 211 227 241 257 277 293 313 337 "
        "359 383 409 439 467 503 541 577 619 661 709 761 823 887 953 1031 1109 1193 "
        "1289 1381 1493 1613 1741 1879 2029 2179 2357 2549 2753 2971 3209 3469 3739"
    ).split()
)

Corners = Int64[np.ndarray, "_ 2"]


def longest_contour(
    mask: Bool[np.ndarray, "h w"], *, last_of_equals: bool = False
) -> Corners | None:
    """Finds the simplified outline with the most corners.

    Args:
        mask: Mask of any size.
        last_of_equals: Whether the last one counts among outlines with equally many
            corners, instead of the first.

    Returns:
        The corners of pixels, the first one again at the end. The mask is on the right
        hand: the outline is clockwise around an object, counter-clockwise around a
        hole. None if there is no outline, or if all outlines are of specks that have no
        area after simplifying.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    offset = np.array([rows[0], columns[0]])
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    outlines, stride = _outlines(mask)
    best, most = None, (_FEWEST_POINTS - 1, 0)
    # The longest come first, so that most of the others need not be simplified.
    by_length = sorted(range(len(outlines)), key=lambda i: -len(outlines[i]))
    for i in by_length:
        if len(outlines[i]) < most[0]:
            break
        outline = np.stack(np.divmod(outlines[i], stride), axis=1) - 1
        polygon = _simplify(outline)
        rank = len(polygon), i if last_of_equals else -i
        if rank > most and len(polygon) >= _FEWEST_POINTS:
            best, most = _oriented(polygon, outline, mask), rank
    return None if best is None else best // 2 + offset


# Along the edges -------------------------------------------------------------------


def _outlines(mask) -> tuple[list[list[int]], int]:
    """The corners of all outlines, each with its first corner again at the end.

    A corner is one number: its place in the doubled grid, whose border keeps steps
    inside. The function also returns the length of the grid's rows.
    """
    height, width = mask.shape
    padded = np.pad(mask, 1)
    edges = np.zeros((2 * height + 3, 2 * width + 3), np.uint8)
    edges[2:-1:2, 1::2] = padded[1:-1, :-1] != padded[1:-1, 1:]
    edges[1::2, 2:-1:2] = padded[:-1, 1:-1] != padded[1:, 1:-1]
    stride = edges.shape[1]
    one, other = padded[:-1, :-1], padded[:-1, 1:]
    touching = (one == padded[1:, 1:]) & (other == padded[1:, :-1]) & (one != other)
    rows, columns = np.nonzero(touching)
    junctions = ((2 * rows + 1) * stride + 2 * columns + 1).tolist()
    rows, columns = np.nonzero(edges[2:-1:2, 1::2])
    vertical = ((2 * rows + 2) * stride + 2 * columns + 1).tolist()

    free = bytearray(edges)  # Edges that no outline has taken yet.
    pieces = _pieces(free, junctions, stride)
    for edge in vertical:
        if free[edge]:
            junctions.append(edge - stride)  # The start is treated as a junction.
            pieces.append(_walk(free, edge - stride, stride, junctions[-1:], stride))
    return _join(pieces, _as_hashed(junctions)), stride


def _pieces(free, junctions, stride) -> list[list[int]]:
    """The outlines, cut at the junctions: the corners from one to the next."""
    ends = set(junctions)
    return [
        _walk(free, junction, step, ends, stride)
        for junction in reversed(junctions)
        for step in (-stride, -1, stride, 1)
        if free[junction + step]
    ]


def _walk(free, start, step, ends: Container[int], stride) -> list[int]:
    """Takes the edges from a corner to the first of `ends`; returns their corners."""
    corner, corners = start, [start]
    while True:
        free[corner + step] = 0
        corner += 2 * step
        corners.append(corner)
        if corner in ends:
            return corners
        # Corners that are not junctions have two edges, and the first is taken now.
        if not free[corner + step]:
            step = 1 if abs(step) == stride else stride
            if not free[corner + step]:
                step = -step


def _as_hashed(junctions: list[int]) -> list[int]:
    """The junctions in the order in which the original's hash table lists them.

    It lists the newest first. If there are as many as buckets, the table grew just
    before the newest was added, which reversed the others.
    """
    if len(junctions) in _BUCKETS:
        return junctions[-1:] + junctions[:-1]
    return junctions[::-1]


def _join(pieces: list[list[int]], junctions: list[int]) -> list[list[int]]:
    """Joins pieces to loops, which turn at junctions and visit none twice."""
    at = defaultdict(set)  # The pieces at every junction that no path has yet.
    for i, piece in enumerate(pieces):
        at[piece[0]].add(i)
        at[piece[-1]].add(i)
    loops = []
    for start in junctions:
        while at[start]:
            junction, path = start, {}  # The piece by which it leaves each junction.
            while True:
                path[junction] = i = _next_piece(pieces, at[junction], junction, path)
                at[pieces[i][0]].discard(i)
                at[pieces[i][-1]].discard(i)
                junction = _leave(pieces[i], junction)[-1]
                if junction in path:
                    loops.append(_close(pieces, path, junction))
                if not path:
                    break
    return loops


def _next_piece(pieces, candidates, junction, path) -> int:
    """The first piece, or the second one if the path would go straight on."""
    first, *others = sorted(candidates)
    if path:
        came = _leave(pieces[next(reversed(path.values()))], junction)[1]
        if came + _leave(pieces[first], junction)[1] == 2 * junction:
            return others[0]
    return first


def _leave(piece, junction):
    """A piece's corners, from a junction at one of its ends."""
    return piece if piece[0] == junction else piece[::-1]


def _close(pieces, path, junction) -> list[int]:
    """Cuts from the path the loop since its visit to a junction."""
    steps = []
    while not steps or steps[-1][0] != junction:
        steps.append(path.popitem())
    loop = [junction]
    for corner, i in reversed(steps):
        loop += _leave(pieces[i], corner)[1:]
    return loop


# Polygons --------------------------------------------------------------------------


def _oriented(polygon: Corners, outline: Corners, mask) -> Corners:
    """Turns the polygon such that the mask is on its right, as the outline shows."""
    (y, x), (down, right) = outline[0], (outline[1] - outline[0]) // 2
    row, column = (y + down + right) // 2, (x + right - down) // 2
    inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
    mask_on_right = bool(inside and mask[row, column])
    is_object = mask_on_right == _is_clockwise(outline)
    return polygon if _is_clockwise(polygon) == is_object else polygon[::-1]


def _is_clockwise(polygon: Corners) -> bool:
    y, x = polygon.T
    return bool(np.sum(np.diff(y) * (x[1:] + x[:-1])) > 0)


def _simplify(corners: Corners) -> Corners:
    points = corners.astype(np.float64)
    for tolerance in _TOLERANCES:
        points = _thin_out(points, tolerance)
        points = points[_keys(points, tolerance)]
    return points.astype(np.int64)


def _thin_out(points: Float64[np.ndarray, "n 2"], tolerance):
    """Drops points too close to the last one that is kept; both ends are kept."""
    steps = np.diff(points, axis=0)
    if len(points) < 3 or ((steps**2).sum(axis=1) >= tolerance**2).all():
        return points
    kept, (y, x) = [0], points[0]
    for i, (v, u) in enumerate(points[1:-1].tolist(), start=1):
        if (v - y) ** 2 + (u - x) ** 2 >= tolerance**2:
            kept.append(i)
            y, x = v, u
    return points[[*kept, -1]]


def _keys(points: Float64[np.ndarray, "n 2"], tolerance) -> Bool[np.ndarray, " n"]:
    """Marks the points that remain by Douglas and Peucker's method.

    A part of the polygon is split at its point farthest from the line between its ends,
    the last among equals, if it is farther than the tolerance. Parts do not depend on
    each other, so all of them are split at the same time.
    """
    keys = np.zeros(len(points), bool)
    keys[[0, -1]] = True
    starts, ends = np.array([0]), np.array([len(points) - 1])
    while True:
        inner = ends - starts - 1
        starts, ends, inner = (a[inner > 0] for a in (starts, ends, inner))
        if not len(starts):
            return keys
        first = np.cumsum(inner) - inner
        part = np.repeat(np.arange(len(starts)), inner)
        point = np.arange(len(part)) - np.repeat(first - starts - 1, inner)
        distance = _distance_to_segments(
            points[point], points[starts][part], points[ends][part]
        )
        farthest = np.maximum.reduceat(distance, first)
        is_farthest = distance == farthest[part]
        key = np.maximum.reduceat(np.where(is_farthest, point, 0), first)
        split = farthest > tolerance * tolerance
        starts, key, ends = starts[split], key[split], ends[split]
        keys[key] = True
        starts, ends = np.append(starts, key), np.append(key, ends)


def _distance_to_segments(points, starts, ends) -> Float64[np.ndarray, " n"]:
    """The squared distances, with the rounding errors of psimpl, which decide ties."""
    along, to_point = ends - starts, points - starts
    length = (along**2).sum(axis=1)
    projection = (to_point * along).sum(axis=1)
    inside = (projection > 0) & (projection < length)
    fraction = np.divide(
        projection.astype(np.float32),
        length.astype(np.float32),
        out=np.zeros(len(points), np.float32),
        where=inside,
    )
    nearest = starts + fraction[:, None].astype(np.float64) * along
    nearest = np.where((projection >= length)[:, None], ends, nearest)
    nearest = np.where((projection <= 0)[:, None], starts, nearest)
    return ((points - nearest) ** 2).sum(axis=1)
