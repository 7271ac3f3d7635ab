"""The whole detector against torchvision's whole Mask R-CNN, with the same weights."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from movseg_jax import masks
from movseg_jax.convert.models import convert_weights
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import preprocess, stack
from tests.oracles import frame_of_blobs, hashed_weights, unpack_shapes

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """What torchvision computes with reproducible weights, and our detector."""

    def __init__(self, folder):
        self.arrays = np.load(GOLDEN / "mask_rcnn.npz")
        weights = hashed_weights(unpack_shapes(self.arrays["weights"]))
        name = "roi_heads.box_predictor.cls_score.bias"
        weights[name] = self.arrays["class_bias"]
        save_file(weights, folder / "model.safetensors")
        converted = convert_weights(folder / "model.safetensors")
        self.config = dataclasses.replace(converted.config, short_side=150)
        self.params = {"params": converted.params}
        self.detector = Detector(self.config)
        frame = frame_of_blobs()
        self.inputs = stack([preprocess(frame, None, self.config)])

    def run(self, function):
        return jax.jit(
            lambda params, inputs: self.detector.apply(params, inputs, method=function)
        )(self.params, self.inputs)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return Golden(tmp_path_factory.mktemp("golden"))


def test_preprocessing_equals_torchvisions(golden):
    assert_allclose(golden.inputs.image, golden.arrays["input"], atol=1e-5)


def test_features_equal_torchvisions(golden):
    features = golden.run(lambda m, inputs: m.features(inputs)["appearance"])
    for level in range(2, 7):
        expected = golden.arrays[f"level{level}"]
        error = np.abs(features[level][..., ::16] - expected).max()
        assert error < 1e-4 * np.abs(expected).max()


def test_proposals_equal_torchvisions(golden):
    def propose(m, inputs):
        pyramid = m.features(inputs)["appearance"]
        return m.propose(m.rpn(pyramid), pyramid, inputs)

    proposals = golden.run(propose)
    expected = golden.arrays["proposals"]
    assert proposals.valid.sum() == len(expected)
    # Scores equal to float32's last digits may change places with their neighbours.
    distance = np.abs(np.asarray(proposals.boxes[0])[:, None] - expected).max(axis=-1)
    moved = np.argmin(distance, axis=0) - np.arange(len(expected))
    assert distance.min(axis=0).max() < 2e-3
    assert np.abs(moved).max() <= 1 and (moved != 0).mean() < 0.01


def test_detections_and_masks_equal_torchvisions(golden):
    found = golden.run(lambda m, inputs: m(inputs)).moving
    expected = golden.arrays
    n = int(found.valid.sum())
    assert n == len(expected["scores"])
    # Scores equal to float32's last digits may change places with their neighbours:
    # which is higher depends on the processor's instructions.
    distance = np.abs(np.asarray(found.boxes[0, :n])[:, None] - expected["boxes"])
    order = np.argmin(distance.max(axis=-1), axis=0)
    assert_array_equal(np.sort(order), np.arange(n))
    assert np.abs(expected["scores"][order] - expected["scores"]).max() < 1e-5
    found = jax.tree.map(lambda x: np.asarray(x)[:, order], found)
    assert_allclose(found.scores[0], expected["scores"], atol=1e-4)
    assert_array_equal(found.classes[0], expected["classes"])
    assert_allclose(found.boxes[0], expected["boxes"], atol=2e-3)
    probabilities = jax.nn.sigmoid(found.mask_logits[0])
    m = len(expected["mask_probabilities"])
    assert_allclose(probabilities[:m], expected["mask_probabilities"], atol=1e-4)
    shape = frame_of_blobs().shape[:2]
    dense = np.unpackbits(expected["masks"], axis=-1, count=shape[1]).astype(bool)
    for i in range(m):
        pasted = masks.paste(
            np.asarray(found.mask_logits[0, i]),
            np.asarray(found.boxes[0, i]),
            shape,
            convention=golden.config.convention,
        )
        # A pixel at the threshold may fall on either side of it.
        assert (pasted != dense[i]).mean() < 1e-3
