"""Two narrow streams on small frames: trains in minutes on a CPU, with no downloads.

movseg synth --out data/rendered --clips 24 --scene.frames 8 --scene.size 128 224
movseg train configs/tiny.py --workdir runs/tiny --data-dir data
"""

from movseg_jax.config import (
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TargetConfig,
    TrainConfig,
    TrunkConfig,
)


def get_config() -> Config:
    trunk = TrunkConfig(depth=14, width=16, norm="group")
    rendered = SourceConfig("rendered", split="all")
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
        ),
        data=DataConfig(
            sources=(rendered,), validation=rendered, batch_size=4, max_objects=10
        ),
        train=TrainConfig(
            steps=200,
            targets=TargetConfig(
                anchors=64, anchor_border=1e4, pre_nms=300, proposals=300, rois=64
            ),
            optimizer=OptimizerConfig(
                name="adamw",
                learning_rate=1e-3,
                warmup_steps=20,
                schedule="cosine",
                weight_decay=1e-2,
                bias_rate=1.0,
                clip_norm=5.0,
            ),
            log_every=10,
            save_every=100,
            evaluate_every=100,
        ),
    )
