"""Writes the flow of a video to a folder, resumable: `movseg flow`."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from movseg_jax.errors import InputError
from movseg_jax.flow.colour_wheel import flow_picture
from movseg_jax.flow.estimators import FlowEstimator, checked_flow, get_estimator
from movseg_jax.flow.files import MAGNITUDES, SUFFIX_OF, write_flow
from movseg_jax.images import encode_png
from movseg_jax.system.atomic import write_file
from movseg_jax.system.paths import inside
from movseg_jax.system.workspace import Workspace, read_marker

SETTINGS = "flow.json"
# A key of the settings; it is false if `overwrite` took over a folder of other files.
OWN = "all_flow_is_ours"
SUFFIXES = tuple(dict.fromkeys(SUFFIX_OF.values()))  # The suffixes of flow files.
ENDINGS = (*SUFFIXES, ".txt")  # The suffixes of all files that runs leave.
OUTPUTS = (*SUFFIX_OF, "picture")


class FlowCounts(NamedTuple):
    """The progress of `write_flows`.

    Attributes:
        frames: The number of frames read; the last one of a video has no flow.
        written: The number of flows estimated and written.
        skipped: The number of flows that an earlier run with these settings wrote.
    """

    frames: int
    written: int
    skipped: int


def write_flows(
    frames: Iterable[tuple[str, np.ndarray]],
    out: Path,
    *,
    source: str,
    to: str = "flo",
    estimator: str | FlowEstimator = "dis",
    working_side: int | None = None,
    overwrite: bool = False,
) -> Iterator[FlowCounts]:
    """Writes the flow from every frame to the next, named as the frame.

    Flow of an earlier run with the same settings is kept, so a run that was stopped
    resumes. The settings are in the folder's `flow.json`.

    Args:
        frames: The frames: the stem of a file name, and uint8 RGB of one size.
        out: The folder, which is made if it is missing.
        source: The identity of the video, see `video.reading.fingerprint`. It is one of
            the settings, so that another video's flow is not taken for this one's.
        to: The format: one of `files.write_flow`, where "png" is the authors' with a
            text file for each, or "picture" in Middlebury's colours, for people.
        estimator: The name of an estimator of `estimators.get_estimator`, or an
            estimator whose `repr` identifies it, such as a flow network.
        working_side: The longer side of the frames for the estimator, see there. Only
            an estimator that is named has it.
        overwrite: Whether to write everything anew, whatever the folder holds. Flow of
            an earlier run is removed after the last frame.

    Yields:
        The counts, after each frame.

    Raises:
        InputError: There are fewer than two frames; the folder holds something else
            and `overwrite` is off; a name is not a plain file name or comes twice;
            frames or flow are of another size; or a file cannot be written.
    """
    if to not in OUTPUTS:
        raise InputError(
            f"there is no format {to!r}; expected one of {', '.join(OUTPUTS)}."
        )
    named = isinstance(estimator, str)
    algorithm = get_estimator(estimator, working_side) if named else estimator
    settings = {
        "source": source,
        "to": to,
        "estimator": estimator if named else repr(estimator),
        "working_side": working_side,
        "opencv": cv2.__version__,
    }
    frames = iter(frames)
    first = list(itertools.islice(frames, 2))
    if len(first) < 2:
        raise InputError(
            f"{source}: has {'one frame' if first else 'no frames'}, and flow is from "
            "a frame to the next; expected at least 2."
        )
    since = _prepare(out, settings, overwrite)
    yield from _write(itertools.chain(first, frames), out, to, algorithm, since)
    _remove_leftovers(out, since)


def _prepare(out, settings, overwrite):
    """Claims the folder for these settings; returns the time of the settings' file.

    Older files belong to an earlier run. So `overwrite` only has to write the settings'
    file, and a run that overwrites can be stopped and resumed, too.
    """
    workspace = Workspace(out, SETTINGS)
    file = workspace.marker
    try:
        if not overwrite:
            if workspace.resumes(settings, "flow made with other settings"):
                return file.stat().st_mtime_ns
        others = workspace.names() - {SETTINGS}
        own = _is_own(out) if file.exists() else not others
        workspace.claim({**settings, OWN: own})
        since = file.stat().st_mtime_ns
        for path in (out / name for name in others):
            # Clocks of files tick every few milliseconds, and may be wrong.
            if path.suffix in ENDINGS and _is_newer(path, since):
                os.utime(path, ns=(since - 1, since - 1))
        return since
    except OSError as error:
        raise InputError(f"{out}: cannot be used as a folder: {error}.") from None


def _write(frames, out, to, algorithm, since):
    previous = None
    names = set()
    count = FlowCounts(0, 0, 0)
    for name, frame in frames:
        if name in names or "/" in name or name[:1] in ("", "."):
            problem = "comes twice" if name in names else "is not a plain file name"
            raise InputError(f"{out}: a frame's name, {name!r:.120}, {problem}.")
        names.add(name)
        count = count._replace(frames=count.frames + 1)
        if previous is not None:
            last_name, last_frame = previous
            made = _files(out, last_name, to)
            if all(_is_written(path, since) for path in made):
                count = count._replace(skipped=count.skipped + 1)
            else:
                try:
                    flow = algorithm(last_frame, frame)
                    flow = checked_flow(flow, frame.shape[:2])
                except InputError as error:
                    raise InputError(
                        f"frames {last_name!r} and {name!r}: {error}"
                    ) from None
                _write_one(made[-1], flow, to)
                _remove_older(out, last_name, made, since)
                count = count._replace(written=count.written + 1)
        yield count
        previous = name, frame


def _files(out, name, to):
    """Returns the paths of a frame's files, in the order in which they are written."""
    suffix = ".png" if to == "picture" else SUFFIX_OF[to]
    endings = [MAGNITUDES, suffix] if to == "png" else [suffix]
    return [inside(out, name + ending, source="a frame's name") for ending in endings]


def _write_one(path, flow, to):
    if to == "picture":
        write_file(path, encode_png(flow_picture(flow)))
    else:
        write_flow(path, flow, to=to)


def _is_written(path, since):
    """Returns whether a file has these settings; failing disks leave empty files."""
    try:
        return _is_newer(path, since) and path.stat().st_size > 0
    except OSError:
        return False


def _is_newer(path, since):
    try:
        return path.stat().st_mtime_ns >= since
    except OSError:
        return False


def _is_own(out):
    """Whether all flow in a folder is of earlier runs."""
    found = read_marker(out / SETTINGS)
    return found is not None and found.get(OWN) is True


def _remove_leftovers(out, since):
    """Removes an earlier run's files of frames that this video does not have."""
    try:
        if not _is_own(out):
            return
        for path in [*out.iterdir()]:
            flow = path.name.endswith((MAGNITUDES, *SUFFIXES)) and path.is_file()
            if flow and path.name[:1] != "." and not _is_newer(path, since):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be used as a folder: {error}.") from None


def _remove_older(out, name, made, since):
    """Removes an earlier run's files of a frame in other formats."""
    for ending in (MAGNITUDES, *SUFFIXES):
        path = out / f"{name}{ending}"
        if path not in made and path.is_file() and not _is_newer(path, since):
            path.unlink(missing_ok=True)
