"""Table 4, "DAVIS <- YTVOS-moving": the paper's final model.

It is joint_davis.py itself, whose run need not be repeated.

    movseg train configs/ablations/t4_davis_from_ytvos_moving.py \\
        --workdir runs/t4_davis_from_ytvos_moving --data-dir data
"""

from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    return load_config(STAGES / "joint_davis.py")
