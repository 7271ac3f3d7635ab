"""Times the parts of the detector and prints one JSON line for each.

    python scripts/benchmark.py [--only NAME ...] [--repeats N] [--against torch]

Compilation is timed separately. A call's time ends when its result is on the device,
not when Python gets it back. Compare lines only where "device", "threads" and "jax" are
equal. With `--against torch`, a case with a counterpart in PyTorch is timed in turns
with it, so that other load on the machine slows both.

To add a case, write a `case_NAME` that returns a `Case`. Cases named `alternative_...`
show alternatives that were not chosen; they run only if `--only` names them.
"""

import argparse
import dataclasses
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from movseg_jax.config import ModelConfig, TrunkConfig
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import preprocess, stack
from movseg_jax.nn.fpn import Trunk
from movseg_jax.ops import boxes as box_ops
from movseg_jax.ops.nms import non_maximum_suppression
from movseg_jax.ops.roi_align import pyramid_roi_align
from movseg_jax.system.process import keep_memory


class Case(NamedTuple):
    """A function to time and its arguments.

    Attributes:
        function: The function that is compiled and then called with `args`.
        args: The arguments, arrays or pytrees of them.
        torch_twin: A function that gets the module `torch` and returns a function
            without arguments that computes the same. None if none is comparable.
    """

    function: Callable[..., Any]
    args: tuple
    torch_twin: Callable[[Any], Callable[[], Any]] | None = None


def case_pairwise_iou():
    """Anchors of a 480x854 frame against 100 objects."""
    a, b = _boxes(103_275), _boxes(100)

    def twin(torch):
        x, y = (torch.tensor(np.asarray(boxes)) for boxes in (a, b))

        def area(boxes):
            return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)

        def iou():
            left_top = torch.maximum(x[:, None, :2], y[None, :, :2])
            right_bottom = torch.minimum(x[:, None, 2:], y[None, :, 2:])
            intersection = (right_bottom - left_top).clamp(min=0).prod(dim=2)
            return intersection / (area(x)[:, None] + area(y) - intersection)

        return iou

    return Case(box_ops.pairwise_iou, (a, b), twin)


def case_nms_1000():
    """NMS of one level's proposals at inference."""
    return Case(_nms, _clustered(1000))


def case_nms_4000():
    """NMS of four times as many proposals of one level."""
    return Case(_nms, _clustered(4000))


def case_nms_chain_4000():
    """NMS of boxes that overlap only their neighbours: each decides the next."""
    return Case(functools.partial(_nms, threshold=0.5), _chain(4000))


def case_nms_5_levels():
    """NMS of five levels with 1000 proposals each."""
    return Case(jax.vmap(_nms), _batch(_clustered, 5))


def case_nms_80_classes():
    """NMS of 1000 boxes for each of COCO's classes."""
    return Case(jax.vmap(_nms), _batch(_clustered, 80))


def case_nms_80_classes_5_percent():
    """The same, but only 5 % of the boxes score high enough to count."""
    boxes, scores, _ = _batch(_clustered, 80)
    return Case(jax.vmap(_nms), (boxes, scores, scores > 0.95))


def case_roi_align_forward():
    """1000 proposals on four levels of a 480x854 frame, for the box head."""
    return Case(_crop, (_pyramid(), _boxes(1000)))


def case_roi_align_forward_batch_2():
    """The same for two frames."""
    args = jax.tree.map(lambda x: jnp.stack([x, x]), (_pyramid(), _boxes(1000)))
    return Case(jax.vmap(_crop), args)


def case_roi_align_forward_backward():
    """The same as `roi_align_forward`, with the gradient by the features."""
    return Case(_crop_and_gradient, (_pyramid(), _boxes(1000), _crops(1000)))


def case_roi_align_forward_backward_batch_2():
    """The same for two frames."""
    args = (_pyramid(), _boxes(1000), _crops(1000))
    args = jax.tree.map(lambda x: jnp.stack([x, x]), args)
    return Case(jax.vmap(_crop_and_gradient), args)


