"""Configuration: frozen dataclasses.

A config file (`config_files`) sets what its experiment changes; everything else has its
default here, next to its meaning. `config_json` writes and reads them as JSON. Nothing
here imports JAX.
"""

import dataclasses
import math
import typing
from typing import Any, Literal

from movseg_jax.errors import InputError

Features = Literal["appearance", "motion", "fused"]

# A track is kept if it is seen to move in at least so many frames, faster than so many
# pixels a frame: see `track.moving`. Compression and noise alone have flow of about a
# tenth of a pixel.
MIN_FRAMES, MIN_MOTION = 6, 0.2


@dataclasses.dataclass(frozen=True)
class Convention:
    """The arithmetic around a network, which its weights were trained with.

    Boxes are continuous `[x0, y0, x1, y1]` everywhere in this package, whatever the
    convention: an inclusive box `[x1, y1, x2, y2]` of Detectron is `[x1, y1, x2 + 1,
    y2 + 1]` here, so only the places named below differ.
    """

    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]  # Subtracted; in `channel_order`, of 0..255.
    std: tuple[float, float, float]  # Divided by afterwards.
    resize: Literal["round", "floor", "factor"]  # See `preprocessing.resized_size`.
    anchor_offset: float  # Of an anchor's centre from its cell's corner, in strides.
    anchor_rounding: Literal["none", "corners", "detectron"]  # See `ops.anchors`.
    half_pixel_crops: bool  # RoIAlign shifts by half a pixel and has no minimum size.
    # All of Detectron 1: boxes end at their last pixel, so clipping leaves one pixel
    # and crops end there; NMS suppresses at equality; proposals are clipped to the
    # padded input; detections are refined in pixels of the frame and stay in the
    # order of their proposals; masks are pasted with its rounding.
    inclusive: bool
    ignore_padding: bool  # Features and anchors of the padding do not exist.
    # A level's stride is the padded side over its number of cells, without fraction.
    whole_strides: bool = False
    # The precision of products of float32 numbers. By default TPUs and newer GPUs round
    # the factors, which the original implementations did not.
    precision: Literal["default", "highest"] = "highest"


_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's.
CONVENTIONS: dict[str, Convention] = {
    # What this package trains with.
    "continuous": Convention(
        "rgb", _MEAN, _STD, resize="round", anchor_offset=0.5, anchor_rounding="none",
        half_pixel_crops=True, inclusive=False, ignore_padding=True,
        precision="default",
    ),
    # `torchvision.models.detection.maskrcnn_resnet50_fpn`.
    "torchvision": Convention(
        "rgb", _MEAN, _STD, resize="floor", anchor_offset=0.0,
        anchor_rounding="corners", half_pixel_crops=False, inclusive=False,
        ignore_padding=False, whole_strides=True,
    ),
    # The `R_50_FPN` models of detectron2; theirs take as many samples per bin of a crop
    # as it has cells, ours always 2x2, so their detections agree but approximately.
    "detectron2": Convention(
        "bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), resize="round",
        anchor_offset=0.0, anchor_rounding="none", half_pixel_crops=True,
        inclusive=False, ignore_padding=False,
    ),
    # Detectron and Detectron.pytorch, so the weights Dave et al. (2019) released.
    "detectron": Convention(
        "bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), resize="factor",
        anchor_offset=0.0, anchor_rounding="detectron", half_pixel_crops=False,
        inclusive=True, ignore_padding=False,
    ),
}  # fmt: skip


