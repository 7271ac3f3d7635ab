"""The losses of the detector on a batch, which `train.step` differentiates."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from movseg_jax.config import TargetConfig
from movseg_jax.model.detector import Detector
from movseg_jax.train import losses, targets
from movseg_jax.train.losses import Term
from movseg_jax.types import Batch


def detection_losses(
    params, batch: Batch, keys: Array, *, detector: Detector, config: TargetConfig
) -> dict[str, Term]:
    """The five losses of Mask R-CNN, summed over the images of a batch.

    Args:
        params: The detector's parameters.
        batch: A batch of any size.
        keys: Random keys, one for each image, to draw anchors and RoIs with.
        detector: The detector, whose config says which features feed which head.
        config: The rules by which anchors and RoIs are matched to objects and drawn.
    """
    terms: Any = detector.apply(
        {"params": params},
        method=functools.partial(_per_image, batch=batch, keys=keys, config=config),
    )
    return {name: Term(*(part.sum() for part in term)) for name, term in terms.items()}


def _per_image(detector: Detector, *, batch: Batch, keys: Array, config: TargetConfig):
    """The losses as `Term`s with an axis for the images."""
    model = detector.config
    inputs = batch.inputs
    objects = batch.objects
    anchor_key, roi_key = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    features = detector.features(inputs)
    pyramid = features[model.rpn_features]
    outputs = detector.rpn(pyramid)
    padded_size = _padded_size(batch)
    anchors = detector.anchors(pyramid)
    anchors = np.concatenate([anchors[level] for level in outputs])
    anchor_targets = jax.vmap(
        functools.partial(_anchor_targets, anchors=anchors, config=config)
    )(objects, inputs.size, padded_size, anchor_key)

    proposals = detector.propose(outputs, pyramid, inputs)
    rois = jax.vmap(functools.partial(_roi_targets, config=config))(
        proposals, objects, padded_size, roi_key
    )
    class_logits, roi_deltas = detector.classify(
        detector.box_head,
        features[model.box_features],
        rois.rois,
        inputs,
    )

    # Positive RoIs come first; the mask head runs on no others.
    most = int(config.rois * config.roi_positive_fraction)
    positive = rois.positive[:, :most]
    boxes = rois.rois[:, :most]
    classes = jnp.maximum(rois.classes[:, :most] - 1, 0)  # Without the background.
    mask_logits = detector.mask_logits(
        features[model.mask_features], boxes, classes, inputs
    )
    mask_size = mask_logits.shape[-1]
    masks = jax.vmap(functools.partial(targets.mask_targets, mask_size=mask_size))(
        boxes, rois.object[:, :most], objects
    )

    logits, deltas = (
        jnp.concatenate([outputs[level][i] for level in outputs], axis=1)
        for i in range(2)
    )
    return {
        "objectness": jax.vmap(losses.objectness_loss)(logits, anchor_targets),
        "anchor_box": jax.vmap(losses.anchor_box_loss)(deltas, anchor_targets),
        "class": jax.vmap(losses.class_loss)(class_logits, rois),
        "roi_box": jax.vmap(losses.roi_box_loss)(roi_deltas, rois),
        "mask": jax.vmap(losses.mask_loss)(mask_logits, masks, positive),
    }


def _anchor_targets(objects, size, padded_size, key, *, anchors, config):
    anchors = jnp.asarray(anchors)
    border = config.anchor_border
    inside = (anchors[:, :2] >= -border) & (
        anchors[:, 2:] <= size[::-1][None, :] + border
    )
    return targets.anchor_targets(
        anchors,
        inside.all(axis=1),
        _may_be_negative(anchors, objects, padded_size, config),
        objects,
        key,
        samples=config.anchors,
        positive_fraction=config.anchor_positive_fraction,
        positive_iou=config.anchor_positive_iou,
        negative_iou=config.anchor_negative_iou,
    )


def _roi_targets(proposals, objects, padded_size, key, *, config):
    return targets.roi_targets(
        proposals,
        _may_be_negative(proposals.boxes, objects, padded_size, config),
        objects,
        key,
        samples=config.rois,
        positive_fraction=config.roi_positive_fraction,
        positive_iou=config.roi_positive_iou,
    )


def _may_be_negative(boxes, objects, padded_size, config):
    ignored = objects.ignored.astype(jnp.float32) / 255
    fraction = targets.ignored_fraction(ignored, boxes, padded_size)
    return fraction <= config.max_ignored


def _padded_size(batch):
    """Height and width of the padded input, for every image of a batch."""
    inputs = batch.inputs
    images = inputs.motion if inputs.image is None else inputs.image
    size = jnp.array(images.shape[1:3], jnp.float32)
    return jnp.broadcast_to(size, (len(images), 2))