def case_roi_align_14x14():
    """RoIAlign of 100 detections for the mask head."""
    crop = functools.partial(_crop, output_size=14)
    return Case(crop, (_pyramid(), _boxes(100)))


def case_trunk_forward():
    """ResNet-50 and FPN of a 480x854 frame, against PyTorch as it comes."""
    return _trunk_case(best=False)


def case_trunk_forward_against_best():
    """The same, against PyTorch at its best: channels last, batch norms folded."""
    return _trunk_case(best=True)


def case_trunk_forward_backward():
    """The trunk's gradient for all its parameters, against PyTorch as it comes."""
    return _trunk_case(best=False, backward=True)


def case_detector():
    """Two ResNet-50 streams, 480x854: pixels to boxes and masks."""
    return _detector_case(ModelConfig(mask_features="appearance"))


def case_detector_with_static_branch():
    """The paper's final model, which also detects stationary objects."""
    return _detector_case(ModelConfig(mask_features="appearance", static_branch=True))


def case_detector_appearance():
    """A detector with one ResNet-50 stream."""
    return _detector_case(ModelConfig(motion=None))


def case_alternative_nms_row_loop_4000():
    """NMS as one step for each box; on a GPU each would be a kernel launch or more."""
    return Case(_nms_row_loop, _clustered(4000))


def case_alternative_nms_row_loop_chain_4000():
    """The same for boxes that overlap only their neighbours."""
    return Case(functools.partial(_nms_row_loop, threshold=0.5), _chain(4000))


def case_alternative_roi_align_einsum():
    """RoIAlign's gather and sum as one gather and a product, for 50 boxes at a time."""
    return Case(_gather_einsum, (_rows(), *_sampling()))


def case_alternative_roi_align_einsum_backward():
    """The same, and its gradient by JAX."""
    return Case(_and_gradient(_gather_einsum), (_rows(), *_sampling()))


def case_alternative_roi_align_unrolled_backward():
    """RoIAlign's sum as it is, but its gradient by JAX."""
    return Case(_and_gradient(_gather_unrolled), (_rows(), *_sampling()))


def _trunk_case(*, best, backward=False):
    image = _normal((1, 480, 864, 3))
    trunk = Trunk(TrunkConfig())
    params = _random_params(trunk, image)

    def forward(params, image):
        return trunk.apply({"params": params}, image)

    def gradient(params, image):
        loss = lambda p: sum(jnp.mean(x) for x in forward(p, image).values())
        return jax.grad(loss)(params)

    def twin(torch):
        return _torch_trunk(torch, np.asarray(image), best, backward)

    return Case(gradient if backward else forward, (params, image), twin)


def _torch_trunk(torch, image, best, backward):
    """Returns a function that runs the same network in torchvision."""
    from scripts.make_golden import import_torchvision

    torchvision = import_torchvision()
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    norm = torchvision.ops.misc.FrozenBatchNorm2d
    model = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm, trainable_layers=5
    ).eval()
    x = torch.tensor(image).permute(0, 3, 1, 2).contiguous()
    if best:
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, norm):  # Its bias becomes the convolution's.
                    setattr(module, name, torch.nn.Identity())
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is None:
                module.bias = torch.nn.Parameter(torch.zeros(module.out_channels))
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)

    def forward():
        with torch.no_grad():
            model(x)

    def step():
        model.zero_grad()
        sum(features.mean() for features in model(x).values()).backward()

    return step if backward else forward


def _detector_case(config):
    config = dataclasses.replace(config, short_side=480, long_side=854)
    frame = np.asarray(_normal((480, 854, 3)) * 50 + 128).clip(0, 255).astype(np.uint8)
    motion = np.abs(np.asarray(_normal((480, 854, 3))))
    inputs = stack([preprocess(frame, motion, config)])
    inputs = jax.tree.map(jnp.asarray, inputs)
    detector = Detector(config)
    params = _random_params(detector, inputs)
    return Case(lambda p, x: detector.apply({"params": p}, x), (params, inputs))


