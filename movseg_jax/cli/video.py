"""Commands for videos: `segment`, `demo`, `convert-tracks`, `flow`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from movseg_jax.config import MIN_FRAMES, TrackConfig
from movseg_jax.errors import InputError
from movseg_jax.system.signals import STOPPED

if TYPE_CHECKING:
    from movseg_jax.model.loading import TrainedDetector


@dataclasses.dataclass(frozen=True)
class Segment:
    """Segment and track everything that moves in a video.

    Writes masks/, tracks.json, overlay.mp4 and report.html. Stopped by Control-C or
    killed, and started again, it goes on where it was; a camera is read until
    Control-C.
    """

    video: tyro.conf.Positional[str]
    """A video file, a folder of frames, a pattern of them, or a camera's number."""
    out: Path
    """Folder for the results."""
    weights: Path | None = None
    """A .safetensors file or the folder of a training run; otherwise the model that
    comes with the package."""
    model: Literal["joint", "appearance", "motion"] | None = None
    """What of the model to use; all there is without. "appearance" finds objects
    whether they move or not."""
    flow: str = "dis"
    """"dis", "dis_fast", "farneback", or a folder of flow files named as the frames."""
    find_cuts: bool = True
    """Tell the video's shots apart: no track continues across a cut."""
    max_side: int | None = None
    """Longer side that the model sees, in pixels; less is faster."""
    max_frames: int | None = None
    """Frames to read at most."""
    save: tuple[
        Literal[
            "foreground", "cutouts", "alpha", "colmap", "coco", "mots", "mot", "fbms",
            "npz",
        ],
        ...,
    ] = ()  # fmt: skip
    """Formats to write besides: see `movseg convert-tracks --help`."""
    why: bool = False
    """Show in the overlay how fast each object moves relative to the scene."""
    min_motion: float | None = None
    """Leave out tracks that are not faster than this, relative to the scene, in pixels
    a frame; 0.2 without, or 0 if the model sees no motion."""
    min_frames: int = MIN_FRAMES
    """Leave out tracks that are not seen to move in this many frames at least."""
    batch_size: int = 1
    """Frames that the device gets at once."""
    fps: float = 25.0
    """Of the overlay of a folder of frames."""
    white: int | None = None
    """Value that is white in images of 16 bits, such as 4095 for a camera of 12 bits;
    otherwise 65535."""
    allow_truncated: bool = False
    """Exit with status 0 although the video is damaged: the results are of the frames
    that can be read."""
    timing: bool = False
    """Say how long each part took."""
    overwrite: bool = False
    """Replace what another run left in the folder."""
    quiet: bool = False
    """Show no progress."""
    track: TrackConfig = dataclasses.field(default_factory=TrackConfig)
    """How detections are linked."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        from movseg_jax.flow.estimators import ALGORITHMS
        from movseg_jax.video.reading import source_paths

        flow = [] if self.flow in ALGORITHMS else [Path(self.flow)]
        weights = [] if self.weights is None else [self.weights]
        return [*source_paths(self.video), *flow, *weights]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.segment.run import segment_to_folder
        from movseg_jax.segment.settings import SegmentConfig
        from movseg_jax.system.process import share_processor
        from movseg_jax.system.progress import progress_bar

        settings = SegmentConfig(
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
    """Seconds of each part. Parts run at the same time, so their sum is more."""
    total = seconds["total"]
    return "\n".join(
        f"{part:>16} {s:9.2f} s {1000 * s / frames:9.1f} ms/frame {s / total:7.1%}"
        for part, s in seconds.items()
    )


@dataclasses.dataclass(frozen=True)
class Demo:
    """Render a short video with known truth, segment it and score the result."""

    out: Path = Path("demo")
    """Folder for the frames, the truth and the result."""
    weights: Path | None = None
    """As of `movseg segment`."""
    overwrite: bool = False
    """Replace an earlier result."""
    quiet: bool = False
    """Show no progress."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        return [] if self.weights is None else [self.weights]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax import demo
        from movseg_jax.system.process import share_processor

        share_processor()
        ended = demo.run(
            self.out, self.weights, overwrite=self.overwrite, quiet=self.quiet
        )
        if not ended.finished:
            print(ended.report)
            raise SystemExit(STOPPED)
        return ended.report


