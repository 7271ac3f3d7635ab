"""Counts the parameters and the operations per frame of a model and its fusion."""

from typing import Any, NamedTuple

import jax
import numpy as np

from movseg_jax.config import ModelConfig
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import preprocess, stack
from movseg_jax.model.parameters import count_parameters, parameter_shapes
from movseg_jax.nn.fusion import fuse_pyramids


class Cost(NamedTuple):
    """The size of a model and the cost of a frame.

    Attributes:
        parameters: The number of the model's parameters that a head depends on.
        fusion_parameters: The number of those that belong to the fusion.
        flops: The floating-point operations of the model for one frame, as XLA counts
            them before it optimises. It counts the body of a loop once, and so the mask
            head for ten detections.
        fusion_flops: The operations of the fusion, over all levels of the pyramid.
    """

    parameters: int
    fusion_parameters: int
    flops: float
    fusion_flops: float


def measure_cost(config: ModelConfig, frame_size: tuple[int, int]) -> Cost:
    """Counts parameters and operations; computes and compiles nothing.

    Args:
        config: The model.
        frame_size: The height and width of a frame, in pixels.

    Raises:
        InputError: The fusion is unknown, or does not suit the model.
    """
    shapes = parameter_shapes(config)
    frame = np.zeros((*frame_size, 3), np.uint8)
    inputs = stack([preprocess(frame, frame.astype(np.float32), config)])
    detector = Detector(config)
    flops = _flops(detector.apply, {"params": shapes}, inputs)
    parameters = count_parameters(shapes)
    in_fusion = count_parameters(shapes.get("fusion", {}))
    if len(config.streams) < 2 or "fused" not in (
        config.rpn_features,
        config.box_features,
        config.mask_features,
    ):
        return Cost(parameters - in_fusion, 0, flops, 0.0)

    def fuse(variables, appearance, motion, size):
        def run(module):
            return fuse_pyramids(module.fusion, appearance, motion, size)

        return detector.apply(variables, method=run)

    def features(variables, inputs):
        return detector.apply(variables, inputs, method="features")

    pyramids: Any = jax.eval_shape(features, {"params": shapes}, inputs)
    size = inputs.size if config.arithmetic.ignore_padding else None
    streams = (pyramids[stream] for stream in config.streams)
    fusion_flops = _flops(fuse, {"params": shapes}, *streams, size)
    return Cost(parameters, in_fusion, flops, fusion_flops)


def _flops(function, *arguments) -> float:
    analysis = jax.jit(function).lower(*arguments).cost_analysis()
    return float((analysis or {}).get("flops", np.nan))
