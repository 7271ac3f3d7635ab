"""Compares trained models on the videos of a data set, frame by frame.

    python scripts/compare_models.py rendered val data/large/rendered \\
        runs/rendered/appearance runs/rendered/motion_estimated runs/rendered/joint

Each model sees the frames and, unless --flow names others, the flow that OpenCV's DIS
estimates between them: "dis@240" estimates it on frames whose longer side is reduced to
240 pixels, "true" is the data set's own flow. A row is a model with a flow and a
tracker. The last frame of a video has no flow and is left out, and the first one, too,
of all but detections. A detection with a score above 0.7 is right if its IoU with
a moving object is at least 0.5 and that object has no better detection. Detections of
objects that the data set labels as stationary do not count. The columns:

- "precision": share of the detections that are right;
- "recall": share of the moving objects that are found;
- "AP50": area under the curve of the two over all scores, of masks, as COCO has it;
- "best J": IoU of all detections of the moving heads above a score with everything that
  moves, averaged over frames and then over videos. The score is the best one of 0.1,
  0.15, ... 0.95, the same for all videos. Unlike J, it does not depend on how confident
  a model is;
- "J", "F": the same of all tracks together, and the agreement of its outline;
- "track J", "track F": the same of the best single track of each object, averaged;
- "/object", "/video": number of tracks on each object, and in each video;
- "stray": number of tracks in each video that are on no object;
- "IDF1", "HOTA", "switches": how well objects keep their tracks;
- "overlaps", "contained": share of the frames in which two tracks have an IoU above
  0.5, and in which more than 0.7 of a track lies in another one;
- "holes", "gaps": share of tracks' filled masks that is holes, and of the frames from
  their first to their last in which they are missing.

`movseg_jax.metrics.tracking` defines the columns from "J" on.

To compare trackers, `--detections` keeps detections in a folder; another run reads them
instead of running the model again. Each `--track` is a row of its own, with settings of
`config.TrackConfig`:

    python scripts/compare_models.py davis2016 development DAVIS MODEL \\
        --detections kept --track "" --track released --track "--min-iou 0.3"

Below each number is its 95 % bootstrap interval over videos.

If the fusion of a model is code of yours, --fusion MODULE:NAME names it, once for all
models or once for each; the module may be in the current folder.

Options of the data set's reader are NAME=VALUE: --options resolution=270p. The data set
must have every frame of its videos, of three frames at least. Objects that move as one
are joined by --options join=FILE of the data set "folder".
"""

import argparse
import hashlib
import itertools
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from movseg_jax import masks
from movseg_jax.cli.arguments import load_model, parse_arguments, read_options
from movseg_jax.config import TrackConfig
from movseg_jax.data.example import Example, Source
from movseg_jax.data.sources import open_source
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import intervals
from movseg_jax.flow.estimators import FlowEstimator, get_estimator
from movseg_jax.metrics.average_precision import AveragePrecision, Tables, concatenate
from movseg_jax.metrics.base import State
from movseg_jax.metrics.davis import region_similarity
from movseg_jax.metrics.overlaps import ComparedImage, ImageDetections, ImageObjects
from movseg_jax.metrics.tracking import Tracking, TrueFrame, measure_tracks
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.detecting import detect_frames
from movseg_jax.segment.record import Record
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.process import prepare_jax
from movseg_jax.track.links import TrackedFrames
from movseg_jax.track.moving import link_moving
from movseg_jax.video.reading import Frame

SCORE = 0.7  # Of detections that count as found (Dave et al., 2019, section 5.4.1).
IOU = 0.5
MIN_SCORE = 0.05  # Of detections at all.
SCORES = np.linspace(0.1, 0.95, 18)
DRAWS = 2000
COLUMNS = {
    **{name: name for name in ("precision", "recall", "AP50", "best J")},
    "union_j": "J", "union_f": "F", "best_j": "track J", "best_f": "track F",
    "tracks_per_object": "/object", "tracks_per_video": "/video",
    "stray_tracks": "stray", "idf1": "IDF1", "hota": "HOTA", "id_switches": "switches",
    "overlapping": "overlaps", "contained": "contained", "holes": "holes",
    "gaps": "gaps",
}  # fmt: skip
WIDTH = 13  # Of a column.


