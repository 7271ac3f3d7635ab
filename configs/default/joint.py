"""The bundled model: both streams, on animated photographs, rendered clips and videos.

    movseg train configs/default/joint.py --workdir runs/default/joint \\
        --data-dir data/estimated

Six videos of DAVIS 2016 train, the split "development", are held out to measure it by.
An annotation of DAVIS is one foreground, so two things that move are one object there;
of animated photographs (`folder`), rendered clips and `video_instances` it is known
what an object is, and of the first two that what rests beside it does. In the split
"all" of rendered clips nothing moves but the camera.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, StartConfig, load_config


def get_config() -> Config:
    motion = load_config(Path(__file__).with_name("motion.py"))
    before = load_config(Path(__file__).with_name("appearance.py"))
    davis = SourceConfig("davis2016", "fit", 2.0, options=(("resolution", "270p"),))
    ignore = (("unlabelled", "ignore"),)
    augment = dataclasses.replace(before.data.augment, paste=0.0, scale=(0.6, 1.6))
    return dataclasses.replace(
        before,
        model=dataclasses.replace(
            before.model,
            motion=motion.model.motion,
            fusion="concat_conv",  # Starts as a copy of appearance.
            static_branch=True,
        ),
        data=dataclasses.replace(
            before.data,
            sources=(
                SourceConfig("folder", "train", 1.5),
                SourceConfig("folder", "objects", 2.0),
                SourceConfig("rendered", "train", 0.4),
                SourceConfig("rendered", "all", 0.4),
                davis,
                SourceConfig("video_instances", "fit", 0.5, options=ignore),
            ),
            validation=dataclasses.replace(davis, split="development"),
            augment=augment,
            max_objects=10,
        ),
        train=dataclasses.replace(
            before.train,
            steps=9000,
            frozen=("appearance/*", "static/*"),
            start=StartConfig(
                appearance="runs/default/appearance",
                motion="runs/default/motion_estimated",
            ),
            optimizer=dataclasses.replace(before.train.optimizer, learning_rate=6e-4),
            evaluate_every=1500,
        ),
    )