def _random_params(module, inputs):
    """Random parameters whose activations neither explode nor vanish.

    Compiling `init` would take longer.
    """
    shapes = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key != "kernel":
            return jnp.full(leaf.shape, float(path[-1].key == "scale"))
        std = np.sqrt(1 / np.prod(leaf.shape[:-1]))
        return jnp.asarray(std * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def _normal(shape):
    return jax.random.normal(jax.random.key(0), shape)


def _nms(boxes, scores, valid, threshold=0.7):
    return non_maximum_suppression(boxes, scores, valid, threshold)


def _nms_row_loop(boxes, scores, valid, threshold=0.7):
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf))
    x0, y0, x1, y1 = boxes[order].T
    area, place = (x1 - x0) * (y1 - y0), jnp.arange(len(order))

    def visit(i, kept):
        width = jnp.maximum(jnp.minimum(x1[i], x1) - jnp.maximum(x0[i], x0), 0)
        height = jnp.maximum(jnp.minimum(y1[i], y1) - jnp.maximum(y0[i], y0), 0)
        iou = width * height / (area[i] + area - width * height)
        return kept & ~((iou > threshold) & (place > i) & kept[i])

    kept = jax.lax.fori_loop(0, len(order), visit, valid[order])
    return jnp.zeros_like(valid).at[order].set(kept)


def _crop(pyramid, boxes, output_size=7):
    return pyramid_roi_align(pyramid, boxes, output_size=output_size)


def _crop_and_gradient(pyramid, boxes, gradient):
    crops, transpose = jax.vjp(lambda pyramid: _crop(pyramid, boxes), pyramid)
    return crops, transpose(gradient)


def _gather_einsum(rows, cells, weights):
    def some(chunk):
        cells, weights = chunk
        return jnp.einsum("nkc,nk->nc", rows[cells], weights)

    chunks = (x.reshape(20, -1, 16) for x in (cells, weights))
    return jax.lax.map(some, tuple(chunks)).reshape(-1, rows.shape[1])


def _gather_unrolled(rows, cells, weights):
    return sum(rows[cells[:, i]] * weights[:, i, None] for i in range(16))


def _and_gradient(function):
    def both(rows, cells, weights):
        crops, transpose = jax.vjp(lambda rows: function(rows, cells, weights), rows)
        return crops, transpose(crops)

    return both


