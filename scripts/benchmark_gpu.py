"""Times inference and training on a GPU or TPU, and prints one JSON line per case.

    python scripts/benchmark_gpu.py --out results.jsonl --frames FOLDER
    python scripts/benchmark_gpu.py --only inference --batches 1 8 --models paper

The cases:

- "inference": the detector from pixels to masks. "paper" is the model of
  `configs/paper.py:joint_davis` on 800x1333 pixels, "package" the one in the package.
- "training": a step of `joint_davis` and of `appearance_coco`, on random data.
- "torchvision": inference and a step of torchvision's `maskrcnn_resnet50_fpn` on
  800x1333 pixels, where PyTorch sees a GPU and torchvision is installed. It has one
  backbone, as `appearance_coco` has; `joint_davis` has two.
- "segment": `movseg segment` as a whole on the frames of a folder, per frame.
- "profile": where the device's time goes in one step and in one call of inference, and
  for how much of the time it waits for the host.

Arithmetic is "float32"; "tf32", float32 numbers whose products are rounded to TF32 on
NVIDIA's GPUs and to bfloat16 on TPUs; or "bfloat16". torchvision has float32, tf32 and
"amp", PyTorch's automatic mixed precision. "share_of_peak" is the rate of the
operations that XLA counts over that of a product of large matrices in the same
arithmetic. XLA does not see into the libraries that it calls, so the share is missing
or too low where those do the work. Parameters and data are random: the time of NMS, and
of masks in inference, depends on what is found.

A case that fails, say for lack of memory, is a line with "error". On a CPU the script
only shows that it runs.
"""

import argparse
import contextlib
import dataclasses
import gc
import glob
import json
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from movseg_jax import bench, config
from movseg_jax.config_files import load_config
from movseg_jax.model.detector import Detector
from movseg_jax.model.inputs import make_inputs, stack
from movseg_jax.model.loading import load_detector
from movseg_jax.model.parameters import fresh
from movseg_jax.system.process import prepare_jax
from movseg_jax.train import parallel
from movseg_jax.train.loop import make_stage
from scripts.profile_step import calm, random_batch

KINDS = ("inference", "training", "torchvision", "segment", "profile")
ARITHMETIC = ("float32", "tf32", "bfloat16")
STAGES = ("joint_davis", "appearance_coco")
PAPER = Path(__file__).parents[1] / "configs" / "paper.py"
# Patterns of the names of operations in a trace; the first that fits counts.
GROUPS = {
    "RoIAlign, backward": r"transpose\(.*roi_align",
    "RoIAlign": r"roi_align",
    "NMS": r"non_maximum_suppression",
    "top-k and sorting": r"top_k|sort",
    "convolutions and products": r"conv|dot|gemm",
}


def main() -> None:
    """Runs the cases and prints a line for each."""
    options = _parse()
    lines = []
    about = {
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
    }
    for case, run in _cases(options):
        row = about | case
        try:
            row |= run()
        except Exception as error:  # Others may still work with less.
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]:.200}"
        gc.collect()
        lines.append(json.dumps(row))
        print(lines[-1], flush=True)
        if options.out:
            options.out.write_text("\n".join(lines) + "\n")


def _cases(options) -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """Yields what each case is, and a function that measures it."""
    for arithmetic in options.arithmetic:
        for batch in options.batches:
            if "inference" in options.only:
                for model in options.models:
                    case = _case("inference", model, batch, arithmetic)
                    yield case, lambda c=case: inference(c, options)
            if "training" in options.only:
                for stage in options.stages:
                    case = _case("training", stage, batch, arithmetic)
                    yield case, lambda c=case: training(c, options)
            if "torchvision" in options.only:
                named = {"bfloat16": "amp"}.get(arithmetic, arithmetic)
                for trains in (False, True):
                    name = "step" if trains else "inference"
                    case = _case("torchvision", name, batch, named)
                    yield case, lambda c=case, t=trains: torchvision(c, options, t)
    if "segment" in options.only and options.frames:
        for batch in options.batches:
            case = _case("segment", "package", batch, "tf32")
            yield case, lambda c=case: segment(c, options)
    if "profile" in options.only:
        largest = max(options.batches)
        for stage in options.stages:
            case = _case("profile", stage, largest, "tf32")
            yield case, lambda c=case: training(c, options, profile=True)
        for model in options.models:
            case = _case("profile", model, largest, "tf32")
            yield case, lambda c=case: inference(c, options, profile=True)


