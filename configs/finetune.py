"""Fine-tuning the model that comes with the package on your own videos."""

from movseg_jax.config import (
    Config,
    DataConfig,
    OptimizerConfig,
    SourceConfig,
    StartConfig,
    TargetConfig,
    TrainConfig,
)
from movseg_jax.model.weights import read_config


def finetune() -> Config:
    """The bundled model, trained on a folder of annotated frames.

    MY_FOLDER has `JPEGImages/<video>/*.jpg` and `Annotations/<video>/*.png`, whose
    values are the numbers of the objects that move; docs/finetuning.md describes it.

        movseg data prepare folder --manual-dir MY_FOLDER --data-dir data --flow dis
        movseg train configs/finetune.py:finetune --workdir runs/finetune \\
            --data-dir data

    The features of both streams stay as they are; fusion, RPN, box head and mask head
    learn. So a few hundred frames are enough, and what the model knew is kept mostly.

    Cost: about 20 minutes on two CPU cores. Result: not measured on a benchmark.
    """
    return Config(
        model=read_config("bundled"),
        data=DataConfig(
            sources=(SourceConfig("folder", "all"),),
            batch_size=4,
            max_objects=20,
        ),
        train=TrainConfig(
            steps=300,
            frozen=("*/resnet/*", "*/fpn/*", "static/*"),
            start=StartConfig(weights="bundled"),
            targets=TargetConfig(
                anchors=128, anchor_border=1e4, pre_nms=300, proposals=300, rois=96
            ),
            optimizer=OptimizerConfig(
                name="adamw",
                learning_rate=1e-4,
                warmup_steps=20,
                schedule="cosine",
                weight_decay=1e-2,
                bias_rate=1.0,
                clip_norm=5.0,
            ),
            log_every=10,
            save_every=50,
        ),
    )
