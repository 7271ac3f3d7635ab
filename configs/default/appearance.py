"""The bundled model's appearance stage: objects of photographs, moving or not.

Needs COCO images, photographs with object masks, DAVIS 2016 and an ImageNet-trained
pre-activation ResNet-50 (stages as far as stride 16): see `scripts/train_default.py`,
which prepares the data and runs all stages.

    movseg train configs/default/appearance.py --workdir runs/default/appearance \\
        --data-dir data/photographs

`one_person_only` labels one person an image, and `objects` what stands out in a
photograph: what they leave unlabelled is ignored.
DAVIS labels what moves: what rests beside it is background here, which is wrong at
times, but its moving things are the ones to find.
"""

import dataclasses

from movseg_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    StartConfig,
    TargetConfig,
    TrainConfig,
    TrunkConfig,
)


def get_config() -> Config:
    ignore = (("unlabelled", "ignore"),)
    people = SourceConfig("coco", "one_person_only", 0.5, options=ignore)
    things = SourceConfig("coco", "objects", 3.0, options=ignore)
    davis = SourceConfig("davis2016", "fit", 1.5, options=(("resolution", "270p"),))
    return Config(
        model=ModelConfig(
            appearance=TrunkConfig(version="v2", last_level=4),
            motion=None,
            channels=96,
            box_head_width=512,
            short_side=240,
            long_side=432,
            anchor_size=4.0,
            pre_nms=300,
            proposals=300,
            detections=30,
        ),
        data=DataConfig(
            sources=(SourceConfig("coco", "train"), people, things, davis),
            validation=dataclasses.replace(davis, split="development"),
            augment=AugmentConfig(
                paste=0.2,
                scale=(0.7, 1.4),
                brightness=0.3,
                contrast=0.3,
                saturation=0.3,
                hue=0.05,
            ),
            batch_size=4,
            buckets=((256, 448), (448, 256)),
            max_objects=30,
        ),
        train=TrainConfig(
            steps=4200,
            # Thirteen thousand photographs are too few to improve on ImageNet's
            # features: fine-tuned, they find less in videos that were not trained on.
            frozen=("*/resnet/*",),
            start=StartConfig(appearance="weights/resnet50v2.safetensors"),
            targets=TargetConfig(
                anchors=128, anchor_border=1e4, pre_nms=300, proposals=300, rois=96
            ),
            optimizer=OptimizerConfig(
                name="adamw",
                learning_rate=7e-4,
                warmup_steps=50,
                warmup_factor=0.05,
                schedule="cosine",
                weight_decay=1e-2,
                bias_rate=1.0,
                clip_norm=5.0,
            ),
            log_every=20,
            save_every=100,
            evaluate_every=700,
        ),
    )
