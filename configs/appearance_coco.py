"""The appearance stream alone: a Mask R-CNN of one class, "object" (section 3.2).

Needs COCO 2017 (the folder with annotations/ and train2017/) and a ResNet-50 trained
on ImageNet: the `state_dict` of torchvision's resnet50 as a file, from which the stem
and stage 2 stay as they are.

    movseg convert resnet50.pth --out weights/resnet50.safetensors
    movseg data prepare coco --manual-dir COCO --data-dir data --splits train \\
        --options empty=false
    movseg train configs/appearance_coco.py --workdir runs/appearance_coco \\
        --data-dir data

Other weights to begin with: --train.start.appearance FILE; where their ResNet differs
from the model's, the error says what to set. The schedule is Detectron's
e2e_mask_rcnn_R-50-FPN_1x, which the paper names (section 5.2: 90,000 iterations, its
hyper-parameters); the paper's trunk was Caffe's, with strides in the 1x1 convolutions.
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
    # Images without an object are left out, as Detectron does.
    coco = SourceConfig("coco", "train", options=(("empty", False),))
    return Config(
        model=ModelConfig(motion=None),
        data=DataConfig(sources=(coco,), batch_size=16),
        train=TrainConfig(
            steps=90_000,
            # The norms are ImageNet's, as are the stem and stage 2 ("conv2").
            frozen=("*/resnet/stem_*", "*/resnet/stage2_*", "*/resnet/*norm*"),
            start=StartConfig(appearance="weights/resnet50.safetensors"),
            optimizer=OptimizerConfig(
                learning_rate=0.02,
                warmup_steps=500,
                warmup_factor=1 / 3,
                drops=(60_000, 80_000),
                momentum=0.9,
                weight_decay=1e-4,
            ),
        ),
    )
