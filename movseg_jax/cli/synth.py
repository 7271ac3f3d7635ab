"""The command `movseg synth`."""

import dataclasses
from pathlib import Path
from typing import Annotated

from movseg_jax.cli.arguments import optional
from movseg_jax.scenes.scene_config import SceneConfig


@dataclasses.dataclass(frozen=True)
class Synth:
    """Render clips with exact truth: masks, flow, depth, camera and what moves when.

    The same seed gives the same clips, whatever the number of workers. If the run is
    stopped, the same command resumes it.

    Attributes:
        out: Folder for JPEGImages, Annotations, Flow, Occlusions, Depth and Truth.
        clips: Number of clips.
        seed: Seed of everything that is random.
        backgrounds: Folder of photographs to paint the scenes with.
        cutouts: COCO instances JSON, whose objects become things in the scenes. Its
            images are beside it, as COCO lays them out.
        workers: Number of processes; 0 means one for each CPU.
        overwrite: Replace the clips of another run in the folder.
        quiet: Do not show progress.
        scene: Look of the clips.
    """

    out: Path
    clips: int = 10
    seed: int = 0
    backgrounds: Annotated[Path | None, optional("procedural scenes", "PATH")] = None
    cutouts: Annotated[Path | None, optional("no cut-outs", "PATH")] = None
    workers: int = 0
    overwrite: bool = False
    quiet: bool = False
    scene: SceneConfig = dataclasses.field(default_factory=SceneConfig)

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        return [path for path in (self.backgrounds, self.cutouts) if path is not None]

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        return [self.out]

    def run(self) -> str:
        """Runs the command and returns the text to print."""
        from movseg_jax.scenes.clips import write_clips
        from movseg_jax.scenes.library import read_library
        from movseg_jax.system.progress import progress_bar
        from movseg_jax.system.workers import count_workers

        library = None
        if self.backgrounds or self.cutouts:
            library = read_library(self.backgrounds, self.cutouts)
        with progress_bar("clip", quiet=self.quiet) as show:
            written = write_clips(
                self.out,
                self.clips,
                self.seed,
                self.scene,
                library,
                overwrite=self.overwrite,
                workers=count_workers(self.workers),
                progress=show,
            )
        return f"{self.clips} clips, {written} of them new: {self.out}"
