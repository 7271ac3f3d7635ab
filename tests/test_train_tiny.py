"""The config for experiments learns what it is shown."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from movseg_jax.config_files import load_config
from movseg_jax.images import read_rgb
from movseg_jax.scenes.clips import write_clips
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.train.loop import train
from movseg_jax.train.run_sources import open_sources

TINY = Path(__file__).parents[1] / "configs" / "tiny.py"


@pytest.mark.slow
def test_tiny_learns_a_handful_of_clips_by_heart(tmp_path):
    scene = SceneConfig(frames=5, size=(128, 224), visible_pixels=60, nothing_moves=0.0)
    write_clips(tmp_path / "rendered", 4, 3, scene)
    config = load_config(TINY)
    settings = dataclasses.replace(
        config.train, steps=400, save_every=400, evaluate_every=400
    )
    config = dataclasses.replace(config, train=settings)
    sources, validation = open_sources(config, tmp_path)
    # Optax multiplies integers with floats in its AdamW.
    with jax.numpy_dtype_promotion("standard"):
        outcome = train(config, tmp_path / "run", sources, validation, quiet=True)
    assert outcome.finished
    rows = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    (found,) = [row for row in rows if row.get("kind") == "evaluation"]
    picture, *_ = sorted((tmp_path / "run" / "pictures").glob("*.png"))
    detections, truth = np.split(read_rgb(picture), 2, axis=1)
    assert detections.shape == truth.shape == (128, 224, 3)
    differs = (detections != truth).any(axis=-1)  # Where objects are, in two colours.
    assert 0 < differs.mean() < 0.5
    assert found["mask_ap50"] > 0.9 and found["box_ap50"] > 0.9 and found["j"] > 0.8
