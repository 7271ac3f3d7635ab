"""Table 1 in small: motion on true flow alone.

    movseg train configs/default/ablations/t1_true.py \\
        --workdir runs/default/ablations/t1_true --data-dir data
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    stage = load_config(Path(__file__).parents[1] / "motion.py")
    return dataclasses.replace(
        stage,
        model=dataclasses.replace(stage.model, short_side=150, long_side=270),
        data=dataclasses.replace(stage.data, buckets=((160, 288),)),
        train=dataclasses.replace(stage.train, steps=300, evaluate_every=0),
    )
