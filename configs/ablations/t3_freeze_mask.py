"""Table 3, "+ Freeze mask": the mask head sees appearance only, and stays as it was.

As t3_freeze_motion.py otherwise: the fusion, the RPN and the box head train.

    movseg train configs/ablations/t3_freeze_mask.py \\
        --workdir runs/t3_freeze_mask --data-dir data

Known: what the mask head sees and that it is frozen (section 5.3.3).
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("t3_freeze_motion.py"))
    frozen = (*before.train.frozen, "mask_head/*")
    return dataclasses.replace(
        before,
        model=dataclasses.replace(before.model, mask_features="appearance"),
        train=dataclasses.replace(before.train, frozen=frozen),
    )
