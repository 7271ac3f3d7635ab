"""Writes one HTML file that shows a segmented video.

The page itself has the tables and charts of the tracks; a script draws the frames and
the masks. The frames that are shown are a video, see `movie`. Each of them has a block
of JSON with its masks as COCO's compressed run lengths, which is decoded when the
reader looks at the frame.
"""

import base64
import contextlib
import itertools
import json
import math
import string
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.report import html
from movseg_jax.report.charts import chart, cut_lines, hex_colour, lane, nice_top
from movseg_jax.report.movie import GAP, Movie
from movseg_jax.report.summary import TrackSummary, summarise
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file
from movseg_jax.video.overlay import resize_tracks

MAX_FRAMES = 600  # Largest number of frames that are shown.
MAX_TRACKS = 200  # Largest number of tracks that are listed and charted.
UNFOLDED = 8  # Number of tracks that are listed before the reader asks for the rest.


def chosen_frames(count: int) -> list[int]:
    """The numbers of the frames that a report shows: every n-th of `count`."""
    return [*range(0, count, _step(count))]


def _step(count: int) -> int:
    return max(1, math.ceil(count / MAX_FRAMES))


@contextlib.contextmanager
def report_writer(
    out: str | Path,
    tracks: Sequence[TrackedFrame],
    flows: Mapping[int, np.ndarray],
    *,
    title: str,
    settings: Mapping[str, Any],
    fps: float,
    licence: str = "",
) -> Iterator[Callable[[np.ndarray, TrackedFrame], None]]:
    """Gives a function that adds a frame, with its tracks, to a report.

    Frames are added in their order, all of them. The file is there after the block.
    Equal arguments and frames give equal files.

    Args:
        out: Path of the file, "NAME.html".
        tracks: Tracks of every frame; they are read once.
        flows: RGB pictures of flow by number of the frame. Those of `chosen_frames` are
            shown, if there are any.
        title: Title of the page, such as the video's name.
        settings: Settings of the run, nested at will.
        fps: Frames per second, used where `TrackedFrame.time` is not known.
        licence: Licence of the weights, if it is known.

    Raises:
        InputError: There are no frames, or the file cannot be written.
    """
    if not len(tracks):
        raise InputError(f"{out}: a report needs at least one frame.")
    out, chosen = Path(out), chosen_frames(len(tracks))
    with whole_file(out) as temporary, tempfile.TemporaryDirectory() as folder:
        file_of_movie = Path(folder) / "movie.mp4"
        movie = Movie(
            file_of_movie,
            tracks[0].size,
            count=len(chosen),
            rate=fps / _step(len(tracks)),
            with_flow=not flows.keys().isdisjoint(chosen),
        )
        about = _about(movie, chosen, len(tracks))
        page = _page(tracks, chosen, title, settings, fps, licence, about)
        before, after = page.split("<!-- frames -->\n")
        with temporary.open("wb") as file:
            file.write(before.encode())
            with movie:
                yield _adds_frames(file, movie, flows, chosen, fps)
            file.write(b'<script type="text/plain" id="movie">')
            file.write(base64.b64encode(file_of_movie.read_bytes()))
            file.write(b"</script>\n")
            file.write(after.encode())


# The page around the frames --------------------------------------------------------


def _about(movie: Movie, chosen: Sequence[int], count: int) -> dict[str, Any]:
    """The facts about the video that the script needs."""
    return {
        "chosen": chosen,
        "frames": count,
        "rate": movie.rate,
        "size": movie.size,
        "flow": movie.flow_size,
        "gap": GAP,
    }


