"""The joint stage in small: both trained streams, fused, on estimated flow.

    movseg train configs/rendered/joint.py --workdir runs/rendered/joint \\
        --data-dir data/large/estimated

As `configs/joint_ytvos.py`: the trunks stay as `appearance.py` and
`motion_estimated.py` made them, so does the static branch of appearance; the fusion and
the heads train. Unlike there the mask head sees fused features and trains as well: with
no ImageNet to start from, appearance alone makes poor masks.
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
        model=dataclasses.replace(tiny.model, mask_features="fused"),
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
            steps=1000,
            frozen=("appearance/*", "motion/*", "static/*"),
            start=StartConfig(
                appearance="runs/rendered/appearance",
                motion="runs/rendered/motion_estimated",
            ),
            log_every=50,
            save_every=500,
            evaluate_every=500,
        ),
    )
