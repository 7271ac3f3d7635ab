"""The appearance stage in small: what things look like, whether they move or not.

Needs rendered clips in which static things are labelled as well.

    movseg synth --out data/things/rendered --clips 400 --scene.frames 6 \\
        --scene.size 128 224 --scene.label-static
    movseg train configs/rendered/appearance.py --workdir runs/rendered/appearance \\
        --data-dir data/things

As `configs/appearance_coco.py`, but a narrow trunk from random weights.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import AugmentConfig, Config, SourceConfig, load_config


def get_config() -> Config:
    tiny = load_config(Path(__file__).parents[1] / "tiny.py")
    return dataclasses.replace(
        tiny,
        model=dataclasses.replace(tiny.model, motion=None, static_branch=False),
        data=dataclasses.replace(
            tiny.data,
            sources=(SourceConfig("rendered", "train", ignore_resting=False),),
            validation=SourceConfig("rendered", "val", ignore_resting=False),
            augment=AugmentConfig(
                scale=(0.8, 1.25), brightness=0.2, contrast=0.2, saturation=0.2
            ),
            max_objects=20,
        ),
        train=dataclasses.replace(
            tiny.train, steps=2000, log_every=50, save_every=500, evaluate_every=500
        ),
    )
