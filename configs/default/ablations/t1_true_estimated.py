"""Table 1 in small: motion on true and then on estimated flow.

    movseg train configs/default/ablations/t1_true_estimated.py \\
        --workdir runs/default/ablations/t1_true_estimated --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    stage = load_config(Path(__file__).parents[1] / "motion_estimated.py")
    true = load_config(Path(__file__).with_name("t1_true.py"))
    return dataclasses.replace(
        true,
        data=dataclasses.replace(true.data, sources=stage.data.sources),
        train=dataclasses.replace(
            true.train,
            steps=150,
            start=StartConfig(weights="runs/default/ablations/t1_true"),
        ),
    )
