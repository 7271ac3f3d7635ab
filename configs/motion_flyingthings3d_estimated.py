"""The motion stream alone, fine-tuned on estimated flow (sections 3.1 and 5.3.1).

Starts from runs/motion_flyingthings3d_gt. Needs flow that was estimated on
FlyingThings3D's frames: a folder A/0000/0006.flo and so on, by FlowNet2 in the paper
(trained on synthetic and fine-tuned on real data), or OpenCV's with --flow dis. It has
a data folder of its own, since one data set with two flows in one would be ambiguous.

    movseg data prepare flyingthings3d --manual-dir FLYINGTHINGS3D \\
        --data-dir data_flownet2 --splits train --flow FLOWNET2
    movseg train configs/motion_flyingthings3d_estimated.py \\
        --workdir runs/motion_flyingthings3d_estimated --data-dir data_flownet2

Known: 10,000 iterations (section 5.2). Inferred: the learning rate is that of the stage
before, with its warm-up.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("motion_flyingthings3d_gt.py"))
    start = StartConfig(weights="runs/motion_flyingthings3d_gt")
    return dataclasses.replace(
        before, train=dataclasses.replace(before.train, start=start)
    )
