"""Certifies that training repeats itself here: `movseg train --certify`."""

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax

from movseg_jax.config import Config
from movseg_jax.config_json import to_json
from movseg_jax.errors import InputError
from movseg_jax.model.weights import RUN_WEIGHTS, read_digest
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.process import installed_version, prepare_jax
from movseg_jax.system.workers import ProcessWorker
from movseg_jax.train.log import read_log
from movseg_jax.train.loop import train
from movseg_jax.train.run_sources import open_sources

FORMAT = 1  # Raised when older code would misread newer files.
CERTIFICATE = "certificate.json"
PACKAGES = ("movseg-jax", "jax", "jaxlib", "flax", "optax", "numpy")


class Certificate(NamedTuple):
    """The outcome of two equal runs.

    Attributes:
        path: The file that holds everything.
        same: Whether both ended with the same weights, bit for bit.
        report: A sentence to print.
    """

    path: Path
    same: bool
    report: str


def certify(
    config: Config, workdir: Path | str, data_dir: Path | str, steps: int
) -> Certificate:
    """Trains the first steps of a config twice, in two processes, and compares.

    On a CPU both runs end with the same weights. On a GPU they may differ, unless
    `XLA_FLAGS` asks for deterministic operations (`--xla_gpu_deterministic_ops=true`).

    Args:
        config: The stage's config. It is not evaluated meanwhile.
        workdir: The folder for `certificate.json`; the runs themselves are not kept.
        data_dir: The folder of the data sets, as in `open_sources`.
        steps: The number of steps.

    Raises:
        InputError: The number is not positive, training fails, or a run is stopped.
    """
    if steps < 1:
        raise InputError(f"`certify` is {steps}, expected at least one step.")
    settings = dataclasses.replace(
        config.train, steps=steps, evaluate_every=0, save_every=steps, log_every=1
    )
    config = dataclasses.replace(config, train=settings)
    make_folder(Path(workdir))
    with tempfile.TemporaryDirectory(dir=workdir, prefix=".certify-") as folder:
        runs = [
            _in_a_process(config, Path(folder) / name, Path(data_dir))
            for name in ("first", "second")
        ]
    losses = [run.pop("losses") for run in runs]
    pairs = zip(*losses, strict=True)
    differ = [step for step, (one, other) in enumerate(pairs, 1) if one != other]
    same = runs[0] == runs[1]
    content = {
        "format": FORMAT,
        "steps": steps,
        "same": same,
        "first_step_with_another_loss": differ[0] if differ else None,
        "runs": runs,
        "config": hashlib.sha256(to_json(config).encode()).hexdigest(),
        "versions": {name: installed_version(name) for name in PACKAGES},
    }
    path = Path(workdir) / CERTIFICATE
    write_file(path, json.dumps(content, indent=1).encode())
    what = "with the same weights" if same else "with DIFFERENT weights"
    report = f"Two runs of {steps} steps ended {what}: {path}"
    return Certificate(path, same, report)


def _in_a_process(config: Config, folder: Path, data_dir: Path) -> dict[str, Any]:
    """Trains in a process of its own, which shares nothing with this one."""
    worker = ProcessWorker(prepare_jax)
    try:
        return worker.submit(_train, config, folder, data_dir).result()
    finally:
        worker.end()


def _train(config: Config, folder: Path, data_dir: Path) -> dict[str, Any]:
    sources, _ = open_sources(config, data_dir)
    outcome = train(config, folder, sources, quiet=True)
    if not outcome.finished:
        raise InputError("The run was stopped.")
    return {
        "weights": read_digest(folder / RUN_WEIGHTS),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "losses": [row["loss"] for row in read_log(folder)],
    }
