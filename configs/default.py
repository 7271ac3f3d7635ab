"""The stages of the model that comes with the package, one function each.

`scripts/train_default.py` prepares the data and runs all of them, in this order, in
about four hours on two CPU cores that do nothing else. The model is the mean of three
runs of the last stage. Results are the average precision of masks at an IoU of 0.5 on
six held-out videos of DAVIS 2016; docs/results.md has those of the whole.
"""

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
from movseg_jax.config_files import with_fields

OPTIMIZER = OptimizerConfig(
    name="adamw",
    learning_rate=7e-4,
    warmup_steps=50,
    warmup_factor=0.05,
    schedule="cosine",
    weight_decay=1e-2,
    bias_rate=1.0,
    clip_norm=5.0,
)
AUGMENT = AugmentConfig(
    paste=0.2,
    scale=(0.7, 1.4),
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.05,
)
# What the annotators left unlabelled is neither an object nor background.
IGNORE = (("unlabelled", "ignore"),)
# Parameters that stay as in ImageNet's weights: all norms, all stages but the last.
EARLY = tuple(
    f"appearance/resnet/{name}*"
    for name in ("input_norm", "preact", "stem", "stage2", "stage3", "*norm")
)


def _davis(split: str, weight: float) -> SourceConfig:
    """DAVIS 2016 train: "fit", or "development", six videos that are held out."""
    return SourceConfig("davis2016", split, weight, options=(("resolution", "270p"),))


def appearance() -> Config:
    """The appearance stage: objects of photographs, moving or not.

    Needs COCO images, photographs with object masks, DAVIS 2016 and an ImageNet-trained
    pre-activation ResNet-50 (stages as far as stride 16).

        movseg train configs/default.py:appearance --workdir runs/default/appearance \\
            --data-dir data/photographs

    `one_person_only` labels one person an image, and `objects` what stands out in a
    photograph, so what they leave unlabelled is ignored. DAVIS labels what moves, so
    what is stationary beside it is background here. That is wrong at times, but the
    moving things are the ones to find.

    Cost: 4,200 steps, about 75 minutes on two CPU cores. Result: a mask AP of 0.857 on
    the six videos; with 1,200 steps and 1,503 photographs it was 0.697.
    """
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
            sources=(
                SourceConfig("coco", "train"),
                SourceConfig("coco", "one_person_only", 0.5, options=IGNORE),
                SourceConfig("coco", "objects", 3.0, options=IGNORE),
                _davis("fit", 1.5),
            ),
            validation=_davis("development", 1.5),
            augment=AUGMENT,
            batch_size=4,
            buckets=((256, 448), (448, 256)),
            max_objects=30,
        ),
        train=TrainConfig(
            steps=4200,
            # Twelve thousand photographs are too few to improve on ImageNet's
            # features: fine-tuned, they find less in videos that were not trained on.
            frozen=("*/resnet/*",),
            start=StartConfig(appearance="weights/resnet50v2.safetensors"),
            targets=TargetConfig(
                anchors=128, anchor_border=1e4, pre_nms=300, proposals=300, rois=96
            ),
            optimizer=OPTIMIZER,
            log_every=20,
            save_every=100,
            evaluate_every=700,
        ),
    )


def appearance_backbone() -> Config:
    """The appearance stage goes on, with finer masks and a backbone that learns slowly.

        movseg train configs/default.py:appearance_backbone \\
            --workdir runs/default/appearance_backbone --data-dir data/photographs

    The mask head gets a part that sees the finest features. The last stage of the
    backbone learns at a tenth of the rate; at the full rate, it finds less in videos
    that were not trained on.

    Cost: 5,000 steps, about 70 minutes on two CPU cores. Result: a mask AP of 0.922 on
    the six videos; in true boxes, by scripts/oracles.py, a J of 0.774 instead of 0.729.
    """
    return with_fields(
        appearance(),
        {
            "model.mask_fine": 32,
            "train.frozen": EARLY,
            "train.start": StartConfig(weights="runs/default/appearance"),
            "train.optimizer.learning_rate": 5e-4,
            "train.optimizer.rates": (("appearance/resnet/*", 0.1),),
            "train.ema_decay": 0.998,
            "train.steps": 5000,
            "train.evaluate_every": 1000,
        },
    )


def motion() -> Config:
    """The motion stage: what moves by itself, in the flow of OpenCV's DIS.

        movseg train configs/default.py:motion --workdir runs/default/motion \\
            --data-dir data/estimated

    Rendered clips and DAVIS have equal shares of the examples. The model sees flow as
    vectors relative to the camera.

    Cost: 600 steps, about 10 minutes on two CPU cores. Result: a mask AP of 0.467 on
    the six videos. With length and angle of flow, the same 600 steps give 0.334.
    """
    return with_fields(
        appearance(),
        {
            "model.appearance": None,
            "model.motion": TrunkConfig(depth=14, width=32, norm="group"),
            "model.flow_encoding": "vectors",
            "data.sources": (SourceConfig("rendered", "train"), _davis("fit", 1.0)),
            "data.validation": _davis("development", 1.0),
            "data.augment": AugmentConfig(scale=(0.7, 1.4)),
            "data.buckets": ((256, 448),),
            "data.max_objects": 10,
            "train.steps": 600,
            "train.frozen": (),
            "train.start": StartConfig(),
            "train.optimizer.learning_rate": 1e-3,
            "train.evaluate_every": 300,
        },
    )


def joint() -> Config:
    """The joint stage: both streams, on animated photographs, rendered clips, videos.

        movseg train configs/default.py:joint --workdir runs/default/joint \\
            --data-dir data/estimated

    DAVIS annotates one foreground, so two things that move are one object there. For
    animated photographs (`folder`), rendered clips and `video_instances` it is known
    what an object is, and for the first two that what is stationary beside it is one,
    too. In the split "all" of rendered clips nothing moves but the camera.

    The model in the package is the mean of three runs: this one, one with `--seed 1`,
    and one with `--seed 2 --data.sources.3.weight 1`, which sees more clips in which
    nothing moves.

    Cost: 1,000 steps, about 20 minutes on two CPU cores. Result: a mask AP of 0.909 on
    the six videos, 0.882 and 0.924 in the other two runs. In a run of 4,000 steps it
    was 0.948, 0.907 and 0.903 after 800, 1,600 and 2,400.
    """
    return with_fields(
        appearance_backbone(),
        {
            "model.motion": motion().model.motion,
            "model.flow_encoding": motion().model.flow_encoding,
            "model.fusion": "concat_conv",  # Starts as a copy of appearance.
            "model.static_branch": True,
            "data.sources": (
                SourceConfig("folder", "train", 1.5),
                SourceConfig("folder", "objects", 2.0),
                SourceConfig("rendered", "train", 0.4),
                SourceConfig("rendered", "all", 0.4),
                _davis("fit", 2.0),
                SourceConfig("video_instances", "fit", 0.5, options=IGNORE),
            ),
            "data.validation": _davis("development", 2.0),
            "data.augment.paste": 0.0,
            "data.augment.scale": (0.6, 1.6),
            "data.max_objects": 10,
            "train.frozen": (*EARLY, "static/*"),
            "train.start": StartConfig(
                appearance="runs/default/appearance_backbone",
                motion="runs/default/motion",
            ),
            "train.optimizer.rates": (("appearance/*", 0.1),),
            "train.steps": 1000,
            "train.evaluate_every": 500,
        },
    )
