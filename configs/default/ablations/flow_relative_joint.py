"""Flow relative to the camera: both streams.

To compare with flow_direct_joint.py.

    movseg train configs/default/ablations/flow_relative_joint.py \\
        --workdir runs/default/ablations/flow_relative_joint --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t3_freeze_appearance.py"))
    motion = "runs/default/ablations/flow_relative"
    start = dataclasses.replace(row.train.start, motion=motion)
    return dataclasses.replace(
        row,
        model=dataclasses.replace(row.model, flow_encoding="relative"),
        train=dataclasses.replace(row.train, start=start),
    )
