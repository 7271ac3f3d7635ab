"""Table 1, "FlowNet2": the motion stream, trained on estimated flow only.

The config is that of motion_flyingthings3d_gt.py, which starts from ImageNet; the
difference is in the data, those of motion_flyingthings3d_estimated.py.

    movseg train configs/ablations/t1_flownet2.py \\
        --workdir runs/t1_flownet2 --data-dir data_flownet2

Inferred: 10,000 iterations, as each stage of the other rows has.
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "motion_flyingthings3d_gt.py")
