"""Runs torchvision's Mask R-CNN and ResNet-50, and stores what they compute.

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.28.0
    python scripts/make_golden.py

Writes `tests/golden/mask_rcnn.npz` and `tests/golden/resnet50.npz`. The weights are not
stored: both sides fill the network with `tests.oracles.hashed`, scaled by `scale_of`,
so the files hold names and shapes of the weights and torchvision's results.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.oracles import hashed_weights  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
CLASSES = 4  # With background.
FRAME = (120, 168)
SHORT_SIDE = 150


@functools.cache
def import_torchvision():
    """Imports torchvision without its compiled operators, which a CPU cannot load."""
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor boxes, Tensor scores, float iou) -> Tensor")
    import torchvision

    # Calls of the operator are refused, so its callers get the definition.
    torchvision.ops.boxes.nms = nms
    return torchvision


def nms(boxes, scores, iou_threshold):
    """Does what `torchvision.ops.nms` documents, by its definition."""
    from torchvision.ops import box_iou

    order = torch.argsort(scores, descending=True, stable=True).tolist()
    iou = box_iou(boxes, boxes).numpy()
    kept = []
    for i in order:
        if all(iou[i, j] <= iou_threshold for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def fill(model):
    """Puts the reproducible weights into a model; returns their names and shapes."""
    state = model.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    weights = hashed_weights(shapes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return shapes


def pack_shapes(shapes):
    """Packs names and shapes as a text array, which `np.load` reads without pickle."""
    return np.array([f"{k} {' '.join(map(str, v))}" for k, v in shapes.items()])


def every(stride, x):
    """Returns every so-many-th channel of [b, c, h, w] features, as [b, h, w, c]."""
    return x.permute(0, 2, 3, 1)[..., ::stride].contiguous().numpy()


def mask_rcnn(torchvision):
    """Features, proposals and detections of a complete `maskrcnn_resnet50_fpn`."""
    model = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES,
        min_size=SHORT_SIDE, max_size=1333,
    ).eval()  # fmt: skip
    shapes = fill(model)
    frame = frame_of_blobs()
    tensor = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
    images, _ = model.transform([tensor])
    features = model.backbone(images.tensors)
    proposals, _ = model.rpn(images, features)
    objectness = model.rpn.head(list(features.values()))[0]
    bias = centre_classes(model.roi_heads, features, proposals, images.image_sizes)
    detections, _ = model.roi_heads(features, proposals, images.image_sizes)
    final = model([tensor])[0]
    for name, logits in zip("23456", objectness, strict=True):
        print(f"objectness of level {name}: std {logits.std():.3f}")
    print(f"{len(proposals[0])} proposals, {len(final['scores'])} detections")
    print("scores", final["scores"][:5].tolist(), final["scores"][-3:].tolist())
    print("labels", np.bincount(final["labels"].numpy()))
    names = dict(zip(["0", "1", "2", "3", "pool"], "23456", strict=True))
    np.savez_compressed(
        GOLDEN / "mask_rcnn.npz",
        weights=pack_shapes(shapes),
        class_bias=bias,
        input=every(1, images.tensors),
        **{f"level{names[k]}": every(16, v) for k, v in features.items()},
        proposals=proposals[0].numpy(),
        boxes=final["boxes"].numpy(),
        scores=final["scores"].numpy(),
        classes=final["labels"].numpy() - 1,
        mask_probabilities=detections[0]["masks"][:40, 0].numpy(),
        masks=np.packbits(final["masks"][:40, 0].numpy() > 0.5, axis=-1),
    )


def centre_classes(heads, features, proposals, sizes):
    """Gives each class the same mean logit; without it one class would win all RoIs."""
    crops = heads.box_roi_pool(features, proposals, sizes)
    logits, _ = heads.box_predictor(heads.box_head(crops))
    layer = heads.box_predictor.cls_score
    layer.bias -= logits.mean(0)
    print("class logits: std", logits.std(0).tolist())
    return layer.bias.numpy()


def resnet50(torchvision):
    """Activations of all stages of a `resnet50`."""
    model = torchvision.models.resnet50(weights=None).eval()
    shapes = fill(model)
    image = torch.from_numpy(hashed_image()).permute(0, 3, 1, 2)
    x = model.maxpool(model.relu(model.bn1(model.conv1(image))))
    stages = {}
    for level in range(2, 6):
        x = getattr(model, f"layer{level - 1}")(x)
        print(f"stage {level}: std {x.std():.3f}")
        stages[f"level{level}"] = every(2 ** (level + 2), x)
    np.savez_compressed(GOLDEN / "resnet50.npz", weights=pack_shapes(shapes), **stages)


if __name__ == "__main__":
    from tests.oracles import frame_of_blobs, hashed_image

    torch.manual_seed(0)
    with torch.no_grad():
        vision = import_torchvision()
        mask_rcnn(vision)
        resnet50(vision)
