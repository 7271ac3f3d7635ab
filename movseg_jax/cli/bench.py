"""The command `movseg bench`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import load_model, optional


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure where the time of segmenting goes on this machine.

    The first table has each part alone, beside the least time that its operations and
    bytes would take at the speed of a product of matrices and of a copy. The second one
    has the whole job: on the video, on frames of other sizes, and with other numbers of
    detections.

    Attributes:
        video: Video file or folder of images. Default: a rendered scene.
        frames: Number of frames of the whole job.
        repeats: Number of measurements of each part, of which the least counts.
        sides: Longer sides of the frames of further jobs, in pixels.
        detections: Mean numbers of detections in a frame of further jobs.
        weights: A .safetensors file, or the folder of a training run.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        max_side: Longer side that frames are reduced to for the model, in pixels.
        json: Print JSON.
    """

    video: Annotated[
        Path | None, tyro.conf.Positional, optional("a rendered scene", "VIDEO")
    ] = None
    frames: int = 24
    repeats: int = 5
    sides: tuple[int, ...] = (480, 854, 1280, 1920)
    detections: tuple[int, ...] = (2, 10, 30)
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    max_side: Annotated[int | None, optional("that of the model", "INT")] = None
    json: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        return [path for path in (self.video, self.weights) if path is not None]

    def outputs(self) -> list[Path]:
        """The command writes to a temporary folder only."""
        return []

    def run(self) -> str:
        """Measures, and returns the tables."""
        import sys

        from movseg_jax import bench
        from movseg_jax.system.process import share_processor

        share_processor()
        measured = bench.run_bench(
            load_model(self.weights, fusion=self.fusion, max_side=self.max_side),
            None if self.video is None else str(self.video),
            frames=self.frames,
            repeats=self.repeats,
            sides=self.sides,
            detections=self.detections,
            say=lambda what: print(f"measuring {what}", file=sys.stderr, flush=True),
        )
        if self.json:
            return json.dumps(measured.to_json(), indent=2)
        return measured.to_text()