def _page(tracks, chosen, title, settings, fps, licence, about) -> str:
    """The page, with a comment in place of the blocks of frames."""
    found, cuts = summarise(tracks, chosen)
    listed = sorted(found, key=lambda track: (-track.frames, track.id))[:MAX_TRACKS]
    shown, count = len(chosen), len(tracks)
    top = nice_top([p.motion for track in listed for p in track.points])
    seconds = [_seconds(tracks, place, fps) for place in (chosen[shown // 2], -1)]
    body = string.Template(html.read_part("report", "page.html")).substitute(
        title=html.escape(title),
        summary=html.escape(_summary(found, cuts, tracks, fps)),
        note=html.escape(_note(len(found), len(listed), count)),
        rows="\n".join(_row(track, shown) for track in listed),
        unfolded=UNFOLDED,
        no_tracks="" if found else "<p>No object was found.</p>",
        tracked="" if found else "hidden",
        cuts=cut_lines(cuts, chosen),
        cut_legend=", dashed line: a new shot" if cuts else "",
        scores=chart(listed, lambda point: point.score, 1.0, shown),
        motions=chart(listed, lambda point: point.motion, top, shown),
        top=f"{top:g}",
        middle=f"{seconds[0]:.1f} s<br>frame {chosen[shown // 2]}",
        last=f"{seconds[1]:.1f} s<br>frame {count - 1}",
        steps=shown - 1,
        flowing="" if about["flow"] else "hidden",
        settings=_table(_flatten(settings)),
        licence=html.escape(licence),
        licensed="" if licence else "hidden",
        video=_json(about),
    )
    return html.page(
        body,
        title=title,
        style=html.read_part("report", "page.css"),
        script=html.read_part("report", "page.js"),
    )


def _seconds(tracks: Sequence[TrackedFrame], place: int, fps: float) -> float:
    time = tracks[place].time
    return range(len(tracks))[place] / fps if time is None else time


def _summary(found: Sequence[TrackSummary], cuts, tracks, fps: float) -> str:
    height, width = tracks[0].size
    objects = html.counted(len(found), "object") if found else "No objects"
    began, ended = tracks[0].time, tracks[-1].time
    seconds = len(tracks) / fps
    if began is not None and ended is not None:
        seconds = ended - began
    return (
        f"{objects} in {html.counted(len(tracks), 'frame')}, "
        f"{width} \N{MULTIPLICATION SIGN} {height} pixels, {seconds:.1f} seconds"
        + (f", {html.counted(len(cuts) + 1, 'shot')}." if cuts else ".")
    )


def _note(found: int, listed: int, count: int) -> str:
    """A remark on frames and tracks that are not shown; "" if all are."""
    notes = []
    if _step(count) > 1:
        notes.append(f"Every {_ordinal(_step(count))} frame is shown.")
    if listed < found:
        notes.append(f"Of {found} tracks the {listed} longest are listed.")
    return " ".join(notes)


def _row(track: TrackSummary, shown: int) -> str:
    """A track in the list."""
    id, colour = track.id, hex_colour(track.id)
    motion = f"{track.motion:.1f}" if math.isfinite(track.motion) else "&ndash;"
    span = f"{track.first}&ndash;{track.last}" if track.frames > 1 else f"{track.first}"
    return (
        f'<tr data-track="{id}"><td><input type="checkbox" checked '
        f'aria-label="Show track {id}"></td>'
        f'<th scope="row"><button type="button" title="Show this track alone">'
        f'<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true">'
        f'<rect width="1" height="1" fill="{colour}"/></svg>{id}</button></th>'
        f"<td>{span}</td><td>{track.score:.2f}</td><td>{track.moving:.0%}</td>"
        f'<td>{motion}</td><td class="wide"><svg class="lane" viewBox="0 0 1000 10" '
        f'preserveAspectRatio="none" aria-hidden="true" color="{colour}">'
        f"{lane(track, shown)}</svg></td></tr>"
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(html.row(key, [value]) for key, value in rows)


def _flatten(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings, named by the path to them."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _flatten(value, f"{name}.{key}" if name else str(key))
    elif isinstance(settings, str):
        yield name, settings
    else:
        yield name, json.dumps(settings, ensure_ascii=False, default=str)


# The frames ------------------------------------------------------------------------


def _adds_frames(file, movie: Movie, flows, chosen: Sequence[int], fps: float):
    """Returns the function that `report_writer` gives."""
    wanted, numbers = frozenset(chosen), itertools.count()

    def add(image: np.ndarray, frame: TrackedFrame) -> None:
        number = next(numbers)
        if number not in wanted:
            return
        flow = flows.get(number)
        movie.add(image, flow)
        time = number / fps if frame.time is None else frame.time
        small = resize_tracks(frame, movie.size)
        file.write(_frame_block(number, small, time, flow is not None).encode())

    return add


def _frame_block(number: int, frame: TrackedFrame, time: float, has_flow: bool) -> str:
    """A block of JSON for a frame that is shown."""
    content = {
        "name": html.clean(frame.name),
        "time": round(time, 3),
        "flow": has_flow,
        "tracks": [_sighting_content(sighting) for sighting in frame.sightings],
    }
    return (
        f'<script type="application/json" id="frame-{number}">'
        f"{_json(content)}</script>\n"
    )


def _sighting_content(sighting: Sighting) -> dict[str, Any]:
    motion = round(sighting.motion, 3) if math.isfinite(sighting.motion) else None
    return {
        "id": sighting.id,
        "colour": hex_colour(sighting.id),
        "score": round(sighting.score, 3),
        "motion": motion,
        "moving": not sighting.stands_still,
        "mask": sighting.mask.counts.decode("ascii"),
    }


# Text ------------------------------------------------------------------------------


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _ordinal(n: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if n % 100 in (11, 12, 13) else endings.get(n % 10, "th")
    return f"{n}{ending}"
