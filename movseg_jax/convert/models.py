"""Converts models of other frameworks to parameters of ours.

`convert_weights` reads a file of any kind in `mapping.FAMILIES` and maps every name in
it. An unknown name, a missing array or a wrong shape is an error, so the result is the
complete model of the file. Only NumPy is used.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from movseg_jax.config import CONVENTIONS, FlowNetworkConfig, ModelConfig, TrunkConfig
from movseg_jax.convert import names
from movseg_jax.convert.detectron_settings import find_settings, read_settings
from movseg_jax.convert.flow_models import take_flow_network
from movseg_jax.convert.mapping import CROP, Layer, Source
from movseg_jax.convert.names import BLOCK
from movseg_jax.errors import InputError

DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}  # The depth by blocks per stage.
LEVELS = names.LEVELS
# No array tells these; they are in the settings beside it.
ASSUMED_FEATURES = "masks from appearance features, as in the paper's final model"
ASSUMED_PROPOSALS = "1000 proposals: FPN.RPN_COLLECT_SCALE is 1"


class Converted(NamedTuple):
    """The weights of a file as our parameters.

    Attributes:
        params: The parameters, nested dicts of float32 arrays. If the file holds no
            detector, they are just "<stream>/resnet", from which training can start.
        config: The settings of the model. If the file holds a backbone alone, only
            those of the stream are meaningful.
        kind: The kind of file, a `Family.kind`.
        card: The kind, the weights' origin, and the ignored entries with reasons.
    """

    params: dict[str, Any]
    config: ModelConfig | FlowNetworkConfig
    kind: str
    card: dict[str, Any]


def convert_weights(
    path: str | Path,
    *,
    appearance_heads: str | Path | None = None,
    stream: Literal["appearance", "motion"] = "appearance",
    settings: str | Path | None = None,
    proposals: int | None = None,
    prefix: str | None = None,
) -> Converted:
    """Reads a file of another framework as parameters of our model.

    Args:
        path: The file: a Mask R-CNN (ResNet-50-FPN) of torchvision, Detectron,
            detectron2 or Dave et al. (2019), a ResNet of torchvision, Caffe2 or Gluon
            (v2), a RAFT of torchvision or of its authors, or a LiteFlowNet or FlowNet2
            of their ports to PyTorch.
        appearance_heads: A single-stream file of Dave et al., whose RPN and box head
            become the static branch of the two-stream file in `path` (paper, 3.4).
        stream: The stream that the network of a single-stream file becomes.
        settings: The `config_and_args.pkl` of a run of Detectron.pytorch; None looks
            for it in the file's folder and the folder above.
        proposals: The number of proposals per image; None takes it from the settings.
        prefix: The start of the names of the model's arrays; None finds it.

    Raises:
        InputError: The file cannot be read or is of an unknown kind, or its names and
            shapes are not exactly those of its kind.
    """
    source = Source(Path(path), prefix)
    family = source.family
    _check_options(source, stream, appearance_heads)
    if family.contents == "flow":
        config = take_flow_network(source)
        return Converted(source.params, config, family.kind, source.finish())
    return _take_detector(source, appearance_heads, stream, settings, proposals)


def _take_detector(
    source: Source,
    appearance_heads: str | Path | None,
    stream: str,
    settings: str | Path | None,
    proposals: int | None,
) -> Converted:
    """Takes a detector, or its backbone if there is no more."""
    family = source.family
    is_joint = family.contents == "joint"
    bodies = {"appearance": "bodies.0.", "motion": "bodies.1."}
    trunks = {
        name: _take_trunk(source, name, body)
        for name, body in (bodies if is_joint else {stream: ""}).items()
    }
    fields: dict[str, Any] = {"appearance": None, "motion": None, **trunks}
    _check_preprocessing(source)
    # A backbone has a preprocessing, too; torchvision's is that of "continuous".
    if family.contents != "trunk" or family.convention.startswith("detectron"):
        fields |= {"convention": family.convention}
    if family.contents != "trunk":
        # Models of Detectron.pytorch that see flow are those of the paper's authors.
        if "motion" in trunks and family.convention == "detectron":
            fields |= {"flow_encoding": "paper"}
        fields |= _take_heads(source)
        for name in trunks:
            _take_fpn(source, name, bodies[name] if is_joint else "", fields)
    if is_joint:
        fields |= {"fusion": _take_fusion(source, fields["channels"])}
        fields |= {"mask_features": "appearance"}
    changes, card = _settings(source, settings, proposals, is_joint=is_joint)
    fields |= changes
    if appearance_heads is not None:
        heads = _read_appearance_heads(Path(appearance_heads), fields)
        source.params["static"], card["appearance_heads"] = heads
        fields |= {"static_branch": True}
    card |= source.finish()
    return Converted(source.params, ModelConfig(**fields), family.kind, card)


def _check_options(source: Source, stream: str, appearance_heads: Any) -> None:
    """Refuses options that the kind of file cannot have."""
    contents = source.family.contents
    streams = ["appearance", "motion"]
    if contents in ("joint", "flow"):  # Both streams, or none.
        streams = ["appearance"]  # The default is not meant.
    if stream not in streams:
        raise InputError(
            f"{source.path}: has no stream {stream!r} to convert; leave it out."
        )
    if appearance_heads is not None and contents != "joint":
        raise InputError(
            f"{source.path}: is a {source.family.kind}; `appearance_heads` are for the "
            f"two-stream files of Dave et al. only."
        )


def _settings(
    source: Source,
    settings: str | Path | None,
    proposals: int | None,
    *,
    is_joint: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the fields that no array tells, and what the card says about them."""
    fields: dict[str, Any] = {}
    card: dict[str, Any] = {}
    may_have = source.family is names.PAPER or is_joint
    path = find_settings(source.path) if settings is None else Path(settings)
    if settings is not None and not may_have:
        raise InputError(
            f"{source.path}: is a {source.family.kind}; only Detectron.pytorch has "
            "such `settings`."
        )
    if path is not None and may_have:
        found = read_settings(path)
        fields |= {"proposals": found.proposals}
        fields |= found.features if is_joint else {}
        card["settings"] = path.name
    elif is_joint:
        card["assumed"] = [ASSUMED_FEATURES]
        card["assumed"] += [ASSUMED_PROPOSALS] if proposals is None else []
    if proposals is not None:
        if proposals < 1:
            raise InputError(f"`proposals` is {proposals}, expected 1 or more.")
        fields["proposals"] = proposals
    return fields, card


