"""The names of the layers of flow networks in other frameworks.

A `Family.names` maps our layers to theirs, as in `names`.
"""

from movseg_jax.convert.names import COUNTS, Family, Names


def _encoder(ours: str, theirs: str, conv: str, norm: str, stem: Names) -> Names:
    """Names an encoder of RAFT; `conv` and `norm` are format strings of a number."""
    names = {f"{ours}/{layer}": f"{theirs}.{name}" for layer, name in stem.items()}
    for stage in (1, 2, 3):
        for block in (0, 1):
            layer = f"{ours}/stage{stage}_block{block}"
            name = f"{theirs}.layer{stage}.{block}"
            for i in (1, 2, 3):
                names[f"{layer}/conv{i}"] = f"{name}.{conv.format(i)}"
                names[f"{layer}/norm{i}"] = f"{name}.{norm.format(i)}"
            names[f"{layer}/shortcut_conv"] = f"{name}.downsample.0"
            names[f"{layer}/shortcut_norm"] = f"{name}.downsample.1"
    return names


_STEM = {
    "stem_conv": "convnormrelu.0",
    "stem_norm": "convnormrelu.1",
    "output_conv": "conv",
}
_BLOCK = "convnormrelu{}.0", "convnormrelu{}.1"
_MOTION = "update_block.motion_encoder"
_GRU = "update_block.recurrent_block.convgru"
TORCHVISION_RAFT = Family(
    kind="torchvision_raft",
    signature=r"(feature|context)_encoder\.convnormrelu\.",
    names={
        **_encoder("feature_encoder", "feature_encoder", *_BLOCK, _STEM),
        **_encoder("context_encoder", "context_encoder", *_BLOCK, _STEM),
        **{f"update/correlation_conv{i}": f"{_MOTION}.convcorr{i}.0" for i in (1, 2)},
        **{f"update/flow_conv{i}": f"{_MOTION}.convflow{i}.0" for i in (1, 2)},
        "update/motion_conv": f"{_MOTION}.conv.0",
        **{
            f"update/gru{i}_{gate}": f"{_GRU}{i}.conv{gate}"
            for i in (1, 2)
            for gate in "zrq"
        },
        **{f"update/head_conv{i}": f"update_block.flow_head.conv{i}" for i in (1, 2)},
        "mask_conv1": "mask_predictor.convrelu.0",
        "mask_conv2": "mask_predictor.conv",
    },
    ignorable=COUNTS,
    contents="flow",
)

_STEM = {"stem_conv": "conv1", "stem_norm": "norm1", "output_conv": "conv2"}
_MOTION = "update_block.encoder"
# The files of RAFT's authors (princeton-vl).
PRINCETON_RAFT = Family(
    kind="princeton_raft",
    signature=r"[fc]net\.conv1\.",
    names={
        **_encoder("feature_encoder", "fnet", "conv{}", "norm{}", _STEM),
        **_encoder("context_encoder", "cnet", "conv{}", "norm{}", _STEM),
        **{f"update/correlation_conv{i}": f"{_MOTION}.convc{i}" for i in (1, 2)},
        **{f"update/flow_conv{i}": f"{_MOTION}.convf{i}" for i in (1, 2)},
        "update/motion_conv": f"{_MOTION}.conv",
        **{
            f"update/gru{i}_{gate}": (
                f"update_block.gru.conv{gate}{i}",
                f"update_block.gru.conv{gate}",
            )
            for i in (1, 2)
            for gate in "zrq"
        },
        **{f"update/head_conv{i}": f"update_block.flow_head.conv{i}" for i in (1, 2)},
        "mask_conv1": "update_block.mask.0",
        "mask_conv2": "update_block.mask.2",
    },
    ignorable={
        r"cnet\.layer[23]\.0\.norm3\..*": "the same norm as downsample.1",
        **COUNTS,
    },
    contents="flow",
)


def _liteflownet() -> Names:
    names = {}
    encoder = {1: "One", 2: "Two", 3: "Thr", 4: "Fou", 5: "Fiv", 6: "Six"}
    for level, word in encoder.items():
        for i in (1, 2, 3):
            layer = f"encoder/level{level}_conv{i}"
            names[layer] = f"moduleFeatures.module{word}.{2 * i - 2}"
    parts = {
        "feature_conv": "moduleFeat.0",
        "flow_upconv": "moduleUpflow",
        "correlation_upconv": "moduleUpcorr",
        **{f"conv{i}": f"moduleMain.{2 * i - 2}" for i in range(1, 7)},
        **{f"distance_conv{i}": f"moduleDist.{i - 1}" for i in (1, 2)},
        "scale_x": "moduleScaleX",
        "scale_y": "moduleScaleY",
    }
    for level in range(2, 7):
        for part in ("matching", "subpixel", "regularization"):
            for ours, theirs in parts.items():
                name = f"module{part.capitalize()}.{level - 2}.{theirs}"
                names[f"level{level}_{part}/{ours}"] = name
    return names


# The files of the PyTorch port by Niklaus (sniklaus/pytorch-liteflownet).
LITEFLOWNET = Family(
    kind="sniklaus_liteflownet",
    signature=r"moduleFeatures\.moduleOne\.",
    names=_liteflownet(),
    ignorable={},
    contents="flow",
)


def _flownet2() -> Names:
    parts = {"conv_redir": "conv_redir.0"}
    for level in range(7):
        parts |= {
            f"conv{level}": f"conv{level}.0",
            f"conv{level}_1": f"conv{level}_1.0",
            f"inter_conv{level}": f"inter_conv{level}.0",
            f"upconv{level}": f"deconv{level}.0",
            f"flow_upconv{level}": f"upsampled_flow{level + 1}_to_{level}",
            f"predict_flow{level}": f"predict_flow{level}",
        }
    networks = "flownetc", "flownets_1", "flownets_2", "flownets_d", "flownetfusion"
    return {
        f"{network}/{ours}": f"{network}.{theirs}"
        for network in networks
        for ours, theirs in parts.items()
    }


# The files of the PyTorch port by NVIDIA (NVIDIA/flownet2-pytorch).
FLOWNET2 = Family(
    kind="nvidia_flownet2",
    signature=r"flownetc\.conv1\.",
    names=_flownet2(),
    ignorable={},
    contents="flow",
)

FLOW_FAMILIES = (TORCHVISION_RAFT, PRINCETON_RAFT, LITEFLOWNET, FLOWNET2)
