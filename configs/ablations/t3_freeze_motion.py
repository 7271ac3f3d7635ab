"""Table 3, "+ Freeze motion": both trunks stay as they were.

As t3_freeze_appearance.py otherwise.

    movseg train configs/ablations/t3_freeze_motion.py \\
        --workdir runs/t3_freeze_motion --data-dir data

Inferred: the trunk includes its FPN.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("t3_freeze_appearance.py"))
    frozen = (*before.train.frozen, "motion/*")
    return dataclasses.replace(
        before, train=dataclasses.replace(before.train, frozen=frozen)
    )
