"""Detects objects in all frames of a data set: `movseg detect`.

Each video's detections are a file in a folder beside the output until all are there, so
that a run that was stopped or killed resumes with the next video.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from movseg_jax import masks
from movseg_jax.config import ModelConfig
from movseg_jax.data.example import Source
from movseg_jax.data.selection import read_next
from movseg_jax.errors import InputError
from movseg_jax.evaluation.detection_files import listing_path, static_path, to_rows
from movseg_jax.metrics.overlaps import ImageDetections
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.segment.detecting import FlowFrame, FrameOutputs, run_detector
from movseg_jax.segment.flow_source import FlowBetween, open_flow
from movseg_jax.system.atomic import locked, make_folder, whole_file, write_file
from movseg_jax.system.pipeline import ahead
from movseg_jax.system.process import installed_version
from movseg_jax.system.progress import Show
from movseg_jax.system.stopping import StopRequest
from movseg_jax.system.workspace import Workspace, differences, read_marker, sweep
from movseg_jax.types import Detections
from movseg_jax.video.reading import Frame

MIN_SCORE = 0.05  # As Detectron, whose detections Dave et al. (2019) evaluate.
MARKER = "detect.json"


class DetectOutcome(NamedTuple):
    """The end of a run.

    Attributes:
        finished: False if it was asked to stop, and can be started again.
        videos: Number of videos that are done.
        frames: Number of frames of all videos.
        already: Whether everything was there before.
    """

    finished: bool
    videos: int
    frames: int
    already: bool = False


def detect_dataset(
    source: Source,
    out: Path,
    detector: TrainedDetector,
    *,
    about: Mapping[str, Any],
    flow: str = "dis",
    batch_size: int = 1,
    overwrite: bool = False,
    progress: Show | None = None,
) -> DetectOutcome:
    """Detects objects in all frames of a data set, or resumes that.

    All detections with a score above `MIN_SCORE` are written, at most as many for each
    frame as `ModelConfig.detections`. The last frame of a video has no flow: there, as
    everywhere, models that see motion find what moves by flow only.

    Args:
        source: The data set. Its examples' own flow is used if they have any.
        out: The .json file; those of the static branch and of the frames are beside it.
        detector: A detector from `load_detector`.
        about: JSON that says which data these are, with the folders of data and flow.
        flow: Estimator of the flow of examples that have none: "dis", "dis_fast" or
            "farneback".
        batch_size: Number of frames that the device processes at once.
        overwrite: Whether to replace files that are there.
        progress: A function that is called with the number of videos done, and of all.

    Raises:
        InputError: A file of the data set is damaged, the output is there already and
            is another one's, or it cannot be written.
    """
    about = _about(source, detector, about, flow)
    flow_between = open_flow(flow, detector.config)
    show = progress or (lambda done, total: None)
    make_folder(out.parent)
    if _is_finished(out, about, overwrite):
        return DetectOutcome(True, len(source.sequences), len(source), already=True)
    workspace = Workspace(out.parent / f".{out.name}.parts", MARKER)
    with locked(workspace.folder), StopRequest() as stop:
        _claim(workspace, about, overwrite)
        ids = _image_ids(source)
        videos = list(source.sequences.items())
        parts = [workspace.folder / f"{i:06d}.json" for i in range(len(videos))]
        show(sum(part.exists() for part in parts), len(videos))
        for done, (part, (name, numbers)) in enumerate(zip(parts, videos, strict=True)):
            if part.exists():
                continue
            content = _Part([], [], [])
            frames = _frames(source, name, numbers, detector.config, flow_between)
            with contextlib.closing(_run(frames, detector, batch_size)) as outputs:
                for found in outputs:
                    content.add(found, name, ids, detector.config)
                    if stop.requested:
                        return DetectOutcome(False, done, len(source))
            write_file(part, json.dumps(dataclasses.asdict(content)).encode())
            show(done + 1, len(videos))
        _join(parts, out, about, _categories(source, detector.config))
        shutil.rmtree(workspace.folder)
    return DetectOutcome(True, len(videos), len(source))


def _run(frames, detector, batch_size) -> Generator[FrameOutputs, None, None]:
    return run_detector(frames, detector, batch_size=batch_size, min_score=MIN_SCORE)


def _about(source, detector, about, flow) -> dict[str, Any]:
    """Everything that decides about the results, as JSON values."""
    has_flow = detector.config.motion is None or all(
        source.has_flow[i]
        for numbers in source.sequences.values()
        for i in numbers[:-1]
    )
    known = {
        **about,
        "frames": len(source),
        "flow": "of the data set" if has_flow else flow,
        "weights": detector.digest,
        "model": dataclasses.asdict(detector.config),
        "version": installed_version() or "not installed",
    }
    return json.loads(json.dumps(known))


def _is_finished(out: Path, about: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether this very run has written its files, of which the list is the last."""
    marker = read_marker(listing_path(out))
    if marker is None and not out.exists():
        return False
    known = (marker or {}).get("info")
    if known == about:
        return True
    if not overwrite:
        changes = differences(known, about) if isinstance(known, dict) else ""
        raise InputError(
            f"{out}: is there already{f' ({changes})' if changes else ''}; expected "
            "the same settings, `overwrite=True` or another file."
        )
    for path in (listing_path(out), out, static_path(out)):
        path.unlink(missing_ok=True)
    return False


