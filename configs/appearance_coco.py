"""The appearance stream alone: a Mask R-CNN of one class, "object" (section 3.2)."""

from movseg_jax.config import Config, ModelConfig


def get_config() -> Config:
    return Config(model=ModelConfig(motion=None))
