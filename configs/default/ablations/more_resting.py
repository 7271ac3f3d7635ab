"""The joint stage once more: five times the weight on clips in which nothing moves.

    movseg synth --scene.size 256 448 --backgrounds PHOTOGRAPHS --cutouts COCO.json \\
        --out data/resting/rendered --clips 800 --seed 7 --scene.frames 3 \\
        --scene.nothing-moves 1
    movseg data prepare --overwrite --data-dir data/estimated --flow dis rendered \\
        --manual-dir data/resting/rendered --splits all
    movseg train configs/default/ablations/more_resting.py \\
        --workdir runs/default/ablations/more_resting --data-dir data/estimated

What stands close to a travelling camera moves in the image, too, each at its own depth,
and the joint stage takes some of that for motion of its own.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).parents[1] / "joint.py")
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
