"""Tracks as boxes and points that prompt models of the kind of SAM 2.

    {"info": {"description": ..., "format": 1},
     "video": {"width": 854, "height": 480, "length": 70},
     "prompts": [{"frame": 12, "name": "00012", "track": 1, "box": [210, 95, 402, 388],
                  "points": [[300, 240]], "labels": [1]}, ...]}

A prompt says where one track is in one frame. Frames count from 0. Coordinates are
columns and rows of pixels, counted from 0, as in SAM 2: a box is [first column, first
row, last column, last row], a point [column, row]. A label is 1 for a point in the
object and 0 for a point that is not. Prompts are in the order of frames, then tracks.

Only what is visible of an object counts, so that no point lies in another object.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from movseg_jax import masks
from movseg_jax.errors import InputError
from movseg_jax.formats.survey import Survey, paint
from movseg_jax.results import TrackedFrame
from movseg_jax.system.atomic import write_file

FORMAT = 1  # Raised when a reader of the format before would misread a file.
MAX_POINTS = 100  # Points in an object.


def write_prompts(
    tracks: Sequence[TrackedFrame],
    out: Path,
    *,
    surveyed: Survey,
    prompt_frames: Collection[int] | None = None,
    positive_points: int = 1,
    negative_points: bool = False,
) -> None:
    """Writes prompts for each track in chosen frames where it is visible.

    Args:
        tracks: The tracked frames.
        out: The file.
        surveyed: The survey of the tracks.
        prompt_frames: Indices of the frames, from 0. None takes for each track the
            first frame in which most of its pixels are visible.
        positive_points: The number of points in the object, 1 to 100. The first is
            the pixel that is farthest from the outline, and each other one the pixel
            that is farthest from the outline and the points before. Small objects have
            fewer.
        negative_points: Whether there is a point in each other track that is in the
            box, too.

    Raises:
        InputError: An option is out of range, or the file cannot be written.
    """
    if not 1 <= positive_points <= MAX_POINTS:
        raise InputError(
            f"{out}: `positive_points` is {positive_points}, expected 1 to "
            f"{MAX_POINTS} (prompts.MAX_POINTS)."
        )
    count = surveyed.frame_count
    if outside := [i for i in prompt_frames or () if not 0 <= i < count]:
        raise InputError(
            f"{out}: `prompt_frames` has {outside[0]}, expected 0 to {count - 1}."
        )
    if prompt_frames is None:
        chosen = _best_frames(tracks)
    else:
        chosen = {index: {*surveyed.ids} for index in prompt_frames}
    height, width = surveyed.size
    content = {
        "info": {"description": "prompts by movseg_jax", "format": FORMAT},
        "video": {"width": width, "height": height, "length": count},
        "prompts": [
            {"frame": index, "name": frame.name, **prompt}
            for index, frame in enumerate(tracks)
            for prompt in _prompts(
                frame, chosen.get(index, set()), positive_points, negative_points
            )
        ],
    }
    write_file(out, (json.dumps(content) + "\n").encode())


def _best_frames(tracks: Sequence[TrackedFrame]) -> dict[int, set[int]]:
    """Returns for each frame the tracks of which it shows most."""
    best: dict[int, tuple[int, int]] = {}  # The visible area and the frame, by track.
    for index, frame in enumerate(tracks):
        numbers, areas = np.unique(paint(frame), return_counts=True)
        for track, area in zip(numbers.tolist(), areas.tolist(), strict=True):
            if track and area > best.get(track, (0, 0))[0]:
                best[track] = (area, index)
    chosen: dict[int, set[int]] = {}
    for track, (_, index) in best.items():
        chosen.setdefault(index, set()).add(track)
    return chosen


def _prompts(
    frame: TrackedFrame, wanted: set[int], positive: int, negative: bool
) -> Iterator[dict[str, Any]]:
    """Yields the prompts of the tracks of a frame that are wanted and visible."""
    if not wanted:
        return
    ids = paint(frame)
    tracks = [int(track) for track in np.unique(ids) if track]
    for track in tracks:
        if track not in wanted:
            continue
        x0, y0, x1, y1 = masks.tight_box(ids == track).astype(int).tolist()
        inside = points_inside(ids == track, positive)
        outside = []
        if negative:
            cut = ids[y0:y1, x0:x1]
            others = (points_inside(cut == i, 1) for i in tracks if i != track)
            outside = [[x + x0, y + y0] for points in others for x, y in points]
        yield {
            "track": track,
            "box": [x0, y0, x1 - 1, y1 - 1],
            "points": inside + outside,
            "labels": [1] * len(inside) + [0] * len(outside),
        }


def points_inside(mask: Bool[np.ndarray, "h w"], count: int) -> list[list[int]]:
    """Returns pixels [column, row] that are well inside a mask and far from each other.

    Each is the pixel that is farthest from pixels outside of the mask, from the image's
    border and from the points before; the first one in the order of rows, if there are
    several.

    Args:
        mask: The mask.
        count: The number of points; there are fewer if the mask has fewer pixels.
    """
    free = np.pad(mask, 1).astype(np.uint8)
    points = []
    for _ in range(min(count, int(mask.sum()))):
        away = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        row, column = np.unravel_index(int(away.argmax()), away.shape)
        free[row, column] = 0
        points.append([int(column) - 1, int(row) - 1])
    return points