def _case(kind: str, name: str, batch: int, arithmetic: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "batch": batch, "arithmetic": arithmetic}


@contextlib.contextmanager
def computing_in(arithmetic: str) -> Iterator[str]:
    """Sets the precision of the package's own convention; gives the dtype to set."""
    before = config.CONVENTIONS["continuous"]
    precision = "highest" if arithmetic == "float32" else "default"
    config.CONVENTIONS["continuous"] = dataclasses.replace(before, precision=precision)
    try:
        yield "bfloat16" if arithmetic == "bfloat16" else "float32"
    finally:
        config.CONVENTIONS["continuous"] = before


def inference(case: dict, options, *, profile: bool = False) -> dict[str, Any]:
    """Measures the detector on a batch of noise."""
    with computing_in(case["arithmetic"]) as dtype:
        if case["name"] == "package":
            loaded = load_detector()
            model = dataclasses.replace(loaded.config, compute_dtype=dtype)
            params, size = loaded.params, (480, 854)
        else:
            model = load_config(f"{PAPER}:joint_davis").model
            model = dataclasses.replace(model, compute_dtype=dtype)
            params, size = calm(fresh(model, 0)), options.size or (800, 1333)
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 256, (*size, 3), np.uint8)
        flow = rng.normal(0, 3, (*size, 2)).astype(np.float32)
        inputs = stack([make_inputs(frame, flow, model)] * case["batch"])
        arguments = jax.device_put(({"params": params}, inputs))
        return _measure(Detector(model).apply, arguments, case, options, profile)


def training(case: dict, options, *, profile: bool = False) -> dict[str, Any]:
    """Measures a step of training on a batch of noise; the state is donated."""
    with computing_in(case["arithmetic"]) as dtype:
        stage_config = load_config(f"{PAPER}:{case['name']}")
        size = options.size or (800, 1344)
        optimizer = dataclasses.replace(
            stage_config.train.optimizer, learning_rate=1e-9
        )
        stage_config = dataclasses.replace(
            stage_config,
            model=dataclasses.replace(stage_config.model, compute_dtype=dtype),
            data=dataclasses.replace(
                stage_config.data, buckets=(size,), batch_size=case["batch"]
            ),
            train=dataclasses.replace(
                stage_config.train, optimizer=optimizer, microbatches=1
            ),
        )
        stage = make_stage(stage_config)
        params = calm(fresh(stage_config.model, 0))
        state = parallel.replicate(stage.make_state(params))
        batch = jax.device_put(random_batch(stage_config, size))
        arguments = (state, batch, jax.random.key(0))
        return _measure(stage.step, arguments, case, options, profile, donate=True)


def _measure(
    function: Callable,
    arguments: tuple,
    case: dict,
    options,
    profile: bool,
    *,
    donate: bool = False,
) -> dict[str, Any]:
    """Compiles a function, then measures it or says where its time goes."""
    began = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=(0,) if donate else ())
    compiled = jitted.lower(*arguments).compile()
    compile_s = time.perf_counter() - began

    def call(arguments: tuple) -> tuple:
        result = jax.block_until_ready(compiled(*arguments))
        return (result[0], *arguments[1:]) if donate else arguments

    arguments = call(call(arguments))
    if profile:
        shares = where_time_goes(lambda: call(arguments), compiled.as_text() or "")
        return {"share_of_time": shares}
    seconds = []
    for _ in range(options.repeats):
        began = time.perf_counter()
        arguments = call(arguments)
        seconds.append(time.perf_counter() - began)
    took = statistics.median(seconds)
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    row = _rate(took, case["batch"]) | {"compile_s": round(compile_s, 1)}
    if memory is not None:
        planned = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        row["planned_mib"] = round(planned / 2**20)
    if cost.get("flops"):
        row["gflop"] = round(cost["flops"] / 1e9, 1)
        row["share_of_peak"] = round(
            cost["flops"] / took / _peak(case["arithmetic"]), 3
        )
    return row


