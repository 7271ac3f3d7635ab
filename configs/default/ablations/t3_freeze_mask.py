"""Table 3 in small, "+ Freeze mask": the mask head sees appearance, and is frozen.

    movseg train configs/default/ablations/t3_freeze_mask.py \\
        --workdir runs/default/ablations/t3_freeze_mask --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t3_freeze_motion.py"))
    frozen = (*row.train.frozen, "mask_head/*")
    return dataclasses.replace(
        row,
        model=dataclasses.replace(row.model, mask_features="appearance"),
        train=dataclasses.replace(row.train, frozen=frozen),
    )
