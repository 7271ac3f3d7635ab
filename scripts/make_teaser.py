"""Makes the moving picture of the README: videos beside what was found in them.

    python scripts/make_teaser.py --out docs/pictures/teaser.webp \
        --part dog.mp4 results/dog 20 3 --part juggle.mp4 results/juggle 0 3

Each `--part` is a video, its folder of `movseg segment`, the second at which it starts
and its length in seconds. The parts follow each other, the frame on the left and its
tracks on the right.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from movseg_jax.formats.conversion import read_tracks
from movseg_jax.video.overlay import draw_tracks
from movseg_jax.video.reading import probe, read_frames


def main() -> None:
    """Writes the moving picture as WebP."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part",
        nargs=4,
        action="append",
        required=True,
        metavar=("VIDEO", "RESULTS", "START", "SECONDS"),
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=10, help="pictures per second")
    parser.add_argument("--height", type=int, default=240, help="pixels")
    parser.add_argument("--quality", type=int, default=55, help="of WebP, to 100")
    options = parser.parse_args()
    pictures = [
        Image.fromarray(picture)
        for video, results, start, seconds in options.part
        for picture in pairs(
            video,
            Path(results),
            float(start),
            float(seconds),
            options.fps,
            options.height,
        )
    ]
    width = max(picture.width for picture in pictures)
    pictures = [centred(picture, width) for picture in pictures]
    pictures[0].save(
        options.out,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / options.fps),
        loop=0,
        quality=options.quality,
        method=6,
    )
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {len(pictures)} pictures, {size:.1f} MB")


def pairs(
    video: str, results: Path, start: float, seconds: float, fps: float, height: int
) -> Iterator[np.ndarray]:
    """Yields frames beside the same frames with their tracks, `fps` per second."""
    tracks = read_tracks(results / "tracks.json")
    rate = float(probe(video).fps or 25)
    first, last = round(start * rate), round((start + seconds) * rate)
    due = first
    for frame in read_frames(video, start=first, max_frames=last - first):
        if frame.index < round(due):
            continue
        due += rate / fps
        both = np.hstack([frame.image, draw_tracks(frame.image, tracks[frame.index])])
        width = round(both.shape[1] * height / both.shape[0])
        yield cv2.resize(both, (width, height), interpolation=cv2.INTER_AREA)


def centred(picture: Image.Image, width: int) -> Image.Image:
    """Returns the picture with black on both sides."""
    canvas = Image.new("RGB", (width, picture.height))
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    return canvas


if __name__ == "__main__":
    main()
