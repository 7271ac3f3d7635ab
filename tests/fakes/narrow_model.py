"""A model so narrow that it compiles in seconds, for tests of what is around it."""

from movseg_jax.config import ModelConfig, TrunkConfig

NARROW = TrunkConfig(depth=14, width=8, norm="group")
MODEL = ModelConfig(
    appearance=NARROW,
    motion=NARROW,
    channels=8,
    box_head_width=16,
    short_side=64,
    long_side=64,
    proposals=20,
    detections=10,
    min_score=0.0,
)
