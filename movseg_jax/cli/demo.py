"""The command `movseg demo`."""

import dataclasses
from pathlib import Path
from typing import Annotated

from movseg_jax.cli.arguments import load_model, optional
from movseg_jax.system.signals import STOPPED


@dataclasses.dataclass(frozen=True)
class Demo:
    """Render a short video, segment it and compare the result with the known truth.

    Attributes:
        out: Folder for the frames, the truth and the result.
        weights: A .safetensors file, or the folder of a training run.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        overwrite: Replace an earlier result.
        quiet: Do not show progress.
    """

    out: Path = Path("demo")
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    overwrite: bool = False
    quiet: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        return [] if self.weights is None else [self.weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax import demo
        from movseg_jax.system.process import share_processor

        share_processor()
        ended = demo.run(
            self.out,
            load_model(self.weights, fusion=self.fusion),
            overwrite=self.overwrite,
            quiet=self.quiet,
        )
        if not ended.finished:
            print(ended.report)
            raise SystemExit(STOPPED)
        return ended.report
