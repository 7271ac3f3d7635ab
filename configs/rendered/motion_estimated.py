"""The motion stage on estimated flow: `motion.py`, fine-tuned on what OpenCV estimates.

    movseg synth --out data/large/rendered --clips 400 --scene.frames 6
    movseg data prepare rendered --manual-dir data/large/rendered \\
        --data-dir data/large/estimated --splits train val --flow dis
    movseg train configs/rendered/motion_estimated.py \\
        --workdir runs/rendered/motion_estimated --data-dir data/large/estimated

As `configs/motion_flyingthings3d_estimated.py`. The clips are twice as large as those
of `motion.py`, since flow estimated between smaller frames is useless: the same stage
with frames of 128x224 ends at a mask AP at an IoU of 0.5 of 0.02.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("motion.py"))
    return dataclasses.replace(
        before,
        train=dataclasses.replace(
            before.train,
            steps=600,
            start=StartConfig(weights="runs/rendered/motion"),
        ),
    )
