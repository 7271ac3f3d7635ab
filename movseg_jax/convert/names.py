"""The names of a ResNet's and a Mask R-CNN's layers in other frameworks.

A `Family` is one scheme of names, and its `names` map our layers to theirs. Both sides
are format strings over `level` (of the pyramid: 2 to 5), `stage` (level - 1), `block`
and `conv` (1 to 3, in a block) with its `letter` (a to c). A literal name of a layer
has priority over a pattern. If there are several spellings, the usual one is first.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

LEVELS = (2, 3, 4, 5)
TORCH_NORM = (".weight", ".bias", ".running_mean", ".running_var")
Names = Mapping[str, str | tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of weight files, which name and arrange their arrays alike.

    Attributes:
        kind: The family's name in messages and cards.
        signature: A regular expression for the start of a name; each such file has one.
        names: The map from our layers to theirs.
        ignorable: The regular expressions of names that are not needed, with reasons.
        contents: A detector, only its backbone ("trunk"), a two-stream detector, or a
            network for optical flow.
        convention: The detector's convention, a key of `config.CONVENTIONS`.
        stride_in: The convolution of a block that has the stride.
        suffixes: The endings of the names of a layer's kernel and bias.
        norm_suffixes: The endings for a norm's scale and shift, then for its mean and
            variance, if there are any.
        background: The place of the background among the classes. If it is first, boxes
            and masks also have useless rows for it.
    """

    kind: str
    signature: str
    names: Names
    ignorable: Mapping[str, str]
    contents: Literal["detector", "trunk", "joint", "flow"] = "detector"
    convention: str = "continuous"
    stride_in: Literal["1x1", "3x3"] = "3x3"
    suffixes: tuple[str, str] = (".weight", ".bias")
    norm_suffixes: tuple[str, ...] = TORCH_NORM
    background: Literal["first", "last"] = "first"


BLOCK = "resnet/stage{level}_block{block}"
COUNTS = {r".*\.num_batches_tracked": "counts batches, for training only"}
CLASSIFIER = "classifies ImageNet"


def _torchvision_trunk(prefix: str) -> Names:
    block = prefix + "layer{stage}.{block}"
    return {
        "resnet/stem_conv": f"{prefix}conv1",
        "resnet/stem_norm": f"{prefix}bn1",
        f"{BLOCK}/conv{{conv}}": f"{block}.conv{{conv}}",
        f"{BLOCK}/norm{{conv}}": f"{block}.bn{{conv}}",
        f"{BLOCK}/shortcut_conv": f"{block}.downsample.0",
        f"{BLOCK}/shortcut_norm": f"{block}.downsample.1",
    }


TORCHVISION_RESNET = Family(
    kind="torchvision_resnet",
    signature=r"layer1\.0\.",
    names=_torchvision_trunk(""),
    ignorable={r"fc\.(weight|bias)": CLASSIFIER, **COUNTS},
    contents="trunk",
)

_FPN = "backbone.fpn.inner_blocks", "backbone.fpn.layer_blocks"
TORCHVISION = Family(
    kind="torchvision_mask_rcnn",
    signature=r"backbone\.(body|fpn)\.",
    names={
        **_torchvision_trunk("backbone.body."),
        **{f"fpn/lateral{i}": (f"{_FPN[0]}.{i - 2}.0", f"{_FPN[0]}.{i - 2}")
           for i in LEVELS},
        **{f"fpn/output{i}": (f"{_FPN[1]}.{i - 2}.0", f"{_FPN[1]}.{i - 2}")
           for i in LEVELS},
        "rpn/conv": ("rpn.head.conv.0.0", "rpn.head.conv"),
        "rpn/logits": "rpn.head.cls_logits",
        "rpn/deltas": "rpn.head.bbox_pred",
        "box_head/fc1": "roi_heads.box_head.fc6",
        "box_head/fc2": "roi_heads.box_head.fc7",
        "box_head/logits": "roi_heads.box_predictor.cls_score",
        "box_head/deltas": "roi_heads.box_predictor.bbox_pred",
        **{f"mask_head/conv{i}": (f"roi_heads.mask_head.{i}.0",
                                  f"roi_heads.mask_head.mask_fcn{i + 1}")
           for i in range(4)},
        "mask_head/upconv": "roi_heads.mask_predictor.conv5_mask",
        "mask_head/logits": "roi_heads.mask_predictor.mask_fcn_logits",
    },
    ignorable=COUNTS,
    convention="torchvision",
)  # fmt: skip

