"""The command `movseg flow`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from movseg_jax.cli.arguments import optional
from movseg_jax.config import NetworkName
from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Flow:
    """Estimate a video's optical flow.

    Flow goes from each frame to the next, so the last frame has none. If the run is
    stopped, the same command resumes it.

    Attributes:
        video: A video file, a folder of frames, a pattern such as "frames/*.jpg", or a
            camera's number.
        out: Folder for the flow: a file per frame, named as the frame.
        to: Format to write.
            "flo": Middlebury's .flo.
            "kitti": KITTI's 16-bit PNG.
            "npz": NumPy arrays.
            "pfm": .pfm.
            "png": the angle and magnitude PNG of the paper's authors.
            "picture": a picture in Middlebury's colours.
        estimator: Method. OpenCV's Dense Inverse Search ("dis", or "dis_fast" with a
            coarser preset), or Farneback's; or a network, which needs --flow-weights.
            --flow is the same option.
        flow_weights: Weights of a flow network, converted by `movseg convert`.
        flow_updates: Number of steps in which RAFT improves the flow.
        working_side: Longer side at which flow is computed, in pixels. Less is faster.
        max_frames: Largest number of frames to read. A camera has no end, so set it
            there.
        white: Value of white in 16-bit images, such as 4095 for a 12-bit camera.
        overwrite: Replace the results of another run in the folder.
        quiet: Do not show progress.
    """

    video: tyro.conf.Positional[str]
    out: Path
    to: Literal["flo", "kitti", "npz", "pfm", "png", "picture"] = "flo"
    estimator: Annotated[
        Literal["dis", "dis_fast", "farneback", NetworkName],
        tyro.conf.arg(aliases=["--flow"]),
    ] = "dis"
    flow_weights: Annotated[Path | None, optional("none", "PATH")] = None
    flow_updates: Annotated[int | None, optional("12", "INT")] = None
    working_side: Annotated[int | None, optional("that of the frame", "INT")] = None
    max_frames: Annotated[int | None, optional("all frames", "INT")] = None
    white: Annotated[int | None, optional("65535", "INT")] = None
    overwrite: bool = False
    quiet: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.video.reading import source_paths

        weights = [] if self.flow_weights is None else [self.flow_weights]
        return [*source_paths(self.video), *weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.flow.export import FlowCounts, write_flows
        from movseg_jax.flow.networks import load_if_network
        from movseg_jax.system.paths import is_camera
        from movseg_jax.system.progress import progress_bar
        from movseg_jax.video.reading import fingerprint, probe, read_frames

        if self.max_frames is not None and self.max_frames < 2:
            raise InputError(
                f"--max-frames {self.max_frames}: flow goes from a frame to the next; "
                "expected at least 2."
            )
        network = load_if_network(
            self.estimator, self.flow_weights, self.flow_updates, self.working_side
        )
        total = None
        if not is_camera(self.video):
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
            estimator=network or self.estimator,
            working_side=self.working_side,
            overwrite=self.overwrite,
        )
        total = min(filter(None, (total, self.max_frames)), default=None)
        last = FlowCounts(0, 0, 0)
        with progress_bar("frame", quiet=self.quiet) as show:
            for last in counts:
                show(last.frames, total)
        skipped = f", {last.skipped} were there already" if last.skipped else ""
        return (
            f"{last.frames} frames: wrote the flow of {last.written}{skipped}: "
            f"{self.out}"
        )
