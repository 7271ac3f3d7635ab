"""The rows of the paper's Tables 1 to 4, one function each, in the tables' order.

Some rows are a stage of `paper.py` itself or another row; their run need not be
repeated. While they train, all rows are measured on the validation videos of DAVIS
2016, without the last frame of each. The paper does not say whether its tables count
the instances of DAVIS 2017 or all that moves in a frame as one object, so both are in
the log: `box_ap50` and `mask_ap50`, `box_ap50_foreground` and `mask_ap50_foreground`.
The validation videos are prepared as for `joint_davis`, in the same data folder.

`scripts/reproduce.py` trains and measures the rows, and compares them with the paper.
None of them has been run with this version (see `paper.py`); `default_ablations.py` has
them in small, with results.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config
from movseg_jax.config_files import load_config, with_fields

PAPER = Path(__file__).with_name("paper.py")


def _measured(config: Config, every: int) -> Config:
    """Adds the measurements on DAVIS 2016 to a stream's own training."""
    davis = load_config(f"{PAPER}:joint_davis").data.validation
    assert davis is not None
    validation = dataclasses.replace(davis, skip_last=True)
    return with_fields(
        config, {"data.validation": validation, "train.evaluate_every": every}
    )


def t1_flownet2() -> Config:
    """Table 1, "FlowNet2": the motion stream, trained on estimated flow only.

    The config is `motion_flyingthings3d_gt`, which starts from ImageNet; only the data
    differ, those of `motion_flyingthings3d_estimated`.

        movseg train configs/ablations.py:t1_flownet2 \\
            --workdir runs/t1_flownet2 --data-dir data_flownet2

    Inferred: 10,000 iterations, as each stage of the other rows has. Not run.
    """
    return _measured(load_config(f"{PAPER}:motion_flyingthings3d_gt"), 2000)


def t1_flownet2_from_groundtruth() -> Config:
    """Table 1, "FlowNet2 <- Groundtruth": the motion stream that the paper uses.

    It is `motion_flyingthings3d_estimated`, whose run need not be repeated.

        movseg train configs/ablations.py:t1_flownet2_from_groundtruth \\
            --workdir runs/t1_flownet2_from_groundtruth --data-dir data_flownet2

    Not run.
    """
    return _measured(load_config(f"{PAPER}:motion_flyingthings3d_estimated"), 2000)


def t1_liteflownet_from_groundtruth() -> Config:
    """Table 1, "LiteFlowNet <- Groundtruth": the row above with other flow.

    The config is `motion_flyingthings3d_estimated`; only the data differ, prepared in a
    folder of its own.

        movseg data prepare flyingthings3d --manual-dir FLYINGTHINGS3D \\
            --data-dir data_liteflownet --splits train \\
            --flow liteflownet --flow-weights liteflownet.safetensors
        movseg train configs/ablations.py:t1_liteflownet_from_groundtruth \\
            --workdir runs/t1_liteflownet_from_groundtruth --data-dir data_liteflownet

    Known: LiteFlowNet's weights were trained on synthetic and fine-tuned on real data.
    Not run.
    """
    return _measured(load_config(f"{PAPER}:motion_flyingthings3d_estimated"), 2000)


def t2_class_specific() -> Config:
    """Table 2, "Class-specific": the appearance stream, trained on COCO's 80 classes.

    It is `appearance_coco_classes` itself, whose run need not be repeated.

        movseg train configs/ablations.py:t2_class_specific \\
            --workdir runs/t2_class_specific --data-dir data

    Known: at test, the detections of all classes become "object" (section 5.3.2). The
    authors' code does so after the NMS of each class and keeps 100. Not run.
    """
    return _measured(load_config(f"{PAPER}:appearance_coco_classes"), 10_000)


def t2_objectness() -> Config:
    """Table 2, "Objectness": the appearance stream, COCO's objects as one class.

    It is `appearance_coco` itself, whose run need not be repeated.

        movseg train configs/ablations.py:t2_objectness \\
            --workdir runs/t2_objectness --data-dir data

    Not run.
    """
    return _measured(load_config(f"{PAPER}:appearance_coco"), 10_000)


def t3_joint_class_specific() -> Config:
    """Table 3, "Joint Training, class-specific": it starts from COCO's 80 classes.

    As `t3_joint_objectness`, with the appearance backbone and the heads of
    runs/appearance_coco_classes.

        movseg train configs/ablations.py:t3_joint_class_specific \\
            --workdir runs/t3_joint_class_specific --data-dir data

    Inferred: there is one class, so the layers whose size depends on the classes are
    fresh. Not run.
    """
    start = {"train.start.appearance": "runs/appearance_coco_classes"}
    return with_fields(t3_joint_objectness(), start)


