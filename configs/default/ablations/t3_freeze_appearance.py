"""Table 3 in small, "+ Freeze appearance": the joint stage, shorter.

The rows of Tables 3 and 4 have 400 steps, and no static branch, which needs the
appearance trunk as it was.

    movseg train configs/default/ablations/t3_freeze_appearance.py \\
        --workdir runs/default/ablations/t3_freeze_appearance --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    joint = load_config(STAGES / "joint.py")
    return dataclasses.replace(
        joint,
        model=dataclasses.replace(joint.model, static_branch=False),
        train=dataclasses.replace(
            joint.train, steps=400, evaluate_every=0, frozen=("appearance/*",)
        ),
    )
