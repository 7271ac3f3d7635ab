"""Times reading data and prints a JSON line per source; needs no accelerator.

    python scripts/benchmark_data.py [--source NAME SPLIT FOLDER ...] [options]
    python scripts/benchmark_data.py --render CLIPS

Without `--source`, it reads 32 frames of 480x854 pixels from memory: JPEGs, which are
decoded as usual, with flow and three objects each, which are not. A line says

- how many examples a second one core reads, and how many it reads, augments and makes
  ready for training;
- how the loader keeps up with a device that takes `--step-ms` for a step: the share of
  steps that waited for their batch for more than a tenth of that. The device is
  simulated by a pause, so the workers have the cores for themselves; and
- how many steps a second the loader gives when the device takes no time.

With `--render`, it renders that many clips of `SceneConfig`'s defaults instead, and
says how many frames a second one core makes.

Compare lines only where "cores", "size", "batch_size" and "augment" are equal.
"""

import argparse
import dataclasses
import functools
import json
import os
import time

import cv2
import numpy as np

from movseg_jax.config import AugmentConfig, DataConfig, ModelConfig, SourceConfig
from movseg_jax.data import batches, sampling
from movseg_jax.data.example import Example
from movseg_jax.data.loader import Loader
from movseg_jax.data.selection import with_flow
from movseg_jax.data.sources import open_source
from movseg_jax.images import read_rgb
from movseg_jax.scenes.render import render_clip
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.staging import make_scene

AUGMENTATIONS = {
    "none": AugmentConfig(flip=0.0),
    "flip": AugmentConfig(),
    "all": AugmentConfig(
        paste=0.2, scale=(0.7, 1.4),
        brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05,
    ),
}  # fmt: skip


class Memory:
    """A source of frames that are held in memory, as files are on disk."""

    name = "memory"
    classes = ("object",)

    def __init__(self, size=(480, 854), frames=32):
        self.sizes, self.has_flow = [size] * frames, [True] * frames
        self.sequences = {"memory": range(frames)}
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (frames, 24, 43, 3), np.uint8)
        large = [cv2.resize(c, size[::-1]) for c in coarse]
        self._files = [cv2.imencode(".jpg", image)[1].tobytes() for image in large]
        flow = rng.normal(0, 5, (frames, 24, 43, 2)).astype(np.float32)
        self._flow = [cv2.resize(f, size[::-1]) for f in flow]
        y, x = np.mgrid[: size[0], : size[1]]
        self._masks = np.stack(
            [np.hypot(y - 240, x - 200 * i) < 60 * i for i in (1, 2, 3)]
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Example:
        return Example(
            name=f"memory/{index}",
            image=read_rgb(self._files[index], source=f"memory/{index}"),
            flow=self._flow[index],
            masks=self._masks,
            classes=np.zeros(3, np.int32),
            ids=np.array([1, 2, 3], np.int32),
            ignore=np.zeros(3, bool),
            moving=np.ones(3, bool),
        )


def rate(make, seconds=3.0):
    """Returns how often per second `make(i)` runs on one core, i = 0, 1, ..."""
    make(0)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += 1
        make(count)
    return count / (time.perf_counter() - start)


def benchmark(source, arguments) -> dict:
    """Measures a source; returns the fields of its line."""
    model = ModelConfig(short_side=arguments.short_side, long_side=arguments.long_side)
    if not all(source.has_flow):
        source = with_flow(source) if any(source.has_flow) else source
    if not any(source.has_flow):
        model = dataclasses.replace(model, motion=None)
    config = DataConfig(
        sources=(SourceConfig(source.name),),
        augment=AUGMENTATIONS[arguments.augment],
        batch_size=arguments.batch_size,
        workers=arguments.workers,
    )
    buckets = sampling.get_buckets(config, model)
    chosen = sampling.choose_buckets(source, buckets, model)

    def make(i):
        rng = np.random.default_rng(i)
        number = int(rng.integers(len(source)))
        pasted = (
            source[i % len(source)] if rng.random() < config.augment.paste else None
        )
        bucket = buckets[int(chosen[number])]
        batches.augment(source[number], bucket, pasted, config, model, rng)

    cv2.setNumThreads(1)
    return {
        "source": source.name,
        "cores": len(os.sched_getaffinity(0)),
        "size": [arguments.short_side, arguments.long_side],
        "streams": list(model.streams),
        "augment": arguments.augment,
        "batch_size": config.batch_size,
        "workers": config.workers,
        "examples_per_second_and_core_read": rate(lambda i: source[i % len(source)]),
        "examples_per_second_and_core_ready": rate(make),
        **feed(functools.partial(Loader, [source], config, model, seed=0), arguments),
    }


def feed(make_loader, arguments) -> dict:
    """Measures the loader with a device that takes time and one that takes none."""
    waits = []
    with make_loader() as loader:
        for _ in range(3 * arguments.workers + 1):  # The workers have to start.
            next(loader)
        for _ in range(arguments.steps):
            time.sleep(arguments.step_ms / 1000)
            start = time.perf_counter()
            next(loader)
            waits.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        for _ in range(arguments.steps):
            next(loader)
        seconds = time.perf_counter() - start
    return {
        "step_ms": arguments.step_ms,
        "steps_that_waited": float(np.mean(np.array(waits) > arguments.step_ms / 10)),
        "median_ms_to_get_a_batch": float(np.median(waits)),
        "longest_ms_to_get_a_batch": max(waits),
        "steps_per_second_at_most": arguments.steps / seconds,
    }


def render(clips) -> dict:
    """Renders complete clips; the time includes drawing their scenes."""
    cv2.setNumThreads(1)
    config, frames = SceneConfig(), 0
    list(render_clip(make_scene(config, 0, clips)))  # Imports and first calls.
    start = time.perf_counter()
    for index in range(clips):
        frames += len(list(render_clip(make_scene(config, 0, index))))
    seconds = time.perf_counter() - start
    return {
        "size": list(config.size),
        "clips": clips,
        "frames_per_second_and_core": frames / seconds,
    }


def main():
    """Runs the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source", nargs=3, action="append", metavar=("NAME", "SPLIT", "FOLDER"),
        default=[], help="a data set, as `open_source` takes it",
    )  # fmt: skip
    parser.add_argument("--short-side", type=int, default=256)
    parser.add_argument("--long-side", type=int, default=448)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="flip")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--step-ms", type=float, default=100.0)
    parser.add_argument("--render", type=int, metavar="CLIPS", default=0)
    arguments = parser.parse_args()
    if arguments.render:
        print(json.dumps(render(arguments.render)))
        return
    sources = [open_source(*named) for named in arguments.source] or [Memory()]
    for source in sources:
        line = benchmark(source, arguments)
        short = {k: round(v, 3) if type(v) is float else v for k, v in line.items()}
        print(json.dumps(short), flush=True)


if __name__ == "__main__":
    main()