def t3_joint_objectness() -> Config:
    """Table 3, "Joint Training, objectness": all of the two-stream model trains.

    It trains on DAVIS 2016, without YouTube-VOS before. Backbones and heads are those
    of the streams' own models; every head sees fused features. Data as for
    `joint_davis`.

        movseg train configs/ablations.py:t3_joint_objectness \\
            --workdir runs/t3_joint_objectness --data-dir data

    Known: data and weights to start from (section 5.3.3). Inferred: 5,000 iterations,
    as section 5.2 gives for DAVIS (the authors' released model without YouTube-VOS has
    2,000); the stems, stages 2 and norms stay frozen, as in the streams' own training.
    There is no static branch, since it needs the appearance backbone unchanged.
    Not run.
    """
    return with_fields(
        load_config(f"{PAPER}:joint_davis"),
        {
            "model.mask_features": "fused",
            "model.static_branch": False,
            "train.start": load_config(f"{PAPER}:joint_ytvos").train.start,
            "train.frozen": load_config(f"{PAPER}:appearance_coco").train.frozen,
        },
    )


def t3_freeze_appearance() -> Config:
    """Table 3, "+ Freeze appearance": `t3_joint_objectness` with that backbone frozen.

        movseg train configs/ablations.py:t3_freeze_appearance \\
            --workdir runs/t3_freeze_appearance --data-dir data

    Inferred: the backbone includes its FPN. Not run.
    """
    before = t3_joint_objectness()
    frozen = (*before.train.frozen, "appearance/*")
    return with_fields(before, {"train.frozen": frozen})


def t3_freeze_motion() -> Config:
    """Table 3, "+ Freeze motion": both backbones stay frozen.

    As `t3_freeze_appearance` otherwise.

        movseg train configs/ablations.py:t3_freeze_motion \\
            --workdir runs/t3_freeze_motion --data-dir data

    Inferred: the backbone includes its FPN. Not run.
    """
    before = t3_freeze_appearance()
    frozen = (*before.train.frozen, "motion/*")
    return with_fields(before, {"train.frozen": frozen})


def t3_freeze_mask() -> Config:
    """Table 3, "+ Freeze mask": the mask head sees appearance only and is frozen.

    As `t3_freeze_motion` otherwise: the fusion, the RPN and the box head train.

        movseg train configs/ablations.py:t3_freeze_mask \\
            --workdir runs/t3_freeze_mask --data-dir data

    Known: what the mask head sees and that it is frozen (section 5.3.3). Not run.
    """
    before = t3_freeze_motion()
    frozen = (*before.train.frozen, "mask_head/*")
    return with_fields(
        before, {"model.mask_features": "appearance", "train.frozen": frozen}
    )


def t4_davis() -> Config:
    """Table 4, "DAVIS": trained on DAVIS 2016 only.

    It is the last row of Table 3, `t3_freeze_mask`, whose run need not be repeated.

        movseg train configs/ablations.py:t4_davis \\
            --workdir runs/t4_davis --data-dir data

    Known: the numbers in both tables are the same. Not run.
    """
    return t3_freeze_mask()


def t4_ytvos_moving() -> Config:
    """Table 4, "YTVOS-moving": trained on YouTube-VOS' moving objects only.

    It is `joint_ytvos`, evaluated on DAVIS 2016's validation videos. Data as for both
    `joint_ytvos` and `joint_davis`.

        movseg train configs/ablations.py:t4_ytvos_moving \\
            --workdir runs/t4_ytvos_moving --data-dir data

    Not run.
    """
    davis = load_config(f"{PAPER}:joint_davis")
    return with_fields(
        load_config(f"{PAPER}:joint_ytvos"),
        {
            "data.validation": davis.data.validation,
            "train.evaluate_every": davis.train.evaluate_every,
        },
    )


def t4_davis_from_ytvos_moving() -> Config:
    """Table 4, "DAVIS <- YTVOS-moving": the paper's final model.

    It is `joint_davis` itself, whose run need not be repeated.

        movseg train configs/ablations.py:t4_davis_from_ytvos_moving \\
            --workdir runs/t4_davis_from_ytvos_moving --data-dir data

    Not run.
    """
    return load_config(f"{PAPER}:joint_davis")
