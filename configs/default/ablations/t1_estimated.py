"""Table 1 in small: motion on estimated flow alone, without true flow before.

To compare with `motion.py`, on true flow alone, and `motion_estimated.py`, on true and
then on estimated flow; it has as many steps as both of these.

    movseg train configs/default/ablations/t1_estimated.py \\
        --workdir runs/default/ablations/t1_estimated --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    stage = load_config(STAGES / "motion_estimated.py")
    before = load_config(STAGES / "motion.py")
    steps = before.train.steps + stage.train.steps
    train = dataclasses.replace(stage.train, steps=steps, start=StartConfig())
    return dataclasses.replace(stage, train=train)
