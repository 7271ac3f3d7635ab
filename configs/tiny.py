"""Two narrow streams on small frames: for trying things out on a CPU."""

from movseg_jax.config import Config, ModelConfig, TrunkConfig


def get_config() -> Config:
    trunk = TrunkConfig(depth=14, width=16, norm="group")
    return Config(
        model=ModelConfig(
            appearance=trunk,
            motion=trunk,
            channels=64,
            box_head_width=256,
            mask_features="appearance",
            static_branch=True,
            short_side=128,
            long_side=224,
            anchor_size=4.0,
            pre_nms=300,
            proposals=300,
        )
    )
