"""The paper's final model: two streams, fused by three convolutions.

The RPN and the box head see fused features, the mask head those of appearance alone
(Table 3, "+ freeze mask"), and the static branch also finds what stands still (3.4).
"""

from movseg_jax.config import Config, ModelConfig


def get_config() -> Config:
    return Config(model=ModelConfig(mask_features="appearance", static_branch=True))