def _check_fields(config: Any, may_be_zero: tuple[str, ...] = ()) -> None:
    """Refuses values that are not a choice, not finite, or counts below 1."""
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        where = type(config).__name__
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else None
        if choices and value not in choices:
            expected = ", ".join(map(repr, choices))
            raise InputError(
                f"{where}.{name} is {value!r}, expected one of {expected}."
            )
        least = 0 if name in may_be_zero else 1
        if kind is int and value < least:
            raise InputError(f"{where}.{name} is {value}, expected at least {least}.")
        if kind is float and not math.isfinite(value):
            raise InputError(f"{where}.{name} is {value}, expected a finite number.")


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """One stream's ResNet."""

    version: Literal["v1", "v2"] = "v1"  # v2 is the pre-activation ResNet.
    depth: int = 50  # 14, 26, 50 or 101: see `nn.resnet.BLOCKS`.
    width: int = 64  # Channels of the stem; stage s of level l has width * 2**l.
    last_level: int = 5  # Coarsest level of the ResNet; the FPN makes the others.
    stride_in: Literal["1x1", "3x3"] = "3x3"  # Which convolution of a block strides.
    norm: Literal["affine", "group"] = "affine"  # Frozen batch norm; for training.

    def __post_init__(self):
        _check_fields(self)
        if not 2 <= self.last_level <= 5:
            raise InputError(
                f"TrunkConfig.last_level is {self.last_level}, expected 2 to 5."
            )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture. Two sets of weights are interchangeable iff these are equal."""

    appearance: TrunkConfig | None = TrunkConfig()  # None: no such stream.
    motion: TrunkConfig | None = TrunkConfig()
    fusion: str = "concat_convs"  # See `nn.fusion.get_fusion`.
    channels: int = 256  # Of every pyramid level.
    rpn_features: Features = "fused"  # "fused" is the only stream if there is one.
    box_features: Features = "fused"
    mask_features: Features = "fused"
    static_branch: bool = False  # Also find objects that stand still (paper, 3.4).
    classes: int = 1  # Without background; 1 is "object".
    box_head_width: int = 1024  # Of both fully connected layers.
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # Of the convolutions.

    convention: str = "continuous"  # A key of `CONVENTIONS`.
    # How flow becomes the motion stream's channels: see `flow.encoding.encode_flow`.
    flow_encoding: Literal["direct", "paper", "relative", "residual"] = "direct"
    short_side: int = 800  # Frames are resized to this, in pixels ...
    long_side: int = 1333  # ... unless their longer side would exceed this.
    anchor_size: float = 8.0  # Side of an anchor, in strides of its level.
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # Height over width.
    pre_nms: int = 1000  # Highest scoring anchors of each level.
    proposals: int = 1000  # Kept per image after NMS.
    proposal_nms_iou: float = 0.7
    detections: int = 100  # Returned per image, padded to this number.
    detection_nms_iou: float = 0.5
    min_score: float = 0.05  # Of a detection.

    def __post_init__(self):
        _check_fields(self)
        if self.appearance is None and self.motion is None:
            raise InputError("A model needs `appearance`, `motion` or both.")
        if self.convention not in CONVENTIONS:
            raise InputError(
                f"No convention {self.convention!r}; there are "
                f"{', '.join(CONVENTIONS)}."
            )
        for name in ("rpn_features", "box_features", "mask_features"):
            stream = getattr(self, name)
            if stream != "fused" and stream not in self.streams:
                raise InputError(
                    f"{name} is {stream!r}, but the model has no such stream; it has "
                    f"{', '.join(self.streams)}."
                )
        if self.static_branch and self.appearance is None:
            raise InputError("static_branch needs the appearance stream.")

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams there are, appearance first."""
        return tuple(s for s in ("appearance", "motion") if getattr(self, s))

    @property
    def arithmetic(self) -> Convention:
        """The convention that `convention` names."""
        return CONVENTIONS[self.convention]


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """A data set to train on. Where it lies on disk is the caller's to say."""

    name: str  # Of the data set; see `data.sources.open_source`.
    split: str = "train"
    weight: float = 1.0  # Its share of the examples, relative to the other weights.
    ignore_resting: bool = True  # What stands still is neither object nor background.
    # Of the data set's reader, by name, such as `(("resolution", "270p"),)`.
    options: tuple[tuple[str, str | bool], ...] = ()

    def __post_init__(self):
        _check_fields(self)
        if self.weight <= 0:
            raise InputError(
                f"SourceConfig.weight of {self.name!r} is {self.weight}, expected more "
                "than 0; leave the source out instead."
            )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes to the examples. The defaults are the paper's: flips only."""

    flip: float = 0.5  # Probability of mirroring left to right.
    paste: float = 0.0  # Probability of pasting moving objects of another example.
    # The size the model would see is multiplied by a factor between these, then a
    # random crop fits it into its bucket.
    scale: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0  # Factors of 1 plus or minus up to this; below 1 ...
    contrast: float = 0.0  # ... about the image's mean grey ...
    saturation: float = 0.0  # ... about each pixel's grey.
    hue: float = 0.0  # Turns by up to this part of the circle; at most 0.5.

    def __post_init__(self):
        _check_fields(self)
        largest = {"flip": 1.0, "paste": 1.0, "hue": 0.5}
        for name in ("flip", "paste", "brightness", "contrast", "saturation", "hue"):
            value, most = getattr(self, name), largest.get(name, 1.0)
            if not 0 <= value <= most:
                raise InputError(
                    f"AugmentConfig.{name} is {value}, expected 0 to {most}."
                )
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(
                f"AugmentConfig.scale is {self.scale}, expected (smallest, largest), "
                "both more than 0."
            )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on, and how it is read; sizes are the model's to say."""

    sources: tuple[SourceConfig, ...] = ()
    validation: SourceConfig | None = None  # To evaluate on: `train.evaluate_every`.
    augment: AugmentConfig = AugmentConfig()
    batch_size: int = 16  # Images of a step, over all hosts.
    # (height, width) in pixels that inputs are padded to, multiples of 32. Every batch
    # has one of them. () derives four from the model's sides: see `data.order`.
    buckets: tuple[tuple[int, int], ...] = ()
    max_objects: int = 100  # Of an image; see `data.batches.to_training`.
    workers: int = 2  # Processes of each host that read; 0 reads in a thread.
    prefetch: int = (
        1  # Batches that each worker holds ready, twice; see `data.workers`.
    )
    # "skip" replaces examples that cannot be read by others of their bucket.
    on_damaged: Literal["raise", "skip"] = "raise"
    max_damaged: int = 10  # Different examples of a run that may be skipped.

    def __post_init__(self):
        _check_fields(self, may_be_zero=("workers", "max_damaged"))
        for bucket in self.buckets:
            if len(bucket) != 2 or any(n < 32 or n % 32 for n in bucket):
                raise InputError(
                    f"DataConfig.buckets has {bucket}, expected (height, width) in "
                    "multiples of 32 pixels."
                )
        if len(set(self.buckets)) != len(self.buckets):
            raise InputError(f"DataConfig.buckets repeats a size: {self.buckets}.")


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """How anchors and RoIs are matched to objects and drawn, per image."""

    anchors: int = 256  # Drawn for the RPN.
    anchor_positive_fraction: float = 0.5  # Of them, at most.
    anchor_positive_iou: float = 0.7  # At least.
    anchor_negative_iou: float = 0.3  # Below.
    anchor_border: float = 0.0  # Pixels an anchor may stick out of the image.
    pre_nms: int = 2000  # Instead of the model's, while training.
    proposals: int = 2000  # Likewise.
    rois: int = 512  # Drawn for the heads.
    roi_positive_fraction: float = 0.25  # Of them, at most.
    roi_positive_iou: float = 0.5  # At least; the others are negative.
    max_ignored: float = 0.5  # Of a negative's area, at most, in ignore regions.

    def __post_init__(self):
        _check_fields(self)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Gradients to updates: see `train.optimizers`."""

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.02  # After the warm-up; for the complete batch.
    warmup_steps: int = 500
    warmup_factor: float = 1 / 3  # Of the learning rate, at step 0.
    schedule: Literal["constant", "cosine"] = "constant"
    drops: tuple[int, ...] = ()  # Steps at which the rate is multiplied ...
    drop_factor: float = 0.1  # ... by this.
    momentum: float = 0.9  # Of SGD; AdamW's b1.
    beta2: float = 0.999  # Of AdamW.
    weight_decay: float = 1e-4  # Of kernels.
    bias_rate: float = 2.0  # Learning rate of biases, relative.
    clip_norm: float = 0.0  # Largest norm of the gradient; 0 does not clip.

    def __post_init__(self):
        _check_fields(self, may_be_zero=("warmup_steps",))


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """Weights to start from: .safetensors files or the folders of training runs."""

    weights: str = ""  # The complete model; "" is none. The others replace parts.
    appearance: str = ""  # Backbone, and its heads as the static branch's.
    motion: str = ""  # Backbone of that stream.
    heads: Literal["appearance", "motion", "fresh"] = "appearance"  # Whose to take.


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One stage of training. Sizes are over all devices and hosts."""

    steps: int = 90_000
    frozen: tuple[str, ...] = ()  # Globs on parameter paths: see `train.freezing`.
    start: StartConfig = StartConfig()
    targets: TargetConfig = TargetConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_decay: float = 0.0  # Of an average of the parameters; 0 keeps none.
    microbatches: int = 1  # Parts of a device's batch, one after the other.
    rematerialise: bool = False  # Recompute the backbones' activations: less memory.
    parallel: Literal["auto", "pmap", "shard_map"] = "auto"
    log_every: int = 20  # Steps.
    save_every: int = 1000  # Steps.
    keep: int = 2  # Latest checkpoints; the best one is kept as well.
    evaluate_every: int = 0  # Steps; 0 never does.

    def __post_init__(self):
        _check_fields(self, may_be_zero=("evaluate_every",))


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """How detections are linked to tracks: see `track`.

    The defaults are made for one track per thing. `as_released` is what the paper's
    authors released, `as_published` what the paper says.
    """

    continue_score: float = 0.7  # Only detections with more than this are linked.
    start_score: float = 0.9  # Moving ones with more than this may start a track.
    # Most frames from a track's last detection to its next; backwards, fewer.
    max_gap: int = 10
    # A detection and the track's nearest one must have a larger IoU than this.
    min_iou: float = 0.1
    bidirectional: bool = True  # Also track backwards, before tracks' starts.
    # "by_age": one assignment for tracks last seen a frame ago, then one for those
    # seen two frames ago, and so on. "at_once": one assignment for all tracks.
    matching: Literal["by_age", "at_once"] = "by_age"
    # Static detections with at least this IoU with a moving one are left out; 0 leaves
    # out those that overlap at all.
    static_overlap: float = 1.0
    # If two detections overlap with more than this IoU, one is a duplicate.
    duplicate_iou: float = 0.5
    # A detection with more than this share inside another one is a part of it.
    part_share: float = 0.7
    follow_flow: bool = True  # Compare masks where flow takes them in the next frames.
    join: bool = True  # Join tracks of parts, and tracks that follow each other.

    def __post_init__(self):
        _check_fields(self)
        for name in ("continue_score", "start_score", "min_iou", "static_overlap",
                     "duplicate_iou", "part_share"):  # fmt: skip
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"TrackConfig.{name} is {value}, expected 0 to 1.")
        if self.start_score < self.continue_score:
            raise InputError(
                f"TrackConfig.start_score is {self.start_score}, expected at least "
                f"continue_score, {self.continue_score}."
            )

    @property
    def finds_parts(self) -> bool:
        """Whether any detection may be a duplicate or a part of another."""
        return min(self.duplicate_iou, self.part_share) < 1

    @classmethod
    def as_released(cls) -> "TrackConfig":
        """The tracker of the code that Dave et al. (2019) released."""
        return cls(
            static_overlap=0.1,
            duplicate_iou=1.0,
            part_share=1.0,
            follow_flow=False,
            join=False,
        )

    @classmethod
    def as_published(cls) -> "TrackConfig":
        """Dave et al. (2019), section 3.4, to the letter; backwards for FBMS only.

        The paper has no least IoU; here masks must overlap at least.
        """
        return dataclasses.replace(
            cls.as_released(),
            min_iou=0.0,
            bidirectional=False,
            matching="at_once",
            static_overlap=0.0,
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run, besides the code and the data on disk."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    seed: int = 0  # Of the parameters, the order of the data and its augmentations.
