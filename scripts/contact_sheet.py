"""Draws frames of a segmented video side by side, with a colour per track.

    python scripts/contact_sheet.py VIDEO RESULTS OUT.jpg [--every 12] [--columns 6]

RESULTS is a folder of `movseg segment`.
"""

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np

from movseg_jax.formats.conversion import read_tracks
from movseg_jax.images import encode_jpeg
from movseg_jax.video.overlay import draw_tracks
from movseg_jax.video.reading import read_frames


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video")
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=12, help="frames")
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--width", type=int, default=240, help="of a frame, pixels")
    parser.add_argument("--quality", type=int, default=75, help="of JPEG, to 100")
    options = parser.parse_args()
    tracks = read_tracks(options.results / "tracks.json")
    pictures = []
    frames = itertools.islice(read_frames(options.video), 0, None, options.every)
    for frame in frames:
        drawn = draw_tracks(frame.image, tracks[frame.index])
        height = round(drawn.shape[0] * options.width / drawn.shape[1])
        size = (options.width, height)
        pictures.append(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA))
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % options.columns)
    rows = [
        np.hstack(pictures[i : i + options.columns])
        for i in range(0, len(pictures), options.columns)
    ]
    options.out.write_bytes(encode_jpeg(np.vstack(rows), options.quality))


if __name__ == "__main__":
    main()
