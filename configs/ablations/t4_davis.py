"""Table 4, "DAVIS": trained on DAVIS 2016 only.

It is the last row of Table 3, t3_freeze_mask.py, whose run need not be repeated.

    movseg train configs/ablations/t4_davis.py \\
        --workdir runs/t4_davis --data-dir data

Known: the numbers in both tables are the same.
"""

from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    return load_config(Path(__file__).with_name("t3_freeze_mask.py"))
