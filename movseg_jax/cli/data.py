"""Commands for data: `synth`, `data prepare`, `data check`, `data list`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import read_options
from movseg_jax.errors import InputError
from movseg_jax.scenes.scene_config import SceneConfig


@dataclasses.dataclass(frozen=True)
class Synth:
    """Render clips with exact truth: masks, flow, depth, camera, what moves when.

    The same seed gives the same clips, whatever the number of workers. Stopped and
    started again, it goes on where it was.
    """

    out: Path
    """Folder for JPEGImages, Annotations, Flow, Occlusions, Depth and Truth."""
    clips: int = 10
    """How many clips."""
    seed: int = 0
    """Of everything random."""
    backgrounds: Path | None = None
    """Folder of photographs to paint the scenes with; procedural without."""
    cutouts: Path | None = None
    """COCO's JSON of instances, whose objects become things of the scenes; its images
    are beside it, as COCO has them."""
    workers: int = 0
    """Processes; 0 is one for each CPU."""
    overwrite: bool = False
    """Replace what the folder holds."""
    quiet: bool = False
    """Show no progress."""
    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)
    """How clips look."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        return [path for path in (self.backgrounds, self.cutouts) if path is not None]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.scenes.clips import write_clips
        from movseg_jax.scenes.library import read_library
        from movseg_jax.system.progress import progress_bar
        from movseg_jax.system.workers import count_workers

        library = None
        if self.backgrounds or self.cutouts:
            library = read_library(self.backgrounds, self.cutouts)
        with progress_bar("clip", quiet=self.quiet) as show:
            written = write_clips(
                self.out,
                self.clips,
                self.seed,
                self.scene,
                library,
                overwrite=self.overwrite,
                workers=count_workers(self.workers),
                progress=show,
            )
        return f"{self.clips} clips, of which {written} are new: {self.out}"


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Write a data set as array records of TFDS, which training reads fastest.

    `movseg data list` names the data sets and their options.
    """

    name: tyro.conf.Positional[str]
    """Of the data set."""
    manual_dir: Path
    """The data set as it was downloaded and unpacked."""
    data_dir: Path
    """Where to write; training's --data-dir."""
    splits: tuple[str, ...] = ()
    """Which splits; if none is given, all but those that are parts of others."""
    flow: str | None = None
    """"dis", "dis_fast" or "farneback" estimates it; or a folder
    <sequence>/<frame>.flo (.png, .npz, .pfm), as `movseg flow` writes; "true" is
    FlyingThings3D's own."""
    flow_cache: Path | None = None
    """Folder that keeps estimated flow, for when the command is stopped."""
    options: tuple[str, ...] = ()
    """Of the data set, such as resolution=270p."""
    workers: int = 0
    """Threads; 0 is one for each CPU."""
    overwrite: bool = False
    """Replace what was prepared before."""
    quiet: bool = False
    """Show no progress."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        from movseg_jax.flow.estimators import ALGORITHMS

        no_folder = {None, "true", *ALGORITHMS}
        flow = [] if self.flow in no_folder else [Path(self.flow or "")]
        return [self.manual_dir, *flow]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        from movseg_jax.data.prepared import DATASET

        return [self.data_dir / DATASET]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        options = read_options(self.name, self.options)
        if "flow" in options:
            raise InputError("--options flow=...: expected as --flow.")
        from movseg_jax.data.building import prepare  # Slow to import.

        folders = prepare(
            self.name,
            self.manual_dir,
            self.data_dir,
            splits=self.splits,
            flow=self.flow,
            flow_cache=self.flow_cache,
            workers=self.workers,
            overwrite=self.overwrite,
            progress=not self.quiet,
            **options,
        )
        return "\n".join(f"Prepared {folder}" for folder in folders)


@dataclasses.dataclass(frozen=True)
class Check:
    """Check that a data set is complete and laid out as it should be.

    Prints what is missing or wrong, a line each; the status is then 2.
    """

    name: tyro.conf.Positional[str]
    """Of the data set."""
    manual_dir: Path
    """The data set as it was downloaded and unpacked."""
    split: str = "train"
    """Which split."""
    thorough: bool = False
    """Read every annotation and flow, not only the headers of images."""
    options: tuple[str, ...] = ()
    """Of the data set, such as resolution=270p."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.data.checking import check

        problems = check(
            self.name,
            self.split,
            self.manual_dir,
            thorough=self.thorough,
            **read_options(self.name, self.options),
        )
        if problems:
            raise InputError("\n".join(problems))
        return f"{self.manual_dir}: {self.name}, {self.split}: nothing is wrong."


@dataclasses.dataclass(frozen=True)
class List:
    """List the data sets that can be read, their splits and options."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.data.sources import describe_layouts

        return describe_layouts()


DATA_COMMANDS = (Prepare, Check, List)


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepare data sets for training, check them, or list which there are."""

    command: Annotated[
        Prepare | Check | List, tyro.conf.arg(name=""), tyro.conf.OmitSubcommandPrefixes
    ]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        return self.command.run()
