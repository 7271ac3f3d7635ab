"""Makes the tiny PyTorch files that `tests/test_convert_foreign.py` reads.

    python scripts/make_golden_weights.py [folder]

Needs PyTorch (`pip install torch`), which neither the package nor its tests do. The
files hold an example of each kind of object that PyTorch saves in its own way.
"""

import collections
import sys
from pathlib import Path

import numpy as np
import torch


def tensors() -> dict[str, torch.Tensor]:
    """Returns a tensor of each kind; `tests/golden/weights.npz` has their values."""
    values = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8
    shared = torch.arange(10, dtype=torch.int64)
    return {
        "contiguous": values,
        "transposed": values.permute(2, 0, 1),
        "slice": shared[3:7],
        "every_second": shared[1::2],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "half": values.half(),
        "bfloat16": values.bfloat16(),
        "double": values.double(),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "bools": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(values[0].clone()),
    }


def checkpoint() -> dict:
    """Wraps tensors as a training run saves them, with an optimizer and settings."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    state = model.state_dict()  # With `_metadata`, an attribute.
    state["nested"] = collections.OrderedDict(tensors())
    return {"step": 3, "model": state, "optimizer": optimizer.state_dict()}


def main():
    """Writes one zip archive, one file of the older format, and the values."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    content = checkpoint()
    for name, is_zip in [("weights_zip.pth", True), ("weights_legacy.pth", False)]:
        torch.save(content, folder / name, _use_new_zipfile_serialization=is_zip)
    state = content["model"]
    nested = state.pop("nested")
    state.update({f"nested.{name}": tensor for name, tensor in nested.items()})
    # NumPy's format has no bfloat16; these values are the same in float32.
    state["nested.bfloat16"] = state["nested.bfloat16"].float()
    np.savez_compressed(
        folder / "weights.npz", **{k: v.detach().numpy() for k, v in state.items()}
    )


if __name__ == "__main__":
    main()
