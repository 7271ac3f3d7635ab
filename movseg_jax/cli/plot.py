"""The command `movseg plot`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from movseg_jax.cli.arguments import optional


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the curves of training runs as a self-contained page or a picture.

    Attributes:
        workdirs: Folders of the runs, which are drawn into the same charts.
        out: The .html, .svg or .png file to write.
        overwrite: Replace the output if it exists.
    """

    workdirs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="(required)"),
    ]
    out: Annotated[Path | None, optional("curves.html in the first folder", "PATH")] = (
        None
    )
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        from movseg_jax.train.log import FILE

        return [workdir / FILE for workdir in self.workdirs]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [] if self.out is None else [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.train.plot import plot

        return plot(self.workdirs, self.out, overwrite=self.overwrite)
