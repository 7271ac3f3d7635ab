"""The stages of the paper (Dave, Tokmakov, Ramanan 2019), one function each.

Each docstring says which numbers the paper states ("known") and which are inferred.
None of these stages has been run with this version, so costs and results are not known;
the paper's results are in `movseg_jax/metrics/reference.py`.
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
from movseg_jax.config_files import with_fields

# Detectron's schedule e2e_mask_rcnn_R-50-FPN_1x, which section 5.2 names, without the
# drops of the learning rate.
DETECTRON = OptimizerConfig(
    learning_rate=0.02,
    warmup_steps=500,
    warmup_factor=1 / 3,
    momentum=0.9,
    weight_decay=1e-4,
)
# The norms, the stem and stage 2 ("conv2") keep ImageNet's weights.
IMAGENET = ("*/resnet/stem_*", "*/resnet/stage2_*", "*/resnet/*norm*")
RESNET = "weights/resnet50.safetensors"


def appearance_coco() -> Config:
    """The appearance stream alone: a Mask R-CNN of one class, "object" (section 3.2).

    Needs COCO 2017 (the folder with annotations/ and train2017/) and a ResNet-50
    trained on ImageNet: the `state_dict` of torchvision's resnet50 as a file. Its stem
    and stage 2 stay as they are.

        movseg convert resnet50.pth --out weights/resnet50.safetensors
        movseg data prepare coco --manual-dir COCO --data-dir data --splits train \\
            --options empty=false
        movseg train configs/paper.py:appearance_coco \\
            --workdir runs/appearance_coco --data-dir data

    To start from other weights, set --train.start.appearance FILE. If their ResNet
    differs from the model's, the error says what to set.

    Known: 90,000 iterations and Detectron's hyper-parameters (section 5.2). The paper's
    backbone was Caffe's, with strides in the 1x1 convolutions. Not run.
    """
    # Detectron, too, leaves out images without an object.
    coco = SourceConfig("coco", "train", options=(("empty", False),))
    config = Config(
        model=ModelConfig(motion=None),
        data=DataConfig(sources=(coco,), batch_size=16),
        train=TrainConfig(
            steps=90_000,
            frozen=IMAGENET,
            start=StartConfig(appearance=RESNET),
            optimizer=DETECTRON,
        ),
    )
    return with_fields(config, {"train.optimizer.drops": (60_000, 80_000)})


def appearance_coco_classes() -> Config:
    """The appearance stream alone, a Mask R-CNN of COCO's 80 classes.

    The paper compares "objectness" with it (Table 2, "Class-specific"). Everything but
    the classes is as in `appearance_coco`, including the weights to start from.

        movseg data prepare coco_classes --manual-dir COCO --data-dir data \\
            --splits train --options empty=false
        movseg train configs/paper.py:appearance_coco_classes \\
            --workdir runs/appearance_coco_classes --data-dir data

    Not run.
    """
    coco = SourceConfig("coco_classes", "train", options=(("empty", False),))
    return with_fields(
        appearance_coco(), {"model.classes": 80, "data.sources": (coco,)}
    )


def motion_flyingthings3d_gt() -> Config:
    """The motion stream alone, on true flow: a Mask R-CNN that sees flow only (3.1).

    Needs FlyingThings3D's frames_cleanpass and optical_flow (left views, into the
    future), MP-Net's labels of what moves as motion_labels/, and ImageNet's weights as
    in `appearance_coco`: the motion stream starts from a ResNet that was trained on
    colours.

        movseg data prepare flyingthings3d --manual-dir FLYINGTHINGS3D \\
            --data-dir data --splits train --flow true
        movseg train configs/paper.py:motion_flyingthings3d_gt \\
            --workdir runs/motion_flyingthings3d_gt --data-dir data

    Known: 10,000 iterations and the start from ImageNet (section 5.2). Inferred:
    everything else is Detectron's, so the learning rate is constant, since its first
    drop is at 60,000. Not known: which pass of the frames was used, which only matters
    where flow is estimated. Not run.
    """
    return Config(
        model=ModelConfig(appearance=None),
        data=DataConfig(
            sources=(SourceConfig("flyingthings3d", "train"),), batch_size=16
        ),
        train=TrainConfig(
            steps=10_000,
            frozen=IMAGENET,
            start=StartConfig(motion=RESNET),
            optimizer=DETECTRON,
        ),
    )


def motion_flyingthings3d_estimated() -> Config:
    """The motion stream alone, fine-tuned on estimated flow (sections 3.1 and 5.3.1).

    Starts from runs/motion_flyingthings3d_gt. Needs flow that was estimated on
    FlyingThings3D's frames: by FlowNet2 in the paper (trained on synthetic and
    fine-tuned on real data), or by OpenCV with --flow dis. It has a data folder of its
    own, since it would be ambiguous which flow to read from a folder that has two.

        movseg data prepare flyingthings3d --manual-dir FLYINGTHINGS3D \\
            --data-dir data_flownet2 --splits train \\
            --flow flownet2 --flow-weights flownet2.safetensors
        movseg train configs/paper.py:motion_flyingthings3d_estimated \\
            --workdir runs/motion_flyingthings3d_estimated --data-dir data_flownet2

    Known: 10,000 iterations (section 5.2). Inferred: the learning rate is that of the
    stage before, with its warm-up. Not run.
    """
    start = StartConfig(weights="runs/motion_flyingthings3d_gt")
    return with_fields(motion_flyingthings3d_gt(), {"train.start": start})


def joint_ytvos() -> Config:
    """The paper's final model, its first 5,000 steps: on YouTube-VOS' moving objects.

    It has two streams, fused by three convolutions. The RPN and the box head see fused
    features, the mask head those of appearance alone (Table 3, "+ Freeze mask"), and
    the static branch also finds what stands still (section 3.4). The backbones are
    those of runs/appearance_coco and runs/motion_flyingthings3d_estimated, the heads
    those of appearance, the fusion is random. The fusion, the RPN and the box head
    train.

    Needs YouTube-VOS 2018 with train_all_frames/, and flow estimated on it: by FlowNet2
    in the paper, or by OpenCV with --flow dis.

        movseg data prepare ytvos_moving --manual-dir YOUTUBE_VOS --data-dir data \\
            --splits train --flow flownet2 --flow-weights flownet2.safetensors
        movseg train configs/paper.py:joint_ytvos \\
            --workdir runs/joint_ytvos --data-dir data

    Known: the data, 5,000 iterations, and which weights it starts from (sections 5.2,
    5.3.3). Inferred: what is frozen, from Table 3; batch and learning rate are
    Detectron's. Not known: whether the flow was from frame to frame or between
    annotated ones. Not run.
    """
    return Config(
        model=ModelConfig(mask_features="appearance", static_branch=True),
        data=DataConfig(
            sources=(SourceConfig("ytvos_moving", "train"),), batch_size=16
        ),
        train=TrainConfig(
            steps=5000,
            frozen=("appearance/*", "motion/*", "mask_head/*", "static/*"),
            start=StartConfig(
                appearance="runs/appearance_coco",
                motion="runs/motion_flyingthings3d_estimated",
                heads="appearance",
            ),
            optimizer=DETECTRON,
        ),
    )


def joint_davis() -> Config:
    """The paper's final model: `joint_ytvos`, fine-tuned on DAVIS 2016 for 5,000 steps.

    Starts from runs/joint_ytvos. Needs DAVIS 2017, whose annotations tell the objects
    of DAVIS 2016 apart and whose ImageSets/2016 lists the latter's videos, and flow
    estimated on it, as for `joint_ytvos`.

        movseg data prepare davis2016 --manual-dir DAVIS2017 --data-dir data \\
            --flow flownet2 --flow-weights flownet2.safetensors \\
            --options instances=true
        movseg train configs/paper.py:joint_davis \\
            --workdir runs/joint_davis --data-dir data

    Every 1000 steps, and at the end, it measures box and mask AP at an IoU of 0.5 on
    the validation videos, as in the paper's Tables 1 to 4.

    Known: the data and 5,000 iterations (section 5.2); that instances were trained on
    (section 5.1). Inferred: what is frozen, batch, learning rate. Not known: whether
    those tables count instances, as here, or one object a frame. Not run.
    """
    instances = (("instances", True),)
    return with_fields(
        joint_ytvos(),
        {
            "data.sources": (SourceConfig("davis2016", "train", options=instances),),
            "data.validation": SourceConfig("davis2016", "val", options=instances),
            "train.start": StartConfig(weights="runs/joint_ytvos"),
            "train.evaluate_every": 1000,
        },
    )