def _check_preprocessing(source: Source) -> None:
    """Refuses a model whose means and deviations are not those of its convention."""
    convention = CONVENTIONS[source.family.convention]
    for name, expected in (
        ("pixel_mean", convention.mean),
        ("pixel_std", convention.std),
    ):
        found = source.tensors.get(name)
        if found is not None and not np.array_equal(
            found.ravel().astype(np.float32), np.array(expected, np.float32)
        ):
            raise InputError(
                f"{source.path}: {name} is {found.ravel().tolist()}, expected "
                f"{list(expected)}: it was trained with another preprocessing."
            )


def _take_trunk(source: Source, stream: str, body: str) -> TrunkConfig:
    """Takes a stream's ResNet, with as many stages and blocks as the file has."""
    is_v2 = "resnet/input_norm" in source.family.names
    width = source.rows("resnet/stem_conv", body=body)
    blocks = []
    for level in LEVELS:
        count = _count_blocks(source, level, body)
        if is_v2 and level > 2 and not count:
            break
        blocks.append(count)
    fitting = [n for b, n in DEPTHS.items() if b[: len(blocks)] == tuple(blocks)]
    if not fitting:
        raise InputError(
            f"{source.path}: is a {source.family.kind} with {blocks} blocks in its "
            f"stages, expected those of a ResNet-50 or a ResNet-101: "
            f"{', '.join(str(list(b)) for b in DEPTHS)}."
        )
    layers = _resnet_v2(width, blocks) if is_v2 else _resnet_v1(width, blocks)
    for layer in layers:
        layer = layer._replace(values={**layer.values, "body": body})
        if "norm" in layer.path or "preact" in layer.path:
            source.convert_norm(layer, f"{stream}/")
        else:
            source.convert_layer(layer, f"{stream}/")
    last = 1 + len(blocks)
    if last < LEVELS[-1]:
        missing = "of the stage that is not in the file"
        source.ignorable |= {
            rf"stage{last}_(conv0|batchnorm\d+)_.*": missing,
            r"batchnorm2_.*": missing,
        }
    return TrunkConfig(
        version="v2" if is_v2 else "v1",
        depth=fitting[0],
        width=width,
        last_level=last,
        stride_in=source.family.stride_in,
    )