_CAFFE2_TRUNK = {
    "resnet/stem_conv": "conv1",
    "resnet/stem_norm": "res_conv1_bn",
    f"{BLOCK}/conv{{conv}}": "res{level}_{block}_branch2{letter}",
    f"{BLOCK}/norm{{conv}}": "res{level}_{block}_branch2{letter}_bn",
    f"{BLOCK}/shortcut_conv": "res{level}_{block}_branch1",
    f"{BLOCK}/shortcut_norm": "res{level}_{block}_branch1_bn",
}
DETECTRON = Family(
    kind="detectron_mask_rcnn",
    signature="fpn_(inner_)?res",
    names={
        **_CAFFE2_TRUNK,
        "fpn/lateral5": "fpn_inner_res5_{last}_sum",
        **{f"fpn/lateral{i}": f"fpn_inner_res{i}_{{last}}_sum_lateral"
           for i in LEVELS[:-1]},
        **{f"fpn/output{i}": f"fpn_res{i}_{{last}}_sum" for i in LEVELS},
        "rpn/conv": "conv_rpn_fpn2",
        "rpn/logits": "rpn_cls_logits_fpn2",
        "rpn/deltas": "rpn_bbox_pred_fpn2",
        "box_head/fc1": "fc6",
        "box_head/fc2": "fc7",
        "box_head/logits": "cls_score",
        "box_head/deltas": "bbox_pred",
        **{f"mask_head/conv{i}": f"_[mask]_fcn{i + 1}" for i in range(4)},
        "mask_head/upconv": "conv5_mask",
        "mask_head/logits": "mask_fcn_logits",
    },
    ignorable={
        ".*_momentum": "the optimizer's",
        "__preserve__/.*": "of the weights that training started from",
        "(fc1000|pred)_[wb]": CLASSIFIER,
        "conv1_b": "Detectron's stem has no bias",
        "lr|weight_order": "the optimizer's",
    },
    convention="detectron",
    stride_in="1x1",
    suffixes=("_w", "_b"),
    norm_suffixes=("_s", "_b"),
)  # fmt: skip
DETECTRON_RESNET = dataclasses.replace(
    DETECTRON,
    kind="detectron_resnet",
    signature="res2_0_branch2a",
    names=_CAFFE2_TRUNK,
    contents="trunk",
)

_BOTTOM_UP = "backbone.bottom_up"
DETECTRON2 = Family(
    kind="detectron2_mask_rcnn",
    signature=r"backbone\.bottom_up\.",
    names={
        "resnet/stem_conv": f"{_BOTTOM_UP}.stem.conv1",
        "resnet/stem_norm": f"{_BOTTOM_UP}.stem.conv1.norm",
        f"{BLOCK}/conv{{conv}}": f"{_BOTTOM_UP}.res{{level}}.{{block}}.conv{{conv}}",
        f"{BLOCK}/norm{{conv}}":
            f"{_BOTTOM_UP}.res{{level}}.{{block}}.conv{{conv}}.norm",
        f"{BLOCK}/shortcut_conv": f"{_BOTTOM_UP}.res{{level}}.{{block}}.shortcut",
        f"{BLOCK}/shortcut_norm": f"{_BOTTOM_UP}.res{{level}}.{{block}}.shortcut.norm",
        **{f"fpn/lateral{i}": f"backbone.fpn_lateral{i}" for i in LEVELS},
        **{f"fpn/output{i}": f"backbone.fpn_output{i}" for i in LEVELS},
        "rpn/conv": "proposal_generator.rpn_head.conv",
        "rpn/logits": "proposal_generator.rpn_head.objectness_logits",
        "rpn/deltas": "proposal_generator.rpn_head.anchor_deltas",
        "box_head/fc1": "roi_heads.box_head.fc1",
        "box_head/fc2": "roi_heads.box_head.fc2",
        "box_head/logits": "roi_heads.box_predictor.cls_score",
        "box_head/deltas": "roi_heads.box_predictor.bbox_pred",
        **{f"mask_head/conv{i}": f"roi_heads.mask_head.mask_fcn{i + 1}"
           for i in range(4)},
        "mask_head/upconv": "roi_heads.mask_head.deconv",
        "mask_head/logits": "roi_heads.mask_head.predictor",
    },
    ignorable={
        "pixel_(mean|std)": "in our configuration, where it was checked to be the same",
        r"proposal_generator\.anchor_generator\..*": "anchors are made, not loaded",
        **COUNTS,
    },
    convention="detectron2",
    stride_in="1x1",  # Their ResNets start from Caffe's, whose stride is there.
    background="last",
)  # fmt: skip

