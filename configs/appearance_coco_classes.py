"""The appearance stream alone, a Mask R-CNN of COCO's 80 classes.

What the paper compares "objectness" with (Table 2, "Class-specific"). All but the
classes is as in appearance_coco.py, and so are the weights to begin with.

    movseg data prepare coco_classes --manual-dir COCO --data-dir data --splits train \\
        --options empty=false
    movseg train configs/appearance_coco_classes.py \\
        --workdir runs/appearance_coco_classes --data-dir data
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    objectness = load_config(Path(__file__).with_name("appearance_coco.py"))
    (coco,) = objectness.data.sources
    sources = (dataclasses.replace(coco, name="coco_classes"),)
    return dataclasses.replace(
        objectness,
        model=dataclasses.replace(objectness.model, classes=80),
        data=dataclasses.replace(objectness.data, sources=sources),
    )
