"""Table 2, "Class-specific": the appearance stream, trained on COCO's 80 classes.

It is appearance_coco_classes.py itself, whose run need not be repeated.

    movseg train configs/ablations/t2_class_specific.py \\
        --workdir runs/t2_class_specific --data-dir data

Known: at test, the detections of all classes become "object" (section 5.3.2). The
authors' code does so after the NMS of each class and keeps 100.
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "appearance_coco_classes.py")