def _boxes(n, seed=0):
    """Random boxes in a 480x854 frame, like proposals: sides of 16 to 400 pixels."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, [854, 480], (n, 2))
    size = np.exp(rng.uniform(np.log(16), np.log(400), (n, 1)))
    size = size * np.exp(rng.normal(0, 0.3, (n, 2)))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return jnp.float32(boxes.clip(0, [854, 480, 854, 480]))


def _clustered(n, seed=0):
    """Boxes, scores and validity like the RPN's: about ten boxes on each object."""
    rng = np.random.default_rng(seed)
    boxes = np.asarray(_boxes(n // 10, seed))[rng.integers(0, n // 10, n)]
    size = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes + 0.1 * rng.normal(size=(n, 4)) * np.tile(size, 2)
    scores = rng.uniform(size=n)
    return jnp.float32(boxes), jnp.float32(scores), jnp.ones(n, bool)


def _chain(n):
    x = np.arange(n)
    boxes = np.stack([x, 0 * x, x + 4, 0 * x + 10], axis=1)
    return jnp.float32(boxes), jnp.float32(1 - x / n), jnp.ones(n, bool)


def _batch(make, count, n=1000):
    sets = [make(n, seed) for seed in range(count)]
    return tuple(jnp.stack(arrays) for arrays in zip(*sets, strict=True))


def _pyramid():
    """Levels 2 to 5 of a 480x854 frame, padded to 480x864."""
    return {
        level: jax.random.normal(jax.random.key(level), (480 >> level, width, 256))
        for level, width in {2: 216, 3: 108, 4: 54, 5: 27}.items()
    }


def _crops(n):
    return jax.random.normal(jax.random.key(0), (n, 7, 7, 256))


def _rows():
    return jnp.concatenate([cells.reshape(-1, 256) for cells in _pyramid().values()])


def _sampling(n=1000, width=216):
    """Cells and weights of RoIAlign with 7x7 bins of 16, all on the finest level."""
    boxes = np.asarray(_boxes(n)).clip(0, [853, 476, 853, 476]) / 4
    steps = (np.arange(28) // 2 + 0.5) / 14
    x, y = (
        np.int32(boxes[:, [i]] + steps * (boxes[:, [i + 2]] - boxes[:, [i]]))
        for i in range(2)
    )
    y, x = y.reshape(n, 7, 1, 4, 1), x.reshape(n, 1, 7, 1, 4)
    cells = jnp.int32((y * width + x).reshape(-1, 16))
    return cells, jnp.full(cells.shape, 1 / 16)


def compile_twice(case):
    """Returns the compiled function and the seconds to compile and to load it.

    Tracing is not counted. The cache is JAX's on disk, as in the command line.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        for _ in range(2):
            jax.clear_caches()
            compilation_cache.reset_cache()
            lowered = jax.jit(case.function).lower(*case.args)
            start = time.perf_counter()
            compiled = lowered.compile()
            seconds.append(time.perf_counter() - start)
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    return compiled, *seconds


def measure(case, repeats, torch=None):
    """Returns the fields of a case's line; times are of `repeats` calls."""
    compiled, compile_seconds, cached_seconds = compile_twice(case)
    twin = case.torch_twin(torch) if torch and case.torch_twin else None

    def ours():
        jax.block_until_ready(compiled(*case.args))

    calls = {run: [] for run in (ours, twin) if run}
    for run in calls:
        run()  # The first call allocates.
    for _ in range(repeats):
        for run, seconds in calls.items():
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    median = {run: statistics.median(seconds) for run, seconds in calls.items()}
    seconds = sorted(calls[ours])
    line = {
        "median_ms": round(median[ours] * 1e3, 3),
        "p90_ms": round(seconds[int(0.9 * len(seconds))] * 1e3, 3),
        "min_ms": round(seconds[0] * 1e3, 3),
        "compile_s": round(compile_seconds, 2),
        "compile_cached_s": round(cached_seconds, 2),
        "temporary_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6, 1),
    }
    if twin:
        line["torch_median_ms"] = round(median[twin] * 1e3, 3)
        line["ratio"] = round(median[ours] / median[twin], 3)
    return line


def main():
    """Runs every `case_*` of this file but the alternatives, or those asked for."""
    cases = {name[5:]: f for name, f in globals().items() if name.startswith("case_")}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=cases, metavar="NAME")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--against", choices=["torch"])
    parser.add_argument(
        "--plain", action="store_true", help="without what the command line sets"
    )
    args = parser.parse_args()
    if not args.plain:
        keep_memory()
    sys.path.insert(0, str(Path(__file__).parents[1]))  # For `scripts.make_golden`.
    threads = len(os.sched_getaffinity(0))
    torch = None
    if args.against:
        import torch

        torch.set_num_threads(threads)
    usual = [name for name in cases if not name.startswith("alternative_")]
    for name in args.only or usual:
        line = {"case": name, **measure(cases[name](), args.repeats, torch)}
        line |= {"device": jax.devices()[0].device_kind, "threads": threads}
        print(json.dumps(line | {"jax": jax.__version__}), flush=True)


if __name__ == "__main__":
    main()
