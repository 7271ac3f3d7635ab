"""Measures the rows of the paper's tables, and puts them beside the published numbers.

    python scripts/reproduce.py --tables 1 2 3 4 5 6 7 8 --data DATA --runs RUNS

DATA has a folder for each data set in its own layout, such as DATA/davis2016, and
DATA/flow/flownet2/<data set>/<sequence>/<frame>.flo. RUNS has the runs of
`configs/paper.py` and `configs/ablations.py`, each in a folder of its name, or
converted weights, RUNS/joint_davis.safetensors. A row whose run, data or flow are
missing says which, and where to get them; the others are measured. With --train,
missing runs are trained, and the runs that they start from, too. docs/reproducing.md
says more.

Results are written to OUT/tables.html and OUT/tables.json; the detections and tracks
beside them are kept. Stopped at any moment and started again, the script resumes.
"""

import argparse
import dataclasses
import json
import math
import string
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from movseg_jax.config import Config
from movseg_jax.config_files import config_functions, load_config, with_fields
from movseg_jax.data.building import prepare
from movseg_jax.data.sources import open_layout, open_source, present
from movseg_jax.errors import InputError
from movseg_jax.evaluation.dataset_detection import detect_dataset
from movseg_jax.evaluation.evaluate import Request, evaluate
from movseg_jax.evaluation.results import Results, headline, notes, summarise
from movseg_jax.flow.estimators import ALGORITHMS
from movseg_jax.metrics.reference import COUNTS, Reference, reference_results
from movseg_jax.model.loading import TrainedDetector, load_detector
from movseg_jax.model.weights import RUN_WEIGHTS
from movseg_jax.report import html
from movseg_jax.segment.run import segment_to_folder
from movseg_jax.segment.settings import SegmentConfig
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.signals import STOPPED
from movseg_jax.train.loop import train
from movseg_jax.train.run_sources import open_sources

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RESNET = "weights/resnet50.safetensors"  # The name that the configs start from.
# Where to get a data set, by the name of its folder.
WHERE = {
    "davis2016": "DAVIS 2016 at 480p, from davischallenge.org",
    "davis2017": "DAVIS 2017 trainval at 480p, from davischallenge.org",
    "fbms": "FBMS-59, TrainingSet and TestSet, from lmb.informatik.uni-freiburg.de",
    "coco": "COCO 2017, from cocodataset.org",
    "flyingthings3d": "FlyingThings3D, from lmb.informatik.uni-freiburg.de, with "
    "MP-Net's labels of what moves as motion_labels/",
    "youtube_vos": "YouTube-VOS 2018 with train_all_frames/, from youtube-vos.org",
}
# Data sets that are read from the folder of another one.
FOLDERS = {"coco_classes": "coco", "fbms_3d": "fbms", "ytvos_moving": "youtube_vos"}
FLOWS = {
    "flownet2": "FlowNet2 fine-tuned on KITTI (FlowNet2-KITTI)",
    "liteflownet": "LiteFlowNet fine-tuned on KITTI (liteflownet-ft-kitti)",
}
# The flow that a run is trained on, where that is not FlowNet2's.
TRAINED_ON = {
    "motion_flyingthings3d_gt": "true",
    "t1_liteflownet_from_groundtruth": "liteflownet",
}
JOINT = ("joint_davis", "t4_davis_from_ytvos_moving")
APPEARANCE = ("appearance_coco", "t2_objectness")
BINARY, INSTANCES = "one object a frame", "instances"


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        table: Number of the table; "7.2" is section 7.2.
        method: Name of the method in reference.toml.
        runs: Names of the runs of which each will do.
        protocol: Protocol of `movseg eval`.
        dataset: Name of the data set.
        split: Split of the data set.
        flow: Estimator of the flow, a key of `FLOWS`; "" if the model sees none.
        static: Whether the static branch is used.
    """

    table: str
    method: str
    runs: tuple[str, ...]
    protocol: str
    dataset: str = "davis2016"
    split: str = "val"
    flow: str = "flownet2"
    static: bool = True

    @property
    def title(self) -> str:
        """The name of the table, as reference.toml has it."""
        return f"section {self.table}" if "." in self.table else f"Table {self.table}"

    @property
    def reference(self) -> Reference:
        """The published row."""
        split = self.split.removeprefix("moving_")
        return next(
            row
            for row in reference_results(self.protocol)
            if row.source.endswith(self.title)
            and (row.method, row.split) == (self.method, split)
        )


def detection_rows() -> Iterator[Row]:
    """Returns the rows of Tables 1 to 4."""
    for table, method, runs, flow in (
        ("1", "Motion stream, FlowNet2", ("t1_flownet2",), "flownet2"),
        ("1", "Motion stream, FlowNet2 <- Groundtruth",
         ("t1_flownet2_from_groundtruth", "motion_flyingthings3d_estimated"),
         "flownet2"),
        ("1", "Motion stream, LiteFlowNet <- Groundtruth",
         ("t1_liteflownet_from_groundtruth",), "liteflownet"),
        ("2", "Appearance stream, class-specific",
         ("t2_class_specific", "appearance_coco_classes"), ""),
        ("2", "Appearance stream, objectness", APPEARANCE[::-1], ""),
        ("3", "Joint training, class-specific", ("t3_joint_class_specific",),
         "flownet2"),
        ("3", "Joint training, objectness", ("t3_joint_objectness",), "flownet2"),
        ("3", "+ freeze appearance", ("t3_freeze_appearance",), "flownet2"),
        ("3", "+ freeze motion", ("t3_freeze_motion",), "flownet2"),
        ("3", "+ freeze mask", ("t3_freeze_mask", "t4_davis"), "flownet2"),
        ("4", "Trained on DAVIS", ("t3_freeze_mask", "t4_davis"), "flownet2"),
        ("4", "Trained on YTVOS-moving", ("joint_ytvos", "t4_ytvos_moving"),
         "flownet2"),
        ("4", "Trained on DAVIS <- YTVOS-moving", JOINT, "flownet2"),
    ):  # fmt: skip
        yield Row(table, method, runs, "detection", flow=flow, static=False)


def track_rows() -> Iterator[Row]:
    """Returns the rows of Tables 5 to 8 and of section 7.2."""
    yield Row("5", "Ours", JOINT, "davis16", static=False)
    yield Row("6", "Ours-J", JOINT, "fbms-3d", "fbms_3d", "test", static=False)
    for table, protocol in (("7", "fbms-official"), ("8", "fbms-proposed")):
        for split in ("train", "test"):
            yield Row(table, "Ours-A", APPEARANCE, protocol, "fbms", split, flow="")
            yield Row(table, "Ours-J", JOINT, protocol, "fbms", split)
    yield Row("7.2", "Ours", JOINT, "davis17-moving", "davis2017", "moving_val")


ROWS = (*detection_rows(), *track_rows())


class Measurement(NamedTuple):
    """A row and what was measured, or why it was not.

    Attributes:
        row: The row.
        reading: Meaning of an object, where the paper leaves that open.
        values: Numbers in the units of the table, by the names of the reference.
        about: Text that says what was measured, or what is missing.
    """

    row: Row
    reading: str
    values: Mapping[str, float]
    about: str


class Reproduction:
    """The folders, and the runs that were found or trained in them."""

    def __init__(self, options: argparse.Namespace):
        self.options = options

    def measure(self, row: Row) -> list[Measurement]:
        """Measures a row by each reading, or says everything that it lacks."""
        lacking = []

        def get(function, *arguments):
            try:
                return function(*arguments)
            except InputError as error:
                lacking.append(str(error))

        run = get(self.find_run, row.runs)
        root = get(self.data, row.dataset)
        flow = get(self.flow, row.flow, row.dataset)
        try:
            if lacking:
                raise InputError("\n".join(lacking))
            detector = load_detector(run, static=row.static)
            if row.protocol in ("detection", "davis16"):
                pred = self.detect(row, run, detector, root, flow)
            else:
                pred = self.segment(row, run, detector, root, flow)
        except InputError as error:
            return [Measurement(row, "", {}, f"Not measured: {reason(error)}")]
        readings = [BINARY, INSTANCES] if row.protocol == "detection" else [""]
        return [self.evaluate(row, name, run, flow, pred, root) for name in readings]

    # Runs --------------------------------------------------------------------------

    def find_run(self, names: tuple[str, ...]) -> Path:
        """Returns the first of some runs that is there, or trains the first."""
        runs = self.options.runs
        for name in names:
            trained = self.trained(name)
            for path in (trained, runs / name, runs / f"{name}.safetensors"):
                if path.is_file() or (path / RUN_WEIGHTS).is_file():
                    return path
        if self.options.train:
            return self.train(names[0])
        raise InputError(
            f"{runs / names[0]}: there is no such finished run. Train it by `movseg "
            f"train {self.config_file(names[0])} --workdir {runs / names[0]}`, whose "
            "docstring says how, or by --train here; or convert the authors' released "
            f"weights to {runs / names[0]}.safetensors."
        )

    def config_file(self, name: str) -> str:
        """Returns the file and name of a run's config."""
        for file in ("paper.py", "ablations.py"):
            if name in config_functions(self.options.configs / file):
                return f"{self.options.configs / file}:{name}"
        raise InputError(f"{self.options.configs}: has no config {name}.")

    def train(self, name: str) -> Path:
        """Trains a run, after those that it starts from."""
        config = self.with_starts(load_config(self.config_file(name)))
        kind = "" if config.model.motion is None else TRAINED_ON.get(name, "flownet2")
        prepared = self.options.out / "prepared" / self.seen(kind)
        validation = config.data.validation if config.train.evaluate_every else None
        for source in (*config.data.sources, validation):
            if source is not None:
                self.prepare(source, kind, prepared)
        workdir = self.trained(name) if kind else self.options.runs / name
        print(f"Training {workdir}", flush=True)
        sources = open_sources(config, prepared)
        outcome = train(config, workdir, *sources, quiet=self.options.quiet)
        if not outcome.finished:
            print(outcome.report)
            raise SystemExit(STOPPED)
        return workdir

    def trained(self, name: str) -> Path:
        """Returns the folder of a run that --train trains, if its model sees flow.

        With another estimator's flow, it is not the run of that name. A run on true
        flow is the same with any estimator.
        """
        estimated = TRAINED_ON.get(name) != "true"
        other = estimated and self.options.flow in ALGORITHMS
        return self.options.runs / (f"{name}-{self.options.flow}" if other else name)

    def seen(self, kind: str) -> str:
        """Returns the name of data that are prepared with a kind of flow."""
        return f"{kind}-{self.flow_name('files')}" if kind else "still"

    def with_starts(self, config: Config) -> Config:
        """Returns a config that starts from the runs in this folder of runs."""
        paths = {}
        for part in ("weights", "appearance", "motion"):
            start = getattr(config.train.start, part)
            if start == RESNET:
                path = self.options.runs / Path(RESNET).name
                if not path.is_file():
                    raise InputError(
                        f"{path}: is missing. It is a ResNet-50 trained on ImageNet: "
                        f"`movseg convert resnet50.pth --out {path}`."
                    )
                paths[f"train.start.{part}"] = str(path)
            elif start.startswith("runs/"):
                run = self.find_run((start.removeprefix("runs/"),))
                paths[f"train.start.{part}"] = str(run)
        return with_fields(config, paths)

    def prepare(self, source: Any, kind: str, prepared: Path) -> None:
        """Prepares a data set to train on, unless that is done."""
        options = dict(source.options)
        try:
            open_source(source.name, source.split, prepared, **options)
            return
        except InputError:
            pass
        # Instances of DAVIS 2016 are in DAVIS 2017, with the list of the former.
        instances = bool(options.get("instances"))
        root = self.data("davis2017" if instances else source.name)
        flow = None
        if kind:
            true = kind == "true" and source.name == "flyingthings3d"
            flow = "true" if true else self.flow(kind, source.name)
        make_folder(prepared)
        prepare(
            source.name,
            root,
            prepared,
            splits=[source.split],
            flow=flow,
            allow_missing=self.options.allow_missing,
            progress=not self.options.quiet,
            **options,
        )

    # Data --------------------------------------------------------------------------

    def data(self, name: str) -> Path:
        """Returns the folder of a data set."""
        folder = FOLDERS.get(name, name)
        for path in (self.options.data / name, self.options.data / folder):
            if path.is_dir():
                return path
        raise InputError(
            f"{self.options.data / folder}: there is no such folder. It is "
            f"{WHERE[folder]}."
        )

    def flow(self, kind: str, dataset: str) -> str | Path | None:
        """Returns the folder of a data set's flow, or the estimator to use instead."""
        if not kind or self.options.flow in ALGORITHMS:
            return self.options.flow if kind else None
        root = Path(self.options.flow or self.options.data / "flow") / kind
        for path in (root / dataset, root / FOLDERS.get(dataset, dataset)):
            if path.is_dir():
                return path
        raise InputError(
            f"{root / dataset}: there is no such folder. It is the flow of "
            f"{FLOWS.get(kind, kind)} on {dataset}, <sequence>/<frame>.flo, as `movseg "
            f"flow --flow {kind}` writes it; --flow dis uses OpenCV's instead."
        )

    # Measuring ---------------------------------------------------------------------

    def detect(self, row, run, detector: TrainedDetector, root, flow) -> Path:
        """Detects in all frames of a row's data set; returns the file."""
        name = f"{run.stem}-{self.flow_name(row.flow)}-{row.dataset}-{row.split}.json"
        out = self.options.out / "detections" / name
        folder = None if flow is None or flow in ALGORITHMS else Path(flow)
        options = {} if folder is None else {"flow": folder}
        source = open_source(
            row.dataset,
            row.split,
            root,
            allow_missing=self.options.allow_missing,
            **options,
        )
        print(f"Detecting: {out}", flush=True)
        outcome = detect_dataset(
            source,
            out,
            detector,
            about={
                "dataset": row.dataset,
                "split": row.split,
                "data_folder": str(root.resolve()),
                "flow_folder": None if folder is None else str(folder.resolve()),
            },
            flow=str(flow) if flow in ALGORITHMS else "dis",
        )
        if not outcome.finished:
            raise SystemExit(STOPPED)
        return out

    def flow_name(self, kind: str) -> str:
        """Returns the name of the flow that stands for a row's."""
        return (self.options.flow if self.options.flow in ALGORITHMS else kind) or "rgb"

    def segment(self, row, run, detector: TrainedDetector, root, flow) -> Path:
        """Segments all videos of a row's data set; returns the folder."""
        static = "" if row.static else "-moving"
        name = (
            f"{run.stem}-{self.flow_name(row.flow)}{static}-{row.dataset}-{row.split}"
        )
        out = self.options.out / "tracks" / name
        make_folder(out)
        layout = open_layout(row.dataset, row.split, root)
        allow = self.options.allow_missing
        for frames in present(layout, layout.frames, allow_missing=allow):
            video = frames[0].sequence
            print(f"Segmenting: {out / video}", flush=True)
            given = flow if flow is None or flow in ALGORITHMS else flow / video
            config = SegmentConfig.as_paper()
            if given is not None:
                config = dataclasses.replace(config, flow=str(given))
            folder = str(frames[0].image.parent)
            if not segment_to_folder(folder, out / video, detector, config).finished:
                raise SystemExit(STOPPED)
        return out

    def evaluate(self, row, reading, run, flow, pred, root) -> Measurement:
        """Measures predictions by the protocol of a row."""
        options = {}
        try:
            if reading == INSTANCES:
                options["instances"] = self.data("davis2017")
            request = Request(
                row.protocol,
                pred,
                root,
                dataset=row.dataset if row.protocol == "detection" else None,
                split=row.split,
                options=options,
                allow_missing=self.options.allow_missing,
                workers=self.options.workers,
                draws=0,  # The tables have no intervals.
            )
            results = summarise(evaluate(request))
        except InputError as error:
            return Measurement(row, reading, {}, f"Not measured: {error}")
        values = {
            name: results.values[name].value * (1 if name in COUNTS else 100)
            for name in row.reference.values
        }
        return Measurement(row, reading, values, about(results, run, flow))


