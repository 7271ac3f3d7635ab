"""Length and angle of flow: both streams.

Other than t3_freeze_appearance.py it starts from motion on estimated flow alone, as the
other encodings do.

    movseg train configs/default/ablations/flow_direct_joint.py \\
        --workdir runs/default/ablations/flow_direct_joint --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    row = load_config(Path(__file__).with_name("t3_freeze_appearance.py"))
    motion = "runs/default/ablations/t1_estimated"
    start = dataclasses.replace(row.train.start, motion=motion)
    return dataclasses.replace(row, train=dataclasses.replace(row.train, start=start))
