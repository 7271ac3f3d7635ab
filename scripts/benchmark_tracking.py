"""Times linking detections to tracks, and prints one JSON line.

    python scripts/benchmark_tracking.py [--objects 20] [--frames 200] [--size 480 854]

Discs move over a stationary background. Each is found by the moving heads and, slightly
smaller, by the static branch, so that a frame has twice as many detections as objects.
They are read from a record on disk, as `movseg segment` keeps them, linked forwards and
backwards, tested for motion and joined; "decode" is the time to decode the masks of
the moving detections once, for comparison. All times are of one process. SciPy
is loaded before: linking imports it once, which takes a quarter of a second.
"""

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from movseg_jax import masks
from movseg_jax.results import Detection, FrameDetections
from movseg_jax.segment.record import Record
from movseg_jax.track.moving import link_moving
from movseg_jax.video.reading import Frame

RADIUS, SPEED = 45, 3.0  # Of a disc: pixels, and pixels a frame.


def main() -> None:
    """Prints the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854))
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.sqlite"
        with Record(path, {}) as record:
            image = np.zeros((*size, 3), np.uint8)
            for i, found in enumerate(discs(options.objects, options.frames, size)):
                record.append(Frame(i, f"{i:05d}", image, None), found)
            count = len(record)
            importlib.import_module("scipy.optimize")
            began = time.perf_counter()
            links = link_moving(record)
            linking = time.perf_counter() - began
            began = time.perf_counter()
            for found in record:
                for detection in found.moving:
                    masks.decode(detection.mask)
            decoding = time.perf_counter() - began
        row = {
            "objects": options.objects,
            "frames": count,
            "size": size,
            "tracks": len(np.unique(links.ids[links.ids > 0])),
            "frames_per_second": round(count / linking, 1),
            "decode_frames_per_second": round(count / decoding, 1),
            "bytes_a_frame": round(path.stat().st_size / count),
        }
        print(json.dumps(row))


def discs(objects: int, frames: int, size: tuple[int, int]):
    """The detections of each frame."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    places = rng.uniform((0, 0), size, (objects, 2))
    angles = rng.uniform(0, 2 * np.pi, objects)
    steps = SPEED * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    colour = bytes(rng.integers(0, 9, 64, dtype=np.uint8))
    for _ in range(frames):
        outside = (places < 0) | (places > size)
        steps = np.where(outside, -steps, steps)  # They turn round at the edges.
        found = []
        for radius in (RADIUS, 0.9 * RADIUS):
            shapes = [
                (y - cy) ** 2 + (x - cx) ** 2 < radius**2 for cy, cx in places.tolist()
            ]
            found.append(
                tuple(
                    Detection(
                        masks.encode(shape),
                        float(rng.uniform(0.85, 1)),
                        SPEED,
                        (float(step[1]), float(step[0])),
                        colour,
                    )
                    for shape, step in zip(shapes, steps, strict=True)
                )
            )
        yield FrameDetections(*found)
        places = places + steps


if __name__ == "__main__":
    main()
