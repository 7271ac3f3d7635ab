"""Shows how long each part of segmenting a frame takes by itself.

    python scripts/profile_frame.py DAVIS/JPEGImages/480p/dog-agility

Each part processes the same frames several times. The numbers are milliseconds per
frame: the least time of each frame, averaged over frames. "processor" is the time of
all threads together, which other work on the machine changes little; "wall" is the time
by the clock. Parts of the detector are compiled separately, so they may take a little
more together than the complete detector.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from movseg_jax import masks
from movseg_jax.cli.arguments import load_model
from movseg_jax.flow.estimators import get_estimator
from movseg_jax.flow.object_motion import object_speeds
from movseg_jax.images import read_rgb
from movseg_jax.model.decoding import Selected
from movseg_jax.model.detector import STREAM_INPUTS, Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.results import Sighting, TrackedFrame
from movseg_jax.segment.outputs import KEPT_SCORE
from movseg_jax.system.paths import list_images
from movseg_jax.system.process import prepare_jax, share_processor
from movseg_jax.types import Inputs, Outputs
from movseg_jax.video.overlay import draw_tracks

FLOWS = ("dis", "dis@480", "dis@427", "dis_fast", "dis_fast@480", "dis_fast@427")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("frames", type=Path, help="a folder of images")
    parser.add_argument(
        "--weights", type=Path, help="or a run; otherwise the package's"
    )
    parser.add_argument("--fusion", help="of the weights, if it is code of yours")
    parser.add_argument("--count", type=int, default=5, help="of frames to measure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[], help="long sides")
    options = parser.parse_args()
    share_processor()
    files = list_images(options.frames)
    chosen = [int(i) for i in np.linspace(0, len(files) - 2, options.count)]
    pairs = [(read_rgb(files[i]), read_rgb(files[i + 1])) for i in chosen]
    frames = [frame for frame, _ in pairs]

    def show(name: str, function: Callable[..., Any], *columns: Sequence) -> list:
        """Measures a part; returns its results."""
        rows = list(zip(*columns, strict=True))
        results, least = [], []
        for row in rows:
            result = jax.block_until_ready(function(*row))  # Compiles, fills caches.
            times = []
            for _ in range(options.repeats):
                began = time.process_time(), time.perf_counter()
                jax.block_until_ready(function(*row))
                ended = time.process_time(), time.perf_counter()
                times.append(np.subtract(ended, began))
            least.append(np.min(times, axis=0))
            results.append(result)
        processor, wall = 1000 * np.mean(least, axis=0)
        print(f"{name:44}{processor:11.1f}{wall:9.1f}", flush=True)
        return results

    height, width = frames[0].shape[:2]
    print(f"{f'frames of {width}x{height}':44}{'processor':>11}{'wall':>9}")
    show("read", lambda i: read_rgb(files[i]), chosen)
    flows = []
    for name in FLOWS:
        algorithm, _, side = name.partition("@")
        estimator = get_estimator(algorithm, int(side) if side else None)
        found = show(f"flow, {name}", estimator, *zip(*pairs, strict=True))
        flows = flows or found
    detector = load_model(options.weights, fusion=options.fusion)
    sides = options.sides or [detector.config.long_side]
    for side in sides:
        show_detector(scaled(detector, side), frames, flows, show)


def scaled(detector: TrainedDetector, long_side: int) -> TrainedDetector:
    """Returns the detector for inputs of another size."""
    config = detector.config
    short = round(config.short_side * long_side / config.long_side)
    config = dataclasses.replace(config, short_side=short, long_side=long_side)
    return detector._replace(config=config)


def show_detector(
    detector: TrainedDetector, frames: Sequence, flows: Sequence, show: Callable
) -> None:
    """Measures what follows flow, at the detector's size of inputs."""
    config = detector.config

    def one_input(frame: np.ndarray, flow: np.ndarray) -> Inputs:
        return stack([make_inputs(frame, flow, config)])

    print(f"inputs of {config.long_side}x{config.short_side}")
    inputs = show("  inputs", one_input, frames, flows)
    inputs = [jax.device_put(x) for x in inputs]
    show_parts(detector, inputs, show)
    outputs = show("  complete detector", lambda x: detector(x, KEPT_SCORE), inputs)
    rles = show("  paste", paste, frames, jax.device_get(outputs))
    show("  how fast things move", speeds, flows, rles)
    show("  draw", draw, frames, rles)


def show_parts(
    detector: TrainedDetector, inputs: Sequence[Inputs], show: Callable
) -> None:
    """Measures the detector's parts."""
    config, params = detector.config, {"params": detector.params}
    model = Detector(config)

    def part(method: Callable) -> Callable:
        compiled = jax.jit(lambda *arguments: model.apply(*arguments, method=method))
        return lambda *arguments: compiled(params, *arguments)

    def trunk(stream: str) -> Callable:
        image = STREAM_INPUTS[stream]
        return part(lambda m, x: getattr(m, stream)(getattr(x, image), x.size))

    def heads(moving: bool) -> Callable:
        def run(module: Detector, features: dict, inputs: Inputs):
            head = module if moving else module.static
            pyramid = features["fused" if moving else "appearance"]
            proposals = module.propose(head.rpn(pyramid), pyramid, inputs)
            found = module.classify(head.box_head, pyramid, proposals.boxes, inputs)
            return module.select(*found, proposals, inputs)

        return part(run)

    def ten_masks(module: Detector, features: dict, selected: Selected, inputs: Inputs):
        pyramid = features[config.mask_features]
        rois, classes = selected.rois[:, :10], selected.classes[:, :10]
        return module.mask_logits(pyramid, rois, classes, inputs)

    for stream in config.streams:
        show(f"  {stream}: backbone and pyramid", trunk(stream), inputs)
    features = show("  all features", part(lambda m, x: m.features(x)), inputs)
    selected = show("  proposals and boxes, moving", heads(True), features, inputs)
    if config.static_branch:
        show("  proposals and boxes, stationary", heads(False), features, inputs)
    show("  masks of ten", part(ten_masks), features, selected, inputs)


def paste(frame: np.ndarray, outputs: Outputs) -> list[masks.Crop]:
    """Pastes the masks of the detections that are kept."""
    found = []
    for detections in (outputs.moving, outputs.static):
        if detections is not None:
            boxes, scores, _, logits, valid = (array[0] for array in detections)
            kept = valid & (scores > KEPT_SCORE)
            found += masks.paste_crops(logits[kept], boxes[kept], frame.shape[:2])
    return found


def speeds(flow: np.ndarray, found: list[masks.Crop]) -> list:
    """Measures the speeds of detections, as if all of them moved."""
    return object_speeds(flow, found, found)


def draw(frame: np.ndarray, found: list[masks.Crop]) -> np.ndarray:
    """Draws the detections' masks, outlines and labels over the frame."""
    rles = [masks.encode_crop(crop, frame.shape[:2]) for crop in found]
    sightings = tuple(Sighting(i, rle, 1.0, True, 1.0) for i, rle in enumerate(rles, 1))
    return draw_tracks(
        frame, TrackedFrame("0", frame.shape[:2], None, sightings), why=True
    )


if __name__ == "__main__":
    prepare_jax()
    main()
