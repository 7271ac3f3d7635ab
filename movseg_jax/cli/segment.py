"""The command `movseg segment`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import tyro

from movseg_jax.cli.arguments import load_model, optional
from movseg_jax.cli.messages import in_options
from movseg_jax.errors import InputError
from movseg_jax.segment.settings import Reading, SegmentConfig
from movseg_jax.system.signals import STOPPED

AS_PAPER = "--as-paper"


@dataclasses.dataclass(frozen=True)
class Segment:
    """Segment and track everything that moves in a video.

    Writes masks/, tracks.json, overlay.mp4, report.html and run.json. If the run is
    stopped with Control-C or killed, the same command resumes it. A camera is read
    until Control-C.

    Attributes:
        video: A video file, a folder of frames, a pattern such as "frames/*.jpg", or a
            camera's number.
        out: Folder for the results.
        weights: A .safetensors file, or the folder of a training run.
        model: Streams to use. "appearance" finds objects whether they move or not.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        as_paper: Track as the code that the paper's authors released does ("release",
            also if no value is given) or as the paper describes it ("text"), and find
            no cuts. Options beside it change single settings.
        static: Use the static branch of the weights, if they have one.
        max_side: Longer side of the frames that the model sees, in pixels. Less is
            faster.
        timing: Print how long each part took.
        allow_truncated: Exit with status 0 although the video is damaged. The results
            cover the frames that can be read.
        overwrite: Replace the results of another run in the folder.
        quiet: Do not show progress.
        config: Settings that decide about the results.
    """

    video: tyro.conf.Positional[str]
    out: Path
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    model: Annotated[
        Literal["joint", "appearance", "motion"] | None,
        optional("all streams in the weights", "{joint,appearance,motion}"),
    ] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    as_paper: Annotated[
        Reading | None, optional("the package's tracker", "[{release,text}]")
    ] = None
    static: bool = True
    max_side: Annotated[int | None, optional("the model's own size", "INT")] = None
    timing: bool = False
    allow_truncated: bool = False
    overwrite: bool = False
    quiet: bool = False
    config: Annotated[SegmentConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=SegmentConfig
    )

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.flow.estimators import ALGORITHMS
        from movseg_jax.video.reading import source_paths

        flow = [] if self.config.flow in ALGORITHMS else [Path(self.config.flow)]
        weights = [] if self.weights is None else [self.weights]
        return [*source_paths(self.video), *flow, *weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.segment.run import segment_to_folder
        from movseg_jax.system.process import share_processor
        from movseg_jax.system.progress import progress_bar

        share_processor()
        detector = load_model(
            self.weights,
            fusion=self.fusion,
            use=self.model,
            static=self.static,
            max_side=self.max_side,
        )
        with progress_bar("frame", quiet=self.quiet) as show:
            summary = segment_to_folder(
                self.video,
                self.out,
                detector,
                self.config,
                overwrite=self.overwrite,
                allow_truncated=self.allow_truncated,
                progress=show,
            )
        return self._report(summary)

    def _report(self, summary) -> str:
        if not summary.finished:
            print(f"{self.out}: stopped at frame {summary.frames}; start it again.")
            raise SystemExit(STOPPED)
        already = " already" if summary.already else ""
        report = (
            f"{self.out}: finished{already}, {summary.tracks} tracks in "
            f"{summary.frames} frames."
        )
        if summary.hint:
            report += "\n" + in_options(InputError(summary.hint), [Segment])
        if self.timing and summary.timing:
            report += "\n" + _timing_table(summary.timing, summary.frames)
        if summary.damage:
            print(report)
            raise InputError(
                f"{summary.damage} The results are of {summary.frames} frames; "
                "--allow-truncated accepts that."
            )
        return report


def expand_as_paper(arguments: Sequence[str]) -> list[str]:
    """Adds the settings that `--as-paper` stands for to the arguments of the command.

    They come first, so that all other options override them.
    """
    words = [part for word in arguments for part in _split(word)]
    if AS_PAPER not in words:
        return words
    place = words.index(AS_PAPER) + 1
    readings = get_args(Reading)
    if words[place:][:1] not in [[reading] for reading in readings]:
        words.insert(place, readings[0])
    paper = SegmentConfig.as_paper(cast(Reading, words[place]))
    return [*_as_options(SegmentConfig(), paper), *words]


def _split(word: str) -> list[str]:
    name, equals, value = word.partition("=")
    is_ours = name.replace("_", "-") == AS_PAPER
    return [AS_PAPER, *([value] if equals else [])] if is_ours else [word]


def _as_options(before: Any, after: Any, prefix: str = "") -> list[str]:
    """The options that turn a dataclass into another one."""
    options = []
    for field in dataclasses.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        name = field.name.replace("_", "-")
        if dataclasses.is_dataclass(new):
            options += _as_options(old, new, f"{prefix}{name}.")
        elif new != old and isinstance(new, bool):
            options.append(f"--{prefix}{'' if new else 'no-'}{name}")
        elif new != old:
            options += [f"--{prefix}{name}", str(new)]
    return options


def _timing_table(seconds: dict[str, float], frames: int) -> str:
    """The seconds of each part. Parts overlap in time, so their sum exceeds the total.

    Args:
        seconds: The seconds of each part by its name, and of the run as "total".
        frames: Number of frames.
    """
    total = seconds["total"]
    return "\n".join(
        f"{part:>16} {s:9.2f} s {1000 * s / frames:9.1f} ms/frame {s / total:7.1%}"
        for part, s in seconds.items()
    )
