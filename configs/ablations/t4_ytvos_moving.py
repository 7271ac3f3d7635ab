"""Table 4, "YTVOS-moving": trained on YouTube-VOS' moving objects only.

It is joint_ytvos.py, evaluated on DAVIS 2016's validation videos. Data as for both
joint_ytvos.py and joint_davis.py.

    movseg train configs/ablations/t4_ytvos_moving.py \\
        --workdir runs/t4_ytvos_moving --data-dir data
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    ytvos = load_config(STAGES / "joint_ytvos.py")
    davis = load_config(STAGES / "joint_davis.py")
    return dataclasses.replace(
        ytvos,
        data=dataclasses.replace(ytvos.data, validation=davis.data.validation),
        train=dataclasses.replace(
            ytvos.train, evaluate_every=davis.train.evaluate_every
        ),
    )