def _count_blocks(source: Source, level: int, body: str) -> int:
    """Counts the blocks of a stage.

    A truncated Gluon file has the first convolution of a stage that is missing, so
    blocks are recognised by their second or third one.
    """
    for block in itertools.count():
        values = _values(level, block, 2) | {"body": body}
        third = _values(level, block, 3) | {"body": body}
        layer = Layer(f"{BLOCK}/conv{{conv}}", (), values)
        if not (source.has(layer) or source.has(layer._replace(values=third))):
            return block
    raise AssertionError("unreachable")


def _values(level: int, block: int = 0, conv: int = 1) -> dict[str, Any]:
    """Returns the values that the names of a family may refer to."""
    return {
        "level": level,
        "stage": level - 1,
        "block": block,
        "conv": conv,
        "letter": "abc"[conv - 1],
        # Gluon counts through a stage; the first block's shortcut is number 3.
        "conv_number": 3 * block + conv - (block == 0),
        "norm_number": 3 * block + conv - 1,
    }


def _resnet_v1(width: int, blocks: list[int]) -> Iterator[Layer]:
    """Yields the layers of a ResNet v1."""
    yield Layer("resnet/stem_conv", (width, 3, 7, 7), has_bias=False)
    yield Layer("resnet/stem_norm", (width,))
    for level, block, inputs, inner in _blocks(width, blocks):
        for values, shape in _convs(level, block, inputs, inner):
            yield Layer(f"{BLOCK}/conv{{conv}}", shape, values, has_bias=False)
            yield Layer(f"{BLOCK}/norm{{conv}}", shape[:1], values)
        if block == 0:
            values = _values(level)
            shape = (4 * inner, inputs, 1, 1)
            yield Layer(f"{BLOCK}/shortcut_conv", shape, values, has_bias=False)
            yield Layer(f"{BLOCK}/shortcut_norm", shape[:1], values)


def _resnet_v2(width: int, blocks: list[int]) -> Iterator[Layer]:
    """Yields the layers of a ResNet v2, whose norms come before convolutions."""
    yield Layer("resnet/input_norm", (3,))
    yield Layer("resnet/stem_conv", (width, 3, 7, 7), has_bias=False)
    yield Layer("resnet/stem_norm", (width,))
    for level, block, inputs, inner in _blocks(width, blocks):
        for values, shape in _convs(level, block, inputs, inner):
            yield Layer(f"{BLOCK}/conv{{conv}}", shape, values, has_bias=False)
            # The norm before a stage's first convolution also feeds its shortcut.
            first = block == 0 and values["conv"] == 1
            name = "resnet/preact{level}" if first else f"{BLOCK}/norm{{conv}}"
            yield Layer(name, shape[1:2], values)
        if block == 0:
            shape = (4 * inner, inputs, 1, 1)
            yield Layer(f"{BLOCK}/shortcut_conv", shape, _values(level), has_bias=False)
    after = 2 + len(blocks)
    yield Layer("resnet/preact{level}", (width * 2 ** (after - 1),), _values(after))


