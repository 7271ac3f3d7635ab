"""Makes tests/golden/masks.npz: masks pasted by other implementations.

    python scripts/make_golden_masks.py

Needs PyTorch and torchvision, which the package itself does not. "torchvision" is its
own function; "detectron2" restates its `paste_masks_in_image` and "detectron" its
`segm_results`, each with the library call that it is based on.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

# A CPU build of PyTorch lacks torchvision's compiled operators; it imports with stubs.
_library = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou) -> Tensor")

from torchvision.models.detection import roi_heads  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "masks.npz"
HEIGHT, WIDTH, CELLS = 60, 90, 28
BOXES = {
    "inside": [20.3, 10.6, 70.2, 50.9],
    "with integer corners": [11, 7, 39, 35],
    "smaller than its cells": [30.2, 20.7, 41.9, 33.1],
    "smaller than a pixel": [50.1, 30.2, 50.8, 30.9],
    "tall": [40.4, 2.2, 46.1, 58.8],
    "wide": [1.7, 28.5, 88.3, 33.6],
    "across the left top": [-25.4, -17.8, 33.3, 21.9],
    "across the right bottom": [61.5, 41.2, 131.7, 90.4],
    "just negative": [-0.4, -0.7, 22.6, 18.5],
    "whole frame": [0, 0, 90, 60],
    "larger than the frame": [-60.6, -49.1, 170.3, 122.4],
    "much larger than the frame": [-40.3, -1070.8, 2100.9, 30.2],
}


def paste_detectron2(probabilities, box):
    """Pastes like detectron2: `grid_sample` at the centres of the frame's pixels."""
    x0, y0, x1, y1 = torch.from_numpy(box.astype(np.float64))
    y = (torch.arange(HEIGHT, dtype=torch.float64) + 0.5 - y0) / (y1 - y0) * 2 - 1
    x = (torch.arange(WIDTH, dtype=torch.float64) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    mask = torch.from_numpy(probabilities.astype(np.float64))[None, None]
    return F.grid_sample(mask, grid, align_corners=False)[0, 0].numpy()


def paste_torchvision(probabilities, box):
    """Pastes like torchvision: rounds the enlarged box, then `interpolate`."""
    mask = torch.from_numpy(probabilities)[None, None]
    box = torch.from_numpy(box)[None]
    return roi_heads.paste_masks_in_image(mask, box, (HEIGHT, WIDTH))[0, 0].numpy()


def paste_detectron(probabilities, box):
    """Pastes like Detectron: the same with an inclusive box and `cv2.resize`."""
    x1, y1, x2, y2 = box - np.float32([0, 0, 1, 1])
    scale = (CELLS + 2.0) / CELLS
    half_width, half_height = (x2 - x1) * 0.5 * scale, (y2 - y1) * 0.5 * scale
    centre_x, centre_y = (x2 + x1) * 0.5, (y2 + y1) * 0.5
    left, top = int(centre_x - half_width), int(centre_y - half_height)
    right, bottom = int(centre_x + half_width), int(centre_y + half_height)
    size = max(right - left + 1, 1), max(bottom - top + 1, 1)
    resized = cv2.resize(np.pad(probabilities, 1), size)
    pasted = np.zeros((HEIGHT, WIDTH), np.float32)
    x, x_end = max(left, 0), min(right + 1, WIDTH)
    y, y_end = max(top, 0), min(bottom + 1, HEIGHT)
    pasted[y:y_end, x:x_end] = resized[y - top : y_end - top, x - left : x_end - left]
    return pasted


def main():
    """Writes the golden arrays."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    generator = np.random.default_rng(6)
    boxes = np.float32([*BOXES.values()])
    # Blobs that touch the border of the box here and there, like a mask head's.
    coarse = generator.normal(0.5, 4, (len(boxes), 5, 5)).astype(np.float32)
    logits = np.stack(
        [cv2.resize(c, (CELLS, CELLS), interpolation=cv2.INTER_CUBIC) for c in coarse]
    )
    probabilities = torch.sigmoid(torch.from_numpy(logits)).numpy()
    golden = {"mask_logits": logits, "boxes": boxes, "names": np.array([*BOXES])}
    golden["frame_size"] = np.int64([HEIGHT, WIDTH])
    for paste in (paste_detectron2, paste_torchvision, paste_detectron):
        pasted = np.stack(
            [paste(*pair) for pair in zip(probabilities, boxes, strict=True)]
        )
        # So that masks must be equal, however the arithmetic is rounded.
        assert np.abs(pasted - 0.5).min() > 1e-5, paste.__name__
        golden[paste.__name__.removeprefix("paste_")] = np.packbits(pasted > 0.5, -1)
    np.savez_compressed(GOLDEN, **golden)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
