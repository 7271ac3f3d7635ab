"""The command line: `movseg demo | convert | flow | synth | data | train | plot`.

Parses, calls one public function and reports; no logic of its own. Heavy modules are
imported by the command that needs them, so that `movseg --help` is instant.
"""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from movseg_jax.data.synthetic.config import SceneConfig
from movseg_jax.errors import InputError
from movseg_jax.process import prepare_jax


@dataclasses.dataclass(frozen=True)
class Demo:
    """Run the detector on a rendered frame; needs no data."""

    out: Path = Path("demo")
    """Folder for the frame, its encoded flow and the detections."""
    weights: Path | None = None
    """Weights from `movseg convert`; random ones without it."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax import demo

        return demo.run(self.out, self.weights)


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
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.convert import convert_weights
        from movseg_jax.weights.files import save_weights

        converted = convert_weights(
            self.file, appearance_heads=self.appearance_heads, stream=self.stream
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


@dataclasses.dataclass(frozen=True)
class Flow:
    """Estimate a video's optical flow: from each frame to the next, so of all but one.

    Stopped and started again, it goes on where it was.
    """

    video: tyro.conf.Positional[str]
    """A video file, a folder of frames, a pattern of them, or a camera's number."""
    out: Path
    """Folder for a file per frame, named as the frame."""
    to: Literal["flo", "kitti", "npz", "pfm", "png", "picture"] = "flo"
    """Format: Middlebury's .flo; the 16-bit PNG of KITTI; NumPy's .npz; .pfm; the angle
    and magnitude PNG of the paper's authors; or a picture in Middlebury's colours."""
    estimator: Literal["dis", "farneback"] = "dis"
    """OpenCV's Dense Inverse Search, or Farneback's method."""
    working_side: int | None = None
    """Longer side to compute at, in pixels; less is faster. None is the frame's."""
    max_frames: int | None = None
    """Frames to read at most; a camera would go on for ever."""
    overwrite: bool = False
    """Replace what the folder holds."""
    quiet: bool = False
    """Show no progress."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from tqdm import tqdm

        from movseg_jax.flow.export import FlowCounts, write_flows
        from movseg_jax.video.reading import fingerprint, probe, read_frames

        if self.max_frames is not None and self.max_frames < 2:
            raise InputError(
                f"--max-frames {self.max_frames}: flow is from a frame to the next; "
                "expected at least 2."
            )
        is_camera = self.video.isdecimal() and not Path(self.video).exists()
        total = None if is_camera else probe(self.video).frame_count
        frames = read_frames(self.video, max_frames=self.max_frames)
        counts = write_flows(
            ((frame.name, frame.image) for frame in frames),
            self.out,
            source=fingerprint(self.video),
            to=self.to,
            estimator=self.estimator,
            working_side=self.working_side,
            overwrite=self.overwrite,
        )
        total = min(filter(None, (total, self.max_frames)), default=None)
        last = FlowCounts(0, 0, 0)
        for count in tqdm(counts, total=total, unit="frame", disable=self.quiet):
            last = count
        known = f", {last.skipped} were there already" if last.skipped else ""
        return (
            f"{last.frames} frames: wrote the flow of {last.written}{known}: {self.out}"
        )


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

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from tqdm import tqdm

        from movseg_jax.data.synthetic.clips import write_clips
        from movseg_jax.data.synthetic.library import read_library

        library = None
        if self.backgrounds or self.cutouts:
            library = read_library(self.backgrounds, self.cutouts)
        with tqdm(total=self.clips, unit="clip", disable=self.quiet) as bar:
            written = write_clips(
                self.out,
                self.clips,
                self.seed,
                self.scene,
                library,
                overwrite=self.overwrite,
                workers=self.workers or os.cpu_count() or 1,
                progress=lambda done, total: bar.update(done - bar.n),
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
    """Which splits; all there are if none is given."""
    flow: str | None = None
    """"dis" or "farneback" estimates it; or a folder <sequence>/<frame>.flo (.png,
    .npz, .pfm), as `movseg flow` writes; "true" is FlyingThings3D's own."""
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

    def run(self) -> str:
        """Runs the command; returns what to print."""
        options = _read_options(self.name, self.options)
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
            **_read_options(self.name, self.options),
        )
        if problems:
            raise InputError("\n".join(problems))
        return f"{self.manual_dir}: {self.name}, {self.split}: nothing is wrong."


def _read_options(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Options of a data set from "key=value"; its reader knows what the values say."""
    from movseg_jax.data.sources import option_names

    known = option_names(name)
    read = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--options: {option!r} is not of the form key=value.")
        if key not in known:
            raise InputError(
                f"--options: {name} has no option {key!r}; expected one of "
                f"{', '.join(known)}."
            )
        if key in read:
            raise InputError(f"--options: {key} is given twice.")
        read[key] = value
    return read


@dataclasses.dataclass(frozen=True)
class List:
    """List the data sets that can be read, their splits and options."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.data.sources import describe_layouts

        return describe_layouts()


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a stage, or go on with it; stopped by SIGTERM it exits with status 75.

    Any field of the config can be set: --train.steps 100, --data.batch-size 8.
    `movseg train CONFIG --help` lists them.
    """

    config: tyro.conf.Positional[Path]
    """A config file, such as configs/tiny.py."""
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

        config = _read_config(self.config, self.settings)

        parallel.start_hosts(self.coordinator, self.processes, self.process)
        from movseg_jax.train.loop import open_sources, train
        from movseg_jax.train.stopping import STOPPED

        sources, validation = open_sources(config, self.data_dir)
        outcome = train(config, self.workdir, sources, validation, quiet=self.quiet)
        if outcome.finished:
            return outcome.report
        print(outcome.report)
        raise SystemExit(STOPPED)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the curves of training runs: one page without network, or a PNG."""

    workdirs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, to be drawn over one another."""
    out: Path | None = None
    """An .html or .png file; curves.html in the first folder without."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.train.plot import plot

        return plot(self.workdirs, self.out, overwrite=self.overwrite)


@dataclasses.dataclass(frozen=True)
class Data:
    """Prepare data sets for training, check them, or list which there are."""

    command: Annotated[
        Prepare | Check | List, tyro.conf.arg(name=""), tyro.conf.OmitSubcommandPrefixes
    ]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        return self.command.run()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 2 if its input is wrong."""
    try:
        command = _parse(argv)
        prepare_jax()
        print(command.run())
    except InputError as error:
        print(f"movseg: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv):
    """The command asked for; `--help` exits, a wrong argument is an `InputError`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"] and "--help" in argv[2:]:
        _read_config(Path(argv[1]), ["--help"])
    commands = Demo | Convert | Flow | Synth | Data | Train | Plot
    options: Any = {"config": (tyro.conf.OmitSubcommandPrefixes,)}
    if argv[:1] != ["train"]:
        return _parse_arguments(commands, argv, **options)
    command, settings = _parse_arguments(
        commands, argv, return_unknown_args=True, **options
    )
    return dataclasses.replace(command, settings=tuple(settings))


def _read_config(path, settings):
    """A config file's config, with settings such as --train.steps 100."""
    from movseg_jax.config import Config, load_config

    return _parse_arguments(
        Config,
        list(settings),
        default=load_config(path),
        config=(tyro.conf.AvoidSubcommands,),
    )


def _parse_arguments(kind, arguments, **options):
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                kind,
                prog="movseg",
                description="Segment and track anything that moves in a video.",
                args=arguments,
                **options,
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        words = re.sub("[─│╭╮╰╯]+", " ", message.getvalue()).split()
        raise InputError(" ".join(words)) from None
