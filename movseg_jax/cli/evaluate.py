"""The command that measures predictions: `eval`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from movseg_jax.cli.arguments import read_options
from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure predictions: every measure of the field, by its own conventions.

    Prints a table. All sequences and frames must be there, at the size of the truth;
    otherwise the status is 2, what is missing is named, and no number is given.
    docs/evaluation.md has the conventions.
    """

    protocol: tyro.conf.Positional[
        Literal[
            "davis16", "davis17-moving", "davis17-unsupervised", "fbms-official",
            "fbms-proposed", "fbms-3d", "ytvos-moving", "detection", "masks", "coco",
        ]
    ]  # fmt: skip
    """"davis16": J, F and T of what moves. "davis17-moving", "ytvos-moving",
    "fbms-proposed": the paper's measure of objects. "davis17-unsupervised": J and F of
    matched objects. "fbms-official": that of FBMS-59. "fbms-3d": Bideau's, with labels
    of what moves in 3D. "detection": average precision, of --dataset. "masks": of any
    two folders, --pred and --gt. "coco": of a file of COCO's results, --pred, and one
    of its instances, --gt."""
    pred: Path
    """Folder of predictions: SEQUENCE/ as `movseg segment` writes it, or with a PNG of
    tracks' numbers for each frame; or SEQUENCE.json, .npz, .dat."""
    data_dir: Path | None = None
    """The data set as it was downloaded and unpacked."""
    gt: Path | None = None
    """For masks: the folder of the truth, SEQUENCE/FRAME.png of objects' numbers. For
    coco: the JSON of instances."""
    out: Path | None = None
    """A file for all numbers, metrics.json."""
    html: Path | None = None
    """A file for a page with the table and the worst frames."""
    dataset: str | None = None
    """For detection: such as davis2016, davis2017, ytvos_moving; `movseg data list`."""
    split: str | None = None
    """Of the data set; the protocol's own without."""
    options: tuple[str, ...] = ()
    """Of the data set, such as resolution=270p."""
    sequences: tuple[str, ...] = ()
    """Measure these only."""
    background: Literal["0", "infer"] | None = None
    """For the paper's measure: what is background, pixels without a track, or, as for
    methods that do not say, the largest track."""
    temporal: Literal["python", "matlab", "off"] | None = None
    """For davis16: T as of DAVIS' Python or Matlab code; or no T, which takes long."""
    max_tracks: int | None = None
    """For davis17-unsupervised: of a sequence; the challenge allows 20."""
    foreground: bool = False
    """For masks: do not tell objects apart."""
    join: Path | None = None
    """For masks: a JSON of the objects that move as one, {"clips": {SEQUENCE:
    {"joined": [[1, 2], ...]}}}, which are one object then."""
    stacked: bool = False
    """For coco: take all categories for one, as for Table 2 of the paper."""
    match: Literal["auto", "name", "position"] = "auto"
    """Of frames; "auto" goes by names, or by position where a prediction has numbers
    only and as many frames as the video, or as are annotated."""
    allow_extra: bool = False
    """Leave out frames and sequences that the data set does not have."""
    draws: int = 1000
    """For the intervals: how often sequences are drawn."""
    worst: int = 12
    """Frames that the page shows."""
    workers: int = 0
    """Processes; 0 is one for each CPU. The numbers do not depend on it."""
    overwrite: bool = False
    """Replace --out and --html."""
    quiet: bool = False
    """Show no progress."""

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        paths = (self.pred, self.data_dir, self.gt)
        return [path for path in paths if path is not None]

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        return [path for path in (self.out, self.html) if path is not None]

    def run(self) -> str:
        """Runs the command; returns what to print."""
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

        plain = Eval("coco", self.pred)
        for field in dataclasses.fields(self):
            used = {"pred", "gt", "out", "stacked", "overwrite", "quiet"}
            changed = getattr(self, field.name) != getattr(plain, field.name)
            if changed and field.name not in used:
                option = "--" + field.name.replace("_", "-")
                raise InputError(f"{option} has no effect on coco; leave it out.")
        if self.gt is None:
            raise InputError("coco: --gt is missing, the JSON of instances.")
        check_outputs(self.out, None, worst=0, overwrite=self.overwrite)
        results = evaluate_coco_files(self.pred, self.gt, stacked=self.stacked)
        if self.out is None:
            return to_text(results)
        write_file(self.out, to_json(results))
        return f"{to_text(results)}\nWrote {self.out}"

    def _request(self):
        from movseg_jax.evaluation.evaluate import Request
        from movseg_jax.evaluation.protocols import PROTOCOLS, Settings

        protocol = PROTOCOLS[self.protocol]
        two_folders = protocol.dataset == ""
        self._refuse_useless(protocol.settings, two_folders, protocol.dataset is None)
        root = self.gt if two_folders else self.data_dir
        if root is None:
            raise InputError(
                f"{self.protocol}: {'--gt' if two_folders else '--data-dir'} is "
                "missing, the folder of the truth."
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
            draws=self.draws,
            workers=self.workers,
            join=self.join,
        )

    def _refuse_useless(self, settings, two_folders: bool, any_set: bool) -> None:
        """Refuses options that would have no effect."""
        useless = {
            "--data-dir": self.data_dir is not None and two_folders,
            "--split": self.split is not None and two_folders,
            "--options": bool(self.options) and two_folders,
            "--gt": self.gt is not None and not two_folders,
            "--foreground": self.foreground and not two_folders,
            "--join": self.join is not None and not two_folders,
            "--dataset": self.dataset is not None and not any_set,
            "--stacked": self.stacked,
        }
        for name in ("background", "temporal", "max_tracks"):
            option = "--" + name.replace("_", "-")
            useless[option] = getattr(self, name) is not None and name not in settings
        for option, wrong in useless.items():
            if wrong:
                raise InputError(
                    f"{option} has no effect on {self.protocol}; leave it out."
                )
