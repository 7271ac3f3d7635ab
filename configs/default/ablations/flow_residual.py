"""Flow relative to the camera's motion: the motion stream alone, on estimated flow.

    movseg train configs/default/ablations/flow_residual.py \\
        --workdir runs/default/ablations/flow_residual --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    stage = load_config(STAGES / "motion_estimated.py")
    return dataclasses.replace(
        stage,
        model=dataclasses.replace(stage.model, flow_encoding="residual"),
        train=dataclasses.replace(stage.train, start=StartConfig()),
    )
