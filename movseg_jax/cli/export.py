"""The command `movseg export`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from movseg_jax.cli.arguments import load_model, make_importable, optional


@dataclasses.dataclass(frozen=True)
class Export:
    """Write the detector as StableHLO, which runs with JAX alone.

    The file holds the weights, for CPUs, NVIDIA GPUs and TPUs. It is for frames of one
    size. A JSON card beside it describes its inputs and outputs.

    Attributes:
        out: The .stablehlo file to write.
        frame_size: Height and width of the frames, before they are resized for the
            model.
        weights: A .safetensors file, or the folder of a training run.
        model: Streams to use. "appearance" finds objects whether they move or not.
        fusion: Fusion of the weights, if it is code of yours: MODULE:NAME. The module
            may be in the current folder.
        max_side: Longer side of the frames that the model sees, in pixels.
        batch_size: Number of frames that the function takes at once.
        overwrite: Replace the output if it exists.
    """

    out: Path
    frame_size: tuple[int, int]
    weights: Annotated[Path | None, optional("the model in the package", "PATH")] = None
    model: Annotated[
        Literal["joint", "appearance", "motion"] | None,
        optional("all streams in the weights", "{joint,appearance,motion}"),
    ] = None
    fusion: Annotated[str | None, optional("one of the package's", "STR")] = None
    max_side: Annotated[int | None, optional("the model's own size", "INT")] = None
    batch_size: int = 1
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        return [] if self.weights is None else [self.weights]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out, self.out.with_suffix(".json")]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.model.stablehlo import export_detector

        make_importable(self.fusion)
        detector = load_model(
            self.weights,
            use=self.model,
            max_side=self.max_side,
            fusion=self.fusion,
            only_detects=False,
        )
        card = export_detector(
            detector,
            self.out,
            frame_size=self.frame_size,
            batch_size=self.batch_size,
            overwrite=self.overwrite,
        )
        shapes = (f"{name} {a['shape']}" for name, a in card["inputs"].items())
        return f"{self.out}: takes {' and '.join(shapes)}; licence: {card['licence']}"
