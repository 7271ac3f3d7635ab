"""Table 1, "FlowNet2 <- Groundtruth": the motion stream that the paper goes on with.

It is motion_flyingthings3d_estimated.py itself, whose run need not be repeated.

    movseg train configs/ablations/t1_flownet2_from_groundtruth.py \\
        --workdir runs/t1_flownet2_from_groundtruth --data-dir data_flownet2
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "motion_flyingthings3d_estimated.py")
