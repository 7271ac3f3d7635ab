"""The smallest example of a config: see `tiny`."""

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


def tiny() -> Config:
    """Two narrow streams on small frames, without downloads.

        movseg synth --out data/rendered --clips 24 --scene.frames 8 \\
            --scene.size 128 224
        movseg train configs/tiny.py --workdir runs/tiny --data-dir data

    Cost: some minutes on two CPU cores. Expected: with 400 steps it learns four clips
    by heart, to a box and mask AP at an IoU of 0.5 of over 0.9 on the same clips, as
    `tests/test_train_tiny.py` checks.
    """
    trunk = TrunkConfig(depth=14, width=16, norm="group")
    rendered = SourceConfig("rendered", split="all")
    return Config(
        model=ModelConfig(
            appearance=trunk,
            motion=trunk,
            channels=64,
            box_head_width=256,
            mask_features="appearance",
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
