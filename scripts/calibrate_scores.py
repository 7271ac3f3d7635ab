"""Finds what makes a model's scores the probabilities that its detections are right.

    python scripts/calibrate_scores.py runs/default/joint \\
        --on video_instances development VIDEOS --on rendered val data/rendered

A detection is right if its mask's IoU with a true object is at least 0.5 and no better
detection has that object; those of ignored regions do not count. Of the heads for
moving objects, true objects are those that move; of the heads for stationary ones, all,
so only data in which everything is labelled tells about them: name it by --rests-on.

The logits of "object" are multiplied by a number, and another is added (Platt, 1999);
both minimise the cross entropy, in which each video counts alike. Use videos that the
model was not trained on and that nothing will be reported on. The result is the option
of `scripts/bundle_weights.py` to copy.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from compare_models import detect_video, find_outcomes
from jaxtyping import Bool, Float

from movseg_jax.cli.arguments import load_model
from movseg_jax.data.sources import open_source
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.system.process import prepare_jax


class Video(NamedTuple):
    """The detections of a video.

    Attributes:
        logits: The logit of each score.
        right: Whether it is right.
    """

    logits: Float[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"]


def main() -> None:
    """Prints scale and shift of both kinds of heads, and what they change."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="weights, or the folder of a run")
    add: dict[str, Any] = {"nargs": 3, "action": "append", "default": []}
    add["metavar"] = ("NAME", "SPLIT", "DATA")
    parser.add_argument("--on", **add)
    parser.add_argument("--rests-on", **add)
    options = parser.parse_args()
    detector = load_model(options.model)
    words = []
    for name, places in (("moves", options.on), ("rests", options.rests_on)):
        videos = [
            video
            for place in places
            for video in collect(detector, *place, moving=name == "moves")
        ]
        if videos:
            scale, shift = fit(videos)
            before, after = loss((1, 0), videos), loss((scale, shift), videos)
            print(f"{name}: {len(videos)} videos, cross entropy {before:.4f}", end=" ")
            print(f"-> {after:.4f}")
            words.append(f"--{name} {scale:.2f} {shift:.2f}")
    print(*words)


def collect(
    detector: TrainedDetector, name: str, split: str, data: str, *, moving: bool
) -> Iterator[Video]:
    """Runs a model on the videos of a data set; gives those with detections."""
    source = open_source(name, split, data)
    for video, numbers in source.sequences.items():
        found = detect_video(source, video, detector)
        (outcomes,) = find_outcomes(
            (frame.moving, ignore_resting(source[number]))
            if moving
            else (frame.static, source[number])
            for number, frame in zip(numbers[:-1], found, strict=False)
        ).values()
        counts = outcomes.outcomes[0, 0] >= 0
        scores = np.clip(outcomes.scores[counts].astype(float), 1e-6, 1 - 1e-6)
        if scores.size:
            right = outcomes.outcomes[0, 0, counts] == 1
            yield Video(np.log(scores / (1 - scores)), right)


def loss(parameters: Sequence[float], videos: Sequence[Video]) -> float:
    """Computes the cross entropy, averaged over detections and then over videos."""
    scale, shift = parameters
    losses = []
    for video in videos:
        logits = scale * video.logits + shift
        losses.append(np.logaddexp(0, np.where(video.right, -logits, logits)).mean())
    return float(np.mean(losses))


def fit(videos: Sequence[Video]) -> tuple[float, float]:
    """Returns the scale and the shift with the least loss."""
    scale, shift = scipy.optimize.minimize(loss, (1.0, 0.0), args=(videos,)).x
    return float(scale), float(shift)


if __name__ == "__main__":
    prepare_jax()
    main()
