"""The bundled model's motion stage on true flow: what moves by itself.

Needs rendered clips: see `scripts/train_default.py`, which renders them.

    movseg train configs/default/motion.py --workdir runs/default/motion \\
        --data-dir data
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import (
    AugmentConfig,
    Config,
    SourceConfig,
    StartConfig,
    TrunkConfig,
    load_config,
)


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("appearance.py"))
    return dataclasses.replace(
        before,
        model=dataclasses.replace(
            before.model,
            appearance=None,
            motion=TrunkConfig(depth=14, width=32, norm="group"),
        ),
        data=dataclasses.replace(
            before.data,
            sources=(SourceConfig("rendered", "train"),),
            validation=SourceConfig("rendered", "val"),
            augment=AugmentConfig(scale=(0.7, 1.4)),
            buckets=((256, 448),),
            max_objects=10,
        ),
        train=dataclasses.replace(
            before.train,
            steps=1000,
            frozen=(),
            start=StartConfig(),
            optimizer=dataclasses.replace(before.train.optimizer, learning_rate=1e-3),
            evaluate_every=500,
        ),
    )
