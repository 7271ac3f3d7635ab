"""The config that `movseg fusion-lab` trains: see `lab`."""

from pathlib import Path

from movseg_jax.config import Config, TrunkConfig
from movseg_jax.config_files import load_config, with_fields

TINY = Path(__file__).with_name("tiny.py")


def lab() -> Config:
    """The config `tiny`, narrower and on smaller frames, for `movseg fusion-lab`.

        movseg fusion-lab concat_convs gated --out lab

    Cost: one to two minutes per model on two CPU cores.
    """
    trunk = TrunkConfig(depth=14, width=8, norm="group")
    return with_fields(
        load_config(TINY),
        {
            "model.appearance": trunk,
            "model.motion": trunk,
            "model.channels": 32,
            # Nothing is trained before, so that outlines are easier to see in motion.
            "model.mask_features": "fused",
            "model.box_head_width": 128,
            # The static branch would not be trained.
            "model.static_branch": False,
            "model.short_side": 96,
            "model.long_side": 160,
            "model.pre_nms": 200,
            "model.proposals": 200,
            "data.buckets": ((96, 160),),
            # Frames are small, so that worker processes cost more than they save.
            "data.workers": 0,
            "train.steps": 300,
            "train.targets.pre_nms": 200,
            "train.targets.proposals": 200,
            "train.optimizer.learning_rate": 2e-3,
        },
    )