def reason(error: InputError) -> str:
    """Returns an error's text, which advises what this script can do.

    What was detected or tracked with other settings, flow or data is never replaced.
    """
    return str(error).replace("`overwrite=True`", "another --out")


def about(results: Results, run: Path, flow: str | Path | None) -> str:
    """Returns the text that says what numbers are of."""
    seen = "no flow" if flow is None else f"flow {flow}"
    parts = [note for note in notes(results) if "part" in note or "official" in note]
    return " ".join([f"{headline(results)}; {run}, {seen}.", *parts])


# Output ----------------------------------------------------------------------------


def cells(measurement: Measurement) -> Iterator[tuple[str, str]]:
    """Returns the measured numbers with the published ones beside them."""
    for name, published in measurement.row.reference.values.items():
        value = measurement.values.get(name)
        shown = (
            "-"
            if value is None
            else f"{value:.4g}"
            if name in COUNTS
            else f"{value:.1f}"
        )
        yield name, f"{shown} ({published:g})"


def to_text(measurements: list[Measurement]) -> str:
    """Returns the tables for a terminal: measured, and published in brackets."""
    lines = []
    for m in measurements:
        where = [m.row.title, m.row.method, m.row.split, m.reading]
        lines.append(", ".join(word for word in where if word))
        if m.values:
            lines.append("    " + "  ".join(f"{n} {v}" for n, v in cells(m)))
        lines += [f"    {line}" for line in m.about.splitlines()]
    return "\n".join(lines)


