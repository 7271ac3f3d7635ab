"""The command `movseg batch status`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from movseg_jax.cli.arguments import optional


@dataclasses.dataclass(frozen=True)
class Batch:
    """Show how far a batch of videos is, while it runs or later.

    Attributes:
        action: Part of the command's name.
        root: The folder of the batch: --out of `movseg segment`.
        only: State of the videos to list, besides those that run or failed.
    """

    action: tyro.conf.Positional[Literal["status"]]
    root: tyro.conf.Positional[Path]
    only: Annotated[
        Literal["waiting", "stopped", "done"] | None,
        optional("none", "{waiting,stopped,done}"),
    ] = None

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.segment.batch_folder import read_batch, states

        rows = read_batch(self.root)
        lines = []
        for row in rows:
            if row.state == "running":
                lines.append(f"running  {row.folder}  by {row.worker}")
            elif row.state == "failed":
                last = row.error.splitlines()[-1:] or [""]
                lines.append(f"failed   {row.folder}  {last[0]}")
            elif row.state == self.only:
                lines.append(f"{row.state:8} {row.folder}")
        counts = ", ".join(f"{count} {state}" for state, count in states(rows).items())
        return "\n".join([*lines, f"{self.root}: {len(rows)} videos: {counts}"])
