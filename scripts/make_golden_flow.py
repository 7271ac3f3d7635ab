"""Runs flow networks in PyTorch, and stores a part of the flow that they compute.

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.28.0
    python scripts/make_golden_flow.py

Writes `tests/golden/flow_networks.npz`: torchvision's RAFT, and LiteFlowNet as in
`liteflownet_torch.py`. The weights are not stored: both sides fill the network
with `tests.oracles.hashed_weights`.
"""

import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.liteflownet_torch import LiteFlowNet  # noqa: E402
from scripts.liteflownet_torch import shapes as liteflownet_shapes  # noqa: E402
from scripts.make_golden import fill, import_torchvision, pack_shapes  # noqa: E402
from tests.oracles import (  # noqa: E402
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
    flow = LiteFlowNet(weights)(*pair_of_even_blobs())
    print(f"liteflownet: {sum(w.numel() for w in weights.values())} parameters; "
          f"largest flow {np.abs(flow).max():.2f}")  # fmt: skip
    arrays["liteflownet_weights"] = pack_shapes(shapes)
    arrays["liteflownet"] = flow[::STORED, ::STORED]
    np.savez_compressed(ROOT / "tests" / "golden" / "flow_networks.npz", **arrays)


if __name__ == "__main__":
    with torch.no_grad():
        main()
