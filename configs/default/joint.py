"""The bundled model: both streams, fused, on rendered clips and DAVIS 2016.

    movseg train configs/default/joint.py --workdir runs/default/joint \\
        --data-dir data/estimated

Six videos of DAVIS 2016 train, the split "development", are held out to measure it by.
An annotation of DAVIS is one foreground, so two things that move are one object there;
rendered clips say what an object is, and have things that rest beside it.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, StartConfig, load_config


def get_config() -> Config:
    motion = load_config(Path(__file__).with_name("motion.py"))
    before = load_config(Path(__file__).with_name("appearance.py"))
    davis = SourceConfig("davis2016", "fit", 2.0, options=(("resolution", "270p"),))
    return dataclasses.replace(
        before,
        model=dataclasses.replace(
            before.model, motion=motion.model.motion, static_branch=True
        ),
        data=dataclasses.replace(
            before.data,
            sources=(SourceConfig("rendered", "train"), davis),
            validation=dataclasses.replace(davis, split="development"),
            buckets=((256, 448),),
            max_objects=10,
        ),
        train=dataclasses.replace(
            before.train,
            steps=800,
            frozen=("appearance/*", "static/*"),
            start=StartConfig(
                appearance="runs/default/appearance",
                motion="runs/default/motion_estimated",
            ),
            evaluate_every=500,
        ),
    )
