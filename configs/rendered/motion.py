"""The motion stage in small: what moves by itself, from true flow alone.

    movseg synth --out data/small/rendered --clips 400 --scene.frames 6 \\
        --scene.size 128 224
    movseg train configs/rendered/motion.py --workdir runs/rendered/motion \\
        --data-dir data/small

As `configs/motion_flyingthings3d_gt.py`, but a narrow trunk from random weights.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import AugmentConfig, Config, SourceConfig, load_config


def get_config() -> Config:
    tiny = load_config(Path(__file__).parents[1] / "tiny.py")
    return dataclasses.replace(
        tiny,
        model=dataclasses.replace(
            tiny.model, appearance=None, mask_features="motion", static_branch=False
        ),
        data=dataclasses.replace(
            tiny.data,
            sources=(SourceConfig("rendered", "train"),),
            validation=SourceConfig("rendered", "val"),
            augment=AugmentConfig(scale=(0.8, 1.25)),
        ),
        train=dataclasses.replace(
            tiny.train, steps=2000, log_every=50, save_every=500, evaluate_every=500
        ),
    )
