"""Evaluation while training: how well the detector finds a source's objects.

Box and mask AP at an IoU of 0.5 of single frames (paper, section 5.1), and J of all
confident detections taken together as the foreground (section 5.4.1). The paper does
not say whether its Tables 1 to 4 count instances or all that moves in a frame as one
object, so AP is computed for both.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from movseg_jax import masks
from movseg_jax.config import Config
from movseg_jax.data.example import Example, Source
from movseg_jax.data.loader import evaluation_batches
from movseg_jax.data.transforms import ignore_resting
from movseg_jax.errors import InputError
from movseg_jax.metrics.average_precision import AveragePrecision
from movseg_jax.metrics.davis import region_similarity
from movseg_jax.metrics.overlaps import ComparedImage, ImageDetections, ImageObjects
from movseg_jax.model.detector import Detector
from movseg_jax.types import Detections
from movseg_jax.video.overlay import draw_masks

FOREGROUND_SCORE = 0.7  # Detections above it are foreground (paper, section 5.4.1).
FOREGROUND = "_foreground"  # Suffix of the APs with all objects of a frame as one.
PICTURES = 4  # Frames of which to draw the detections.


class Evaluation:
    """Evaluates parameters on the same frames, as often as it is called.

    Args:
        source: The frames to evaluate on.
        config: The run's config.
    """

    def __init__(self, source: Source, config: Config):
        model = dataclasses.replace(config.model, static_branch=False)
        self._source, self._config, self._model = source, config, model
        wanted = config.data.validation
        self._ignore_resting = wanted is None or wanted.ignore_resting
        self._detect = jax.jit(lambda params, inputs: _run(model, params, inputs))

    def __call__(
        self, params: Any, is_stopped: Callable[[], bool] = lambda: False
    ) -> tuple[dict[str, float], dict[str, UInt8[np.ndarray, "h w 3"]]] | None:
        """Returns the measures by name, and pictures of detections by frame's name.

        Args:
            params: The parameters to evaluate.
            is_stopped: A function that is asked after each frame whether to stop; then
                there is no result.

        Raises:
            InputError: A frame is damaged.
        """
        try:
            return self._evaluate(params, is_stopped)
        except InputError as error:
            raise InputError(f"While evaluating on data.validation: {error}") from error

    def _evaluate(self, params, is_stopped):
        one_class = 1 in (self._model.classes, len(self._source.classes))
        metric = AveragePrecision(
            (0.5,), class_names=self._source.classes, class_agnostic=one_class
        )
        states, as_one, similarities, pictures = [], [], [], {}
        params = jax.device_put(jax.device_get(params))
        data = dataclasses.replace(self._config.data, workers=0)
        total = len(self._source)
        drawn = set(np.linspace(0, total - 1, PICTURES).astype(int).tolist())
        for batch in evaluation_batches(self._source, data, self._model):
            if is_stopped():
                return None
            found = jax.device_get(self._detect(params, batch.inputs))
            for row in np.flatnonzero(batch.valid):
                number = int(batch.numbers[row])
                example = self._source[number]
                if self._ignore_resting:  # As in training.
                    example = ignore_resting(example)
                detections = _paste(found, row, example, self._model.convention)
                image = ComparedImage(example.name, detections, _objects(example))
                states.append(metric.add(image))
                together = image._replace(objects=_as_one(example))
                as_one.append(metric.add(together))
                similarities.append(_similarity(detections, example))
                if number in drawn:
                    pictures[example.name] = _draw(detections, example)
        metrics = {}
        readings = {"": states} | ({FOREGROUND: as_one} if one_class else {})
        for suffix, of_reading in readings.items():
            measures = metric.compute(metric.merge(of_reading))
            for name in ("box_ap50", "mask_ap50"):
                metrics[f"{name}{suffix}"] = measures[name]
        return metrics | {"j": float(np.mean(similarities or [np.nan]))}, pictures


def _run(model, params, inputs) -> Detections:
    outputs: Any = Detector(model).apply({"params": params}, inputs)
    return outputs.moving


def _paste(found: Detections, row, example: Example, convention) -> ImageDetections:
    boxes, scores, classes, logits, valid = (part[row] for part in found)
    rles = masks.paste_rles(
        logits[valid],
        boxes[valid],
        example.image.shape[:2],
        convention=convention,
    )
    return ImageDetections(scores[valid], classes[valid], boxes[valid], rles)


def _objects(example: Example) -> ImageObjects:
    return ImageObjects(
        example.classes,
        example.ignore,
        masks.tight_boxes(example.masks),
        [masks.encode(mask) for mask in example.masks],
    )


def _as_one(example: Example) -> ImageObjects:
    """The objects of a frame as one object; regions to ignore stay what they are."""
    objects, ignored = ~example.ignore, np.flatnonzero(example.ignore)
    union = np.asarray(example.masks[objects].any(axis=0))
    dense = np.concatenate([union[None][: int(objects.any())], example.masks[ignored]])
    count = len(dense) - len(ignored)
    return ImageObjects(
        np.zeros(len(dense), np.int32),
        np.arange(len(dense)) >= count,
        masks.tight_boxes(dense),
        [masks.encode(mask) for mask in dense],
    )


def _similarity(detections: ImageDetections, example: Example) -> float:
    """J of the foreground; pixels that are to be ignored are background in both."""
    counted = ~np.asarray(example.masks[example.ignore].any(axis=0))
    truth = np.asarray(example.masks[~example.ignore].any(axis=0))
    sure = _sure(detections)
    found = masks.decode(masks.union(sure)) if sure else np.zeros_like(truth)
    return region_similarity(found & counted, truth & counted)


def _sure(detections: ImageDetections) -> list[masks.Rle]:
    rles = zip(detections.masks or (), detections.scores, strict=True)
    return [rle for rle, score in rles if score > FOREGROUND_SCORE]


def _draw(detections: ImageDetections, example: Example):
    """The confident detections, beside the truth."""
    found = [masks.decode(mask) for mask in _sure(detections)]
    truth = [*example.masks[~example.ignore]]
    return np.hstack([draw_masks(example.image, each) for each in (found, truth)])
