"""A last stage on DAVIS alone, as the paper has it, after the joint one.

    movseg train configs/default/ablations/last_davis.py \\
        --workdir runs/default/ablations/last_davis --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).parents[1] / "joint.py")
    sources = tuple(s for s in before.data.sources if s.name == "davis2016")
    return dataclasses.replace(
        before,
        data=dataclasses.replace(before.data, sources=sources),
        train=dataclasses.replace(
            before.train,
            steps=300,
            start=StartConfig(weights="runs/default/joint"),
            optimizer=dataclasses.replace(
                before.train.optimizer, learning_rate=2e-4, warmup_steps=30
            ),
            evaluate_every=0,
        ),
    )
