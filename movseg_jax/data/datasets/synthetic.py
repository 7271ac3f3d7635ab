"""A data set of rendered clips, whose frames are rendered on request."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from movseg_jax.data.example import Example, cached_property
from movseg_jax.scenes.clips import check_numbers, clip_name
from movseg_jax.scenes.library import Library
from movseg_jax.scenes.render import render_frame
from movseg_jax.scenes.scene import Scene
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.scenes.staging import make_scene

SCENES = 4  # The number of scenes that stay in memory, about 20 MB each.


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """A `Source` of rendered clips.

    An object has the same number throughout a clip. A frame has the objects that are
    visible in it, moving or stationary; those with fewer pixels than
    `config.visible_pixels` are to be ignored. The last frame of a clip has no flow.

    Attributes:
        config: The settings of how clips look.
        clips: The number of clips.
        seed: The seed of the set.
        library: The photographs and cut-outs to use.
    """

    config: SceneConfig
    clips: int
    seed: int = 0
    library: Library | None = None

    def __post_init__(self):
        """Raises InputError if the number of clips or the seed is out of range."""
        check_numbers(self.clips, self.seed)

    @property
    def name(self) -> str:
        """The name, which includes the seed because that identifies the set."""
        return f"synthetic/{self.seed}"

    @property
    def classes(self) -> Sequence[str]:
        """The only class, "object"."""
        return ("object",)

    @cached_property
    def sequences(self) -> Mapping[str, range]:
        """The numbers of every clip's frames."""
        n = self.config.frames
        return {clip_name(i): range(i * n, (i + 1) * n) for i in range(self.clips)}

    @cached_property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """The height and width of every frame, which are the same for all."""
        return (self.config.size,) * len(self)

    @cached_property
    def has_flow(self) -> Sequence[bool]:
        """Whether each frame has flow: all but the last one of each clip do."""
        n = self.config.frames
        return ((True,) * (n - 1) + (False,)) * self.clips

    def __len__(self) -> int:
        return self.clips * self.config.frames

    def __getitem__(self, index: int) -> Example:
        """Renders a frame.

        Raises:
            IndexError: There is no such frame.
            InputError: A picture of the library cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} frames, none is {index}.")
        clip, frame = divmod(index, self.config.frames)
        scene = _scene(self.config, self.seed, clip, self.library)
        rendered = render_frame(scene, frame)
        counts = np.bincount(rendered.ids.ravel(), minlength=len(scene.objects) + 1)
        ids = np.flatnonzero(counts[1:]).astype(np.int32) + np.int32(1)
        moving = [scene.moving(scene.objects[i - 1], frame) for i in ids]
        return Example(
            name=f"{self.name}/{clip_name(clip)}/{frame:05d}",
            image=rendered.image,
            flow=rendered.flow if self.has_flow[index] else None,
            masks=rendered.ids == ids[:, None, None],
            classes=np.zeros(len(ids), np.int32),
            ids=ids,
            ignore=counts[ids] < self.config.visible_pixels,
            moving=np.array(moving, bool),
        )


@functools.lru_cache(SCENES)
def _scene(config: SceneConfig, seed: int, clip: int, library: Library | None) -> Scene:
    return make_scene(config, seed, clip, library)
