"""Measures the time and the memory of flow networks beside DIS.

    python scripts/benchmark_flow.py [--repeats N] [--updates N ...] [--against torch]

The weights are random, which changes neither. All candidates take turns, so that other
load on the machine slows each of them; compare ratios, not times. With `--against
torch`, torchvision's RAFT is one of them (see `make_golden.py` for installing it).
"""

import argparse
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


def print_times(candidates: Candidates, repeats: int) -> None:
    """Times the candidates in turns; prints the median and the ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():  # The first call compiles.
        run()
    for _ in range(repeats):
        for name, run in candidates.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = median / next(iter(medians.values()))
        print(f"{name:36} {1000 * median:8.0f} ms {ratio:8.1f} times DIS")


def print_memory(size: tuple[int, int]) -> None:
    """Prints what XLA plans for a pair, with correlations kept and computed again."""
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
    """Prints times, then memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--updates", type=int, nargs="+", default=[12])
    parser.add_argument("--against", choices=["torch"])
    options = parser.parse_args()
    keep_memory()
    size = 480, 854
    frames = [frame_of_blobs(*size), frame_of_blobs(*size, moved=(5, 2))]
    candidates = ours(frames, options.updates)
    if options.against:
        candidates |= theirs(frames, options.updates)
    print_times(candidates, options.repeats)
    print_memory(size)


if __name__ == "__main__":
    main()
