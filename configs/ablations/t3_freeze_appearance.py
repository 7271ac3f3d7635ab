"""Table 3, "+ Freeze appearance": the appearance trunk stays as it was.

As t3_joint_objectness.py otherwise.

    movseg train configs/ablations/t3_freeze_appearance.py \\
        --workdir runs/t3_freeze_appearance --data-dir data

Inferred: the trunk includes its FPN.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("t3_joint_objectness.py"))
    frozen = (*before.train.frozen, "appearance/*")
    return dataclasses.replace(
        before, train=dataclasses.replace(before.train, frozen=frozen)
    )
