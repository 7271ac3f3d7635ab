"""Table 2, "Objectness": the appearance stream, trained on COCO's objects as one class.

It is appearance_coco.py itself, whose run need not be repeated.

    movseg train configs/ablations/t2_objectness.py \\
        --workdir runs/t2_objectness --data-dir data
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "appearance_coco.py")
