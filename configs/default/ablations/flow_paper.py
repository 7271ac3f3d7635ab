"""The authors' 8-bit pictures of flow: the motion stream alone, on estimated flow.

To compare with t1_estimated.py, which has it without.

    movseg train configs/default/ablations/flow_paper.py \\
        --workdir runs/default/ablations/flow_paper --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t1_estimated.py"))
    model = dataclasses.replace(row.model, flow_encoding="paper")
    return dataclasses.replace(row, model=model)
