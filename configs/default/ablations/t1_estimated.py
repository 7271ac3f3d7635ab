"""Table 1 in small: motion on estimated flow alone, without true flow before.

It has as many steps as t1_true.py and t1_true_estimated.py together.

    movseg train configs/default/ablations/t1_estimated.py \\
        --workdir runs/default/ablations/t1_estimated --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    both = load_config(Path(__file__).with_name("t1_true_estimated.py"))
    train = dataclasses.replace(both.train, steps=450, start=StartConfig())
    return dataclasses.replace(both, train=train)
