"""Table 2 in small: as t2_objectness.py, with COCO's 80 classes apart.

    movseg data prepare coco_classes --manual-dir COCO --data-dir data/photographs \\
        --splits train
    movseg train configs/default/ablations/t2_classes.py \\
        --workdir runs/default/ablations/t2_classes --data-dir data/photographs
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    one = load_config(Path(__file__).with_name("t2_objectness.py"))
    (coco,) = one.data.sources
    sources = (dataclasses.replace(coco, name="coco_classes"),)
    return dataclasses.replace(
        one,
        model=dataclasses.replace(one.model, classes=80),
        data=dataclasses.replace(one.data, sources=sources),
    )
