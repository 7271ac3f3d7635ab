"""Table 2 in small: appearance on COCO's fully labelled images, all classes one.

    movseg train configs/default/ablations/t2_objectness.py \\
        --workdir runs/default/ablations/t2_objectness --data-dir data/photographs
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    stage = load_config(STAGES / "appearance.py")
    return dataclasses.replace(
        stage,
        data=dataclasses.replace(
            stage.data, sources=(SourceConfig("coco", "train"),), validation=None
        ),
        train=dataclasses.replace(stage.train, steps=600, evaluate_every=0),
    )