def _blocks(width: int, blocks: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yields the level, number, input and inner channels of each block."""
    inputs = width
    for level, count in zip(LEVELS, blocks, strict=False):
        inner = width * 2 ** (level - 2)
        for block in range(count):
            yield level, block, inputs, inner
            inputs = 4 * inner


def _convs(level: int, block: int, inputs: int, inner: int) -> Iterator:
    """Yields the values and the kernel's shape of each convolution of a block."""
    yield _values(level, block, 1), (inner, inputs, 1, 1)
    yield _values(level, block, 2), (inner, inner, 3, 3)
    yield _values(level, block, 3), (4 * inner, inner, 1, 1)


def _take_fpn(source: Source, stream: str, body: str, fields: dict[str, Any]) -> None:
    """Takes the FPN of a stream."""
    trunk = fields[stream]
    channels = fields["channels"]
    for level, count in zip(LEVELS, _depth_blocks(trunk.depth), strict=True):
        values = {"level": level, "last": count - 1, "body": body}
        inputs = trunk.width * 2**level
        lateral = Layer("fpn/lateral{level}", (channels, inputs, 1, 1), values)
        output = Layer("fpn/output{level}", (channels, channels, 3, 3), values)
        source.convert_layer(lateral, f"{stream}/")
        source.convert_layer(output, f"{stream}/")


def _depth_blocks(depth: int) -> tuple[int, ...]:
    return next(blocks for blocks, d in DEPTHS.items() if d == depth)


def _take_heads(source: Source) -> dict[str, Any]:
    """Takes the RPN, the box head and the mask head; returns fields of the config."""
    fields = _take_objectness_heads(source)
    channels = fields["channels"]
    classes = fields["classes"]
    background = source.family.background == "first"
    for i in range(4):
        shape = (channels, channels, 3, 3)
        source.convert_layer(Layer("mask_head/conv{i}", shape, {"i": i}))
    shape = (channels, channels, 2, 2)
    source.convert_layer(Layer("mask_head/upconv", shape, transposed=True))
    shape = (classes + background, channels, 1, 1)
    source.convert_layer(Layer("mask_head/logits", shape))
    return fields


def _take_objectness_heads(source: Source) -> dict[str, Any]:
    """Takes the RPN and the box head; returns fields of the config."""
    channels = source.rows("rpn/conv")
    width = source.rows("box_head/fc1")
    classes = source.rows("box_head/logits") - 1
    if classes < 1:
        raise InputError(f"{source.path}: its box head has no class but background.")
    anchors = len(ModelConfig().anchor_ratios)
    background = source.family.background == "first"
    for layer in (
        Layer("rpn/conv", (channels, channels, 3, 3)),
        Layer("rpn/logits", (anchors, channels, 1, 1)),
        Layer("rpn/deltas", (4 * anchors, channels, 1, 1)),
        Layer("box_head/fc1", (width, channels * CROP**2)),
        Layer("box_head/fc2", (width, width)),
        Layer("box_head/logits", (classes + 1, width)),
        Layer("box_head/deltas", (4 * (classes + background), width)),
    ):
        source.convert_layer(layer)
    return {"channels": channels, "box_head_width": width, "classes": classes}


def _take_fusion(source: Source, channels: int) -> str:
    """Takes the convolutions that fuse the streams; returns the fusion's name."""
    layers = [Layer("fusion/conv0", (channels, 2 * channels, 3, 3))]
    is_single = source.spell(layers[0]) == names.SINGLE_FUSION
    if not is_single:
        shape = (channels, channels, 3, 3)
        layers += [Layer("fusion/conv1", shape), Layer("fusion/conv2", shape)]
    for layer in layers:
        source.convert_layer(layer)
    return "concat_conv" if is_single else "concat_convs"


def _read_appearance_heads(path: Path, fields: dict[str, Any]):
    """Returns the appearance model's RPN and box head, and the card of its file."""
    source = Source(path)
    if source.family is not names.PAPER:
        raise InputError(
            f"{path}: is a {source.family.kind}, expected the appearance model of Dave "
            f"et al., a {names.PAPER.kind}."
        )
    source.ignorable |= {
        r"Conv_Body\..*": "the two-stream model's own is used",
        r"Mask_(Head|Outs)\..*": "the two-stream model's own is used",
    }
    found = _take_objectness_heads(source)
    if wrong := [name for name in found if found[name] != fields[name]]:
        raise InputError(
            f"{path}: its {wrong[0]} is {found[wrong[0]]}, that of the two-stream "
            f"model is {fields[wrong[0]]}; they have to be equal."
        )
    card = source.finish()
    return source.params, card
