"""The detector: a functional Mask R-CNN on one stream or two.

`Detector(config).apply(params, inputs)` runs everything from pixels to masks as one
function of fixed shapes, to be compiled once per size of input:

    detect = jax.jit(Detector(config).apply)
    outputs = detect({"params": params}, inputs)

Its methods are the parts, for training and experiments: `features`, `propose`,
`classify`, `mask_logits`. None of them ever sees ground truth.
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from movseg_jax.config import ModelConfig, Precision
from movseg_jax.errors import InputError
from movseg_jax.model.decoding import (
    Selected,
    propose,
    pyramid_anchors,
    select_detections,
)
from movseg_jax.nn.fpn import Trunk
from movseg_jax.nn.fusion import Fusion, fuse_pyramids, get_fusion
from movseg_jax.nn.heads import BoxHead, MaskHead, RPNHead
from movseg_jax.nn.padding import Pyramid
from movseg_jax.ops.branches import compute_apart, skip_padding
from movseg_jax.ops.roi_align import pyramid_roi_align
from movseg_jax.types import Detections, Inputs, Outputs, Proposals

BOX_CROP = 7  # Cells of a crop for the box head ...
MASK_CROP = 14  # ... and for the mask head, whose masks have twice as many.
MASKS_AT_ONCE = 10  # Detections in a chunk; a chunk that is all padding is skipped.
STREAM_INPUTS = {"appearance": "image", "motion": "motion"}

# Under `jit`, calls with equal shapes are traced once; there are ten in a detector.
_roi_align = jax.jit(
    pyramid_roi_align,
    static_argnames=(
        "output_size",
        "samples",
        "half_pixel",
        "inclusive",
        "precision",
    ),
)


class ObjectnessHeads(nn.Module):
    """The static branch: an RPN and a box head for the appearance features."""

    config: ModelConfig
    precision: Precision

    def setup(self):
        """Builds the heads."""
        self.rpn = _rpn(self.config, self.precision)
        self.box_head = _box_head(self.config, self.precision)


class Detector(nn.Module):
    """Mask R-CNN with ResNet-FPN backbones for appearance, motion or both.

    Attributes:
        config: The architecture and all its constants.
        fuse: A function that fuses the streams' features: see `nn.fusion`. The default
            is the one that `config.fusion` names.
        rematerialise: Whether gradients compute activations again: see
            `nn.resnet.ResNet`.
        precision: The precision of products of float32 numbers, instead of that of the
            config's convention.
    """

    config: ModelConfig
    fuse: Fusion | None = None
    rematerialise: bool = False
    precision: Precision | None = None

    def setup(self):
        """Builds the modules that `config` describes."""
        config = self.config
        dtype = _dtype(config)
        precision = self._precision
        for stream in config.streams:
            trunk = Trunk(
                getattr(config, stream),
                config.channels,
                dtype,
                self.rematerialise,
                precision,
            )
            setattr(self, stream, trunk)
        if len(config.streams) == 2:
            self.fusion = self.fuse or get_fusion(config.fusion, dtype, precision)
        self.rpn = _rpn(config, precision)
        self.box_head = _box_head(config, precision)
        self.mask_head = MaskHead(config.classes, config.mask_fine, dtype, precision)
        if config.static_branch:
            self.static = ObjectnessHeads(config, precision)

    @property
    def _precision(self) -> Precision:
        return self.precision or self.config.arithmetic.precision

    def __call__(self, inputs: Inputs) -> Outputs:
        """Detects objects in a batch of frames; see `types` for shapes."""
        features = self.features(inputs)
        config = self.config

        def select(rpn, box_head, rpn_features, box_features):
            proposals = self.propose(rpn(rpn_features), rpn_features, inputs)
            heads = self.classify(box_head, box_features, proposals.boxes, inputs)
            return self.select(*heads, proposals, inputs)

        selected = [
            select(
                self.rpn,
                self.box_head,
                features[config.rpn_features],
                features[config.box_features],
            )
        ]
        if config.static_branch:
            appearance = features["appearance"]
            heads = self.static
            selected.append(select(heads.rpn, heads.box_head, appearance, appearance))
        logits = self._detected_masks(features[config.mask_features], selected, inputs)
        found = [
            Detections(x.boxes, x.scores, x.classes, masks, x.valid)
            for x, masks in zip(selected, logits, strict=True)
        ]
        return Outputs(found[0], found[1] if config.static_branch else None)

    def features(self, inputs: Inputs) -> dict[str, Pyramid]:
        """Pyramids by name: each stream's, and "fused", which may be one of them."""
        config = self.config
        size = inputs.size if config.arithmetic.ignore_padding else None
        features: dict[str, Pyramid] = {}
        for stream in config.streams:
            if getattr(inputs, STREAM_INPUTS[stream]) is None:
                raise InputError(
                    f"The model has a stream for {stream}, but the inputs have no "
                    f"{STREAM_INPUTS[stream]!r}."
                )
        for stream in config.streams:
            images = getattr(inputs, STREAM_INPUTS[stream])
            features[stream] = getattr(self, stream)(images, size)
        if len(config.streams) == 2:
            features["fused"] = fuse_pyramids(
                self.fusion, features["appearance"], features["motion"], size
            )
        else:
            features["fused"] = features[config.streams[0]]
        return features

    def anchors(self, pyramid: Pyramid) -> dict[int, Float32[np.ndarray, "_ 4"]]:
        """The anchors that the RPN's outputs refer to: see `pyramid_anchors`."""
        return pyramid_anchors(*_sizes(pyramid), self.config)

    def propose(
        self,
        outputs: Mapping[int, tuple[Float[Array, "b _"], Float[Array, "b _ 4"]]],
        pyramid: Pyramid,
        inputs: Inputs,
    ) -> Proposals:
        """Proposals of each image from the RPN's outputs: see `decoding.propose`."""
        shapes, padded_size = _sizes(pyramid)

        def one_image(outputs, size):
            return propose(outputs, shapes, size, padded_size, self.config)

        return jax.lax.stop_gradient(jax.vmap(one_image)(outputs, inputs.size))

    def classify(
        self,
        box_head: Callable[[Array], tuple[Array, Array]],
        pyramid: Pyramid,
        rois: Float[Array, "b n 4"],
        inputs: Inputs,
    ) -> tuple[Float[Array, "b n k1"], Float[Array, "b n k 4"]]:
        """Class logits (background first) and box deltas of each RoI."""
        crop = lambda rois: self._crops(pyramid, rois, BOX_CROP, inputs)
        crops = compute_apart(crop, rois, jnp.min(inputs.size) > 0)
        batch, n = crops.shape[:2]
        logits, deltas = box_head(crops.reshape(batch * n, *crops.shape[2:]))
        return (
            logits.reshape(batch, n, *logits.shape[1:]),
            deltas.reshape(batch, n, *deltas.shape[1:]),
        )

    def select(
        self,
        class_logits: Float[Array, "b n k1"],
        deltas: Float[Array, "b n k 4"],
        proposals: Proposals,
        inputs: Inputs,
    ) -> Selected:
        """The final boxes: see `decoding.select_detections`."""
        one_image = functools.partial(select_detections, config=self.config)
        sizes = (inputs.size, inputs.frame_size, inputs.scale)
        return jax.vmap(one_image)(class_logits, deltas, proposals, *sizes)

    def mask_logits(
        self,
        pyramid: Pyramid,
        rois: Float[Array, "b n 4"],
        classes: Int[Array, "b n"],
        inputs: Inputs,
    ) -> Float[Array, "b n mask mask"]:
        """The mask of each RoI, a box in pixels of the input, for its class."""
        fine = self._fine(pyramid)
        return self._masks(self.mask_head, pyramid, fine, rois, classes, inputs)

    def _detected_masks(self, pyramid, selected, inputs):
        """Returns `mask_logits` of each branch's detections, zeros for padding.

        Both branches have the same mask head. Their detections are few, so all of them
        come before all padding, most of which is then skipped.
        """
        if self.is_initializing():  # Parameters cannot be made inside a branch.
            return [
                self.mask_logits(pyramid, x.rois, x.classes, inputs) for x in selected
            ]
        # Flax refuses calls of bound modules inside JAX's loops and branches; there,
        # the head has to be a pure function.
        head, variables = self.mask_head.unbind()
        apply = functools.partial(head.apply, variables)
        fine = self._fine(pyramid)

        def masks(rois, classes):
            return self._masks(apply, pyramid, fine, rois, classes, inputs)

        found = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *selected)
        order = jnp.argsort(~found.valid, axis=1)
        take = jax.vmap(lambda rows, index: rows[index])
        rois, classes, valid = (
            take(rows, order) for rows in (found.rois, found.classes, found.valid)
        )
        logits = skip_padding(masks, (rois, classes), valid, MASKS_AT_ONCE)
        logits = take(logits, jnp.argsort(order, axis=1))
        # A chunk that is not full has computed masks of padding, too.
        logits = jnp.where(found.valid[..., None, None], logits, 0)
        return jnp.split(logits, len(selected), axis=1)

    def _fine(self, pyramid):
        """The finest level as the mask head sees it, if it does."""
        if not self.config.mask_fine:
            return None
        return {2: self.mask_head.fine_features(pyramid[2])}

    def _masks(self, head, pyramid, fine, rois, classes, inputs):
        def flat(crops):
            return crops.reshape(-1, *crops.shape[2:])

        parts = [flat(self._crops(pyramid, rois, MASK_CROP, inputs))]
        if fine is not None:
            # One point in each cell of a mask is enough.
            parts.append(flat(self._crops(fine, rois, 2 * MASK_CROP, inputs, 1)))
        logits = head(*parts)
        index = classes.reshape(-1, 1, 1, 1)
        logits = jnp.take_along_axis(logits, index, axis=-1)[..., 0]
        return logits.reshape(*classes.shape, *logits.shape[1:])

    def _crops(self, pyramid, boxes, output_size, inputs, samples=2):
        arithmetic = self.config.arithmetic
        levels = {level: x for level, x in pyramid.items() if level <= 5}

        def one_image(levels, boxes, size):
            return _roi_align(
                levels,
                boxes,
                output_size=output_size,
                samples=samples,
                half_pixel=arithmetic.half_pixel_crops,
                inclusive=arithmetic.inclusive,
                size=size if arithmetic.ignore_padding else None,
                precision=self._precision,
            )

        return jax.vmap(one_image)(levels, boxes, inputs.size)


def _sizes(pyramid):
    """The sizes of the levels in cells, and of the padded input in pixels."""
    shapes = {level: x.shape[1:3] for level, x in pyramid.items()}
    return shapes, tuple(4 * n for n in shapes[2])


def _rpn(config, precision):
    return RPNHead(len(config.anchor_ratios), _dtype(config), precision)


def _box_head(config, precision):
    return BoxHead(config.classes, config.box_head_width, _dtype(config), precision)


def _dtype(config):
    return jnp.dtype(config.compute_dtype)
