"""Measures how much each part of a model loses: J if the other parts were perfect.

    python scripts/oracles.py davis2016 development DAVIS --options resolution=270p

The columns are J of all moving objects together, averaged over frames and then videos:

- "detections": J of the best detection of each object, whatever its score, as if scores
  and tracking were perfect;
- "boxes": J of the masks predicted in the true boxes, as if everything but the masks
  were perfect;
- "refined": J of these masks with their outlines moved to edges of the image, as
  `movseg segment` does (and as the detections are);
- "grid": J of the true masks at the 28x28 pixels of the model's masks.

`scripts/compare_models.py` measures the model's tracks as they are. The last frame of
each video has no flow and is left out.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from movseg_jax import masks
from movseg_jax.cli.arguments import load_model, read_options
from movseg_jax.data.example import Example, Source
from movseg_jax.data.sources import open_source
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.metrics.davis import region_similarity
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.segment.detecting import Detected, detect_frames
from movseg_jax.system.process import prepare_jax
from movseg_jax.video.reading import Frame

GRID = 28
OBJECTS = 16  # Of a frame, at most, so that one compilation will do.
COLUMNS = ("detections", "boxes", "refined", "grid")

Masks = Bool[np.ndarray, "n h w"]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="name of the data set: movseg data list")
    parser.add_argument("split")
    parser.add_argument("data", type=Path, help="its folder")
    parser.add_argument(
        "--weights", type=Path, help="or a run; otherwise the package's"
    )
    parser.add_argument("--fusion", help="of the weights, if it is code of yours")
    parser.add_argument("--options", nargs="*", default=[], help="NAME=VALUE")
    options = parser.parse_args()
    given = read_options(options.source, options.options)
    source = open_source(options.source, options.split, options.data, **given)
    detector = load_model(options.weights, fusion=options.fusion)
    in_boxes = mask_predictor(detector)  # Once, as it is compiled.
    print(" " * 24 + "".join(f"{column:>12}" for column in COLUMNS))
    rows = []
    for name, numbers in source.sequences.items():
        rows.append(measure(source, numbers, detector, in_boxes))
        print(row(name, rows[-1]), flush=True)
    print(row("mean", np.mean(rows, axis=0)))


def row(name: str, values: Sequence[float]) -> str:
    """Formats a line of the table."""
    return f"{name:>24}" + "".join(f"{value:12.3f}" for value in values)


def measure(
    source: Source,
    numbers: Sequence[int],
    detector: TrainedDetector,
    in_boxes: Callable[[Masks, Detected], list[masks.Crop]],
) -> list[float]:
    """Computes a video's J by column; `in_boxes` is the detector's `mask_predictor`."""
    frames = (
        Frame(i, f"{i:05d}", source[n].image, None) for i, n in enumerate(numbers)
    )
    values = []
    for detected in detect_frames(frames, detector, min_score=0.0):
        if detected.flow is None:
            continue
        example = ignore_resting(source[numbers[detected.frame.index]])
        objects = true_objects(example)
        crops, image = in_boxes(objects, detected), detected.frame.image
        predicted = (
            best_detections(objects, detected),
            join(crops, image.shape[:2]),
            join([masks.refine(each, image) for each in crops], image.shape[:2]),
            on_grid(objects),
        )
        counted = ~np.asarray(example.masks[example.ignore].any(axis=0))
        truth = objects.any(axis=0) & counted
        values.append(
            [region_similarity(found & counted, truth) for found in predicted]
        )
    return np.mean(values, axis=0).tolist()


def true_objects(example: Example) -> Masks:
    """Returns the visible moving objects, the largest ones if there are too many."""
    objects = np.asarray(example.masks[~example.ignore])
    areas = objects.sum(axis=(1, 2))
    order = np.argsort(-areas, kind="stable")[:OBJECTS]
    return objects[order[areas[order] > 0]]


def best_detections(objects: Masks, detected: Detected) -> Bool[np.ndarray, "h w"]:
    """Joins the pixels of the best detection of each object."""
    rles = [detection.mask for detection in detected.detections.moving]
    overlaps = masks.iou([masks.encode(mask) for mask in objects], rles)
    best = {int(row.argmax()) for row in overlaps if row.any()}
    if not best:
        return np.zeros(objects.shape[1:], bool)
    return masks.decode(masks.union([rles[i] for i in best]))


def mask_predictor(
    detector: TrainedDetector,
) -> Callable[[Masks, Detected], list[masks.Crop]]:
    """Returns a function from true objects to the masks predicted for them."""
    config = detector.config

    def predict(module, inputs, rois):
        pyramid = module.features(inputs)[config.mask_features]
        classes = jnp.zeros(rois.shape[:2], jnp.int32)
        return module.mask_logits(pyramid, rois, classes, inputs)

    model = Detector(config)
    apply = jax.jit(
        lambda params, *arguments: model.apply(
            {"params": params}, *arguments, method=predict
        )
    )

    def in_boxes(objects, detected):
        image = detected.frame.image
        inputs = stack([make_inputs(image, detected.flow, config)])
        boxes = np.zeros((OBJECTS, 4), np.float32)
        boxes[: len(objects)] = masks.tight_boxes(objects)
        y, x = np.asarray(inputs.scale[0])
        rois = (boxes * np.array([x, y, x, y], np.float32))[None]
        logits = np.asarray(apply(detector.params, inputs, rois))[0]
        count = len(objects)
        return masks.paste_crops(logits[:count], boxes[:count], image.shape[:2])

    return in_boxes


def on_grid(objects: Masks) -> Bool[np.ndarray, "h w"]:
    """Joins the pixels of objects at the resolution of predicted masks."""
    boxes = masks.tight_boxes(objects)
    grids = np.zeros((len(objects), GRID, GRID), np.float32)
    for grid, mask, box in zip(grids, objects, boxes, strict=True):
        left, top, right, bottom = box.astype(int)
        inside = mask[top:bottom, left:right].astype(np.float32)
        # Enlarged first, as INTER_AREA has the parts of pixels only when it reduces.
        inside = cv2.resize(inside, (8 * GRID, 8 * GRID), interpolation=cv2.INTER_AREA)
        grid[:] = cv2.resize(inside, (GRID, GRID), interpolation=cv2.INTER_AREA) - 0.5
    size = objects.shape[1:]
    return join(masks.paste_crops(grids, boxes, size), size)


def join(crops: Sequence[masks.Crop], size: masks.Size) -> Bool[np.ndarray, "h w"]:
    """Joins the pixels of several masks."""
    joined = np.zeros(size, bool)
    for cropped in crops:
        joined[cropped.window] |= cropped.pixels
    return joined


if __name__ == "__main__":
    prepare_jax()
    main()
