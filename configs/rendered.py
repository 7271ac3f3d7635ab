"""The paper's stages in small: narrow backbones, trained on small rendered clips.

Nothing is downloaded, and each stage takes minutes on a few CPU cores. The results
below are of 40 clips that were not trained on; docs/training.md says how they are
measured.
"""

from pathlib import Path

from movseg_jax.config import AugmentConfig, Config, SourceConfig, StartConfig
from movseg_jax.config_files import load_config, with_fields

TINY = Path(__file__).with_name("tiny.py")
# What all stages change in `tiny.py`.
COMMON = {
    "data.sources": (SourceConfig("rendered", "train"),),
    "data.validation": SourceConfig("rendered", "val"),
    "train.log_every": 50,
    "train.save_every": 500,
    "train.evaluate_every": 500,
}
COLOURS = AugmentConfig(scale=(0.8, 1.25), brightness=0.2, contrast=0.2, saturation=0.2)


def appearance() -> Config:
    """The appearance stage: what things look like, whether they move or not.

    Needs rendered clips in which static things are labelled as well.

        movseg synth --out data/things/rendered --clips 400 --scene.frames 6 \\
            --scene.size 128 224 --scene.label-static
        movseg train configs/rendered.py:appearance \\
            --workdir runs/rendered/appearance --data-dir data/things

    As `appearance_coco` of `paper.py`, but a narrow backbone from random weights.
    Cost: minutes. Expected: a mask AP at an IoU of 0.5 of 0.083 on the large clips of
    `motion_estimated`, in which only one in seven of its confident detections moves.
    """
    return with_fields(
        load_config(TINY),
        COMMON
        | {
            "model.motion": None,
            "data.sources": (SourceConfig("rendered", "train", ignore_resting=False),),
            "data.validation": SourceConfig("rendered", "val", ignore_resting=False),
            "data.augment": COLOURS,
            "data.max_objects": 20,
            "train.steps": 2000,
        },
    )


def motion() -> Config:
    """The motion stage: what moves by itself, from true flow alone.

        movseg synth --out data/small/rendered --clips 400 --scene.frames 6 \\
            --scene.size 128 224
        movseg train configs/rendered.py:motion --workdir runs/rendered/motion \\
            --data-dir data/small

    As `motion_flyingthings3d_gt` of `paper.py`, but a narrow backbone from random
    weights. Cost: minutes. Expected: a mask AP at an IoU of 0.5 of 0.51, on true flow
    and frames of 128x224.
    """
    return with_fields(
        load_config(TINY),
        COMMON
        | {
            "model.mask_features": "motion",
            "model.appearance": None,
            "data.augment": AugmentConfig(scale=(0.8, 1.25)),
            "train.steps": 2000,
        },
    )


def motion_estimated() -> Config:
    """The motion stage on estimated flow: fine-tunes `motion` on OpenCV's.

        movseg synth --out data/large/rendered --clips 400 --scene.frames 6
        movseg data prepare rendered --manual-dir data/large/rendered \\
            --data-dir data/large/estimated --splits train val --flow dis
        movseg train configs/rendered.py:motion_estimated \\
            --workdir runs/rendered/motion_estimated --data-dir data/large/estimated

    As `motion_flyingthings3d_estimated` of `paper.py`. The clips are twice as large as
    those of `motion`, since flow estimated between smaller frames is useless: the same
    stage with frames of 128x224 ends at a mask AP at an IoU of 0.5 of 0.02.
    Cost: minutes. Expected: a mask AP at an IoU of 0.5 of 0.057.
    """
    start = StartConfig(weights="runs/rendered/motion")
    return with_fields(motion(), {"train.steps": 600, "train.start": start})


def joint() -> Config:
    """The joint stage: both trained streams, fused, on estimated flow.

        movseg train configs/rendered.py:joint --workdir runs/rendered/joint \\
            --data-dir data/large/estimated

    As `joint_ytvos` of `paper.py`: the backbones and the static branch stay as
    `appearance` and `motion_estimated` made them; the fusion and the heads train.
    Unlike there, the mask head sees fused features and trains as well: with no ImageNet
    to start from, appearance alone makes poor masks.
    Cost: minutes. Expected: a mask AP at an IoU of 0.5 of 0.351.
    """
    return with_fields(
        load_config(TINY),
        COMMON
        | {
            "model.mask_features": "fused",
            "data.augment": COLOURS,
            "train.steps": 1000,
            "model.static_branch": True,
            "train.frozen": ("appearance/*", "motion/*", "static/*"),
            "train.start": StartConfig(
                appearance="runs/rendered/appearance",
                motion="runs/rendered/motion_estimated",
            ),
        },
    )
