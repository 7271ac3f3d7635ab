"""Temporal stability against loops, against DAVIS' own numbers, and what must hold.

The loops follow the published code's steps with sets, recursion and a heap; they share
nothing with the package, and decide equal path costs as its docstrings say.
"""

import heapq
import itertools
import json
import math
import time

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from movseg_jax.errors import InputError
from movseg_jax.images import read_ids
from movseg_jax.metrics.contours import longest_contour
from movseg_jax.metrics.stability import describe, instability
from tests.outside import needs, outside

GOLDEN = "golden/davis2016_train_gt_temporal_stability.json"
TRUTH = "data/davis2016/Annotations/480p"


# By loops: polygons ----------------------------------------------------------------


def edges_by_loops(mask):
    """Midpoints (x, y) of edges in doubled coordinates; x goes down, y right."""
    height, width = mask.shape

    def on(r, c):
        return 0 <= r < height and 0 <= c < width and bool(mask[r, c])

    edges = set()
    for r in range(-1, height + 1):
        for c in range(-1, width + 1):
            if on(r, c) != on(r, c + 1):
                edges.add((2 * r + 1, 2 * c + 2))
            if on(r, c) != on(r + 1, c):
                edges.add((2 * r + 2, 2 * c + 1))
    return edges


def corners_of(edge):
    x, y = edge
    return ((x - 1, y), (x + 1, y)) if x % 2 else ((x, y - 1), (x, y + 1))


def edges_at(corner, edges):
    x, y = corner
    around = [(x, y + 1), (x + 1, y), (x, y - 1), (x - 1, y)]
    return [edge for edge in around if edge in edges]


def pieces_by_loops(edges):
    """Edges from junction to junction; junctions; loops without are given one."""
    corners = sorted({corner for edge in edges for corner in corners_of(edge)})
    junctions = [c for c in corners if len(edges_at(c, edges)) == 4]
    pieces, used = [], set()

    def follow(start, edge):
        piece, corner = [], start
        while True:
            piece.append(edge)
            used.add(edge)
            (corner,) = set(corners_of(edge)) - {corner}
            if corner in junctions:
                return start, corner, piece
            (edge,) = set(edges_at(corner, edges)) - {edge}

    to_do = [(j, edge) for j in junctions for edge in edges_at(j, edges)]
    while to_do:
        start, edge = to_do.pop()
        if edge not in used:
            pieces.append(follow(start, edge))
    for edge in sorted(edges):
        if edge[0] % 2 and edge not in used:
            junctions.append((edge[0] - 1, edge[1]))
            pieces.append(follow(junctions[-1], edge))
    return pieces, junctions


def is_prime(n):
    return n > 1 and all(n % k for k in range(2, n))


def loops_by_loops(pieces, junctions):
    """Closed lists of edges with the junction they start from."""
    todo = {j: [i for i, p in enumerate(pieces) if j in p[:2]] for j in junctions}
    order = junctions[::-1]
    if is_prime(len(order)):  # All sizes of hash tables up to 113 are.
        order = order[:1] + order[1:][::-1]
    loops = []

    def first_edge(i, junction):
        return pieces[i][2][0] if pieces[i][0] == junction else pieces[i][2][-1]

    while any(todo.values()):
        here = next(j for j in order if todo[j])
        path = []
        while True:
            options = todo[here]
            i = options[0]
            if path:
                x, y = first_edge(path[-1][1], here)
                u, v = first_edge(i, here)
                if x == u or y == v:
                    i = options[1]
            for junction in set(pieces[i][:2]):
                todo[junction].remove(i)
            path.append((here, i))
            here = pieces[i][1] if pieces[i][0] == here else pieces[i][0]
            visited = [junction for junction, _ in path]
            if here in visited:
                first = visited.index(here)
                loop = []
                for junction, k in path[first:]:
                    forwards = pieces[k][0] == junction
                    loop += pieces[k][2] if forwards else pieces[k][2][::-1]
                loops.append((here, loop))
                path = path[:first]
            if not path:
                break
    return loops


def contains(loop, edge):
    """Whether a ray from (almost) an edge's middle to the right crosses a loop."""
    x, y = edge[0] + 0.3, edge[1] + 0.3
    return sum(v > y and u % 2 == 1 and abs(u - x) < 1 for u, v in loop) % 2 == 1


