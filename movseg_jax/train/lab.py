"""The fusion lab: trains models that differ in one thing, each with several seeds.

An arm is a config with a name. Each arm is trained once per seed on rendered clips, and
evaluated on other rendered clips. The lab's folder holds

    lab.json                     the scenes; a lab of other scenes is refused
    data/train, data/held_out    the clips
    runs/<arm>/<seed>/           the training runs: see `train.loop`
    runs/<arm>/fusion.json       a hash of the fusion's source, if it is code of yours
    results.json, .md, .png      the results of the latest call

Clips and models that are there already are not made again.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from movseg_jax.config import Config, SourceConfig
from movseg_jax.config_files import load_config, with_fields
from movseg_jax.data.example import Source
from movseg_jax.data.selection import with_flow
from movseg_jax.data.sources import open_source
from movseg_jax.errors import InputError
from movseg_jax.nn.fusion import get_fusion
from movseg_jax.scenes.clips import write_clips
from movseg_jax.system.atomic import locked, make_folder, write_file
from movseg_jax.system.progress import progress_bar
from movseg_jax.system.workspace import Workspace, differences, read_marker
from movseg_jax.train.cost import measure_cost
from movseg_jax.train.lab_results import MEASURES, Arm, LabResults, Trained
from movseg_jax.train.lab_settings import LabConfig
from movseg_jax.train.log import EVALUATION, read_log
from movseg_jax.train.loop import train

FORMAT = 1  # Raised when older code would misread newer folders.
MARKER, CODE, DATA, RUNS = "lab.json", "fusion.json", "data", "runs"
SEEDS = {"train": 0, "held_out": 1}  # Seeds of the clips.
NAME = re.compile(r"\w[\w.:+-]*")  # The name of an arm, which is part of paths.
_HEADS = ("model.rpn_features", "model.box_features", "model.mask_features")
# Arms that differ from the config in the features that the heads use.
VARIANTS: dict[str, dict[str, Any]] = {
    # With one stream there is no fusion.
    "appearance": {"model.motion": None, **dict.fromkeys(_HEADS, "fused")},
    "motion": {"model.appearance": None, **dict.fromkeys(_HEADS, "fused")},
    # Motion alone decides what moves and where.
    "motion_boxes": dict.fromkeys(_HEADS[:2], "motion"),
    # Appearance alone decides about the outlines, as in the paper.
    "appearance_masks": {_HEADS[2]: "appearance"},
}


def make_arm(name: str, config: Config | None = None) -> Config:
    """Returns the config of an arm.

    Args:
        name: A fusion as in `nn.fusion.get_fusion`, or a key of `VARIANTS`.
        config: The config that the arm differs from. The default is the config "lab"
            of the package.

    Raises:
        InputError: There is no such fusion or variant.
    """
    if config is None:
        config = load_config("lab")
    # The static branch is not trained with two streams, so it would only cost time.
    config = with_fields(config, {"model.static_branch": False})
    if name in VARIANTS:
        return with_fields(config, VARIANTS[name])
    try:
        get_fusion(name)
    except InputError as error:
        raise InputError(f"{error} Variants are {', '.join(VARIANTS)}.") from None
    return with_fields(config, {"model.fusion": name})


def run_lab(
    arms: Mapping[str, Config] | Iterable[str],
    out: Path | str,
    config: LabConfig | None = None,
    *,
    workers: int = 1,
    quiet: bool = False,
) -> LabResults | None:
    """Trains and evaluates each arm with each seed, and writes the results.

    A config's data, its seed and `train.evaluate_every` are replaced by the lab's: the
    model is evaluated after the last step.

    Args:
        arms: The arms' configs by name, or names as in `make_arm`. The others are
            compared with the first one.
        out: The lab's folder; it is made if it is missing.
        config: The scenes and the number of seeds. The default is `LabConfig()`.
        workers: The number of processes that render the clips. With several, a script
            needs `if __name__ == "__main__":`.
        quiet: Whether to show no progress.

    Returns:
        The results; None if a signal asked to stop. The same call resumes.

    Raises:
        InputError: The folder holds something else or a lab of other scenes, an arm's
            folder holds a run of another config, or training fails.
    """
    config = LabConfig() if config is None else config
    out = Path(out)
    if not isinstance(arms, Mapping):
        arms = {name: make_arm(name) for name in arms}
    folders = _folders(arms, out)
    size = config.scene.size
    costs = {name: measure_cost(arm.model, size) for name, arm in arms.items()}
    with _claimed(out, config):
        for name, arm in arms.items():
            _claim_arm(folders[name], arm.model.fusion)
        sources = _render(out, config, workers, quiet)
        # All arms with one seed come first: a lab that is stopped is balanced.
        runs = {
            folders[name] / str(seed): _run_config(arm, seed)
            for seed in range(config.seeds)
            for name, arm in arms.items()
        }
        if not _train(runs, sources, quiet):
            return None
        found = []
        for name in arms:
            models = (_read_run(f, runs[f]) for f in runs if f.parent == folders[name])
            found.append(Arm(name, costs[name], tuple(models)))
        results = LabResults(tuple(found), config)
        for suffix, data in results.files().items():
            write_file(out / f"results{suffix}", data)
    return results


def _folders(arms: Mapping[str, Config], out: Path) -> dict[str, Path]:
    """Returns the folder of each arm's runs."""
    if not arms:
        raise InputError("There are no arms to compare, expected one or more.")
    folders: dict[str, Path] = {}
    for name in arms:
        if not NAME.fullmatch(name):
            raise InputError(
                f"An arm is named {name!r:.80}, expected letters, digits and _.:+-, "
                "and a letter, digit or _ first."
            )
        folder = out / RUNS / name.replace(":", ".")  # Windows has no ":" in names.
        if folder in folders.values():
            raise InputError(f"Two arms share the folder {folder}; name one otherwise.")
        folders[name] = folder
    return folders


