"""The bundled model's last stage: `joint.py`, and more often what rests.

    movseg train configs/default/joint_resting.py \\
        --workdir runs/default/joint_resting --data-dir data/estimated

What stands close to a travelling camera moves in the image, too, each at its own depth.
After `joint.py` the model takes a good part of that for motion of its own; with five
times as many examples of clips in which nothing moves, it learns the difference.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("joint.py"))
    sources = tuple(
        dataclasses.replace(s, weight=2.0) if s.split == "all" else s
        for s in before.data.sources
    )
    return dataclasses.replace(
        before,
        data=dataclasses.replace(before.data, sources=sources),
        train=dataclasses.replace(
            before.train,
            steps=700,
            start=StartConfig(weights="runs/default/joint"),
            optimizer=dataclasses.replace(before.train.optimizer, learning_rate=3e-4),
            evaluate_every=0,
        ),
    )
