"""YouTube-VOS 2018, in the layout of its archives, and its moving subset.

    train/JPEGImages/<sequence>/00000.jpg              every fifth frame
    train/Annotations/<sequence>/00000.png             objects' numbers
    train/meta.json
    train_all_frames/JPEGImages/<sequence>/00001.jpg   every frame, 30 a second

Flow relates consecutive frames, so it needs train_all_frames; later releases hold just
6 frames a second. Categories are not read: every object is an "object".

Xu et al., "YouTube-VOS: sequence-to-sequence video object segmentation", ECCV 2018.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from movseg_jax.data.datasets.base import Layout
from movseg_jax.data.datasets.listings import (
    check_name,
    expect,
    list_folders,
    packaged_names,
)
from movseg_jax.data.frames import Frame, id_images, list_flow, list_video, video_frames
from movseg_jax.errors import InputError
from movseg_jax.system.bounded import read_json
from movseg_jax.system.paths import list_images


@dataclasses.dataclass(frozen=True)
class YoutubeVos(Layout):
    """The completely annotated videos of YouTube-VOS.

    Attributes:
        root: The folder that holds train and train_all_frames.
        split: "train", or "valid", which is annotated where objects first appear.
        flow: A folder of flow, <sequence>/<frame>.flo (.png, .npz, .pfm).
        all_frames: Whether frames come from train_all_frames, so that the next frame is
            1/30 s later; otherwise the next frame is the next annotated one.
    """

    flow: Path | None = None
    all_frames: bool = True

    splits: ClassVar[dict[str, int]] = {"train": 3471, "valid": 474}

    def sequences(self) -> Sequence[str]:
        """Lists the videos in meta.json, or without it the annotations' folders."""
        meta = self.root / self.split / "meta.json"
        if not meta.exists():
            return list_folders(expect(self.root, f"{self.split}/Annotations"))
        videos = read_json(meta).get("videos")
        if not isinstance(videos, dict) or not videos:
            raise InputError(
                f'{meta}: expected {{"videos": {{<sequence>: ...}}}}, a non-empty '
                "object."
            )
        return sorted(check_name(name, str(meta)) for name in videos)

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence."""
        return _frames(self, sequence, self.split)


@dataclasses.dataclass(frozen=True)
class YtvosMoving(YoutubeVos):
    """The videos of YouTube-VOS whose labelled objects are exactly the moving ones.

    Attributes:
        split: "train" or "val", which are both parts of YouTube-VOS' train split.
    """

    splits: ClassVar[dict[str, int]] = {"train": 396, "val": 101}

    def sequences(self) -> Sequence[str]:
        """Lists the videos of the list in the package."""
        return packaged_names(f"ytvos_moving_{self.split}")

    def frames(self, sequence: str) -> list[Frame]:
        """Lists the annotated frames of a sequence."""
        return _frames(self, sequence, "train")


def _frames(layout: YoutubeVos, sequence: str, split: str) -> list[Frame]:
    frames_folder = f"{split}_all_frames" if layout.all_frames else split
    if layout.all_frames and not (layout.root / frames_folder).exists():
        expect(layout.root, split)  # A wrong root is the likelier mistake.
        raise InputError(
            f"{layout.root / frames_folder}: not found; it holds the frames at 30 a "
            "second. Get it, or set all_frames=False to use every fifth frame; the "
            "flow then covers five times the motion."
        )
    images = list_video(expect(layout.root, f"{frames_folder}/JPEGImages/{sequence}"))
    annotated = expect(layout.root, f"{split}/Annotations/{sequence}")
    annotations = id_images(list_images(annotated), "instances")
    if not annotations:
        raise InputError(f"{annotated}: holds no annotations.")
    flow = list_flow(layout.flow, sequence)
    return video_frames(sequence, images, annotations, flow)
