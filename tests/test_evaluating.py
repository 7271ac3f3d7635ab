"""Evaluation while training: which frames it sees, and what counts as an object."""

import numpy as np
import pytest

from movseg_jax.config import (
    Config,
    DataConfig,
    ModelConfig,
    SourceConfig,
    TrainConfig,
    TrunkConfig,
)
from movseg_jax.data.example import Example
from movseg_jax.train import evaluating
from movseg_jax.train.run_sources import open_sources
from movseg_jax.types import Detections, Outputs
from tests.fakes import layouts

SIZE = (32, 32)
LEFT, RIGHT, BOTH = (4, 8, 12, 24), (12, 8, 28, 24), (4, 8, 28, 24)
TRUNK = TrunkConfig(depth=14, width=8, norm="group")
MODEL = ModelConfig(appearance=TRUNK, motion=None, short_side=32, long_side=32)


class TwoObjects:
    """A source of a frame with two objects that touch."""

    name, classes = "two/val", ("object",)
    sequences, sizes, has_flow = {"a": range(1)}, [SIZE], [False]

    def __len__(self):
        return 1

    def __getitem__(self, index):
        masks = np.zeros((2, *SIZE), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, (LEFT, RIGHT), strict=True):
            mask[y0:y1, x0:x1] = True
        image = np.zeros((*SIZE, 3), np.uint8)
        ones = np.ones(2, bool)
        ids = np.arange(1, 3, dtype=np.int32)
        return Example("two/a/0", image, None, masks, ids * 0, ids, ~ones, ones)


def evaluate(boxes, monkeypatch):
    """What is measured of a detector that finds these boxes, filled."""

    class Found:
        def __init__(self, model):
            del model

        def apply(self, params, inputs):
            del params, inputs
            n = len(boxes)
            found = Detections(
                np.array([boxes], np.float32),
                np.full((1, n), 0.9, np.float32),
                np.zeros((1, n), np.int32),
                np.full((1, n, 28, 28), 10, np.float32),
                np.ones((1, n), bool),
            )
            return Outputs(found, None)

    monkeypatch.setattr(evaluating, "Detector", Found)
    config = Config(model=MODEL, data=DataConfig(batch_size=1))
    return evaluating.Evaluation(TwoObjects(), config)({})[0]


@pytest.mark.parametrize(
    ("boxes", "instances", "foreground"),
    [([LEFT, RIGHT], 1, 1 / 2), ([BOTH], 51 / 101, 1), ([RIGHT], 51 / 101, 1)],
)
def test_both_readings_of_the_paper_s_tables_are_measured(
    boxes, instances, foreground, monkeypatch
):
    """The right object has an IoU of 2/3 with both together, the left one of 1/3."""
    found = evaluate(boxes, monkeypatch)
    for kind in ("box", "mask"):
        assert found[f"{kind}_ap50"] == pytest.approx(instances)
        assert found[f"{kind}_ap50_foreground"] == pytest.approx(foreground)


def test_last_frames_are_left_out_of_models_that_see_no_flow_if_asked(tmp_path):
    layouts.davis2016(tmp_path / "davis2016")
    for skip, frames in ((False, 4), (True, 3)):
        validation = SourceConfig("davis2016", "val", skip_last=skip)
        config = Config(
            model=MODEL,
            data=DataConfig(validation=validation),
            train=TrainConfig(evaluate_every=1),
        )
        _, source = open_sources(config, tmp_path)
        assert source is not None and len(source) == frames
        assert [example.name[-5:] for example in source][-1] == f"{frames - 1:05d}"
