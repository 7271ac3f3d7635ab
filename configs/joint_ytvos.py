"""The paper's final model, its first 5,000 steps: on YouTube-VOS' moving objects.

Two streams, fused by three convolutions. The RPN and the box head see fused features,
the mask head those of appearance alone (Table 3, "+ Freeze mask"), and the static
branch also finds what stands still (section 3.4). The trunks are those of
runs/appearance_coco and runs/motion_flyingthings3d_estimated, the heads those of
appearance, the fusion is random; the fusion, the RPN and the box head train.

Needs YouTube-VOS 2018 with train_all_frames/, and flow estimated on it: a folder
<sequence>/<frame>.flo, by FlowNet2 in the paper, or OpenCV's with --flow dis.

    movseg data prepare ytvos_moving --manual-dir YOUTUBE_VOS --data-dir data \\
        --splits train --flow FLOWNET2
    movseg train configs/joint_ytvos.py --workdir runs/joint_ytvos --data-dir data

Known: the data, 5,000 iterations, which weights it starts from (sections 5.2, 5.3.3).
Inferred: what is frozen, from Table 3; batch and learning rate are Detectron's. Not
known: whether the flow was from frame to frame or between annotated ones.
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
    ytvos = SourceConfig("ytvos_moving", "train")
    return Config(
        model=ModelConfig(mask_features="appearance", static_branch=True),
        data=DataConfig(sources=(ytvos,), batch_size=16),
        train=TrainConfig(
            steps=5000,
            frozen=("appearance/*", "motion/*", "mask_head/*", "static/*"),
            start=StartConfig(
                appearance="runs/appearance_coco",
                motion="runs/motion_flyingthings3d_estimated",
                heads="appearance",
            ),
            optimizer=OptimizerConfig(
                learning_rate=0.02,
                warmup_steps=500,
                warmup_factor=1 / 3,
                momentum=0.9,
                weight_decay=1e-4,
            ),
        ),
    )
