"""Configuration: frozen dataclasses, their JSON, and config files.

A config file is Python with one function, `get_config() -> Config`. It sets what its
experiment changes; everything else has its default here, next to its meaning.
Nothing here imports JAX.
"""

import dataclasses
import json
import runpy
import types
import typing
from pathlib import Path
from typing import Any, Literal

from movseg_jax.errors import InputError

T = typing.TypeVar("T")
Features = Literal["appearance", "motion", "fused"]


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


_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's.
CONVENTIONS: dict[str, Convention] = {
    # What this package trains with.
    "continuous": Convention(
        "rgb", _MEAN, _STD, resize="round", anchor_offset=0.5, anchor_rounding="none",
        half_pixel_crops=True, inclusive=False, ignore_padding=True,
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


def _check_fields(config: Any) -> None:
    """Refuses values outside of a field's choices, and counts and sides below 1."""
    for name, kind in typing.get_type_hints(type(config)).items():
        value, where = getattr(config, name), type(config).__name__
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else None
        if choices and value not in choices:
            expected = ", ".join(map(repr, choices))
            raise InputError(
                f"{where}.{name} is {value!r}, expected one of {expected}."
            )
        if kind is int and value < 1:
            raise InputError(f"{where}.{name} is {value}, expected at least 1.")


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
        """What `convention` names."""
        return CONVENTIONS[self.convention]


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a run, besides the code and the data on disk."""

    model: ModelConfig = ModelConfig()
    seed: int = 0


def load_config(path: str | Path) -> Config:
    """Runs a config file's `get_config()`. The file is code: run only your own.

    Raises:
        InputError: There is no such file, or it does not define a `Config`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such config file.")
    get_config = runpy.run_path(str(path)).get("get_config")
    config = get_config() if callable(get_config) else None
    if not isinstance(config, Config):
        raise InputError(f"{path}: defines no `get_config()` that returns a `Config`.")
    return config


def to_json(config: Any) -> str:
    """A config dataclass as JSON; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(kind: type[T], text: str, source: str = "config") -> T:
    """Reads a config dataclass, such as `ModelConfig`, from its JSON.

    Raises:
        InputError: Not JSON, an unknown field or a value of the wrong type; `source`
            says in the message where the text is from.
    """
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}.") from None
    return typing.cast(T, _parse(kind, value, source))


def _parse(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected an object, got {value!r:.80}.")
        kinds = typing.get_type_hints(kind)
        for name in value:
            if name not in kinds:
                raise InputError(
                    f"{where}: {kind.__name__} has no field {name!r}; its fields are "
                    f"{', '.join(kinds)}."
                )
        return kind(
            **{k: _parse(kinds[k], v, f"{where}.{k}") for k, v in value.items()}
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _parse(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_parse(arguments[0], item, where) for item in value)
    if origin is Literal and value in arguments:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    expected = getattr(kind, "__name__", str(kind))
    if origin is Literal:
        expected = f"one of {', '.join(map(repr, arguments))}"
    raise InputError(f"{where}: expected {expected}, got {value!r:.80}.")
