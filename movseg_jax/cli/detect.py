"""The command `movseg detect`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from movseg_jax.cli.arguments import load_model, optional, read_options
from movseg_jax.errors import InputError
from movseg_jax.system.signals import STOPPED


@dataclasses.dataclass(frozen=True)
class Detect:
    """Detect objects in all frames of a data set, without tracking.

    Writes all detections with a score above 0.05, at most `model.detections` for each
    frame, as a list of results in COCO's format. What the static branch finds is in
    OUT_static.json, and OUT_images.json lists the frames. `movseg eval detection` and
    `movseg eval davis16` measure the file. If the command is stopped or killed, the
    same command resumes it after the last complete video.

    Attributes:
        dataset: Name of the data set, such as davis2016. `movseg data list` prints the
            names.
        split: Split of the data set.
        data_dir: Folder of the data set as it was downloaded and unpacked, or as
            `movseg data prepare` wrote it.
        out: The .json file to write.
        weights: A .safetensors file, or the folder of a training run.
        flow: Source of the optical flow: "dis", "dis_fast" or "farneback" estimate it;
            a folder holds <sequence>/<frame>.flo (or .png, .npz, .pfm).
        options: Options of the data set, such as resolution=270p.
        sequences: Sequences to detect in.
        allow_missing: Leave out videos whose frames are missing.
        static: Use the static branch of the weights, if they have one.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        max_side: Longer side of the frames that the model sees, in pixels.
        batch_size: Number of frames that the device processes at once.
        overwrite: Replace the files of another run.
        quiet: Do not show progress.
    """

    dataset: str
    split: str
    data_dir: Path
    out: Path
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    flow: Annotated[
        str | None, optional("that of the prepared data set, or dis", "STR")
    ] = None
    options: Annotated[tuple[str, ...], optional("none")] = ()
    sequences: Annotated[tuple[str, ...], optional("all sequences of the split")] = ()
    allow_missing: bool = False
    static: bool = True
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    max_side: Annotated[int | None, optional("the model's own size", "INT")] = None
    batch_size: int = 1
    overwrite: bool = False
    quiet: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        folder = self._flow_folder()
        return [
            path for path in (self.weights, self.data_dir, folder) if path is not None
        ]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        from movseg_jax.evaluation.detection_files import listing_path, static_path

        return [self.out, static_path(self.out), listing_path(self.out)]

    def _flow_folder(self) -> Path | None:
        from movseg_jax.flow.estimators import ALGORITHMS

        return None if self.flow in (None, *ALGORITHMS) else Path(str(self.flow))

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.data.selection import choose_sequences
        from movseg_jax.data.sources import open_source
        from movseg_jax.evaluation.dataset_detection import detect_dataset
        from movseg_jax.system.process import share_processor
        from movseg_jax.system.progress import progress_bar

        if self.out.suffix != ".json":
            raise InputError(f"--out {self.out}: expected a .json file.")
        options: dict[str, Any] = read_options(self.dataset, self.options)
        if "flow" in options:
            raise InputError("--options flow=...: give it as --flow instead.")
        folder = self._flow_folder()
        if folder is not None:
            options["flow"] = folder
        share_processor()
        detector = load_model(
            self.weights,
            static=self.static,
            max_side=self.max_side,
            fusion=self.fusion,
        )
        source = open_source(
            self.dataset,
            self.split,
            self.data_dir,
            allow_missing=self.allow_missing,
            **options,
        )
        if self.sequences:
            source = choose_sequences(source, self.sequences)
        about = {
            "dataset": self.dataset,
            "split": self.split,
            "options": self.options,
            "sequences": self.sequences,
            "data_folder": str(self.data_dir.resolve()),
            "flow_folder": None if folder is None else str(folder.resolve()),
        }
        with progress_bar("video", quiet=self.quiet) as show:
            outcome = detect_dataset(
                source,
                self.out,
                detector,
                about=about,
                flow="dis" if self.flow is None or folder else self.flow,
                batch_size=self.batch_size,
                overwrite=self.overwrite,
                progress=show,
            )
        if not outcome.finished:
            print(f"{self.out}: stopped at video {outcome.videos}; start it again.")
            raise SystemExit(STOPPED)
        already = " already" if outcome.already else ""
        return (
            f"{self.out}: finished{already}, {outcome.frames} frames of "
            f"{outcome.videos} videos."
        )