def to_page(measurements: list[Measurement]) -> str:
    """Returns the tables as one HTML page."""
    parts = []
    for table in dict.fromkeys(m.row.table for m in measurements):
        rows = [m for m in measurements if m.row.table == table]
        head = ["method", "split", *rows[0].row.reference.values]
        titles = "".join(
            f'<th scope="col">{html.escape(title.replace("_", " "))}</th>'
            for title in head
        )
        body = "\n".join(_page_rows(m, len(head)) for m in rows)
        note = html.escape(rows[0].row.reference.note)
        parts.append(
            PART.substitute(
                title=rows[0].row.title, titles=titles, body=body, note=note
            )
        )
    text = (
        "<h1>The paper's tables, measured</h1>"
        "<p>Each number is measured, and the published one is in brackets behind it; "
        '"-" is not measured. Below each row is what it was measured on, or what is '
        "missing for it.</p>"
    )
    return html.page("\n".join([text, *parts]), title="The paper's tables", style=STYLE)


def _page_rows(m: Measurement, columns: int) -> str:
    """Returns a row of numbers and, below it, what they are of."""
    title = f"{m.row.method} ({m.reading})" if m.reading else m.row.method
    numbers = [m.row.split, *(value for _, value in cells(m))]
    about = f'<tr><td colspan="{columns}">{html.escape(m.about)}</td></tr>'
    return html.row(title, numbers) + about