_RES = "Conv_Body.{body}conv_body.res"
PAPER_HEADS = {
    "rpn/conv": "RPN.FPN_RPN_conv",
    "rpn/logits": "RPN.FPN_RPN_cls_score",
    "rpn/deltas": "RPN.FPN_RPN_bbox_pred",
    "box_head/fc1": "Box_Head.fc1",
    "box_head/fc2": "Box_Head.fc2",
    "box_head/logits": "Box_Outs.cls_score",
    "box_head/deltas": "Box_Outs.bbox_pred",
}
# Detectron.pytorch, with which Dave et al. (2019) trained the weights they released.
PAPER = Family(
    kind="paper_single",
    signature=r"Conv_Body\.conv_(body|top)\.",
    names={
        "resnet/stem_conv": f"{_RES}1.conv1",
        "resnet/stem_norm": f"{_RES}1.bn1",
        f"{BLOCK}/conv{{conv}}": f"{_RES}{{level}}.{{block}}.conv{{conv}}",
        f"{BLOCK}/norm{{conv}}": f"{_RES}{{level}}.{{block}}.bn{{conv}}",
        f"{BLOCK}/shortcut_conv": f"{_RES}{{level}}.{{block}}.downsample.0",
        f"{BLOCK}/shortcut_norm": f"{_RES}{{level}}.{{block}}.downsample.1",
        "fpn/lateral5": "Conv_Body.{body}conv_top",
        **{f"fpn/lateral{i}":
           f"Conv_Body.{{body}}topdown_lateral_modules.{4 - i}.conv_lateral"
           for i in LEVELS[:-1]},
        **{f"fpn/output{i}": f"Conv_Body.{{body}}posthoc_modules.{5 - i}"
           for i in LEVELS},
        **PAPER_HEADS,
        **{f"mask_head/conv{i}": f"Mask_Head.conv_fcn.{2 * i}" for i in range(4)},
        "mask_head/upconv": "Mask_Head.upconv",
        "mask_head/logits": "Mask_Outs.classify",
    },
    ignorable={},
    convention="detectron",
    stride_in="1x1",
    norm_suffixes=(".weight", ".bias"),
)  # fmt: skip
SINGLE_FUSION = "Conv_Body.conv"  # The name in the variant with one convolution.
PAPER_JOINT = dataclasses.replace(
    PAPER,
    kind="paper_joint",
    signature=r"Conv_Body\.(bodies|adaptor)\.",
    names={
        **PAPER.names,
        "fusion/conv0": ("Conv_Body.adaptor.0", SINGLE_FUSION),
        "fusion/conv1": "Conv_Body.adaptor.2",
        "fusion/conv2": "Conv_Body.adaptor.4",
    },
    contents="joint",
)

GLUON_RESNET_V2 = Family(
    kind="gluon_resnet_v2",
    signature="stage1_(conv|batchnorm)",
    names={
        "resnet/input_norm": "batchnorm0",
        "resnet/stem_conv": "conv0",
        "resnet/stem_norm": "batchnorm1",
        "resnet/preact{level}": "stage{stage}_batchnorm0",
        "resnet/preact6": "batchnorm2",
        # Layers are numbered through a stage; the first shortcut is number 3.
        f"{BLOCK}/conv{{conv}}": "stage{stage}_conv{conv_number}",
        f"{BLOCK}/norm{{conv}}": "stage{stage}_batchnorm{norm_number}",
        f"{BLOCK}/shortcut_conv": "stage{stage}_conv3",
    },
    ignorable={"(dense0|fc1|output)_(weight|bias)": CLASSIFIER},
    contents="trunk",
    suffixes=("_weight", "_bias"),
    norm_suffixes=("_gamma", "_beta", "_running_mean", "_running_var"),
)

DETECTOR_FAMILIES = (
    TORCHVISION,
    TORCHVISION_RESNET,
    DETECTRON,
    DETECTRON_RESNET,
    DETECTRON2,
    PAPER_JOINT,
    PAPER,
    GLUON_RESNET_V2,
)
