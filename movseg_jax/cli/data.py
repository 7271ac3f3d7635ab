"""The commands `movseg data prepare`, `movseg data check` and `movseg data list`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import optional, read_options
from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Write a data set as array records of TFDS, which training reads fastest.

    Use `movseg data list` to see the data sets and their options.

    Attributes:
        name: Name of the data set.
        manual_dir: Folder of the data set as it was downloaded and unpacked.
        data_dir: Folder to write to; later the --data-dir of training.
        splits: Splits to write.
        flow: Source of the optical flow: "dis", "dis_fast" or "farneback" estimate it,
            "raft_small", "raft_large", "liteflownet" or "flownet2" with --flow-weights;
            "true" is FlyingThings3D's own; a folder holds <sequence>/<frame>.flo (or
            .png, .npz, .pfm), as `movseg flow` writes them.
        flow_cache: Folder that keeps estimated flow, so that a stopped command can
            reuse it.
        flow_weights: Weights of a flow network, converted by `movseg convert`.
        flow_updates: Number of steps in which RAFT improves the flow.
        options: Options of the data set, such as resolution=270p.
        workers: Number of threads; 0 means one for each CPU.
        overwrite: Replace what was prepared before.
        allow_missing: Leave out videos whose frames are missing.
        quiet: Do not show progress.
    """

    name: tyro.conf.Positional[str]
    manual_dir: Path
    data_dir: Path
    splits: Annotated[
        tuple[str, ...], optional("all splits that are not parts of others")
    ] = ()
    flow: Annotated[str | None, optional("no flow", "STR")] = None
    flow_cache: Annotated[Path | None, optional("none", "PATH")] = None
    flow_weights: Annotated[Path | None, optional("none", "PATH")] = None
    flow_updates: Annotated[int | None, optional("12", "INT")] = None
    options: Annotated[tuple[str, ...], optional("none")] = ()
    workers: int = 0
    overwrite: bool = False
    allow_missing: bool = False
    quiet: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.config import NETWORKS
        from movseg_jax.flow.estimators import ALGORITHMS

        paths = [self.manual_dir]
        if self.flow not in (None, "true", *ALGORITHMS, *NETWORKS):
            paths.append(Path(self.flow))
        if self.flow_weights is not None:
            paths.append(self.flow_weights)
        return paths

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        from movseg_jax.data.prepared import DATASET

        return [self.data_dir / DATASET]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        options = read_options(self.name, self.options)
        if "flow" in options:
            raise InputError("--options flow=...: give it as --flow instead.")
        from movseg_jax.data.building import prepare  # Slow to import.

        folders = prepare(
            self.name,
            self.manual_dir,
            self.data_dir,
            splits=self.splits,
            flow=self.flow,
            flow_cache=self.flow_cache,
            flow_weights=self.flow_weights,
            flow_updates=self.flow_updates,
            workers=self.workers,
            overwrite=self.overwrite,
            allow_missing=self.allow_missing,
            progress=not self.quiet,
            **options,
        )
        return "\n".join(f"Prepared {folder}" for folder in folders)


@dataclasses.dataclass(frozen=True)
class Check:
    """Check that a data set is complete and laid out as expected.

    Prints a line for each thing that is missing or wrong, and exits with status 2 then.

    Attributes:
        name: Name of the data set.
        manual_dir: Folder of the data set as it was downloaded and unpacked.
        split: Split to check.
        thorough: Read every annotation and every flow, not only the first of a video
            and the headers of images.
        options: Options of the data set, such as resolution=270p.
    """

    name: tyro.conf.Positional[str]
    manual_dir: Path
    split: Annotated[str | None, optional("the first in `data list`", "STR")] = None
    thorough: bool = False
    options: Annotated[tuple[str, ...], optional("none")] = ()

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.data.checking import check
        from movseg_jax.data.sources import layout_class

        split = self.split or next(iter(layout_class(self.name).splits))
        problems = check(
            self.name,
            split,
            self.manual_dir,
            thorough=self.thorough,
            **read_options(self.name, self.options),
        )
        if problems:
            raise InputError("\n".join(problems))
        return f"{self.manual_dir}: {self.name}, {split}: nothing is wrong."


@dataclasses.dataclass(frozen=True)
class List:
    """List the data sets that can be read, with their splits and options."""

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.data.sources import describe_layouts

        return describe_layouts()


DATA_COMMANDS = (Prepare, Check, List)


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepare data sets for training, check them, or list those that can be read."""

    command: Annotated[
        Prepare | Check | List, tyro.conf.arg(name=""), tyro.conf.OmitSubcommandPrefixes
    ]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        return self.command.run()
