"""The joint stage in small: both trained streams, what is frozen as in the paper.

    movseg train configs/rendered/joint.py --workdir runs/rendered_joint --data-dir data

As `configs/joint_ytvos.py`: the trunks stay as `appearance.py` and `motion.py` made
them, so do the mask head and the static branch of appearance; the fusion, the RPN and
the box head train.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import (
    AugmentConfig,
    Config,
    SourceConfig,
    StartConfig,
    load_config,
)


def get_config() -> Config:
    tiny = load_config(Path(__file__).parents[1] / "tiny.py")
    return dataclasses.replace(
        tiny,
        data=dataclasses.replace(
            tiny.data,
            sources=(SourceConfig("rendered", "train"),),
            validation=SourceConfig("rendered", "val"),
            augment=AugmentConfig(
                scale=(0.8, 1.25), brightness=0.2, contrast=0.2, saturation=0.2
            ),
        ),
        train=dataclasses.replace(
            tiny.train,
            steps=1500,
            frozen=("appearance/*", "motion/*", "mask_head/*"),
            start=StartConfig(
                appearance="runs/rendered_appearance", motion="runs/rendered_motion"
            ),
            log_every=50,
            save_every=500,
            evaluate_every=500,
        ),
    )
