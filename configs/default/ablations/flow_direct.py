"""Flow as it is, in pixels: the motion stream alone, on estimated flow.

    movseg train configs/default/ablations/flow_direct.py \\
        --workdir runs/default/ablations/flow_direct --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    stage = load_config(STAGES / "motion_estimated.py")
    return dataclasses.replace(
        stage,
        model=dataclasses.replace(stage.model, flow_encoding="direct"),
        train=dataclasses.replace(stage.train, start=StartConfig()),
    )
