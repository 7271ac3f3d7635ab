"""The command `movseg eval`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from movseg_jax.cli.arguments import optional, read_options
from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure predictions with the metrics of a benchmark.

    Prints a table. All sequences and frames must be there, at the size of the truth.
    Otherwise the command names what is missing, prints no number and exits with
    status 2. The conventions are described in docs/evaluation.md.

    Attributes:
        protocol: Benchmark to measure by.
            "davis16": J, F and T of all that moves as one region.
            "davis17-moving", "ytvos-moving" and "fbms-proposed": the paper's measure of
            objects.
            "davis17-unsupervised": J and F of objects matched to tracks.
            "fbms-official": the measure of FBMS-59.
            "fbms-3d": Bideau's measure, with labels of what moves in 3D.
            "detection": average precision on --dataset.
            "masks": the folder --pred against the folder --gt.
            "coco": a COCO results file, --pred, against an instances file, --gt.
        pred: Folder of predictions. For each sequence it holds SEQUENCE/ as `movseg
            segment` writes it, or SEQUENCE/ with a PNG of track numbers for each frame,
            or SEQUENCE.json, .npz or .dat. Or a file that `movseg detect` wrote, for
            detection and davis16.
        data_dir: Folder of the data set as it was downloaded and unpacked.
        gt: Folder of the truth for masks: SEQUENCE/FRAME.png with object numbers. The
            instances JSON for coco.
        dataset: Name of the data set for detection, such as davis2016, davis2017 or
            ytvos_moving. `movseg data list` prints the names.
        split: Split of the data set.
        options: Options of the data set, such as resolution=270p.
        sequences: Sequences to measure.
        match: Rule that matches frames to those of the truth. "auto" matches by name,
            or by position if a prediction only has frame numbers, and as many frames as
            the video or as are annotated.
        allow_extra: Leave out frames and sequences that the data set does not have,
            instead of failing.
        allow_missing: Leave out sequences that the folder of the data set does not
            have. The report says how many were measured.
        background: Background in the paper's measure. "0": pixels without a track.
            "infer": the largest track, for methods that do not mark the background.
        temporal: Implementation of DAVIS that T follows in davis16. "off" leaves T out,
            which takes long.
        max_tracks: Largest number of tracks in a sequence in davis17-unsupervised.
        foreground: Measure all objects as one region, in masks.
        join: JSON for masks, with objects that move together and count as one object:
            {"clips": {SEQUENCE: {"joined": [[1, 2], ...]}}}.
        stacked: Treat all categories as one in coco, as Table 2 of the paper does.
        out: A JSON file to write all numbers to, such as metrics.json.
        html: An HTML file to write the table and the worst frames to.
        worst: Number of worst frames in the HTML file.
        draws: Number of draws of sequences for the confidence intervals.
        workers: Number of processes; 0 means one for each CPU. The numbers do not
            depend on it.
        overwrite: Replace --out and --html if they exist.
        quiet: Do not show progress.
    """

    protocol: tyro.conf.Positional[
        Literal[
            "davis16", "davis17-moving", "davis17-unsupervised", "fbms-official",
            "fbms-proposed", "fbms-3d", "ytvos-moving", "detection", "masks", "coco",
        ]
    ]  # fmt: skip
    pred: Path
    data_dir: Annotated[Path | None, optional("none", "PATH")] = None
    gt: Annotated[Path | None, optional("none", "PATH")] = None
    dataset: Annotated[str | None, optional("none", "STR")] = None
    split: Annotated[str | None, optional("the split of the protocol", "STR")] = None
    options: Annotated[tuple[str, ...], optional("none")] = ()
    sequences: Annotated[tuple[str, ...], optional("all sequences of the split")] = ()
    match: Literal["auto", "name", "position"] = "auto"
    allow_extra: bool = False
    allow_missing: bool = False
    background: Annotated[Literal["0", "infer"] | None, optional("0", "{0,infer}")] = (
        None
    )
    temporal: Annotated[
        Literal["python", "matlab", "off"] | None,
        optional("python", "{python,matlab,off}"),
    ] = None
    max_tracks: Annotated[int | None, optional("20, as in the challenge", "INT")] = None
    foreground: bool = False
    join: Annotated[Path | None, optional("none", "PATH")] = None
    stacked: bool = False
    out: Annotated[Path | None, optional("none", "PATH")] = None
    html: Annotated[Path | None, optional("none", "PATH")] = None
    worst: int = 12
    draws: int = 1000
    workers: int = 0
    overwrite: bool = False
    quiet: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        paths = (self.pred, self.data_dir, self.gt)
        return [path for path in paths if path is not None]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [path for path in (self.out, self.html) if path is not None]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        if self.protocol == "coco":
            return self._run_coco()
        from movseg_jax.evaluation.evaluate import evaluate
        from movseg_jax.evaluation.reporting import check_outputs, report
        from movseg_jax.system.progress import progress_bar

        check_outputs(self.out, self.html, worst=self.worst, overwrite=self.overwrite)
        request = self._request()
        with progress_bar("sequence", quiet=self.quiet) as show:
            measured = evaluate(request, show)
        return report(measured, self.out, self.html, worst=self.worst)

    def _run_coco(self) -> str:
        from movseg_jax.evaluation.coco import evaluate_coco_files, to_json, to_text
        from movseg_jax.evaluation.reporting import check_outputs
        from movseg_jax.system.atomic import write_file

        self._refuse_useless()
        if self.gt is None:
            raise InputError("coco: --gt is missing. It is the JSON of instances.")
        check_outputs(self.out, None, worst=0, overwrite=self.overwrite)
        results = evaluate_coco_files(self.pred, self.gt, stacked=self.stacked)
        if self.out is None:
            return to_text(results)
        write_file(self.out, to_json(results))
        return f"{to_text(results)}\nWrote {self.out}"

    def _request(self):
        from movseg_jax.evaluation.evaluate import Request
        from movseg_jax.evaluation.protocols import PROTOCOLS, Settings

        self._refuse_useless()
        protocol = PROTOCOLS[self.protocol]
        option, root = "--data-dir", self.data_dir
        if protocol.dataset == "":
            option, root = "--gt", self.gt
        if root is None:
            raise InputError(
                f"{self.protocol}: {option} is missing. It is the folder of the truth."
            )
        chosen: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("background", "temporal", "max_tracks")
            if getattr(self, name) is not None
        }
        name = protocol.dataset or self.dataset
        return Request(
            protocol=self.protocol,
            pred=self.pred,
            root=root,
            dataset=self.dataset,
            split=self.split,
            options=read_options(name, self.options) if name else {},
            sequences=self.sequences,
            settings=Settings(**chosen),
            foreground=self.foreground,
            match=self.match,
            allow_extra=self.allow_extra,
            allow_missing=self.allow_missing,
            draws=self.draws,
            workers=self.workers,
            join=self.join,
        )

    def _refuse_useless(self) -> None:
        """Refuses options that have no effect on the protocol."""
        useless = self._useless_options()
        for field in dataclasses.fields(self):
            if field.name in useless and getattr(self, field.name) != field.default:
                option = "--" + field.name.replace("_", "-")
                raise InputError(
                    f"{option} has no effect on {self.protocol}; leave it out."
                )

    def _useless_options(self) -> set[str]:
        from movseg_jax.evaluation.protocols import PROTOCOLS

        if self.protocol == "coco":
            names = {field.name for field in dataclasses.fields(self)}
            used = {"protocol", "pred", "gt", "stacked", "out", "overwrite", "quiet"}
            return names - used
        protocol = PROTOCOLS[self.protocol]
        useless = {"stacked", "background", "temporal", "max_tracks"}
        useless -= protocol.settings
        if protocol.dataset == "":  # Two folders.
            useless |= {"data_dir", "split", "options", "allow_missing"}
        else:
            useless |= {"gt", "foreground", "join"}
        if protocol.dataset is not None:  # The protocol chooses the data set.
            useless |= {"dataset"}
        return useless
