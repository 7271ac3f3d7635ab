"""What the detector is trained for, against rules spelt out one anchor at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from movseg_jax.config import CONVENTIONS, ModelConfig, TargetConfig, TrunkConfig
from movseg_jax.model.decoding import pyramid_anchors
from movseg_jax.model.detector import Detector
from movseg_jax.ops.boxes import ANCHOR_WEIGHTS, encode
from movseg_jax.train.objective import detection_losses
from movseg_jax.types import Batch, Inputs, Objects
from tests.oracles import random_params
from tests.test_targets import anchor_labels, iou

pytestmark = pytest.mark.usefixtures("quick_compilation")
every_convention = pytest.mark.parametrize("convention", CONVENTIONS)
LEVELS = range(2, 7)
RATIOS = (0.5, 1.0, 2.0)
# Neither side is a multiple of the coarsest level's stride.
PADDED = (96, 160)
OBJECTS = np.float32([[40, 20, 110, 90], [3, 50, 30, 80], [120, 8, 128, 22]])


def level_shapes(padded):
    return {n: tuple(-(-side // 2**n) for side in padded) for n in LEVELS}


def anchor(convention, level, y, x, ratio, padded, strides):
    """A cell's anchor as each original has it, of a side of so many `strides`."""
    stride = 2**level
    side = strides * stride
    if convention == "detectron":  # Its inclusive corners, the last one's end behind.
        width = round(np.sqrt(stride**2 / ratio))
        height = round(width * ratio)
        width, height = strides * width, strides * height
        left = x * stride + (stride - 1) / 2 - (width - 1) / 2
        top = y * stride + (stride - 1) / 2 - (height - 1) / 2
        return [left, top, left + width, top + height]
    width, height = side / np.sqrt(ratio), side * np.sqrt(ratio)
    box = np.array([-width, -height, width, height]) / 2
    if convention == "torchvision":  # The padded input over the number of its cells.
        rows, columns = level_shapes(padded)[level]
        corner = x * (padded[1] // columns), y * (padded[0] // rows)
        return np.round(box) + np.tile(corner, 2)
    offset = {"continuous": 0.5, "detectron2": 0.0}[convention]
    return box + np.tile([(x + offset) * stride, (y + offset) * stride], 2)


def level_of_anchors(convention, level, padded, strides):
    cells = np.ndindex(*level_shapes(padded)[level])
    return np.float32(
        [
            anchor(convention, level, y, x, ratio, padded, strides)
            for y, x in cells
            for ratio in RATIOS
        ]
    )


@every_convention
@pytest.mark.parametrize("padded", [(800, 1088), PADDED])
@pytest.mark.parametrize("level", [4, 6])
def test_anchors_are_where_the_convention_has_them(convention, padded, level):
    config = ModelConfig(convention=convention)
    anchors = pyramid_anchors(level_shapes(padded), padded, config)
    expected = level_of_anchors(convention, level, padded, 8)
    assert_allclose(anchors[level], expected, atol=1e-3)


class TaughtDetector(Detector):
    """A detector whose RPN says what it is told."""

    says: tuple = ()

    def setup(self):
        super().setup()
        self.rpn = lambda pyramid: dict(self.says)

    def features(self, inputs):
        shapes = level_shapes(inputs.image.shape[1:3])
        levels = {n: jnp.zeros((1, *shapes[n], 8)) for n in LEVELS}
        return {"appearance": levels, "fused": levels}


def taught(convention):
    """A detector that finds the objects, by anchors as the convention has them."""
    anchors = [level_of_anchors(convention, n, PADDED, 1) for n in LEVELS]
    together = np.concatenate(anchors)
    labels = anchor_labels(together, np.ones(len(together), bool), OBJECTS)
    best = [np.argmax([iou(box, each) for box in OBJECTS]) for each in together]
    deltas = encode(jnp.asarray(OBJECTS[best]), jnp.asarray(together), ANCHOR_WEIGHTS)
    ends = np.cumsum([len(level) for level in anchors])[:-1]
    logits = np.split(np.where(labels == 1, 20, -20).astype(np.float32), ends)
    deltas = np.split(np.asarray(deltas), ends)
    says = {
        level: (jnp.asarray(logits[i])[None], jnp.asarray(deltas[i])[None])
        for i, level in enumerate(LEVELS)
    }
    config = ModelConfig(
        appearance=TrunkConfig(depth=14, width=8, norm="group"),
        motion=None,
        channels=8,
        box_head_width=8,
        anchor_size=1.0,
        anchor_ratios=RATIOS,
        pre_nms=200,
        proposals=50,
        detections=10,
        convention=convention,
    )
    return TaughtDetector(config, says=tuple(says.items()))


def batch_of_objects():
    size = np.float32([PADDED])
    image = np.zeros((1, *PADDED, 3), np.float32)
    n = len(OBJECTS)
    return Batch(
        Inputs(image, None, size, size, np.ones((1, 2), np.float32)),
        Objects(
            OBJECTS[None],
            np.full((1, n, 112, 112), 255, np.uint8),
            np.zeros((1, n), np.int32),
            np.ones((1, n), bool),
            np.zeros((1, 12, 20), np.uint8),
        ),
    )


@pytest.mark.parametrize(
    "convention",
    [
        "continuous",
        "torchvision",  # Its anchors depend on the size of the input.
        pytest.param("detectron", marks=pytest.mark.slow),
        pytest.param("detectron2", marks=pytest.mark.slow),
    ],
)
def test_the_rpn_is_trained_for_the_anchors_that_it_is_decoded_by(convention):
    detector, batch = taught(convention), batch_of_objects()
    key = jax.random.key(0)
    shapes = jax.eval_shape(detector.init, key, batch.inputs)["params"]
    # Anchors that leave the image count as well; none is left out by chance.
    config = TargetConfig(anchors=10_000, anchor_border=1e3, rois=32)

    @jax.jit
    def run(params):
        terms = detection_losses(
            params, batch, key[None], detector=detector, config=config
        )
        proposals = detector.apply(
            {"params": params},
            method=lambda d: d.propose(
                d.rpn(None), d.features(batch.inputs)["fused"], batch.inputs
            ),
        )
        return terms, proposals

    terms, proposals = run(random_params(shapes))
    for name in ("objectness", "anchor_box"):
        assert terms[name].weight > 100
        assert terms[name].sum / terms[name].weight < 1e-6, name
    sure = np.asarray(proposals.boxes[0][np.asarray(proposals.scores[0]) > 0.9])
    order = [np.abs(sure - box[None]).sum(axis=1).argmin() for box in OBJECTS]
    assert sorted(order) == [0, 1, 2] and len(sure) == 3
    assert_allclose(sure[order], OBJECTS, atol=1e-2)
