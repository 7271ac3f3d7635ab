"""The motion stream alone: a Mask R-CNN that sees optical flow only (section 3.1)."""

from movseg_jax.config import Config, ModelConfig


def get_config() -> Config:
    return Config(model=ModelConfig(appearance=None))
