"""The paper's final model: joint_ytvos.py, fine-tuned on DAVIS 2016 for 5,000 steps.

Starts from runs/joint_ytvos. Needs DAVIS 2017, whose annotations tell the objects of
DAVIS 2016 apart and whose ImageSets/2016 lists the latter's videos, and flow estimated
on it, as joint_ytvos.py does.

    movseg data prepare davis2016 --manual-dir DAVIS2017 --data-dir data \\
        --flow FLOWNET2 --options instances=true
    movseg train configs/joint_davis.py --workdir runs/joint_davis --data-dir data

Every 1000 steps, and at the end, box and mask AP at an IoU of 0.5 on its validation
videos are measured, as in the paper's Tables 1 to 4.

Known: the data and 5,000 iterations (section 5.2); that instances were trained on
(section 5.1). Inferred: what is frozen, batch, learning rate. Not known: whether those
tables count instances, as here, or one object a frame.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, SourceConfig, StartConfig, load_config


def get_config() -> Config:
    before = load_config(Path(__file__).with_name("joint_ytvos.py"))
    davis = SourceConfig("davis2016", "train", options=(("instances", True),))
    return dataclasses.replace(
        before,
        data=dataclasses.replace(
            before.data,
            sources=(davis,),
            validation=dataclasses.replace(davis, split="val"),
        ),
        train=dataclasses.replace(
            before.train,
            start=StartConfig(weights="runs/joint_ytvos"),
            evaluate_every=1000,
        ),
    )
