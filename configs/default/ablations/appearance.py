"""The appearance stage in small, which the joint rows start from.

Frames are of 150x267 pixels instead of 240x427, and all stages have fewer steps: all
rows together take two CPU cores about an hour and a half. They are to be compared with
one another only.

    movseg train configs/default/ablations/appearance.py \\
        --workdir runs/default/ablations/appearance --data-dir data/photographs
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    stage = load_config(Path(__file__).parents[1] / "appearance.py")
    return dataclasses.replace(
        stage,
        model=dataclasses.replace(stage.model, short_side=150, long_side=270),
        data=dataclasses.replace(stage.data, buckets=((160, 288), (288, 160))),
        train=dataclasses.replace(stage.train, steps=400, evaluate_every=0),
    )
