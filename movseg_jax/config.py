"""Configuration: frozen dataclasses.

A config file (`config_files`) sets what its experiment changes; everything else has its
default here, next to its meaning. `config_json` writes and reads them as JSON. Nothing
here imports JAX.
"""

import dataclasses
import math
import typing
from typing import Literal

from movseg_jax.config_checks import check_fields
from movseg_jax.errors import InputError

# Every product of matrices and every convolution states its precision, so that none
# depends on JAX's settings. "default" is bfloat16 on TPUs and TF32 on NVIDIA's GPUs,
# also for float32. "bfloat16" rounds on every device, see `nn.products`.
Precision = Literal["default", "bfloat16", "highest"]
Features = Literal["appearance", "motion", "fused"]
FlowEncoding = Literal["direct", "paper", "relative", "residual", "vectors"]
NetworkName = Literal["raft_large", "raft_small", "liteflownet", "flownet2"]
NETWORKS: tuple[NetworkName, ...] = typing.get_args(NetworkName)

# A track is kept if it is seen to move in at least so many frames (or less certainly in
# more), faster than so many pixels a frame: see `track.moving`. Compression and noise
# alone have flow of about a tenth of a pixel.
MIN_FRAMES, MIN_MOTION = 6, 0.2
FPS_RANGE = (0.001, 1000.0)  # Frames per second of a video that is written.
DEFAULT_FPS = 25.0  # Frames per second where nothing tells them, as of images.


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
    resize: Literal["round", "floor", "factor"]  # See `model.inputs.resized_size`.
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
    precision: Precision = "highest"


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


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """The ResNet of one stream."""

    version: Literal["v1", "v2"] = "v1"  # "v2" is the pre-activation ResNet.
    depth: int = 50  # Number of layers: 14, 26, 50 or 101.
    width: int = 64  # Channels of the stem; stages have multiples of it.
    last_level: int = 5  # Coarsest level of the ResNet; the FPN adds coarser ones.
    stride_in: Literal["1x1", "3x3"] = "3x3"  # The convolution of a block that strides.
    # "affine" is a frozen batch norm; "group" is for training from scratch.
    norm: Literal["affine", "group"] = "affine"

    def __post_init__(self):
        check_fields(self, last_level=(2.0, 5.0))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture; weights fit each other if and only if these are equal."""

    appearance: TrunkConfig | None = TrunkConfig()  # None leaves the stream out.
    motion: TrunkConfig | None = TrunkConfig()  # None leaves the stream out.
    # Name of the fusion, or "package.module:attribute": see `nn.fusion.get_fusion`.
    fusion: str = "concat_convs"
    channels: int = 256  # Channels of each pyramid level.
    # Features that the RPN uses. "fused" is the only stream if there is just one.
    rpn_features: Features = "fused"
    box_features: Features = "fused"  # Features that the box head uses.
    mask_features: Features = "fused"  # Features that the mask head uses.
    static_branch: bool = False  # Also find stationary objects (paper, section 3.4).
    classes: int = 1  # Number of classes without background; 1 is "object".
    box_head_width: int = 1024  # Width of both fully connected layers of the box head.
    mask_fine: int = 0  # Channels of the mask head's part for fine features, if any.
    compute_dtype: Literal["float32", "bfloat16"] = "float32"  # Of the convolutions.

    convention: str = "continuous"  # A key of `CONVENTIONS`.
    # How flow becomes the motion stream's channels: see `flow.encoding.encode_flow`.
    flow_encoding: FlowEncoding = "direct"
    short_side: int = 800  # Shorter side that frames are resized to, in pixels.
    long_side: int = 1333  # Largest longer side after that; larger frames shrink.
    anchor_size: float = 8.0  # Side of an anchor, in strides of its level.
    # Heights of the anchors over their widths.
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    pre_nms: int = 1000  # Number of anchors of each level that NMS gets.
    proposals: int = 1000  # Number of proposals per image after NMS.
    proposal_nms_iou: float = 0.7  # IoU above which NMS drops a proposal.
    detections: int = 100  # Number of detections per image, including padding.
    detection_nms_iou: float = 0.5  # IoU above which NMS drops a detection.
    min_score: float = 0.05  # Lowest score of a detection.

    def __post_init__(self):
        check_fields(self, may_be_zero=("mask_fine",))
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
        """Names of the model's streams, appearance first."""
        return tuple(s for s in ("appearance", "motion") if getattr(self, s))

    @property
    def arithmetic(self) -> Convention:
        """The arithmetic that `convention` names."""
        return CONVENTIONS[self.convention]


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """A data set to train on. Its place on disk is not a part of the config."""

    name: str  # Name of the data set: see `movseg data list`.
    split: str = "train"  # Split of the data set.
    weight: float = 1.0  # Share of the examples, relative to the other weights.
    # Treat stationary objects as neither object nor background.
    ignore_resting: bool = True
    # Leave out the last frame of every video, which has no flow, also for models that
    # do not see flow.
    skip_last: bool = False
    # Options of the data set's reader, by name, such as `(("resolution", "270p"),)`.
    options: tuple[tuple[str, str | bool | int], ...] = ()

    def __post_init__(self):
        check_fields(self)
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
    # Range of the factor that multiplies the size that the model would see; a random
    # crop then fits the image into its bucket.
    scale: tuple[float, float] = (1.0, 1.0)
    # Largest change of the factor 1 that multiplies the colours.
    brightness: float = 0.0
    # Largest change of the factor that multiplies differences to the mean grey.
    contrast: float = 0.0
    # Largest change of the factor that multiplies differences to each pixel's grey.
    saturation: float = 0.0
    hue: float = 0.0  # Largest turn of the hue, as a share of the circle; at most 0.5.

    def __post_init__(self):
        shares = ("flip", "paste", "brightness", "contrast", "saturation")
        check_fields(self, hue=(0.0, 0.5), **dict.fromkeys(shares, (0.0, 1.0)))
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(
                f"AugmentConfig.scale is {self.scale}, expected (smallest, largest), "
                "both more than 0."
            )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data to train on, and how it is read; the model decides about sizes."""

    sources: tuple[SourceConfig, ...] = ()  # Data sets to train on.
    # Data set to evaluate on every `train.evaluate_every` steps.
    validation: SourceConfig | None = None
    augment: AugmentConfig = AugmentConfig()  # Random changes to the examples.
    batch_size: int = 16  # Number of images in a step, over all hosts.
    # Sizes (height, width) that inputs are padded to, in pixels, multiples of 32. Each
    # batch has one of them. () derives four from the sides of the model's inputs.
    buckets: tuple[tuple[int, int], ...] = ()
    max_objects: int = 100  # Largest number of objects in an image.
    workers: int = 2  # Number of reading processes per host; 0 reads in a thread.
    # Number of batches that each worker reads ahead; as many more wait to be used.
    prefetch: int = 1
    # "skip" replaces an example that cannot be read by another one of its bucket.
    on_damaged: Literal["raise", "skip"] = "raise"
    max_damaged: int = 10  # Largest number of different examples that are skipped.

    def __post_init__(self):
        check_fields(self, may_be_zero=("workers", "max_damaged"))
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
    """Rules by which anchors and RoIs are matched to objects and sampled, per image."""

    anchors: int = 256  # Number of anchors sampled for the RPN.
    anchor_positive_fraction: float = 0.5  # Largest share of positive anchors.
    anchor_positive_iou: float = 0.7  # Smallest IoU of a positive anchor.
    anchor_negative_iou: float = 0.3  # Upper bound of a negative anchor's IoU.
    anchor_border: float = 0.0  # Pixels that an anchor may extend beyond the image.
    pre_nms: int = 2000  # Number of anchors of each level that NMS gets in training.
    proposals: int = 2000  # Number of proposals per image after NMS in training.
    rois: int = 512  # Number of RoIs sampled for the heads.
    roi_positive_fraction: float = 0.25  # Largest share of positive RoIs.
    roi_positive_iou: float = 0.5  # Smallest IoU of a positive RoI.
    max_ignored: float = 0.5  # Largest share of a negative's area in ignored regions.

    def __post_init__(self):
        ious = ("anchor_positive_iou", "anchor_negative_iou", "roi_positive_iou")
        positive = ("anchor_positive_fraction", "roi_positive_fraction")
        check_fields(
            self,
            anchor_border=(0.0, math.inf),
            **dict.fromkeys((*ious, "max_ignored"), (0.0, 1.0)),
            **dict.fromkeys(positive, (0.001, 1.0)),
        )
        if self.anchor_negative_iou > self.anchor_positive_iou:
            raise InputError(
                f"TargetConfig.anchor_negative_iou is {self.anchor_negative_iou}, "
                f"expected at most anchor_positive_iou, {self.anchor_positive_iou}."
            )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate."""

    name: Literal["sgd", "adamw"] = "sgd"  # Optimizer.
    learning_rate: float = 0.02  # Rate after the warm-up, for a complete batch.
    warmup_steps: int = 500  # Number of steps of the warm-up.
    warmup_factor: float = 1 / 3  # Share of the learning rate at step 0.
    # Learning rate after the warm-up: constant, or falling to 0 as a cosine.
    schedule: Literal["constant", "cosine"] = "constant"
    drops: tuple[int, ...] = ()  # Steps at which the learning rate drops.
    drop_factor: float = 0.1  # Factor of each drop.
    momentum: float = 0.9  # Momentum of SGD, and b1 of AdamW.
    beta2: float = 0.999  # b2 of AdamW.
    weight_decay: float = 1e-4  # Weight decay of kernels.
    bias_rate: float = 2.0  # Factor of the learning rate for biases.
    rates: tuple[tuple[str, float], ...] = ()  # Factors for globs on parameters' paths.
    clip_norm: float = 0.0  # Largest norm of the complete gradient; 0 does not clip.

    def __post_init__(self):
        at_least_0 = ("learning_rate", "drop_factor", "weight_decay", "bias_rate")
        check_fields(
            self,
            ("warmup_steps",),
            **dict.fromkeys((*at_least_0, "clip_norm"), (0.0, math.inf)),
            **dict.fromkeys(("warmup_factor", "momentum", "beta2"), (0.0, 1.0)),
        )


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """Weights to start from: a .safetensors file, the folder of a run, or "bundled"."""

    # Weights of the complete model; "" is none. The other fields replace parts of it.
    weights: str = ""
    # Weights of the appearance stream; their heads also start the static branch.
    appearance: str = ""
    motion: str = ""  # Weights of the motion stream.
    # The stream that the heads come from; "fresh" initialises them.
    heads: Literal["appearance", "motion", "fresh"] = "appearance"

    def __post_init__(self):
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A stage of training. Sizes are over all devices and hosts."""

    steps: int = 90_000  # Number of steps.
    frozen: tuple[str, ...] = ()  # Globs on the paths of parameters to freeze.
    start: StartConfig = StartConfig()  # Weights to start from.
    targets: TargetConfig = TargetConfig()  # What the model is to predict.
    optimizer: OptimizerConfig = OptimizerConfig()  # How the parameters are updated.
    ema_decay: float = 0.0  # Decay of the parameters' moving average; 0 keeps none.
    microbatches: int = 1  # Number of parts that a device's batch is cut into.
    rematerialise: bool = False  # Recompute the backbones' activations to save memory.
    # How a step uses several devices; "auto" is "shard_map" among several processes.
    parallel: Literal["auto", "pmap", "shard_map"] = "auto"
    log_every: int = 20  # Steps between two rows of the log.
    save_every: int = 1000  # Steps between two checkpoints.
    keep: int = 2  # Number of latest checkpoints to keep.
    evaluate_every: int = 0  # Steps between two evaluations; 0 never evaluates.

    def __post_init__(self):
        # An average with a decay of 1 would never move.
        check_fields(self, ("evaluate_every",), ema_decay=(0.0, 0.999999))


@dataclasses.dataclass(frozen=True)
class TrackConfig:
    """Rules by which detections are linked to tracks.

    The defaults aim at one track per thing. Cuts, and how often a track must be seen to
    move, are no rules of linking: only `SegmentConfig.as_paper` switches them off, too.
    """

    continue_score: float = 0.7  # Score that a detection must exceed to be linked.
    # Score that a moving detection must exceed to start a track.
    start_score: float = 0.9
    # Largest number of frames between detections of a track; fewer when backwards.
    max_gap: int = 10
    # IoU with the track's nearest detection that a detection must exceed.
    min_iou: float = 0.1
    bidirectional: bool = True  # Also track backwards, to before the start of tracks.
    # "by_age": one assignment for tracks last seen a frame ago, then one for those
    # seen two frames ago, and so on. "at_once": one assignment for all tracks.
    matching: Literal["by_age", "at_once"] = "by_age"
    # IoU with a moving detection from which a static one is left out; 0 leaves out
    # those that overlap at all.
    static_overlap: float = 1.0
    # IoU of two detections above which one is a duplicate.
    duplicate_iou: float = 0.5
    # Share of a detection inside another one above which it is a part of that.
    part_share: float = 0.7
    follow_flow: bool = True  # Move masks along the flow before they are compared.
    # Join tracks of parts with that of the object, and tracks that follow each other.
    join: bool = True

    def __post_init__(self):
        shares = ("continue_score", "start_score", "min_iou", "static_overlap",
                  "duplicate_iou", "part_share")  # fmt: skip
        check_fields(self, **dict.fromkeys(shares, (0.0, 1.0)))
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
        """The linking of Dave et al.'s (2019) released code; see `TrackConfig`."""
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

        The paper has no least IoU; here masks must overlap at least. See `TrackConfig`.
        """
        return dataclasses.replace(
            cls.as_released(),
            min_iou=0.0,
            bidirectional=False,
            matching="at_once",
            static_overlap=0.0,
        )


@dataclasses.dataclass(frozen=True)
class FlowNetworkConfig:
    """The network of flow that weights are for."""

    network: NetworkName


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides about a run, besides the code and the data on disk."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    # Seed of the parameters, of the order of the data and of its augmentations.
    seed: int = 0

    def __post_init__(self):
        check_fields(self, may_be_zero=("seed",))
