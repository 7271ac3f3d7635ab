"""Runs flow networks in PyTorch, and stores a part of the flow that they compute.

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.28.0
    python scripts/make_golden_flow.py

Writes `tests/golden/flow_networks.npz`: torchvision's RAFT, LiteFlowNet and FlowNet2 as
in `liteflownet_torch.py` and `flownet2_torch.py`, and single operators. The weights are
not stored: both sides fill the network with `tests.oracles.hashed_weights`.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.flownet2_torch import FlowNet2  # noqa: E402
from scripts.liteflownet_torch import LiteFlowNet, correlate, warp  # noqa: E402
from scripts.liteflownet_torch import shapes as liteflownet_shapes  # noqa: E402
from scripts.make_golden import fill, import_torchvision, pack_shapes  # noqa: E402
from tests.oracles import (  # noqa: E402
    FLOWNET2_WIDTH,
    hashed,
    hashed_weights,
    pair_of_blobs,
    pair_of_even_blobs,
)

STORED = 3  # Every third pixel of each third row is stored.


def raft(torchvision, name):
    """Returns the shapes of the weights, and the flow after each of 12 updates."""
    model = getattr(torchvision.models.optical_flow, name)(weights=None).eval()
    shapes = fill(model)
    images = [
        torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
        for frame in pair_of_blobs()
    ]
    flows = model(*images, num_flow_updates=12)
    return shapes, [flow[0].permute(1, 2, 0).numpy() for flow in flows]


def operators():
    """Returns the results of single operators, by name."""
    first, second = (
        torch.from_numpy(hashed(name, (1, 5, 6, 4))).permute(0, 3, 1, 2)
        for name in ("first", "second")
    )
    flow = 4 * first[:, :2]
    dense, single = (
        torch.from_numpy(hashed(name, shape)).permute(2, 3, 0, 1)
        for name, shape in (("dense", (4, 4, 4, 3)), ("single", (4, 4, 1, 4)))
    )
    results = {
        "warp_zero": warp(first, flow),
        "warp_border": warp(first, flow, "border"),
        "correlate_1": correlate(first, second, 2),
        "correlate_2": correlate(first, second, 1, 2),
        "up_dense": F.conv_transpose2d(first, dense, stride=2, padding=1),
        "up_single": F.conv_transpose2d(
            first, single.transpose(0, 1), stride=2, padding=1, groups=4
        ),
        "linear": F.interpolate(first, scale_factor=4, mode="bilinear"),
        "nearest": F.interpolate(first, scale_factor=4, mode="nearest"),
    }
    return {name: x.permute(0, 2, 3, 1).numpy() for name, x in results.items()}


def main():
    """Writes the file."""
    torchvision = import_torchvision()
    arrays = {}
    for name in ("raft_large", "raft_small"):
        shapes, flows = raft(torchvision, name)
        speeds = [float(np.abs(flow).max()) for flow in flows]
        print(name, "largest flow by update:", np.round(speeds, 2).tolist())
        arrays[f"{name}_weights"] = pack_shapes(shapes)
        arrays[name] = flows[-1][::STORED, ::STORED]
    shapes = liteflownet_shapes()
    weights = {k: torch.from_numpy(v) for k, v in hashed_weights(shapes).items()}
    flow = LiteFlowNet(weights)(*pair_of_even_blobs("liteflownet"))
    print(f"liteflownet: {sum(w.numel() for w in weights.values())} parameters; "
          f"largest flow {np.abs(flow).max():.2f}")  # fmt: skip
    arrays["liteflownet_weights"] = pack_shapes(shapes)
    arrays["liteflownet"] = flow[::STORED, ::STORED]
    model = FlowNet2(FLOWNET2_WIDTH)
    arrays["flownet2_weights"] = pack_shapes(fill(model))
    flow = model(*pair_of_even_blobs("flownet2"))
    print(f"flownet2: largest flow {np.abs(flow).max():.2f}")
    arrays["flownet2"] = flow[::STORED, ::STORED]
    arrays |= operators()
    np.savez_compressed(ROOT / "tests" / "golden" / "flow_networks.npz", **arrays)


if __name__ == "__main__":
    with torch.no_grad():
        main()
