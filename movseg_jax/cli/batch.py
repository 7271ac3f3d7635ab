"""The command `movseg batch status`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclasses.dataclass(frozen=True)
class Batch:
    """Show how far a batch of videos is, while it runs or later.

    Attributes:
        action: Part of the command's name.
        root: The folder of the batch: --out of `movseg segment`.
        only: State of the videos to list. It may be given several times.
    """

    action: tyro.conf.Positional[Literal["status"]]
    root: tyro.conf.Positional[Path]
    only: Annotated[
        tyro.conf.UseAppendAction[
            tuple[Literal["waiting", "running", "stopped", "done", "failed"], ...]
        ],
        tyro.conf.arg(help_behavior_hint="(default: running and failed)"),
    ] = ()

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.report.html import counted
        from movseg_jax.segment.batch_folder import read_batch, states

        rows = read_batch(self.root)
        lines = []
        for row in rows:
            if row.state not in (self.only or ("running", "failed")):
                continue
            if row.state == "running":
                lines.append(f"running  {row.folder}  by {row.worker}")
            elif row.state == "failed":
                last = row.error.splitlines()[-1:] or [""]
                lines.append(f"failed   {row.folder}  {last[0]}")
            else:
                lines.append(f"{row.state:8} {row.folder}")
        counts = ", ".join(f"{count} {state}" for state, count in states(rows).items())
        return "\n".join(
            [*lines, f"{self.root}: {counted(len(rows), 'video')}: {counts}"]
        )