def _claim(workspace: Workspace, about: Mapping[str, Any], overwrite: bool) -> None:
    sweep(workspace.folder.iterdir())
    if overwrite and read_marker(workspace.marker) != about:
        workspace.marker.unlink(missing_ok=True)  # First: it would claim the others.
        for path in workspace.folder.glob("*.json"):
            path.unlink()
    if not workspace.resumes(about, "an unfinished run with other settings"):
        workspace.claim(about)


def _image_ids(source: Source) -> list[int]:
    """The numbers of the examples: those of COCO's images, or else from 1."""
    names = [*source.sequences]
    if len(names) == len(source) and all(n.isdecimal() and n.isascii() for n in names):
        return [int(name) for name in names]
    return [*range(1, len(source) + 1)]


def _frames(
    source: Source,
    video: str,
    numbers: range,
    model: ModelConfig,
    flow_between: FlowBetween,
) -> Generator[FlowFrame, None, None]:
    """Reads the frames of a video ahead, with their flow if the model sees it."""

    def read() -> Generator[FlowFrame, None, None]:
        for number in numbers:
            example = source[number]
            name = _frame_name(example.name, video)
            frame = Frame(number, name, example.image, None)
            flow = example.flow
            if flow is None and model.motion is not None:
                following = read_next(source, number)
                if following is not None:
                    file, picture = following
                    after = Frame(number, Path(file).stem, picture, None)
                    flow = flow_between(frame, after)
                elif number != numbers[-1]:
                    raise InputError(
                        f"{example.name}: has neither flow nor a next frame to "
                        "estimate it with; hand in the data set's original folder."
                    )
            yield FlowFrame(frame, False, flow)

    return ahead(read())


def _frame_name(example: str, video: str) -> str:
    """The part of an example's name that follows the data set and the video."""
    _, _, rest = example.partition("/")
    return rest.removeprefix(video).removeprefix("/")


@dataclasses.dataclass
class _Part:
    """The JSON of a video: its frames, and what moving and static heads find."""

    images: list[dict[str, Any]]
    moving: list[dict[str, Any]]
    static: list[dict[str, Any]]

    def add(
        self, found: FrameOutputs, video: str, ids: Sequence[int], model: ModelConfig
    ) -> None:
        (frame, _, flow, _), outputs, row = found
        size = frame.image.shape[:2]
        number = ids[frame.index]
        self.images.append(
            {
                "id": number,
                "height": size[0],
                "width": size[1],
                "file_name": f"{video}/{frame.name}" if frame.name else video,
                "video": video,
                "frame": frame.name,
            }
        )
        if model.motion is None or flow is not None:
            self.moving += to_rows(number, _paste(outputs.moving, row, size, model))
        if outputs.static is not None:
            self.static += to_rows(number, _paste(outputs.static, row, size, model))


def _paste(
    found: Detections, row: int, size: masks.Size, model: ModelConfig
) -> ImageDetections:
    boxes, scores, classes, logits, valid = (np.asarray(part[row]) for part in found)
    kept = valid & (scores > MIN_SCORE)
    rles = masks.paste_rles(
        logits[kept], boxes[kept], size, convention=model.convention
    )
    return ImageDetections(scores[kept], classes[kept], boxes[kept], rles)


def _categories(source: Source, model: ModelConfig) -> list[dict[str, Any]]:
    known = len(source.classes) == model.classes
    names = source.classes if known else map(str, range(1, model.classes + 1))
    return [{"id": i, "name": name} for i, name in enumerate(names, 1)]


def _join(
    parts: Sequence[Path],
    out: Path,
    about: Mapping[str, Any],
    categories: Sequence[Mapping[str, Any]],
) -> None:
    """Writes the files from those of the videos; the list of frames is the last."""
    paths = {"moving": out}
    if about["model"]["static_branch"]:
        paths["static"] = static_path(out)
    for kind, path in paths.items():
        rows = (row for part in parts for row in _read(part)[kind])
        with whole_file(path) as temporary, temporary.open("w") as file:
            file.write("[")
            for number, row in enumerate(rows):
                file.write((",\n" if number else "") + json.dumps(row))
            file.write("]\n")
    listed = [row for part in parts for row in _read(part)["images"]]
    content = {"info": about, "images": listed, "categories": categories}
    write_file(listing_path(out), (json.dumps(content) + "\n").encode())


def _read(part: Path) -> dict[str, list[dict[str, Any]]]:
    return json.loads(part.read_bytes())