class Video(NamedTuple):
    """The measures of a model's detections and tracks in a video.

    Attributes:
        tables: The outcomes of its frames, as `AveragePrecision` returns them.
        tracks: The score of its tracks.
        above: The J of the detections above each of `SCORES`.
    """

    tables: Tables
    tracks: State
    above: Float[np.ndarray, " scores"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="name of the data set: movseg data list")
    parser.add_argument("split")
    parser.add_argument("data", type=Path, help="its folder")
    parser.add_argument("models", nargs="+", help="weights, or folders of runs")
    parser.add_argument("--fusion", nargs="+", default=[None], help="MODULE:NAME")
    parser.add_argument("--flow", nargs="+", default=["dis"], help="such as dis@240")
    parser.add_argument("--options", nargs="*", default=[], help="NAME=VALUE")
    parser.add_argument("--detections", type=Path, help="a folder to keep them in")
    parser.add_argument("--track", action="append", help="settings of a tracker")
    parser.add_argument("--no-refine-masks", action="store_true", help="see segment")
    options = parser.parse_args()
    given = read_options(options.source, options.options)
    source = open_source(options.source, options.split, options.data, **given)
    trackers = {text: read_tracker(text) for text in options.track or [""]}
    if len(options.fusion) == 1:
        options.fusion *= len(options.models)
    if len(options.fusion) != len(options.models):
        parser.error("--fusion: expected one name, or as many as there are models")
    print_row("", COLUMNS.values())
    models = zip(options.models, options.fusion, strict=True)
    for (model, fusion), flow in itertools.product(models, options.flow):
        detector = load_model(Path(model), fusion=fusion)
        compared = compare(
            source,
            detector,
            [*trackers.values()],
            options.detections,
            flow,
            refine_masks=not options.no_refine_masks,
        )
        row = model if len(options.flow) == 1 else f"{model}, {flow}"
        for text, videos in zip(trackers, compared, strict=True):
            report(f"{row} {text}".strip(), videos)


def read_tracker(text: str) -> TrackConfig:
    """Reads the settings of a tracker from its name or from options."""
    if text in ("released", "published"):
        return getattr(TrackConfig, f"as_{text}")()
    return parse_arguments(TrackConfig, shlex.split(text))


def report(title: str, videos: Sequence[Video]) -> None:
    """Prints the numbers, and their intervals below them."""
    numbers = measure(videos)
    print_row(title[-32:], [f"{numbers[name]:.3f}" for name in COLUMNS])
    if len(videos) > 1:
        between = intervals(measure, videos, DRAWS)
        ends = [between[name] for name in COLUMNS]
        print_row("", ["{:.3f}-{:.3f}".format(*e) if e else "" for e in ends])


def print_row(title: str, cells: Iterable[str]) -> None:
    """Prints a row of the table."""
    print(f"{title:32}" + "".join(f"{cell:>{WIDTH}}" for cell in cells), flush=True)


def compare(
    source: Source,
    detector: TrainedDetector,
    trackers: Sequence[TrackConfig] = (TrackConfig(),),
    kept: Path | None = None,
    flow: str = "dis",
    *,
    refine_masks: bool = True,
) -> list[list[Video]]:
    """Runs a model and each tracker on each video.

    Args:
        source: The data set.
        detector: The model.
        trackers: The settings of the trackers.
        kept: The folder of detections; None keeps none.
        flow: The flow's name, as in `--flow`.
        refine_masks: Whether to refine masks, as in `SegmentConfig`.
    """
    compared: list[list[Video]] = [[] for _ in trackers]
    for name, numbers in source.sequences.items():
        if len(numbers) < 3:
            raise InputError(f"{source.name}: {name} has {len(numbers)} frames only.")
        found = detect_video(
            source, name, detector, kept, flow, refine_masks=refine_masks
        )
        tables = find_outcomes(
            (frame.moving, ignore_resting(source[number]))
            for number, frame in zip(numbers[:-1], found, strict=False)
        )
        above = _similarities(source, numbers, found)
        for videos, config in zip(compared, trackers, strict=True):
            tracks = _measure_tracks(source, numbers, found, detector, config)
            videos.append(Video(tables, tracks, above))
    return compared


def detect_video(
    source: Source,
    name: str,
    detector: TrainedDetector,
    kept: Path | None = None,
    flow: str = "dis",
    *,
    refine_masks: bool = True,
) -> list[FrameDetections]:
    """Returns a video's detections, from a file if they were kept there."""
    numbers = source.sequences[name]
    # One at a time: examples are read again, so that no clip is held in memory.
    frames = (
        Frame(i, f"{i:05d}", source[n].image, None) for i, n in enumerate(numbers)
    )
    estimator = flow_estimator(flow, source, numbers)
    detected = detect_frames(
        frames,
        detector,
        flow=estimator,
        min_score=MIN_SCORE,
        refine_masks=refine_masks,
    )
    if kept is None:
        return [each.detections for each in detected]
    about = {"weights": detector.digest, "video": [source.name, name]}
    about |= {"flow": flow, "refine_masks": refine_masks}
    about |= {"frames": len(numbers), "size": source.sizes[numbers[0]]}
    file = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16] + ".sqlite"
    kept.mkdir(parents=True, exist_ok=True)
    with Record(kept / file, about, multiple=len(numbers)) as record:
        if not len(record):
            for each in detected:
                record.append(each.frame, each.detections)
        return record[:]


