"""Table 4 in small: the joint stage on rendered clips alone.

To compare with t3_freeze_appearance.py, which has all three sources.

    movseg train configs/default/ablations/t4_rendered.py \\
        --workdir runs/default/ablations/t4_rendered --data-dir data/estimated
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config


def get_config() -> Config:
    every = load_config(Path(__file__).with_name("t3_freeze_appearance.py"))
    sources = tuple(s for s in every.data.sources if s.name == "rendered")
    return dataclasses.replace(
        every, data=dataclasses.replace(every.data, sources=sources)
    )
