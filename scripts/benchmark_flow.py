"""Measures the time and the memory of flow networks beside DIS.

    python scripts/benchmark_flow.py [--repeats N] [--updates N ...] [--against torch]

The weights are random, which changes neither. All candidates take turns, so that other
load on the machine slows each of them; compare processor seconds and ratios, not the
time that passes. With `--against torch`, torchvision's RAFT is one of them (see
`make_golden.py` for installing it). Memory is measured on Linux only.
"""

import argparse
import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from movseg_jax.config import NETWORKS  # noqa: E402
from movseg_jax.flow.estimators import get_estimator  # noqa: E402
from movseg_jax.flow.networks.estimator import (  # noqa: E402
    FlowNetwork,
    network_shapes,
)
from movseg_jax.flow.networks.raft import LARGE, SMALL, Raft  # noqa: E402
from movseg_jax.system.process import keep_memory  # noqa: E402
from tests.oracles import frame_of_blobs, random_params  # noqa: E402

Candidates = dict[str, Callable[[], Any]]


def ours(frames: list[np.ndarray], updates: list[int]) -> Candidates:
    """Returns DIS and the networks, as functions of the next pair of a stream."""
    estimators: dict[str, Any] = {"DIS": get_estimator()}
    for name in NETWORKS:
        params = random_params(network_shapes(name))
        for count in updates if name.startswith("raft") else [None]:
            title = f"{name}, {count} updates" if count else name
            estimators[title] = FlowNetwork(name, params, "random", count)
    # Each call is a pair whose first frame was the second one of the call before.
    turns = dict.fromkeys(estimators, 0)

    def run(name):
        i = turns[name] = turns[name] + 1
        return estimators[name](frames[i % 2], frames[(i + 1) % 2])

    return {name: lambda name=name: run(name) for name in estimators}


def theirs(frames: list[np.ndarray], updates: list[int]) -> Candidates:
    """Returns torchvision's networks."""
    import torch

    from scripts.make_golden import import_torchvision

    torch.set_grad_enabled(False)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    models = import_torchvision().models.optical_flow
    pair = [np.pad(frame, ((0, 0), (1, 1), (0, 0)), "edge") for frame in frames]
    images = [
        torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
        for frame in pair
    ]
    found = {}
    for name in ("raft_small", "raft_large"):
        model = getattr(models, name)(weights=None).eval()
        for count in updates:
            run = lambda model=model, count=count: model(
                *images, num_flow_updates=count
            )
            found[f"torchvision's {name}, {count} updates"] = run
    return found


def measure(candidates: Candidates, repeats: int) -> None:
    """Prints the median time of each candidate, its ratio to the first, its memory."""
    peaks = {}
    for name, run in candidates.items():
        run()  # The first call compiles.
        peaks[name] = peak_memory(run)
    keep_memory()  # As `movseg` does; but then the peak would not be seen.
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            began = time.process_time(), time.perf_counter()
            run()
            ended = time.process_time(), time.perf_counter()
            times[name].append((ended[0] - began[0], ended[1] - began[1]))
    medians = {name: np.median(pairs, axis=0) for name, pairs in times.items()}
    dis = next(iter(medians.values()))[0]
    print("| | processor seconds | times DIS | seconds | MiB |\n|---|---|---|---|---|")
    for name, (processor, passed) in medians.items():
        print(
            f"| {name} | {processor:.2f} | {processor / dis:.0f} | {passed:.2f} "
            f"| {peaks[name]:.0f} |"
        )


def peak_memory(run: Callable[[], Any]) -> float:
    """Returns by how many MiB a call raises the process' resident memory at most."""

    def resident(what):
        status = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in status if line.startswith(what))
        return int(line.split()[1]) / 1024

    if not sys.platform.startswith("linux"):
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # Compiling leaves free memory, which is resident.
    Path("/proc/self/clear_refs").write_text("5")  # The peak is now what is resident.
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def print_plans(size: tuple[int, int]) -> None:
    """Prints what XLA plans for RAFT, with correlations kept and computed again."""
    height, width = (-(-side // 8) * 8 for side in size)
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    for name, config in (("raft_small", SMALL), ("raft_large", LARGE)):
        shape = (1, height // 8, width // 8, config.feature_channels)
        features = jax.ShapeDtypeStruct(shape, jnp.float32)
        params = {"params": network_shapes(name)}
        for what, limit in (("kept", 2**40), ("computed again", 0)):
            model = jax.jit(Raft(config, max_volume_bytes=limit).apply)
            program = model.lower(params, image, features, features).compile()
            plan = program.memory_analysis()
            mebibytes = plan.temp_size_in_bytes / 2**20
            print(f"{name}, correlations {what}: {mebibytes:.0f} MiB")


def main():
    """Prints times and memory, then RAFT's memory in detail."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--updates", type=int, nargs="+", default=[12])
    parser.add_argument("--against", choices=["torch"])
    options = parser.parse_args()
    size = 480, 854
    frames = [frame_of_blobs(*size), frame_of_blobs(*size, moved=(5, 2))]
    candidates = ours(frames, options.updates)
    if options.against:
        candidates |= theirs(frames, options.updates)
    measure(candidates, options.repeats)
    print_plans(size)


if __name__ == "__main__":
    main()
