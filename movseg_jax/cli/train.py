"""Commands for weights: `train`, `plot`, `convert`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from movseg_jax.cli.arguments import read_config
from movseg_jax.system.signals import STOPPED


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a stage, or go on with it; stopped by SIGTERM it exits with status 75.

    Any field of the config can be set: --train.steps 100, --data.batch-size 8.
    `movseg train CONFIG --help` lists them.
    """

    config: tyro.conf.Positional[Path]
    """A config file and, if it has several, the name of one: configs/tiny.py or
    configs/paper.py:joint_davis."""
    workdir: Path
    """The run's folder; the same command goes on where it was stopped."""
    data_dir: Path
    """Where `movseg data prepare` wrote, or a folder <data set's name>/ for each."""
    coordinator: str | None = None
    """host:port of process 0, for several processes; SLURM and TPU pods need none."""
    processes: int | None = None
    """How many there are."""
    process: int | None = None
    """Which of them this is, from 0."""
    quiet: bool = False
    """Print no progress."""
    settings: tyro.conf.Suppress[tuple[str, ...]] = ()

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.train import parallel

        config = read_config(self.config, self.settings)

        parallel.start_hosts(self.coordinator, self.processes, self.process)
        from movseg_jax.train.loop import open_sources, train

        with parallel.ending_together():
            sources, validation = open_sources(config, self.data_dir)
            outcome = train(config, self.workdir, sources, validation, quiet=self.quiet)
        if outcome.finished:
            return outcome.report
        print(outcome.report)
        raise SystemExit(STOPPED)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the curves of training runs, as a page without network or as a picture."""

    workdirs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, to be drawn over one another."""
    out: Path | None = None
    """The .html, .svg or .png file to write. By default it is curves.html in the first
    folder, which is replaced."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        from movseg_jax.train.log import FILE

        return [workdir / FILE for workdir in self.workdirs]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [] if self.out is None else [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.train.plot import plot

        return plot(self.workdirs, self.out, overwrite=self.overwrite)


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert weights of torchvision, Detectron, detectron2 or the paper's authors.

    Nothing in the file is executed, and every array in it is used or named.
    """

    file: tyro.conf.Positional[Path]
    """A .pth, .pkl, .npz or .safetensors file."""
    out: Path
    """The safetensors file to write; a JSON card is written beside it."""
    appearance_heads: Path | None = None
    """A second file, whose objectness heads become the static branch."""
    stream: Literal["appearance", "motion"] = "appearance"
    """Which stream a model of one stream is."""
    prefix: str | None = None
    """Beginning of the names of the model's arrays, such as "ema_model.". It is only
    needed if the file holds several models."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        heads = [] if self.appearance_heads is None else [self.appearance_heads]
        return [self.file, *heads]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out, self.out.parent / f"{self.out.stem}.json"]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.convert.models import convert_weights
        from movseg_jax.model.weights import save_weights

        converted = convert_weights(
            self.file,
            appearance_heads=self.appearance_heads,
            stream=self.stream,
            prefix=self.prefix,
        )
        save_weights(
            self.out,
            converted.params,
            converted.config,
            converted.card,
            overwrite=self.overwrite,
        )
        what = "a trunk without heads" if "rpn" not in converted.params else "a model"
        streams = " and ".join(converted.config.streams)
        return f"{converted.kind}: {what} ({streams}), written to {self.out}"
