"""The command `movseg convert`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from movseg_jax.cli.arguments import optional


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert weights of a Mask R-CNN, a ResNet or a flow network.

    It reads files of torchvision, Detectron, detectron2, the paper's authors, RAFT's
    authors, and the ports of LiteFlowNet and FlowNet2 to PyTorch.

    Nothing in the file is executed. Every array in it is converted, or the command
    fails and names it.

    Attributes:
        file: A .pth, .pkl, .npz or .safetensors file.
        out: The .safetensors file to write; a JSON card is written beside it.
        appearance_heads: A second file, whose RPN and box head become the static
            branch, which finds objects that do not move.
        stream: Stream of a model that has only one.
        settings: config_and_args.pkl, which Detectron.pytorch and the paper's authors
            keep beside a run's weights. It tells the number of proposals and which
            features the heads see.
        proposals: Number of proposals per image.
        prefix: Beginning of the names of the model's arrays, such as "ema_model.". It
            is only needed if the file holds several models.
        overwrite: Replace the output if it exists.
    """

    file: tyro.conf.Positional[Path]
    out: Path
    appearance_heads: Annotated[Path | None, optional("none", "PATH")] = None
    stream: Literal["appearance", "motion"] = "appearance"
    settings: Annotated[
        Path | None, optional("looked for in the folder of FILE and above", "PATH")
    ] = None
    proposals: Annotated[
        int | None, optional("that of the settings, or 1000", "INT")
    ] = None
    prefix: Annotated[str | None, optional("found in the file", "STR")] = None
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        others = (self.appearance_heads, self.settings)
        return [self.file, *(path for path in others if path is not None)]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out, self.out.parent / f"{self.out.stem}.json"]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.convert.models import convert_weights
        from movseg_jax.model.weights import save_weights

        converted = convert_weights(
            self.file,
            appearance_heads=self.appearance_heads,
            stream=self.stream,
            settings=self.settings,
            proposals=self.proposals,
            prefix=self.prefix,
        )
        save_weights(
            self.out,
            converted.params,
            converted.config,
            converted.card,
            overwrite=self.overwrite,
        )
        return f"{converted.kind}: {_described(converted)}, written to {self.out}"


def _described(converted) -> str:
    network = getattr(converted.config, "network", None)
    if network is not None:
        return f"the flow network {network}"
    is_backbone = "rpn" not in converted.params
    what = "a backbone without heads" if is_backbone else "a model"
    return f"{what} ({' and '.join(converted.config.streams)})"