def flow_estimator(
    name: str, source: Source, numbers: Sequence[int]
) -> FlowEstimator | str:
    """Returns the flow estimator of `--flow` for one video.

    Raises:
        InputError: There is no such estimator, or the data set has no flow.
    """
    if name == "true":
        flows = (source[n].flow for n in numbers)

        def true_flow(frame, next_frame):  # It is asked for frame by frame.
            flow = next(flows)
            if flow is None:
                raise InputError(f"{source.name}: has no flow.")
            return flow

        return true_flow
    algorithm, _, side = name.partition("@")
    if not side:
        return name
    if not side.isdecimal():
        raise InputError(f"--flow {name!r}: expected NAME@PIXELS, such as dis@240.")
    return get_estimator(algorithm, int(side))


def measure(videos: Sequence[Video]) -> dict[str, float]:
    """Computes the columns of some videos together."""
    tables = concatenate(video.tables for video in videos)
    (outcomes,) = tables.values()
    tracking = Tracking()
    sure = outcomes.outcomes[0, 0, outcomes.scores > SCORE]
    right, wrong = np.count_nonzero(sure == 1), np.count_nonzero(sure == 0)
    return {
        "precision": right / max(right + wrong, 1),
        "recall": right / max(int(outcomes.objects[0]), 1),
        "AP50": _average_precision().numbers(tables)["mask_ap50"],
        "best J": float(np.mean([video.above for video in videos], axis=0).max()),
        **tracking.compute(tracking.merge(video.tracks for video in videos)),
    }


def find_outcomes(frames: Iterable[tuple[Sequence[Detection], Example]]) -> Tables:
    """Says of detections and true objects which detections are right."""
    metric = _average_precision()
    state = metric.merge(metric.add(_as_image(*frame)) for frame in frames)
    return concatenate(tables for _, tables in state.parts)


def _average_precision() -> AveragePrecision:
    return AveragePrecision((IOU,), kinds=("mask",), class_agnostic=True)


def _as_image(detections: Sequence[Detection], example: Example) -> ComparedImage:
    scores = np.array([d.score for d in detections], np.float32)
    found = ImageDetections(
        scores, np.zeros(len(scores), np.int32), masks=[d.mask for d in detections]
    )
    objects = ImageObjects(
        example.classes,
        example.ignore,
        masks=[masks.encode(mask) for mask in example.masks],
    )
    return ComparedImage(example.name, found, objects)


def _measure_tracks(
    source: Source,
    numbers: Sequence[int],
    video: list[FrameDetections],
    detector: TrainedDetector,
    config: TrackConfig,
) -> State:
    """Scores a video's tracks in all frames but the first and the last."""
    names = [f"{i:05d}" for i in range(len(video))]
    min_motion = SegmentConfig().least_motion(detector.config)
    links = link_moving(video, config, min_motion=min_motion)
    size = source.sizes[numbers[0]]
    tracked = TrackedFrames(video, links, names=names, size=size, config=config)
    inner = range(1, len(video) - 1)
    truth = (true_frame(source[numbers[i]]) for i in inner)
    return measure_tracks(truth, (tracked[i] for i in inner))


def true_frame(example: Example) -> TrueFrame:
    """Returns the moving objects; stationary ones are ignored, like ignored regions."""
    example = ignore_resting(example)
    objects = ~example.ignore
    ignored = np.asarray(example.masks[example.ignore].any(axis=0))
    return TrueFrame(example.masks[objects], example.ids[objects], ignored)


def _similarities(
    source: Source, numbers: Sequence[int], video: list[FrameDetections]
) -> Float[np.ndarray, " scores"]:
    """Computes J of a video's detections above each of `SCORES`.

    It is the mean of all frames but the first and the last, as DAVIS has it.
    """
    above = []
    for i in range(1, len(video) - 1):
        example = ignore_resting(source[numbers[i]])
        counted = ~np.asarray(example.masks[example.ignore].any(axis=0))
        truth = np.asarray(example.masks[~example.ignore].any(axis=0)) & counted
        # Most scores leave the same detections as the one before.
        surest = sorted(video[i].moving, key=lambda d: -d.score)
        counts = [sum(d.score > score for d in surest) for score in SCORES]
        of_count = {
            n: _covered([d.mask for d in surest[:n]], truth, counted)
            for n in set(counts)
        }
        above.append([of_count[n] for n in counts])
    return np.mean(above, axis=0)


def _covered(found: list[masks.Rle], truth, counted) -> float:
    together = masks.decode(masks.union(found)) if found else np.zeros_like(truth)
    return region_similarity(together & counted, truth)


if __name__ == "__main__":
    prepare_jax()
    main()
