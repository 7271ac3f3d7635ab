"""Table 3 in small, "Joint training": nothing is frozen.

    movseg train configs/default/ablations/t3_joint.py \\
        --workdir runs/default/ablations/t3_joint --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t3_freeze_appearance.py"))
    train = dataclasses.replace(row.train, frozen=())
    return dataclasses.replace(row, train=train)
