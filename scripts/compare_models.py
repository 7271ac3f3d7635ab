"""Compares trained models on the videos of a data set, frame by frame.

    python scripts/compare_models.py rendered val data/large/rendered \\
        runs/rendered/appearance runs/rendered/motion_estimated runs/rendered/joint

Each model sees the frames and, unless --flow names others, the flow that OpenCV's DIS
estimates between them: "dis@240" estimates it on frames whose longer side is reduced to
240 pixels, "true" is the data set's own flow. A row is a model with a flow. The last
frame of a video has none and is left out, of J the first one, too. A detection
with a score above 0.7 is right if its IoU with something that moves is at least 0.5,
and no better detection of that is there. What rests, where the data set says so, is
neither right nor wrong. The columns:

- "precision": of the detections, how many are right;
- "recall": of what moves, how much is found;
- "AP50": area under the curve of the two over all scores, of masks, as COCO has it;
- "J": IoU of all that is tracked together with all that moves, the mean over the
  videos' frames and the videos;
- "best J": the same of all detections of the moving heads above a score, at the score
  of 0.1, 0.15, ... 0.95, the same for all videos, at which it is best. Other than J it
  does not depend on how sure a model is.

Below each number is the interval that 95 % of draws of as many videos have, each of
them any number of times.

Options of the data set's reader are NAME=VALUE: --options resolution=270p. The data set
must have every frame of its videos, of three frames at least.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from movseg_jax import masks
from movseg_jax.commands.arguments import read_options
from movseg_jax.config import TrackConfig
from movseg_jax.data.example import Example, Source
from movseg_jax.data.sources import open_source
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import intervals
from movseg_jax.flow.estimators import FlowEstimator, get_estimator
from movseg_jax.metrics.average_precision import Evaluator, Tables, merged
from movseg_jax.metrics.davis import region_similarity
from movseg_jax.metrics.overlaps import ImageDetections, ImageObjects
from movseg_jax.process import prepare_jax
from movseg_jax.segment.detecting import detect_frames
from movseg_jax.segment.detector import load_detector
from movseg_jax.segment.settings import link_moving
from movseg_jax.track import Links
from movseg_jax.tracks import Detection, FrameDetections
from movseg_jax.video.reading import Frame

SCORE = 0.7  # Of detections that count as found (Dave et al., 2019, section 5.4.1).
IOU = 0.5
SCORES = np.linspace(0.1, 0.95, 18)
DRAWS = 2000


class Video(NamedTuple):
    """What became of a model's detections in a video.

    Attributes:
        tables: Of its frames, as `Evaluator` has them.
        tracked: J of what is tracked.
        above: J [scores] of the detections above each of `SCORES`.
    """

    tables: Tables
    tracked: float
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
    parser.add_argument("--flow", nargs="+", default=["dis"], help="such as dis@240")
    parser.add_argument("--options", nargs="*", default=[], help="NAME=VALUE")
    options = parser.parse_args()
    given = read_options(options.source, options.options)
    source = open_source(options.source, options.split, options.data, **given)
    names = "precision", "recall", "AP50", "J", "best J"
    print(f"{'':32}" + "".join(f"{name:>14}" for name in names))
    for model, flow in itertools.product(options.models, options.flow):
        videos = compare(source, model, flow)
        numbers = measure(videos)
        between = intervals(measure, videos, DRAWS)
        row = model if len(options.flow) == 1 else f"{model}, {flow}"
        print(f"{row[-32:]:32}" + "".join(f"{numbers[n]:14.3f}" for n in names))
        if all(between.values()):
            ends = ("{:.3f}-{:.3f}".format(*(between[n] or ())) for n in names)
            print(f"{'':32}" + "".join(f"{end:>14}" for end in ends), flush=True)


def compare(source: Source, model: str, flow: str = "dis") -> list[Video]:
    """What a model finds in each video."""
    detector = load_detector(model)
    videos = []
    for numbers in source.sequences.values():
        # One at a time: examples are read again, so that no clip is held in memory.
        frames = (
            Frame(i, f"{i:05d}", source[n].image, None) for i, n in enumerate(numbers)
        )
        evaluator = _evaluator()
        video: list[FrameDetections] = []
        estimator = flow_estimator(flow, source, numbers)
        for detected in detect_frames(frames, detector, flow=estimator, min_score=0.05):
            number = numbers[len(video)]
            video.append(detected.detections)
            if detected.flow is not None:
                example = ignore_resting(source[number])
                evaluator.add(example.name, *_as_images(video[-1].moving, example))
        links = link_moving(video, detector.config, TrackConfig())
        similarities = _similarities(source, numbers, video, links)
        videos.append(Video(evaluator.tables(), *similarities))
    return videos


def flow_estimator(
    name: str, source: Source, numbers: Sequence[int]
) -> FlowEstimator | str:
    """What `--flow` names, for one video.

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
    """The columns, of some videos together."""
    tables = merged(video.tables for video in videos)
    (outcomes,) = tables.values()
    sure = outcomes.outcomes[0, 0, outcomes.scores > SCORE]
    right, wrong = np.count_nonzero(sure == 1), np.count_nonzero(sure == 0)
    return {
        "precision": right / max(right + wrong, 1),
        "recall": right / max(int(outcomes.objects[0]), 1),
        "AP50": _evaluator().measures(tables)["mask_ap50"],
        "J": float(np.mean([video.tracked for video in videos])),
        "best J": float(np.mean([video.above for video in videos], axis=0).max()),
    }


def _evaluator() -> Evaluator:
    return Evaluator((IOU,), kinds=("mask",), class_agnostic=True)


def _as_images(detections: Sequence[Detection], example: Example):
    scores = np.array([d.score for d in detections], np.float32)
    found = ImageDetections(
        scores, np.zeros(len(scores), np.int32), masks=[d.mask for d in detections]
    )
    objects = ImageObjects(
        example.classes,
        example.ignore,
        masks=[masks.encode(mask) for mask in example.masks],
    )
    return found, objects


def _similarities(
    source: Source,
    numbers: Sequence[int],
    video: list[FrameDetections],
    links: Links,
) -> tuple[float, Float[np.ndarray, " scores"]]:
    """J of a video's tracks, and of its detections above each of `SCORES`.

    They are means of all frames but the first and the last, as DAVIS has it.
    """
    if len(video) < 3:
        raise InputError(f"{source.name}: has a video of {len(video)} frames.")
    tracked, above = [], []
    for i in range(1, len(video) - 1):
        example = ignore_resting(source[numbers[i]])
        counted = ~np.asarray(example.masks[example.ignore].any(axis=0))
        truth = np.asarray(example.masks[~example.ignore].any(axis=0)) & counted
        moving = video[i].moving
        every = zip((*moving, *video[i].static), links[i], strict=True)
        found = [d.mask for d, id in every if id]
        tracked.append(_covered(found, truth, counted))
        # Most scores leave the same detections as the one before.
        surest = sorted(moving, key=lambda d: -d.score)
        counts = [sum(d.score > score for d in moving) for score in SCORES]
        of_count = {
            n: _covered([d.mask for d in surest[:n]], truth, counted)
            for n in set(counts)
        }
        above.append([of_count[n] for n in counts])
    return float(np.mean(tracked)), np.mean(above, axis=0)


def _covered(found: list[masks.Rle], truth, counted) -> float:
    together = masks.decode(masks.union(found)) if found else np.zeros_like(truth)
    return region_similarity(together & counted, truth)


if __name__ == "__main__":
    prepare_jax()
    main()