def distance_by_loops(p, a, b):
    v = (b[0] - a[0], b[1] - a[1])
    w = (p[0] - a[0], p[1] - a[1])
    cw, cv = v[0] * w[0] + v[1] * w[1], v[0] ** 2 + v[1] ** 2
    if cw <= 0:
        nearest = a
    elif cw >= cv:
        nearest = b
    else:
        fraction = float(np.float32(cw) / np.float32(cv))
        nearest = (a[0] + fraction * v[0], a[1] + fraction * v[1])
    return (p[0] - nearest[0]) ** 2 + (p[1] - nearest[1]) ** 2


def simplify_by_loops(points, tolerance):
    thinned = [points[0]]
    for p in points[1:-1]:
        if math.dist(p, thinned[-1]) >= tolerance:
            thinned.append(p)
    thinned.append(points[-1])

    def between(first, last):
        farthest, key = 0.0, None
        for k in range(first + 1, last):
            distance = distance_by_loops(thinned[k], thinned[first], thinned[last])
            if distance >= farthest:
                farthest, key = distance, k
        if key is None or farthest <= tolerance * tolerance:
            return []
        return [*between(first, key), key, *between(key, last)]

    keys = [0, *between(0, len(thinned) - 1), len(thinned) - 1]
    return [thinned[k] for k in keys]


def is_clockwise(points):
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return sum((u - x) * (v + y) for (x, y), (u, v) in pairs) > 0


