"""Compares trained models on the videos of a data set, frame by frame.

    python scripts/compare_models.py rendered val data/rendered \\
        runs/rendered/appearance runs/rendered/motion_estimated runs/rendered/joint

Each model sees the frames and the flow that OpenCV's DIS estimates between them; the
last frame of a video has none and is left out. A detection with a score above 0.7 is
right if its IoU with something that moves is at least 0.5, and no better detection of
that is there. What rests, where the data set says so, is neither right nor wrong. The
columns:

- "precision": of the detections, how many are right;
- "recall": of what moves, how much is found;
- "AP50": area under the curve of the two over all scores, of masks, as COCO has it;
- "J": IoU of all that is tracked together with all that moves, the mean over the
  videos' frames and the videos, and an interval that 95 % of draws of as many videos
  have, each of them any number of times.

Options of the data set's reader are NAME=VALUE: --options resolution=270p. The data set
must have every frame of its videos, of three frames at least.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from movseg_jax import masks
from movseg_jax.commands.arguments import read_options
from movseg_jax.config import TrackConfig
from movseg_jax.data.example import Example, Source
from movseg_jax.data.sources import open_source
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.errors import InputError
from movseg_jax.evaluation.bootstrap import intervals
from movseg_jax.metrics.average_precision import Evaluator
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
DRAWS = 2000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="name of the data set: movseg data list")
    parser.add_argument("split")
    parser.add_argument("data", type=Path, help="its folder")
    parser.add_argument("models", nargs="+", help="weights, or folders of runs")
    parser.add_argument("--options", nargs="*", default=[], help="NAME=VALUE")
    options = parser.parse_args()
    given = read_options(options.source, options.options)
    source = open_source(options.source, options.split, options.data, **given)
    print(f"{'':>32}{'precision':>10}{'recall':>10}{'AP50':>10}{'J':>10}")
    for model in options.models:
        *row, similarities = compare(source, model)
        shown = "".join(f"{value:10.3f}" for value in (*row, np.mean(similarities)))
        found = intervals(lambda js: {"J": float(np.mean(js))}, similarities, DRAWS)
        if found["J"]:
            shown += " [{:.3f}, {:.3f}]".format(*found["J"])
        each = " ".join(f"{value:.2f}" for value in similarities)
        print(f"{model[-32:]:>32}{shown}  {each}", flush=True)


def compare(source: Source, model: str) -> tuple[float, float, float, list[float]]:
    """Precision, recall and AP50 of a model, and J of each video."""
    detector = load_detector(model)
    evaluator = Evaluator((IOU,), kinds=("mask",), class_agnostic=True)
    similarities = []
    for numbers in source.sequences.values():
        # One at a time: examples are read again, so that no clip is held in memory.
        frames = (
            Frame(i, f"{i:05d}", source[n].image, None) for i, n in enumerate(numbers)
        )
        video: list[FrameDetections] = []
        for detected in detect_frames(frames, detector, min_score=0.05):
            number = numbers[len(video)]
            video.append(detected.detections)
            if detected.flow is not None:
                example = ignore_resting(source[number])
                evaluator.add(example.name, *_as_images(video[-1].moving, example))
        links = link_moving(video, detector.config, TrackConfig())
        similarities.append(_similarity(source, numbers, video, links))
    (outcomes,) = evaluator.tables().values()
    sure = outcomes.outcomes[0, 0, outcomes.scores > SCORE]
    right, wrong = np.count_nonzero(sure == 1), np.count_nonzero(sure == 0)
    precision = right / max(right + wrong, 1)
    recall = right / max(int(outcomes.objects[0]), 1)
    return precision, recall, evaluator.summary()["mask_ap50"], similarities


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


def _similarity(
    source: Source,
    numbers: Sequence[int],
    video: list[FrameDetections],
    links: Links,
) -> float:
    """Mean J of a video's frames without the first and the last, as DAVIS has it."""
    if len(video) < 3:
        raise InputError(f"{source.name}: has a video of {len(video)} frames.")
    values = []
    for i in range(1, len(video) - 1):
        example = ignore_resting(source[numbers[i]])
        counted = ~np.asarray(example.masks[example.ignore].any(axis=0))
        truth = np.asarray(example.masks[~example.ignore].any(axis=0))
        every = (*video[i].moving, *video[i].static)
        tracked = [d.mask for d, id in zip(every, links[i], strict=True) if id]
        found = masks.decode(masks.union(tracked)) if tracked else np.zeros_like(truth)
        values.append(region_similarity(found & counted, truth & counted))
    return float(np.mean(values))


if __name__ == "__main__":
    prepare_jax()
    main()
