"""Table 1, "LiteFlowNet <- Groundtruth": as the row above, with other flow.

The config is that of motion_flyingthings3d_estimated.py; the difference is in the data,
prepared with --flow LITEFLOWNET in a folder of its own.

    movseg train configs/ablations/t1_liteflownet_from_groundtruth.py \\
        --workdir runs/t1_liteflownet_from_groundtruth --data-dir data_liteflownet

Known: LiteFlowNet's weights were trained on synthetic and fine-tuned on real data.
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "motion_flyingthings3d_estimated.py")