def polygons_by_loops(mask):
    loops = loops_by_loops(*pieces_by_loops(edges_by_loops(mask)))
    polygons = []
    for start, loop in loops:
        depth = sum(contains(o, loop[0]) for _, o in loops if o is not loop)
        points = [start]
        for edge in loop:
            (corner,) = set(corners_of(edge)) - {points[-1]}
            points.append(corner)
        for tolerance in (0.1, 3.0):
            points = simplify_by_loops(points, tolerance)
        if is_clockwise(points) != (depth % 2 == 0):
            points = points[::-1]
        if len(points) > 3:
            polygons.append([(x // 2, y // 2) for x, y in points])
    return polygons


def longest_by_loops(mask, variant):
    polygons = polygons_by_loops(mask)
    if variant == "python":
        polygons = polygons[::-1]
    return max(polygons, key=len, default=None)


# By loops: matching ----------------------------------------------------------------


def points_by_loops(corners, variant):
    number = np.float32 if variant == "python" else np.float64
    points = []
    for (x, y), (u, v) in itertools.pairwise(corners):
        count = max(1, math.ceil(math.dist((x, y), (u, v)) / 3))
        point = number(x), number(y)
        for _ in range(count):
            points.append(point)
            point = (
                point[0] + number(u - x) / number(count),
                point[1] + number(v - y) / number(count),
            )
    points.append(corners[-1])
    points = [(float(x), float(y)) for x, y in points]
    return [(y, x) for x, y in points] if variant == "python" else points


def is_undecided(x, y, distance):
    """Whether rounding errors decide in which angle or ring a point is."""
    almost_on_an_axis = any(0 < abs(d) < 1e-9 for d in (x, y))
    return almost_on_an_axis or any(
        abs(distance - r) < 1e-9 for r in (1 / 8, 1 / 4, 1 / 2, 1, 2)
    )


def contexts_by_loops(points):
    n, turn = len(points), 2 * math.pi
    lengths = [
        [math.sqrt((u - x) ** 2 + (v - y) ** 2) for u, v in points] for x, y in points
    ]
    mean = sum(map(sum, lengths)) / n**2
    contexts = []
    for i, (x, y) in enumerate(points):
        counts = [0] * 60
        for j, (u, v) in enumerate(points):
            ring = sum(lengths[i][j] / mean < r for r in (1 / 8, 1 / 4, 1 / 2, 1, 2))
            assume(not is_undecided(u - x, v - y, lengths[i][j] / mean))
            angle = math.atan2(v - y, u - x) + turn
            angle -= turn if angle >= turn * (1 - 2e-16) else 0
            if ring:
                counts[max(int(angle / (turn / 12)), 0) * 5 + ring - 1] += 1
        contexts.append([count / (sum(counts) + 2.2204e-16) for count in counts])
    return contexts


def costs_by_loops(a, b):
    def cost(h, k):
        total = 0.0
        for x, y in zip(h, k, strict=True):
            total += (x - y) * (x - y) / (x + y + 2.2204e-16)
        return 0.5 * total

    return [[cost(h, k) for k in b] for h in a]


def path_by_dijkstra(costs):
    """Nodes from the last to the first, by a heap."""
    n, m = len(costs), len(costs[0])
    distances, heap = {}, [(0.0, (0, 0))]
    while heap:
        distance, (i, j) = heapq.heappop(heap)
        if (i, j) in distances:
            continue
        distances[i, j] = distance
        for k, p in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if k < n and p < m:
                heapq.heappush(heap, (distance + costs[k][p], (k, p)))
    path = [(n - 1, m - 1)]
    while path[-1] != (0, 0):
        i, j = path[-1]
        before = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        path.append(min(before, key=lambda node: distances.get(node, math.inf)))
    return path


def match_by_loops(costs):
    n, m = len(costs), len(costs[0])
    path = path_by_dijkstra(costs)
    i, j = min(path[:-1], key=lambda node: costs[node[0]][node[1]])
    rolled = [
        [costs[(k + i + 1) % n][(p + j + 1) % m] for p in range(m)] for k in range(n)
    ]
    pairs = [((k + i + 1) % n, (p + j + 1) % m) for k, p in path_by_dijkstra(rolled)]
    for side in (0, 1):
        best = {}
        for pair in pairs:
            cost = costs[pair[0]][pair[1]]
            if pair[side] not in best or cost < best[pair[side]][0]:
                best[pair[side]] = cost, pair
        pairs = [best[point][1] for point in sorted(best)]
    return sum(costs[k][p] for k, p in pairs) / len(pairs)


def instability_by_loops(before, after, variant):
    polygons = [longest_by_loops(mask, variant) for mask in (before, after)]
    if None in polygons:
        return None
    a, b = (contexts_by_loops(points_by_loops(p, variant)) for p in polygons)
    return match_by_loops(costs_by_loops(a, b))


# Masks -----------------------------------------------------------------------------


@st.composite
def masks(draw, largest=9, scales=(1, 2, 3)):
    height, width = (draw(st.integers(1, largest)) for _ in range(2))
    bits = draw(
        st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    )
    mask = np.array(bits).reshape(height, width)
    return np.kron(mask, np.ones([draw(st.sampled_from(scales))] * 2)) > 0


def from_rows(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def disk(size, centre, radius):
    y, x = np.indices(size)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


TOUCHING = np.kron(from_rows("##..", "##..", "..##", "..##"), np.ones((3, 3))) > 0
RING = np.kron(from_rows(".##.", "#..#", "#..#", ".##."), np.ones((4, 4))) > 0


# Tests -----------------------------------------------------------------------------


@settings(max_examples=60)
@given(mask=masks(), variant=st.sampled_from(["python", "matlab"]))
@example(mask=TOUCHING, variant="python")
@example(mask=TOUCHING, variant="matlab")
@example(mask=RING, variant="python")
@example(mask=RING, variant="matlab")
def test_the_longest_contour_is_that_of_the_loops(mask, variant):
    expected = longest_by_loops(mask, variant)
    found = longest_contour(mask, last_of_equals=variant == "python")
    if expected is None:
        assert found is None
    else:
        assert_array_equal(found, expected)


@settings(max_examples=40)
@given(
    before=masks(5, (3, 4)),
    after=masks(5, (3, 4)),
    variant=st.sampled_from(["python", "matlab"]),
)
@example(before=TOUCHING, after=RING, variant="matlab")
def test_instability_is_that_of_the_loops(before, after, variant):
    expected = instability_by_loops(before, after, variant)
    outlines = [describe(mask, variant) for mask in (before, after)]
    if expected is None:
        assert any(outline is None for outline in outlines)
    else:
        assert instability(*outlines) == pytest.approx(expected, abs=1e-9)


def test_a_square_is_its_corners_clockwise_from_the_upper_left_one():
    mask = np.zeros((20, 30), bool)
    mask[4:14, 7:19] = True
    assert_array_equal(
        longest_contour(mask), [[4, 7], [4, 19], [14, 19], [14, 7], [4, 7]]
    )


def test_a_hole_is_walked_around_counter_clockwise():
    # Its outline is the longer one: that of the object is the frame, four corners.
    mask = ~disk((40, 40), (20, 20), 15)
    polygon = longest_contour(mask)
    (y, x), (v, u) = polygon[:-1].T, polygon[1:].T
    area = np.sum(x * v - u * y) / 2
    assert len(polygon) > 5 and area == pytest.approx(-np.sum(~mask), rel=0.05)


def test_objects_that_touch_at_a_corner_have_outlines_of_their_own():
    assert len(longest_contour(TOUCHING)) == 5


@pytest.mark.parametrize("mask", [np.zeros((5, 6), bool), np.eye(6, dtype=bool)])
def test_nothing_and_specks_have_no_outline(mask):
    assert longest_contour(mask) is None and describe(mask) is None


@pytest.mark.parametrize("variant", ["python", "matlab"])
def test_what_only_moves_is_perfectly_stable(variant):
    mask = disk((60, 80), (20, 25), 14) | disk((60, 80), (28, 40), 9)
    moved = np.roll(mask, (7, 20), (0, 1))
    before, after = (describe(each, variant) for each in (mask, moved))
    assert instability(before, before) == 0
    assert instability(before, after) == pytest.approx(0, abs=2e-3)


def test_what_changes_more_is_less_stable():
    first, second, third = (
        describe(disk((100, 200), (50, 100), 30) & disk((100, 200), (50, column), 30))
        for column in (100, 104, 120)
    )
    assert 0 < instability(first, second) < instability(first, third) < 1


def test_a_mask_of_noise_is_described_in_time():
    noise = np.random.default_rng(0).random((120, 213)) < 0.5
    before = time.process_time()
    assert describe(noise) is not None
    assert time.process_time() - before < 5


def test_an_outline_too_long_to_be_matched_is_refused():
    comb = np.zeros((250, 300), bool)
    comb[np.arange(250) % 4 < 2] = comb[:, 0] = True
    with pytest.raises(InputError, match=r"250x300 .* \d{5} points.* 8192 \(stab.*T\."):
        describe(comb)


def test_what_is_no_mask_is_refused():
    with pytest.raises(InputError, match=r"uint8 \[3, 4\].*bool \[h, w\]"):
        describe(np.zeros((3, 4), np.uint8))


def golden(name, first=0, pairs=None):
    """T of a sequence's truth, from a frame on: that of DAVIS, and ours."""
    expected = json.loads(outside(GOLDEN).read_text())[name]["per_pair"]
    expected = [math.nan if value is None else value for value in expected]
    pairs = len(expected) if pairs is None else pairs
    paths = sorted((outside(TRUTH) / name).glob("*.png"))[first : first + pairs + 1]
    outlines = [describe(np.asarray(read_ids(path)) > 0, "matlab") for path in paths]
    found = [
        math.nan if a is None or b is None else instability(a, b)
        for a, b in itertools.pairwise(outlines)
    ]
    return np.array(expected[first : first + pairs]), np.array(found)


@needs(GOLDEN, TRUTH)
@pytest.mark.parametrize(
    ("name", "first"), [("bear", 12), ("paragliding", 0), ("bmx-bumps", 16)]
)
def test_instability_is_that_of_davis(name, first):
    expected, found = golden(name, first, 4)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@needs(GOLDEN, TRUTH)
def test_instability_is_that_of_davis_in_every_video():
    pairs = [golden(name, 5, 12) for name in json.loads(outside(GOLDEN).read_text())]
    expected, found = (np.concatenate(values) for values in zip(*pairs, strict=True))
    assert len(found) == 30 * 12
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # Equal path costs and angles between two bins: what rounding decides.
    difference = np.abs(found - expected)
    assert np.nansum(difference > 1e-4) <= 3
    assert abs(5 * np.nanmean(found - expected)) < 1e-5
