"""The command `movseg segment`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from movseg_jax.cli.arguments import optional
from movseg_jax.config import MIN_FRAMES, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.system.signals import STOPPED

if TYPE_CHECKING:
    from movseg_jax.model.loading import TrainedDetector


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
        max_side: Longer side of the frames that the model sees, in pixels. Less is
            faster.
        batch_size: Number of frames that the device processes at once.
        flow: Source of the optical flow: "dis", "dis_fast" or "farneback" estimate it;
            a folder holds a flow file for each frame, named as the frame.
        max_frames: Largest number of frames to read.
        white: Value of white in 16-bit images, such as 4095 for a 12-bit camera.
        find_cuts: Split the video into shots. No track continues across a cut.
        min_motion: Drop tracks that are not faster than this relative to the scene, in
            pixels per frame.
        min_frames: Drop tracks that are seen to move in fewer frames than this.
        save: Additional formats to write. `movseg convert-tracks --help` describes
            them.
        why: Write at each object in the overlay how fast it moves relative to the
            scene.
        fps: Frame rate of the overlay if the video is a folder of frames.
        timing: Print how long each part took.
        allow_truncated: Exit with status 0 although the video is damaged. The results
            cover the frames that can be read.
        overwrite: Replace the results of another run in the folder.
        quiet: Do not show progress.
        track: How detections are linked to tracks.
    """

    video: tyro.conf.Positional[str]
    out: Path
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    model: Annotated[
        Literal["joint", "appearance", "motion"] | None,
        optional("all streams in the weights", "{joint,appearance,motion}"),
    ] = None
    max_side: Annotated[int | None, optional("the model's own size", "INT")] = None
    batch_size: int = 1
    flow: str = "dis"
    max_frames: Annotated[int | None, optional("all frames", "INT")] = None
    white: Annotated[int | None, optional("65535", "INT")] = None
    find_cuts: bool = True
    min_motion: Annotated[
        float | None, optional("0.2, or 0 if the model does not use flow", "FLOAT")
    ] = None
    min_frames: int = MIN_FRAMES
    save: Annotated[
        tuple[
            Literal[
                "foreground", "cutouts", "alpha", "colmap", "coco", "mots", "mot",
                "fbms", "npz",
            ],
            ...,
        ],
        optional("none"),
    ] = ()  # fmt: skip
    why: bool = False
    fps: float = 25.0
    timing: bool = False
    allow_truncated: bool = False
    overwrite: bool = False
    quiet: bool = False
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.flow.estimators import ALGORITHMS
        from movseg_jax.video.reading import source_paths

        flow = [] if self.flow in ALGORITHMS else [Path(self.flow)]
        weights = [] if self.weights is None else [self.weights]
        return [*source_paths(self.video), *flow, *weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.segment.detecting import share_processor
        from movseg_jax.segment.run import Settings, segment_to_folder
        from movseg_jax.system.progress import progress_bar

        settings = Settings(
            flow=self.flow,
            find_cuts=self.find_cuts,
            track=self.track,
            min_motion=self.min_motion,
            min_frames=self.min_frames,
            why=self.why,
            max_frames=self.max_frames,
            batch_size=self.batch_size,
            save=self.save,
            fps=self.fps,
            white=self.white,
        )
        share_processor()
        detector = load_model(self.weights, use=self.model, max_side=self.max_side)
        with progress_bar("frame", quiet=self.quiet) as show:
            summary = segment_to_folder(
                self.video,
                self.out,
                detector,
                settings,
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
        if summary.frames == 1 and not summary.tracks:
            report += (
                "\nOne frame alone shows no motion, so no track can be seen to move."
            )
        if self.timing and summary.timing:
            report += "\n" + _timing_table(summary.timing, summary.frames)
        if summary.damage:
            print(report)
            raise InputError(
                f"{summary.damage} The results are of {summary.frames} frames; "
                "--allow-truncated accepts that."
            )
        return report


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


def load_model(weights: Path | None, **options: Any) -> "TrainedDetector":
    """Loads a detector from a file of weights or from a training run.

    Orbax is only imported for a run that has not finished: its import takes seconds.

    Args:
        weights: The file or folder; None is the model in the package.
        options: Further arguments of `load_detector`.

    Raises:
        InputError: The weights cannot be read.
    """
    from movseg_jax.model.loading import is_unfinished_run, load_detector

    if weights is None or not is_unfinished_run(weights):
        return load_detector(weights, **options)
    from movseg_jax.train.initialise import load_trained

    return load_trained(weights, **options)
