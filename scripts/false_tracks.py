"""Counts false tracks: those in videos in which nothing but the camera moves.

    python scripts/false_tracks.py --backgrounds PHOTOGRAPHS --cutouts COCO.json \\
        --videos VIDEO VIDEO

The videos are rendered clips with stationary things in front of a photograph, and
single frames of videos, each repeated as if a camera on a tripod had seen nothing else.
All settings are the defaults of `movseg segment`.
"""

import argparse
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from movseg_jax.cli.arguments import load_model
from movseg_jax.data.datasets.synthetic import SyntheticSource
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.scenes.library import Library, read_library
from movseg_jax.scenes.scene_config import SceneConfig
from movseg_jax.segment.api import segment_video
from movseg_jax.system.process import prepare_jax
from movseg_jax.video.reading import Frame, probe, read_frames

STILLS = 3  # Of each video, evenly spread.
SEED = 100  # Not one of the clips that anything is trained on.


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, help="or a run; otherwise the package's"
    )
    parser.add_argument("--fusion", help="of the weights, if it is code of yours")
    parser.add_argument("--backgrounds", type=Path, help="a folder of photographs")
    parser.add_argument("--cutouts", type=Path, help="COCO annotations")
    parser.add_argument("--videos", nargs="*", default=[], help="to take frames of")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=24, help="of a clip or still")
    parser.add_argument("--seed", type=int, default=SEED, help="of the clips")
    options = parser.parse_args()
    prepare_jax()
    detector = load_model(options.weights, fusion=options.fusion)
    library = None
    if options.backgrounds or options.cutouts:
        library = read_library(options.backgrounds, options.cutouts)
    print(f"{'':>40}{'frames':>10}{'tracks':>10}{'per 100':>10}")
    rendered = only_the_camera_moves(
        options.clips, options.frames, library, options.seed
    )
    report("rendered clips", count_tracks(rendered, detector))
    for video in options.videos:
        repeated = stills(video, options.frames)
        report(f"frames of {Path(video).name}", count_tracks(repeated, detector))


def only_the_camera_moves(
    clips: int, frames: int, library: Library | None = None, seed: int = SEED
) -> Iterator[list[Frame]]:
    """Yields clips of stationary things, one at a time."""
    scene = SceneConfig(frames=frames, nothing_moves=1.0)
    source = SyntheticSource(scene, clips, seed, library)
    for numbers in source.sequences.values():
        yield as_video(source[n].image for n in numbers)


def stills(video: str, frames: int) -> Iterator[list[Frame]]:
    """Yields videos of one repeated frame each."""
    count = probe(video).frame_count or sum(1 for _ in read_frames(video))
    for i in range(STILLS):
        start = (2 * i + 1) * count // (2 * STILLS)
        (frame,) = read_frames(video, start=start, max_frames=1)
        yield as_video(itertools.repeat(frame.image, frames))


def as_video(images: Iterable) -> list[Frame]:
    """Numbers RGB images as the frames of a video."""
    return [Frame(i, f"{i:05d}", image, None) for i, image in enumerate(images)]


def count_tracks(
    videos: Iterable[Sequence[Frame]], detector: TrainedDetector
) -> tuple[int, int]:
    """Counts the frames and tracks of all videos."""
    frames = tracks = 0
    for video in videos:
        tracked = segment_video(video, detector)
        frames += len(tracked)
        tracks += len({s.id for frame in tracked for s in frame.sightings})
    return frames, tracks


def report(name: str, counts: tuple[int, int]) -> None:
    """Prints a row."""
    frames, tracks = counts
    print(f"{name:>40}{frames:10}{tracks:10}{100 * tracks / frames:10.2f}", flush=True)


if __name__ == "__main__":
    main()
