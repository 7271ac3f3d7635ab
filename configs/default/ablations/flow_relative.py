"""Flow relative to the camera: the motion stream alone, on estimated flow.

To compare with t1_estimated.py, which has flow as it is.

    movseg train configs/default/ablations/flow_relative.py \\
        --workdir runs/default/ablations/flow_relative --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t1_estimated.py"))
    model = dataclasses.replace(row.model, flow_encoding="relative")
    return dataclasses.replace(row, model=model)
