"""Table 3, "Joint Training, objectness": all of the two-stream model trains.

On DAVIS 2016, without YouTube-VOS before. Trunks and heads are those of the streams'
own models; every head sees fused features. Data as for joint_davis.py.

    movseg train configs/ablations/t3_joint_objectness.py \\
        --workdir runs/t3_joint_objectness --data-dir data

Known: data and weights to start from (section 5.3.3). Inferred: 5,000 iterations, as
section 5.2 gives for DAVIS (the authors' released model without YouTube-VOS has 2,000);
the stems, stages 2 and norms stay frozen, as in the streams' own training. There is no
static branch, since it needs the appearance trunk as it was.
"""

import dataclasses
from pathlib import Path

from movseg_jax.config import Config, load_config

STAGES = Path(__file__).parents[1]


def get_config() -> Config:
    davis = load_config(STAGES / "joint_davis.py")
    streams = load_config(STAGES / "joint_ytvos.py").train.start
    trunks = load_config(STAGES / "appearance_coco.py").train.frozen
    return dataclasses.replace(
        davis,
        model=dataclasses.replace(
            davis.model, mask_features="fused", static_branch=False
        ),
        train=dataclasses.replace(davis.train, start=streams, frozen=trunks),
    )
