"""The bundled model's motion stage on OpenCV's flow: fine-tunes `motion.py`.

On rendered clips and DAVIS, as often the one as the other.

    movseg train configs/default/motion_estimated.py \\
        --workdir runs/default/motion_estimated --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("motion.py"))
    davis = SourceConfig("davis2016", "fit", options=(("resolution", "270p"),))
    return dataclasses.replace(
        before,
        data=dataclasses.replace(
            before.data,
            sources=(SourceConfig("rendered", "train"), davis),
            validation=dataclasses.replace(davis, split="development"),
        ),
        train=dataclasses.replace(
            before.train,
            steps=500,
            start=StartConfig(weights="runs/default/motion"),
        ),
    )
