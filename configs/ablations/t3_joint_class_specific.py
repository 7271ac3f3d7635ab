"""Table 3, "Joint Training, class-specific": it starts from the model of 80 classes.

As t3_joint_objectness.py, with the appearance trunk and the heads of
runs/appearance_coco_classes.

    movseg train configs/ablations/t3_joint_class_specific.py \\
        --workdir runs/t3_joint_class_specific --data-dir data

Inferred: there is one class, so the layers whose size depends on the classes are fresh.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    objectness = load_config(Path(__file__).with_name("t3_joint_objectness.py"))
    start = dataclasses.replace(
        objectness.train.start, appearance="runs/appearance_coco_classes"
    )
    return dataclasses.replace(
        objectness, train=dataclasses.replace(objectness.train, start=start)
    )
