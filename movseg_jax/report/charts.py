"""Draws tracks over time as SVG.

All drawings are stretched to the width of the page, so a unit of x is not as long as
one of y. Moving tracks are drawn in paths of the class "moving", stationary ones in
"still". The track's colour is the group's `color`.
"""

import bisect
import math
from collections.abc import Callable, Sequence

from movseg_jax.report.summary import Point, TrackSummary
from movseg_jax.video.labels import track_colour

WIDTH, HEIGHT = 1000, 100  # Size of a chart, in units.
LANE = 10  # Height of a lane.


def hex_colour(id: int) -> str:
    """The colour of a track as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*track_colour(id))


def chart(
    tracks: Sequence[TrackSummary],
    value: Callable[[Point], float],
    top: float,
    shown: int,
) -> str:
    """Draws a value of every track as lines, or as a dot for a single frame.

    Args:
        tracks: Tracks, each of which becomes a group.
        value: Function that returns a point's value; NaN interrupts the line.
        top: Value at the upper edge; 0 is at the lower one.
        shown: Number of frames that are shown.
    """
    groups = []
    for track in tracks:
        paths = _lines(track.points, value, top, shown)
        groups.append(
            f'<g data-track="{track.id}" color="{hex_colour(track.id)}">{paths}</g>'
        )
    return "\n".join(groups)


def cut_lines(cuts: Sequence[int], chosen: Sequence[int]) -> str:
    """Draws lines where shots start, over the full height of a chart.

    Args:
        cuts: Numbers of the frames with which a shot starts.
        chosen: Numbers of the frames that are shown, increasing.
    """
    places = sorted({bisect.bisect_left(chosen, cut) for cut in cuts})
    path = "".join(f"M{_edge(place, len(chosen))} 0V{HEIGHT}" for place in places)
    return f'<path class="cut" d="{path}"/>' if path else ""


def lane(track: TrackSummary, shown: int) -> str:
    """Draws the frames with a track as a bar with gaps; it needs no group."""
    paths = {True: "", False: ""}
    start = None
    for i, point in enumerate(track.points):
        start = point if start is None else start
        after = track.points[i + 1] if i + 1 < len(track.points) else None
        continues = after is not None and after.place == point.place + 1
        if after is None or not continues or after.moving != point.moving:
            x0, x1 = (_edge(n, shown) for n in (start.place, point.place + 1))
            paths[point.moving] += f"M{x0} 0H{x1}V{LANE}H{x0}z"
            start = None
    return _both(paths)


def nice_top(values: Sequence[float]) -> float:
    """A round number that no finite value exceeds; 1 without values."""
    largest = max((v for v in values if math.isfinite(v)), default=0.0)
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    steps = (n * power for n in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next((step for step in steps if step >= largest), largest)


def _lines(points, value, top, shown) -> str:
    paths = {True: "", False: ""}
    before = None  # The last point, if it was drawn: place, moving, coordinates.
    for point in points:
        if not math.isfinite(value(point)):
            before = None
            continue
        y = _short(HEIGHT * (1 - min(max(value(point) / top, 0.0), 1.0)))
        spot = f"{_middle(point.place, shown)} {y}"
        if before is None or before[0] + 1 != point.place:
            paths[point.moving] += f"M{spot}h0"
        elif before[1] == point.moving:
            paths[point.moving] += f"L{spot}"
        else:
            paths[point.moving] += f"M{before[2]}L{spot}"
        before = (point.place, point.moving, spot)
    return _both(paths)


def _both(paths: dict[bool, str]) -> str:
    classes = {True: "moving", False: "still"}
    return "".join(
        f'<path class="{classes[moving]}" d="{path}"/>'
        for moving, path in paths.items()
        if path
    )


def _middle(place: int, shown: int) -> str:
    return _short(WIDTH * (place + 0.5) / shown)


def _edge(place: int, shown: int) -> str:
    return _short(WIDTH * place / shown)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
