"""Writes one HTML file that shows a segmented video.

The page itself has the tables and charts of the tracks; a script draws the frames and
the masks. Each frame that is shown is a block of JSON with its picture, flow and masks
as COCO's compressed run lengths. It is decoded when the reader looks at it.
"""

import json
import math
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.report import html
from movseg_jax.report.charts import chart, cut_lines, hex_colour, lane, nice_top
from movseg_jax.report.summary import TrackSummary, summarise
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.system.atomic import whole_file
from movseg_jax.video.overlay import paired
from movseg_jax.video.reading import Frame

MAX_FRAMES = 300  # Largest number of frames that are shown.
MAX_TRACKS = 200  # Largest number of tracks that are listed and charted.
MAX_BYTES = 30_000_000  # Approximate size of the file.
# A picture has the first of these longer sides, in pixels, and of these JPEG qualities
# for each side, with which it is small enough.
SIDES = (640, 320, 160, 80)
QUALITIES = (85, 70, 55, 40)
FLOW_SIDE = 320  # Largest longer side of the flow.


def chosen_frames(count: int) -> list[int]:
    """The numbers of the frames that a report shows: every n-th of `count`."""
    return [*range(0, count, _step(count))]


def _step(count: int) -> int:
    return max(1, math.ceil(count / MAX_FRAMES))


def write_report(
    out: Path,
    tracks: Sequence[TrackedFrame],
    frames: Iterable[np.ndarray | Frame],
    flows: Mapping[int, np.ndarray],
    *,
    title: str,
    settings: Mapping[str, Any],
    fps: float,
    timing: Mapping[str, float] | None = None,
) -> None:
    """Writes the report; it holds one frame at a time.

    Equal arguments give equal files.

    Args:
        out: Path of the file, "NAME.html".
        tracks: Tracks of every frame; they are read twice.
        frames: All frames of the video, RGB.
        flows: RGB pictures of flow by number of the frame. Those of `chosen_frames` are
            shown, if there are any.
        title: Title of the page, such as the video's name.
        settings: Settings of the run, nested at will.
        fps: Frames per second, used where `TrackedFrame.time` is not known.
        timing: Seconds by part, if they are to be shown.

    Raises:
        InputError: There are no frames, or their number or size differs from that of
            the tracks; or the file cannot be written.
    """
    if not len(tracks):
        raise InputError(f"{out}: a report needs at least one frame.")
    chosen = chosen_frames(len(tracks))
    before, after = _page(tracks, chosen, title, settings, fps, timing or {})
    with whole_file(out) as temporary, temporary.open("wb") as file:
        file.write(before.encode())
        for block in _frame_blocks(out, tracks, frames, flows, chosen, fps):
            file.write(block.encode())
        file.write(after.encode())


# The page around the frames --------------------------------------------------------


def _page(tracks, chosen, title, settings, fps, timing) -> tuple[str, str]:
    """The parts of the page before and after the blocks of frames."""
    found, cuts = summarise(tracks, chosen)
    listed = sorted(found, key=lambda track: (-track.frames, track.id))[:MAX_TRACKS]
    listed.sort(key=lambda track: track.id)
    shown, count = len(chosen), len(tracks)
    top = nice_top([p.motion for track in listed for p in track.points])
    body = string.Template(html.read_part("report", "page.html")).substitute(
        title=html.escape(title),
        summary=html.escape(_summary(found, cuts, tracks, fps)),
        note=html.escape(_note(len(found), len(listed), count)),
        rows="\n".join(_row(track, shown) for track in listed),
        no_tracks="" if found else "<p>No object was found.</p>",
        tracked="" if found else "hidden",
        cuts=cut_lines(cuts, chosen),
        scores=chart(listed, lambda point: point.score, 1.0, shown),
        motions=chart(listed, lambda point: point.motion, top, shown),
        top=f"{top:g}",
        last=count - 1,
        steps=shown - 1,
        settings=_table(_flatten(settings)),
        timing=_table([(key, f"{value:.2f} s") for key, value in timing.items()]),
        timed="" if timing else "hidden",
        video=_json({"chosen": chosen, "frames": count, "fps": fps}),
    )
    text = html.page(
        body,
        title=title,
        style=html.read_part("report", "page.css"),
        script=html.read_part("report", "page.js"),
    )
    before, after = text.split("<!-- frames -->\n")
    return before, after


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


def _frame_blocks(out, tracks, frames, flows, chosen, fps) -> Iterator[str]:
    """A block of JSON for each frame that is shown."""
    wanted = frozenset(chosen)
    most = MAX_BYTES // len(chosen)
    for i, (image, frame) in enumerate(paired(frames, tracks, source=str(out))):
        if i in wanted:
            time = i / fps if frame.time is None else frame.time
            content = _frame_content(image, frame, flows.get(i), most)
            content |= {"name": html.clean(frame.name), "time": round(time, 3)}
            yield (
                f'<script type="application/json" id="frame-{i}">'
                f"{_json(content)}</script>\n"
            )


def _frame_content(image, frame: TrackedFrame, flow, most: int) -> dict[str, Any]:
    """Picture, flow and masks, in about `most` bytes unless the masks need more."""
    picture = _shrink(image, SIDES[0])
    size = picture.shape[:2]
    sightings = [_sighting_content(sighting, size) for sighting in frame.sightings]
    left = most - sum(len(sighting["mask"]) + 100 for sighting in sightings)
    flow = None if flow is None else _jpeg(_shrink(flow, FLOW_SIDE), left // 4)
    left -= len(flow or "")
    return {
        "size": list(size),
        "image": _jpeg(picture, left),
        "flow": flow,
        "tracks": sightings,
    }


def _sighting_content(sighting: Sighting, size: tuple[int, int]) -> dict[str, Any]:
    motion = round(sighting.motion, 3) if math.isfinite(sighting.motion) else None
    return {
        "id": sighting.id,
        "colour": hex_colour(sighting.id),
        "score": round(sighting.score, 3),
        "motion": motion,
        "moving": not sighting.stands_still,
        "mask": _shrink_mask(sighting.mask, size).counts.decode("ascii"),
    }


def _shrink_mask(mask: masks.Rle, size: tuple[int, int]) -> masks.Rle:
    if mask.size == size:
        return mask
    pixels = masks.decode(mask).view(np.uint8)
    small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return masks.encode(small.view(bool))


def _shrink(picture: UInt8[np.ndarray, "h w 3"], side: int) -> np.ndarray:
    """Shrinks a picture whose longer side has more than `side` pixels."""
    height, width = picture.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return picture
    size = [max(1, round(n * factor)) for n in (width, height)]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _jpeg(picture: UInt8[np.ndarray, "h w 3"], most: int) -> str:
    """The best JPEG in base64 of at most so many bytes, or else the smallest one."""
    text = ""
    for side in SIDES:
        picture = _shrink(picture, side)
        for quality in QUALITIES:
            text = html.jpeg_text(picture, quality)
            if len(text) <= most:
                return text
    return text


# Text ------------------------------------------------------------------------------


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _ordinal(n: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if n % 100 in (11, 12, 13) else endings.get(n % 10, "th")
    return f"{n}{ending}"
