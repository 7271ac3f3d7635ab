"""Flow, and how fast it is relative to the camera: motion alone, on estimated flow.

To compare with t1_estimated.py, which has flow as it is.

    movseg train configs/default/ablations/flow_residual.py \\
        --workdir runs/default/ablations/flow_residual --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t1_estimated.py"))
    model = dataclasses.replace(row.model, flow_encoding="residual")
    return dataclasses.replace(row, model=model)
