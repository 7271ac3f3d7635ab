"""The command `movseg segment`."""

import contextlib
import dataclasses
import functools
import glob
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import tyro

from movseg_jax.cli.arguments import load_model, optional
from movseg_jax.cli.messages import in_options
from movseg_jax.config import Precision
from movseg_jax.errors import InputError
from movseg_jax.segment.settings import Reading, SegmentConfig
from movseg_jax.segment.video_list import (
    STDIN,
    WHOLE,
    Shard,
    VideoList,
    default_folder,
    find_videos,
    is_address,
)
from movseg_jax.system.buckets import bucket_address
from movseg_jax.system.signals import STOPPED

if TYPE_CHECKING:
    from movseg_jax.model.loading import TrainedDetector
    from movseg_jax.segment.batch import BatchOutcome
    from movseg_jax.segment.engines import Engine
    from movseg_jax.segment.run import Summary

AS_PAPER = "--as-paper"
FAST = ("--max-side", "352", "--flow", "dis_fast")  # What --fast stands for.
SOME_FAILED = 3  # Exit status if some of several videos could not be segmented.
SHOWN = 5  # Videos that failed, as they are printed.


@dataclasses.dataclass(frozen=True)
class Segment:
    """Segment and track everything that moves in a video, or in many.

    Writes masks/, tracks.json, overlay.mp4, report.html and run.json; of several
    videos, to a folder each. If the run is stopped with Control-C or killed, the same
    command resumes it. A camera is read until Control-C.

    Attributes:
        videos: A video file, a folder of frames, a pattern such as "frames/*.jpg", a
            camera's number, an address (https://, gs:// or s3://), or - for standard
            input. Several videos: a folder or pattern that holds videos or folders of
            frames, a text file with a path per line, or several arguments.
        out: Folder for the results. For one video it may be an address of a folder in a
            bucket, such as gs://bucket/results.
        weights: A .safetensors file, or the folder of a training run.
        model: Streams to use. "appearance" finds objects whether they move or not.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        as_paper: Track as the code that the paper's authors released does ("release",
            also if no value is given) or as the paper describes it ("text"), and find
            no cuts. Options beside it change single settings.
        fast: See smaller frames (--max-side 352) and estimate flow faster (--flow
            dis_fast): about two thirds of the time, for coarser results.
        static: Use the static branch of the weights, if they have one.
        max_side: Longer side of the frames that the model sees, in pixels. Less is
            faster.
        precision: Precision of products. "highest" computes in float32 on all devices.
        timing: Print how long each part took, if it is one video.
        allow_truncated: Exit with status 0 although the video is damaged. The results
            cover the frames that can be read.
        overwrite: Replace the results of another run in the folder.
        quiet: Do not show progress.
        jobs: Number of videos to segment at a time, in a process each. With this, or
            with --engine ray, --shard, --limit or --dry-run, a single video has its own
            folder in --out, too.
        engine: Machines that run these processes: this one ("processes"), or those of a
            Ray cluster ("ray").
        address: Address of the Ray cluster, HOST:PORT. "local" starts one on this
            machine.
        devices_per_job: Number of GPUs that each process gets on a Ray cluster. Without
            GPUs, it is the number of TPU chips or cores.
        retries: Number of times that a video is tried again after its process died.
        shard: Part of the videos to segment, such as 2/8.
        limit: Largest number of videos to segment, besides those that are finished.
        dry_run: Print which videos would be segmented, and to which folders.
        config: Settings that decide about the results.
    """

    videos: tyro.conf.Positional[
        Annotated[
            tuple[str, ...],
            tyro.conf.arg(metavar="VIDEO [VIDEO ...]", help_behavior_hint="(required)"),
        ]
    ]
    out: Annotated[Path | None, optional("VIDEO_movseg, beside VIDEO", "PATH")] = None
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    model: Annotated[
        Literal["joint", "appearance", "motion"] | None,
        optional("all streams in the weights", "{joint,appearance,motion}"),
    ] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    as_paper: Annotated[
        Reading | None, optional("the package's tracker", "[{release,text}]")
    ] = None
    fast: bool = False
    static: bool = True
    max_side: Annotated[int | None, optional("the model's own size", "INT")] = None
    precision: Annotated[
        Precision | None,
        optional("the fastest on this device", "{default,bfloat16,highest}"),
    ] = None
    timing: bool = False
    allow_truncated: bool = False
    overwrite: bool = False
    quiet: bool = False
    jobs: Annotated[int | None, optional("1; with ray, all that fit", "INT")] = None
    engine: Literal["processes", "ray"] = "processes"
    address: Annotated[str | None, optional("a running one, or local", "STR")] = None
    devices_per_job: int = 1
    retries: int = 2
    shard: Annotated[str | None, optional("all", "I/N")] = None
    limit: Annotated[int | None, optional("all", "INT")] = None
    dry_run: bool = False
    config: Annotated[SegmentConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=SegmentConfig
    )

    @property
    def addresses(self) -> list[str | Path]:
        """The arguments that need not be paths: videos, the results, a cluster."""
        out = [] if self.out is None or self._bucket is None else [self.out]
        cluster = [] if self.address is None else [self.address]
        return [*out, *cluster, *self.videos]  # `find_videos` checks those.

    @property
    def _bucket(self) -> str | None:
        """The address of the folder for the results, if it is in a bucket."""
        return bucket_address(self.out)

    @functools.cached_property
    def _found(self) -> VideoList:
        if not self.videos:
            raise InputError("Name a video, or several.")
        several = (self.jobs, self.shard, self.limit) != (None, None, None)
        several = several or self.dry_run or self.engine == "ray"
        return find_videos(self.videos, several=several)

    @property
    def _out(self) -> Path:
        """The folder for the results; by default beside the one video or folder."""
        if self.out is not None:
            return self.out
        first, *others = self.videos
        if others or glob.has_magic(first):
            raise InputError("Several videos need a folder for the results: --out.")
        return default_folder(first)

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.config import NETWORKS
        from movseg_jax.flow.estimators import ALGORITHMS
        from movseg_jax.video.reading import source_paths

        named = self.config.flow in (*ALGORITHMS, *NETWORKS)
        flow = [] if named else [Path(self.config.flow)]
        files = [self.weights, self.config.flow_weights]
        weights = [Path(file) for file in files if file is not None]
        videos, several = self._found
        if several:  # Whether each can be read is found when its turn comes.
            lists = [path for path in map(Path, self.videos) if path.is_file()]
            read = [*map(Path, videos), *lists]
        elif videos[0] == STDIN or is_address(videos[0]):
            read = []
        else:
            read = source_paths(videos[0])
        return [*read, *flow, *weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        if self._bucket is None:
            return [self._out]
        if self._found.several:
            raise InputError(
                f"{self._bucket}: only a single video can be written to a bucket; "
                "choose a local folder for several, and copy it, or name one video."
            )
        return []

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.segment.fetching import address_name, fetched, standard_input

        if self.out is None:
            self._check_default_folder()
        if self._found.several:
            return self._run_several()
        video = self._found.videos[0]
        if video == STDIN:
            with standard_input() as copy:
                return self._run_one(copy, Path(copy).parent.name)
        return self._run_one(fetched(video), address_name(video))

    def _check_default_folder(self) -> None:
        """Refuses a default folder for the results that cannot be made."""
        out, parent = self._out, self._out.absolute().parent
        if parent.is_dir() and not out.exists() and not os.access(parent, os.W_OK):
            raise InputError(
                f"{out}: cannot be made, since {parent} cannot be written to; choose a "
                "folder with --out."
            )

    def _load(self) -> "functools.partial[TrainedDetector]":
        """The function that loads the detector; processes can be given it."""
        return functools.partial(
            load_model,
            self.weights,
            fusion=self.fusion,
            use=self.model,
            static=self.static,
            max_side=self.max_side,
            precision=self.precision,
        )

    def _run_one(self, video: str, copy_of: str | None) -> str:
        from movseg_jax.system.process import share_processor
        from movseg_jax.system.progress import progress_bar

        if self._bucket is None:
            from movseg_jax.segment.run import segment_to_folder as segment
        else:
            from movseg_jax.segment.bucket_run import segment_to_bucket as segment
        share_processor()
        detector = self._load()()
        with progress_bar("frame", quiet=self.quiet) as show:
            summary = segment(
                video,
                self._out,
                detector,
                self.config,
                overwrite=self.overwrite,
                allow_truncated=self.allow_truncated,
                progress=show,
                copy_of=copy_of,
            )
        return self._report(summary)

    def _report(self, summary: "Summary") -> str:
        from movseg_jax.report.html import counted
        from movseg_jax.segment.run_folder import REPORT

        out = self._bucket or self._out
        if not summary.finished:
            print(f"{out}: stopped at frame {summary.frames}; start it again.")
            raise SystemExit(STOPPED)
        already = " already" if summary.already else ""
        frames = counted(summary.frames, "frame")
        tracks = counted(summary.tracks, "track")
        report = f"{out}: finished{already}, {tracks} in {frames}."
        if summary.hint:
            report += "\n" + in_options(InputError(summary.hint), [Segment])
        if self.timing and summary.timing:
            report += "\n" + _timing_table(summary.timing, summary.frames)
        if summary.damage:
            print(report)
            raise InputError(
                f"{summary.damage} The results are of {frames}; --allow-truncated "
                "accepts that."
            )
        return f"{report}\nLook at {out}/{REPORT}."

    def _engine(self) -> "contextlib.AbstractContextManager[Engine]":
        from movseg_jax.segment import engines

        if self.engine == "ray":
            return engines.on_ray(
                self.jobs, address=self.address, devices=self.devices_per_job
            )
        return contextlib.nullcontext(engines.processes(self.jobs))

    def _run_several(self) -> str:
        from movseg_jax.system.progress import progress_bar

        videos = self._found.videos
        shard = WHOLE if self.shard is None else Shard.parse(self.shard)
        if not shard.of(videos):
            return f"{self._out}: no video is left for shard {self.shard}."
        for name, value, least in (
            ("limit", self.limit, 1),
            ("jobs", self.jobs, 0),
            ("retries", self.retries, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"`{name}` is {value}, expected {least} or more.")
        if self.dry_run:
            return self._plan(videos, shard)
        from movseg_jax.segment.batch import segment_batch  # They import JAX.
        from movseg_jax.segment.batch_worker import BatchJob

        batch = BatchJob(
            self._out,
            self._load(),
            self.config,
            overwrite=self.overwrite,
            allow_truncated=self.allow_truncated,
            explain=functools.partial(in_options, kinds=(Segment,)),
        )
        with self._engine() as engine, progress_bar("video", quiet=self.quiet) as show:
            outcome = segment_batch(
                batch,
                videos,
                shard=shard,
                engine=engine,
                retries=self.retries,
                limit=self.limit,
                progress=show,
            )
        return self._report_several(outcome)

    def _plan(self, videos: Sequence[str], shard: Shard) -> str:
        """The videos to segment, each with its folder and state; loads no model."""
        from movseg_jax.segment.batch_folder import BatchFolder, Wanted

        folder = BatchFolder(self._out)
        about = folder.expected(dataclasses.asdict(self.config))
        folder.check(about, overwrite=self.overwrite)
        # Videos that failed are tried again.
        wanted = Wanted(about, self.allow_truncated, since=math.inf)
        rows = shard.of(folder.add(videos))
        lines = []
        for row in rows:
            if folder.settled(row, wanted) is None:
                row = folder.look(row)
                again = "replaced" if self.overwrite else "refused"
                state = again if row.state == "done" else row.state
                lines.append(f"{state:8} {folder.results(row)}  {row.video}")
        count = len(rows) - len(lines)
        lines = lines[: self.limit]
        return "\n".join(
            [*lines, f"{len(lines)} to segment, {count} are finished: {self._out}"]
        )

    def _report_several(self, outcome: "BatchOutcome") -> str:
        from movseg_jax.segment.batch_folder import FAILED, ROWS

        out, rows = self._out, outcome.rows
        if not rows:  # No worker had loaded the model yet.
            print(f"{out}: stopped before the first video; start it again.")
            raise SystemExit(STOPPED)
        done, failed = outcome.count("done"), outcome.count("failed")
        report = f"{out}: {done} of {len(rows)} videos are done"
        if failed:
            report += f", {failed} failed: {out / FAILED}"
            for row in [row for row in rows if row.state == "failed"][:SHOWN]:
                last = row.error.splitlines()[-1:] or [""]
                print(f"movseg: {row.folder}: {last[0]}", file=sys.stderr)
        if outcome.stopped:
            print(f"{report}; stopped, start it again.")
            raise SystemExit(STOPPED)
        report += f".\nLook at {out / ROWS}."
        if failed:
            print(report)
            raise SystemExit(SOME_FAILED)
        return report


def expand_presets(arguments: Sequence[str]) -> list[str]:
    """Adds what `--as-paper` and `--fast` stand for to the arguments of the command.

    They come first, so that all other options override them.
    """
    words = [part for word in arguments for part in _split(word)]
    preset = [*FAST] if "--fast" in words else []
    if AS_PAPER in words:
        place = words.index(AS_PAPER) + 1
        readings = get_args(Reading)
        if words[place:][:1] not in [[reading] for reading in readings]:
            words.insert(place, readings[0])
        paper = SegmentConfig.as_paper(cast(Reading, words[place]))
        preset += _as_options(SegmentConfig(), paper)
    return [*preset, *words]


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
        f"{part:>24} {s:9.2f} s {1000 * s / frames:9.1f} ms/frame {s / total:7.1%}"
        for part, s in seconds.items()
    )
