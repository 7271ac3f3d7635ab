"""Table 2 in small: appearance on COCO's fully labelled images, all classes one.

    movseg train configs/default/ablations/t2_objectness.py \\
        --workdir runs/default/ablations/t2_objectness --data-dir data/photographs
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, load_config


def get_config() -> Config:
    stage = load_config(Path(__file__).with_name("appearance.py"))
    data = dataclasses.replace(
        stage.data, sources=(SourceConfig("coco", "train"),), validation=None
    )
    return dataclasses.replace(stage, data=data)
