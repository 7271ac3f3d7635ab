"""Table 3 in small, "+ Freeze appearance": the joint stage, shorter.

The rows of Tables 3 and 4 have no static branch, which needs the appearance trunk as it
was.

    movseg train configs/default/ablations/t3_freeze_appearance.py \\
        --workdir runs/default/ablations/t3_freeze_appearance --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    joint = load_config(Path(__file__).parents[1] / "joint.py")
    small = load_config(Path(__file__).with_name("appearance.py"))
    sides = {"short_side": small.model.short_side, "long_side": small.model.long_side}
    return dataclasses.replace(
        joint,
        model=dataclasses.replace(joint.model, static_branch=False, **sides),
        data=dataclasses.replace(joint.data, buckets=small.data.buckets),
        train=dataclasses.replace(
            joint.train,
            steps=300,
            evaluate_every=0,
            frozen=("appearance/*",),
            start=StartConfig(
                appearance="runs/default/ablations/appearance",
                motion="runs/default/ablations/t1_true_estimated",
            ),
        ),
    )