@dataclasses.dataclass(frozen=True)
class ConvertTracks:
    """Convert tracks from one format to another.

    Reads a folder of index PNGs, JSON of YouTube-VIS or COCO, text of MOTS, or npz.
    """

    tracks: tyro.conf.Positional[Path]
    """File or folder."""
    out: Path
    """File or folder to write."""
    to: Literal[
        "tracks", "masks", "foreground", "cutouts", "alpha", "colmap", "coco", "mots",
        "mot", "fbms", "npz",
    ]  # fmt: skip
    """"tracks": JSON of YouTube-VIS; "masks": palette PNGs of DAVIS; "foreground":
    255 where something moves; "cutouts": RGBA PNGs of each object; "alpha": a video,
    .webm or .mov, transparent where nothing moves; "colmap": PNGs, 0 where something
    moves; "coco": JSON of COCO; "mots", "mot": text of the MOT challenges; "fbms": .dat
    for the evaluation of FBMS-59; "npz": an array."""
    sequence: str | None = None
    """The id or name of one video, of JSON that is of several."""
    video: str | None = None
    """The video, for cutouts and alpha."""
    fps: float | None = None
    """Frames per second, for alpha; the tracks' own times without."""
    image_suffix: str = ".jpg"
    """Of the frames' files, for tracks, coco and colmap."""
    white: int | None = None
    """Value that is white in the video's images of 16 bits; otherwise 65535."""
    dilate: int = 0
    """Pixels by which objects grow, for colmap."""
    overwrite: bool = False
    """Replace what is there."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        from movseg_jax.video.reading import source_paths

        video = [] if self.video is None else source_paths(self.video)
        return [self.tracks, *video]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.formats.conversion import read_tracks, write_tracks
        from movseg_jax.video.reading import read_frames

        there = self.out.exists() and (self.out.is_file() or any(self.out.iterdir()))
        if there and not self.overwrite:
            raise InputError(f"{self.out}: is there already; --overwrite replaces it.")
        tracks = read_tracks(self.tracks, sequence=self.sequence)
        video = self.video

        def frames():
            read = read_frames(video or "", white=self.white)
            return (frame.image for frame in read)

        write_tracks(
            tracks,
            self.out,
            to=self.to,
            frames=None if video is None else frames,
            fps=self.fps,
            image_suffix=self.image_suffix,
            dilate=self.dilate,
        )
        return f"{len(tracks)} frames: {self.out}"


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
    estimator: Literal["dis", "dis_fast", "farneback"] = "dis"
    """OpenCV's Dense Inverse Search, or Farneback's method."""
    working_side: int | None = None
    """Longer side to compute at, in pixels; less is faster. None is the frame's."""
    max_frames: int | None = None
    """Frames to read at most; a camera would go on for ever."""
    white: int | None = None
    """Value that is white in images of 16 bits, such as 4095 for a camera of 12 bits;
    otherwise 65535."""
    overwrite: bool = False
    """Replace what the folder holds."""
    quiet: bool = False
    """Show no progress."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        from movseg_jax.video.reading import source_paths

        return source_paths(self.video)

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.flow.export import FlowCounts, write_flows
        from movseg_jax.system.progress import progress_bar
        from movseg_jax.video.reading import fingerprint, probe, read_frames

        if self.max_frames is not None and self.max_frames < 2:
            raise InputError(
                f"--max-frames {self.max_frames}: flow is from a frame to the next; "
                "expected at least 2."
            )
        is_camera = self.video.isdecimal() and not Path(self.video).exists()
        total = None
        if not is_camera:
            total = probe(self.video, white=self.white).frame_count
        frames = read_frames(self.video, max_frames=self.max_frames, white=self.white)
        source = fingerprint(self.video)
        if self.white is not None:
            source += f", {self.white} being white"
        counts = write_flows(
            ((frame.name, frame.image) for frame in frames),
            self.out,
            source=source,
            to=self.to,
            estimator=self.estimator,
            working_side=self.working_side,
            overwrite=self.overwrite,
        )
        total = min(filter(None, (total, self.max_frames)), default=None)
        last = FlowCounts(0, 0, 0)
        with progress_bar("frame", quiet=self.quiet) as show:
            for last in counts:
                show(last.frames, total)
        known = f", {last.skipped} were there already" if last.skipped else ""
        return (
            f"{last.frames} frames: wrote the flow of {last.written}{known}: {self.out}"
        )


def load_model(weights: Path | None, **options: Any) -> "TrainedDetector":
    """A detector from weights or a training run.

    Orbax is imported only for a run that has not finished: it takes seconds.
    """
    from movseg_jax.model.loading import is_unfinished_run, load_detector

    if weights is None or not is_unfinished_run(weights):
        return load_detector(weights, **options)
    from movseg_jax.train.initialise import load_trained

    return load_trained(weights, **options)