@contextlib.contextmanager
def _claimed(out: Path, config: LabConfig) -> Iterator[None]:
    """Keeps others out of the folder, and refuses one of other scenes."""
    workspace = Workspace(out, MARKER)
    # More seeds may be added later, so they are not part of it.
    scenes = {k: v for k, v in dataclasses.asdict(config).items() if k != "seeds"}
    about = json.loads(json.dumps({"format": FORMAT, **scenes}))
    with locked(out):
        found = read_marker(workspace.marker)
        if found is None and workspace.names():
            raise InputError(
                f"{out}: is not empty, and has no {MARKER} of a fusion lab; choose "
                "another folder."
            )
        if found is None:
            workspace.claim(about)
        elif changes := differences(found, about):
            raise InputError(
                f"{out}: its models were trained on other scenes ({changes}); choose "
                "another folder."
            )
        yield


def _claim_arm(folder: Path, fusion: str) -> None:
    """Refuses an arm whose fusion has other code than when its models were trained."""
    if ":" not in fusion:
        return
    found = get_fusion(fusion)
    try:
        source = inspect.getsource(found if inspect.isroutine(found) else type(found))
    except (OSError, TypeError):  # There is no file, or it is not code in Python.
        return
    about = {"fusion": fusion, "sha256": hashlib.sha256(source.encode()).hexdigest()}
    if read_marker(folder / CODE) not in (None, about):
        raise InputError(
            f"{folder}: its models were trained with other code of {fusion}. Name the "
            f"arm otherwise, as in new={fusion}, or remove the folder."
        )
    make_folder(folder)
    write_file(folder / CODE, json.dumps(about).encode())


def _render(
    out: Path, config: LabConfig, workers: int, quiet: bool
) -> dict[str, Source]:
    """Renders the clips that are missing, and opens them."""
    sources = {}
    for part, clips in (("train", config.clips), ("held_out", config.held_out)):
        folder = out / DATA / part
        with progress_bar("clip", quiet=quiet, name=f"rendering {part}") as show:
            write_clips(
                folder, clips, SEEDS[part], config.scene, workers=workers, progress=show
            )
        sources[part] = with_flow(open_source("rendered", "all", folder))
    return sources


def _run_config(config: Config, seed: int) -> Config:
    rendered = SourceConfig("rendered", split="all")
    return with_fields(
        config,
        {
            "seed": seed,
            "data.sources": (rendered,),
            "data.validation": rendered,
            "train.evaluate_every": config.train.steps,
        },
    )


def _train(
    runs: Mapping[Path, Config], sources: Mapping[str, Source], quiet: bool
) -> bool:
    """Trains all models, and shows how far they are; False if it was stopped."""
    done, total = 0, sum(run.train.steps for run in runs.values())
    for number, (folder, run) in enumerate(runs.items(), 1):
        title = f"{folder.parent.name}, seed {run.seed} (model {number} of {len(runs)})"
        with progress_bar("step", quiet=quiet, name=title) as show:
            outcome = train(
                run,
                folder,
                [sources["train"]],
                sources["held_out"],
                quiet=True,
                progress=lambda step, _, done=done: show(done + step, total),
            )
        if not outcome.finished:
            return False
        done += run.train.steps
    return True


def _read_run(folder: Path, config: Config) -> Trained:
    """Reads what a finished run has logged."""
    seconds = []
    measures = dict.fromkeys(MEASURES)
    for row in read_log(folder):
        if row.get("kind") == EVALUATION:
            measures = {name: row.get(name) for name in MEASURES}
        elif row.get("images_per_second"):
            seconds.append(config.data.batch_size / row["images_per_second"])
    time = statistics.median(seconds) if seconds else None
    return Trained(config.seed, str(folder), measures, time)