PART = string.Template(
    '<h2>$title</h2><p>$note</p><div class="scroll"><table><thead><tr>$titles'
    "</tr></thead><tbody>$body</tbody></table></div>"
)
STYLE = (
    "body{max-width:72rem}h2{text-transform:capitalize}"
    "th,td{padding:.4rem .8rem .2rem 0;vertical-align:top;text-align:left}"
    "tbody th,tbody th~td{border-bottom:0}th~td{white-space:nowrap}"
    "td[colspan]{white-space:pre-line;padding:0 0 .6rem 1.5rem;font-size:.85em;"
    "color:var(--soft);overflow-wrap:anywhere}"
)


def to_json(measurements: list[Measurement]) -> str:
    """Returns the measurements as JSON."""
    rows = [
        {
            "table": m.row.table,
            "method": m.row.method,
            "split": m.row.split,
            "reading": m.reading,
            # JSON has no NaN, which is the number of what cannot be measured.
            "measured": {
                n: v if math.isfinite(v) else None for n, v in m.values.items()
            },
            "published": dict(m.row.reference.values),
            "about": m.about,
        }
        for m in measurements
    ]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    known = list(dict.fromkeys(row.table for row in ROWS))
    parser = argparse.ArgumentParser(description="Measures the paper's tables.")
    parser.add_argument("--tables", nargs="+", choices=known, default=known)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("reproduced"))
    parser.add_argument(
        "--flow",
        help="folder of flow instead of DATA/flow, or dis, dis_fast or farneback",
    )
    parser.add_argument("--train", action="store_true", help="train missing runs")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out videos that DATA lacks; the result says how many",
    )
    parser.add_argument("--configs", type=Path, default=CONFIGS)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measures the rows; the status is 0 if all of them were, else 2."""
    options = parse(arguments)
    reproduction = Reproduction(options)
    measurements = []
    for row in ROWS:
        if row.table in options.tables:
            measurements += reproduction.measure(row)
    make_folder(options.out)
    write_file(options.out / "tables.html", to_page(measurements).encode())
    write_file(options.out / "tables.json", to_json(measurements).encode())
    print(to_text(measurements))
    print(f"Wrote {options.out / 'tables.html'}")
    return 0 if all(m.values for m in measurements) else 2


if __name__ == "__main__":
    sys.exit(main())
