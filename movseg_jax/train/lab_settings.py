"""The settings of the fusion lab: `LabConfig`.

This module imports neither JAX nor NumPy, so that the command line can show the
settings in its help without loading them.
"""

import dataclasses

from movseg_jax.errors import InputError
from movseg_jax.scenes.scene_config import SceneConfig

MAX_SEEDS = 1000


@dataclasses.dataclass(frozen=True)
class LabConfig:
    """The scenes of a comparison, and how often each model is trained.

    Attributes:
        seeds: Number of times that each model is trained, with the seeds 0, 1, ....
        clips: Number of rendered clips to train on.
        held_out: Number of other rendered clips to evaluate on.
        scene: Look of the clips.

    Raises:
        InputError: A number is out of range.
    """

    seeds: int = 3
    clips: int = 24
    held_out: int = 12
    scene: SceneConfig = dataclasses.field(
        # Objects of fewer pixels are too small for a model that is trained briefly.
        default_factory=lambda: SceneConfig(
            frames=6, size=(96, 160), nothing_moves=0.0, visible_pixels=100
        )
    )

    def __post_init__(self):
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise InputError(f"`seeds` is {self.seeds}, expected 1 to {MAX_SEEDS}.")
        for name in ("clips", "held_out"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`{name}` is {getattr(self, name)}, expected 1 or more."
                )
        if self.scene.frames < 2:
            raise InputError(
                "SceneConfig.frames is 1, expected 2 or more: flow needs a next frame."
            )
