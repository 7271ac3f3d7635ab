"""The motion stream alone, on true flow: a Mask R-CNN that sees flow only (3.1).

Needs FlyingThings3D's frames_cleanpass and optical_flow (left views, into the future),
MP-Net's labels of what moves as motion_labels/, and ImageNet's weights as in
appearance_coco.py: the motion stream begins with those of a ResNet that sees colours.

    movseg data prepare flyingthings3d --manual-dir FLYINGTHINGS3D --data-dir data \\
        --splits train --flow true
    movseg train configs/motion_flyingthings3d_gt.py \\
        --workdir runs/motion_flyingthings3d_gt --data-dir data

Known: 10,000 iterations and the start from ImageNet (section 5.2). Inferred: all else
is Detectron's, so that the learning rate, whose first drop is at 60,000, stays. Not
known: the pass of the frames, which only matters where flow is estimated.
"""

from movseg_jax.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    StartConfig,
    TrainConfig,
)


def get_config() -> Config:
    flyingthings3d = SourceConfig("flyingthings3d", "train")
    return Config(
        model=ModelConfig(appearance=None),
        data=DataConfig(sources=(flyingthings3d,), batch_size=16),
        train=TrainConfig(
            steps=10_000,
            frozen=("*/resnet/stem_*", "*/resnet/stage2_*", "*/resnet/*norm*"),
            start=StartConfig(motion="weights/resnet50.safetensors"),
            optimizer=OptimizerConfig(
                learning_rate=0.02,
                warmup_steps=500,
                warmup_factor=1 / 3,
                momentum=0.9,
                weight_decay=1e-4,
            ),
        ),
    )
