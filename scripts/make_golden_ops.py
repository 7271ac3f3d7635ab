"""Writes tests/golden/roi_align.npz: torchvision's RoIAlign of random and odd boxes.

    python scripts/make_golden_ops.py

Needs torch and torchvision, which the package and its tests do not. Torchvision's
compiled operators are missing in installations without CUDA, so this uses its second
RoIAlign, which is in Python. For points far outside the features, that one reads the
nearest edge where the compiled one (and Detectron's) reads 0, so all boxes here are
inside. NMS has no second implementation; the reference for it is a NumPy loop
in tests/test_nms.py.
"""

from pathlib import Path

import numpy as np
import torch

# Importing torchvision without its compiled operators fails unless they are declared.
_LIBRARY = torch.library.Library("torchvision", "DEF")
_LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision.ops.roi_align import _roi_align  # noqa: E402

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
STRIDE = 4.0
HEIGHT, WIDTH, CHANNELS = 20, 30, 3


def main():
    """Writes the file and says how large it is."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    boxes = np.concatenate([random_boxes(rng), odd_boxes()]).astype(np.float32)
    arrays = {"features": features, "boxes": boxes, "stride": np.float32(STRIDE)}
    for half_pixel in (True, False):
        for output_size, samples in ((7, 2), (3, 1), (2, 3)):
            name = f"{half_pixel}_{output_size}_{samples}"
            crops, gradient = torchvision_roi_align(
                features, boxes, output_size, samples, half_pixel
            )
            arrays[f"crops_{name}"], arrays[f"gradient_{name}"] = crops, gradient
    path = GOLDEN / "roi_align.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size} bytes")


def random_boxes(rng):
    """Draws boxes of all sizes, up to the edge."""
    centre = rng.uniform(0, [WIDTH * STRIDE, HEIGHT * STRIDE], (24, 2))
    size = np.exp(rng.uniform(0, 5, (24, 2)))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    last = STRIDE * np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    last[:2] -= STRIDE  # The legacy variant widens boxes to a cell, to the right.
    return boxes.clip(0, last)


def odd_boxes():
    """Returns padding, a line, the full image, cells' centres and an inverted box."""
    return [
        [0, 0, 0, 0],
        [40, 8, 40, 60],
        [0, 0, WIDTH * STRIDE, HEIGHT * STRIDE],
        [6, 6, 6 + 4 * 14, 6 + 4 * 14],
        [60, 60, 20, 20],
    ]


def torchvision_roi_align(features, boxes, output_size, samples, half_pixel):
    """Returns crops, and the gradient of the sum of their squares by the features."""
    image = torch.tensor(features).permute(2, 0, 1)[None].requires_grad_()
    rois = torch.cat([torch.zeros(len(boxes), 1), torch.tensor(boxes)], dim=1)
    crops = _roi_align(
        image, rois, 1 / STRIDE, output_size, output_size, samples, half_pixel
    )
    (crops**2).sum().backward()
    gradient = image.grad[0].permute(1, 2, 0)
    return crops.permute(0, 2, 3, 1).detach().numpy(), gradient.numpy()


if __name__ == "__main__":
    main()