def _rate(seconds: float, batch: int) -> dict[str, Any]:
    return {
        "ms": round(1000 * seconds, 2),
        "images_per_second": round(batch / seconds, 2),
    }


def _peak(arithmetic: str) -> float:
    """Operations per second of a product of matrices in that arithmetic."""
    dtype = jnp.dtype("bfloat16" if arithmetic == "bfloat16" else "float32")
    precision = "highest" if arithmetic == "float32" else "default"
    return jax.local_device_count() * bench.peak_flops(dtype, precision)


def where_time_goes(call: Callable[[], object], program: str) -> dict[str, float]:
    """Traces a call; returns the share of its time in each group of operations.

    A trace names compiled operations; the text of the compiled program says which part
    of the code each one comes from. "waiting" is the share in which the first device
    runs nothing: it waits for the host or for memory. On a CPU, operations run side by
    side, and shares add up to more.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            call()
            total = time.perf_counter() - began
        (file,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        profile = jax.profiler.ProfileData.from_file(file)
    sources = dict(re.findall(r'%([\w.-]+) = .*op_name="([^"]+)"', program))
    spent, spans = Counter(), []
    on_device = [p for p in profile.planes if p.name.startswith("/device:")]
    for plane in on_device[:1] or profile.planes:
        for line in plane.lines:
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", ""))
                if not operation:
                    continue
                name = f"{sources.get(operation, '')} {operation}"
                spent[_group(name)] += event.duration_ns
                spans.append((event.start_ns, event.start_ns + event.duration_ns))
    shares = {name: round(ns / 1e9 / total, 3) for name, ns in spent.most_common()}
    return shares | {"waiting": round(max(0.0, 1 - _covered(spans) / 1e9 / total), 3)}


def _group(name: str) -> str:
    found = (group for group, part in GROUPS.items() if re.search(part, name))
    return next(found, "other")


def _covered(spans: list[tuple[float, float]]) -> float:
    """The time that is covered by spans, which may overlap."""
    covered, until = 0.0, -np.inf
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def torchvision(case: dict, options, trains: bool) -> dict[str, Any]:
    """Measures torchvision's Mask R-CNN."""
    import torch
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU.")
    torch.backends.cuda.matmul.allow_tf32 = case["arithmetic"] != "float32"
    torch.backends.cudnn.allow_tf32 = case["arithmetic"] != "float32"
    height, width = options.size or (800, 1333)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2)
    model.cuda().train(trains)
    images = [torch.rand(3, height, width, device="cuda") for _ in range(case["batch"])]
    box = torch.tensor([[50.0, 50.0, 300.0, 200.0]] * 5, device="cuda")
    mask = torch.zeros(5, height, width, dtype=torch.uint8, device="cuda")
    mask[:, 50:200, 50:300] = 1
    labels = torch.ones(5, dtype=torch.int64, device="cuda")
    targets = [{"boxes": box, "labels": labels, "masks": mask}] * case["batch"]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)

    def call() -> None:
        with torch.autocast("cuda", torch.bfloat16, case["arithmetic"] == "amp"):
            if not trains:
                with torch.no_grad():
                    model(images)
                return
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seconds = []
    for i in range(3 + options.repeats):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds += [time.perf_counter() - began] if i >= 3 else []
    row = _rate(statistics.median(seconds), case["batch"])
    row["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    torch.cuda.reset_peak_memory_stats()
    return row


def segment(case: dict, options) -> dict[str, Any]:
    """Measures `movseg segment` as a whole, without compiling."""
    segment_config = bench.SegmentConfig(batch_size=case["batch"])
    with tempfile.TemporaryDirectory() as folder:
        job = bench.measure_job(
            "", options.frames, Path(folder), load_detector(), segment_config
        )
    parts = {part: round(ms, 2) for part, ms in job.parts.items()}
    return _rate(job.wall / 1000, 1) | {"parts_ms": parts}


def _parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a file for the lines, too")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--arithmetic", nargs="+", choices=ARITHMETIC, default=ARITHMETIC
    )
    parser.add_argument("--models", nargs="+", default=["paper", "package"])
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--frames", type=Path, help="a folder of frames to segment")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"),
        help="of the paper's and torchvision's inputs; multiples of 32",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    options.size = options.size and tuple(options.size)
    return options


if __name__ == "__main__":
    prepare_jax()
    main()
