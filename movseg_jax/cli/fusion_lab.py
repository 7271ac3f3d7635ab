"""The command `movseg fusion-lab`."""

import dataclasses
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from movseg_jax.cli.arguments import apply_settings, make_importable, read_config
from movseg_jax.errors import InputError
from movseg_jax.system.signals import STOPPED
from movseg_jax.train.lab_settings import LabConfig

if TYPE_CHECKING:
    from movseg_jax.config import Config


@dataclasses.dataclass(frozen=True)
class FusionLab:
    """Train small models with different fusions on rendered scenes, and compare them.

    Each model is trained once per seed. The results are a table with confidence
    intervals, JSON and a picture. Models that are trained already are not trained
    again: the same command resumes, and more arms or seeds may be added later. Options
    such as --train.steps 100 set fields of the config for all arms.

    Attributes:
        arms: Models to compare, all others with the first one. An arm is a fusion, such
            as gated, or MODULE:NAME for code of yours in the current folder; or one of
            appearance, motion, motion_boxes and appearance_masks, which change the
            features that the heads use. "LABEL=ARM --model.channels 64" also sets
            fields of the config.
        out: Folder for the scenes, the models and the results.
        config: Config of the models, as for `movseg train`.
        workers: Number of processes that render; 0 means one for each CPU.
        quiet: Do not show progress.
        lab: Scenes and seeds.
    """

    arms: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="ARM [ARM ...]", help_behavior_hint="(required)"),
    ]
    out: Path
    config: Path = Path("lab")
    workers: int = 0
    quiet: bool = False
    lab: Annotated[LabConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=LabConfig
    )
    settings: tyro.conf.Suppress[tuple[str, ...]] = ()

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.system.workers import count_workers

        base = read_config(self.config, self.settings)
        arms: dict[str, Config] = {}
        for text in self.arms:
            label, arm = _read_arm(text, base)
            if label in arms:
                raise InputError(f"Two arms are named {label}; name one LABEL=ARM.")
            arms[label] = arm

        from movseg_jax.train.lab import run_lab

        results = run_lab(
            arms,
            self.out,
            self.lab,
            workers=count_workers(self.workers),
            quiet=self.quiet,
        )
        if results is None:
            print(f"{self.out}: stopped; start it again.")
            raise SystemExit(STOPPED)
        return f"{results.table()}\n\nWrote results.json, .md and .png to {self.out}"


def _read_arm(text: str, base: "Config") -> tuple[str, "Config"]:
    """Reads an arm: [LABEL=]NAME and, after a label, settings of the config."""
    from movseg_jax.train.lab import make_arm

    label, name, settings = parse_arm(text)
    make_importable(name)
    config = apply_settings(make_arm(name, base), settings)
    make_importable(config.model.fusion)
    return label, config


def parse_arm(text: str) -> tuple[str, str, Sequence[str]]:
    """Returns the label, the name and the settings of an arm."""
    labelled = re.fullmatch(r"([^\s=-][^\s=]*)=(\S.*)", text)
    label, rest = labelled.groups() if labelled else ("", text)
    try:
        name, *settings = shlex.split(rest)
    except ValueError:  # Nothing, or quotes that do not end.
        name, settings = "", []
    if not name or name[0] == "-" or "=" in name or (settings and not label):
        raise InputError(
            f"The arm {text!r:.200} is neither a name nor of the form "
            '"LABEL=NAME --option value".'
        )
    return label or name, name, settings
