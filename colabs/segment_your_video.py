# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Segment your own video
#
# This notebook finds, segments and tracks everything that moves in a video, without a
# prompt. It takes a file of yours, a web address, or a short rendered clip. A GPU is
# not needed: two CPU cores process four to eight frames of 480x854 per second.

# %%
# If movseg_jax is not installed, this cell installs it from `PACKAGE` and keeps the
# installed JAX. `PACKAGE` is the folder of a copy of the repository that you uploaded,
# such as "/content/movseg_jax", or a wheel of it.
import importlib.util
import subprocess
import sys

PACKAGE = ""

if importlib.util.find_spec("movseg_jax") is None:
    if not PACKAGE:
        raise ValueError(
            "movseg_jax is not installed: upload a copy of the repository, and set "
            'PACKAGE to its folder, such as "/content/movseg_jax".'
        )
    subprocess.run([sys.executable, "-m", "pip", "install", PACKAGE], check=True)

# %% [markdown]
# ## Choose a video
#
# Set `VIDEO` to a path or to an address that starts with `https://`. Leave it empty to
# upload a file in Colab, or to use a rendered clip elsewhere.

# %%
import urllib.request
from pathlib import Path

import movseg_jax as ms

VIDEO = ""
LARGEST = 200_000_000  # Bytes that are downloaded at most.


def download(address: str, file: Path) -> Path:
    with urllib.request.urlopen(address, timeout=60) as response:
        data = response.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"{address} has more than {LARGEST} bytes")
    file.write_bytes(data)
    return file


def choose() -> Path:
    if VIDEO.startswith("https://"):
        return download(VIDEO, Path("video.mp4"))
    if VIDEO:
        return Path(VIDEO)
    if importlib.util.find_spec("google.colab"):
        from google.colab import files

        return Path(next(iter(files.upload())))
    demo = [sys.executable, "-m", "movseg_jax", "demo", "--out", "demo", "--quiet"]
    subprocess.run(demo, check=True)
    return Path("demo/frames")


video = choose()
print(video, ms.video.probe(video))

# %% [markdown]
# ## Segment it
#
# The model comes with the package. `tracks` has one entry for each frame, and shows
# itself as a contact sheet. Each track keeps its colour.

# %%
detector = ms.load_detector()
tracks = ms.segment_video(video, detector, max_frames=300, progress=True)
tracks

# %% [markdown]
# ## Look at it
#
# `show` draws a frame. Its `sightings` have the numbers of the tracks, their masks and
# scores.

# %%
middle = len(tracks) // 2
for sighting in tracks[middle].sightings:
    moves = "moves" if sighting.moving else "stands still"
    pixels = sighting.pixels.sum()
    print(f"track {sighting.id}: score {sighting.score:.2f}, {pixels} pixels, {moves}")
tracks.show(middle)

# %%
from IPython.display import Video

tracks.to_video("overlay.mp4", progress=True)
Video("overlay.mp4", embed=True, width=720)

# %% [markdown]
# ## Keep the results
#
# `write_tracks` writes many formats; `movseg convert-tracks --help` lists them. The
# command `movseg segment VIDEO --out results` does all of this at once, resumes when it
# is interrupted, and adds a report page.

# %%
ms.write_tracks(tracks, "masks", to="masks")
ms.write_tracks(tracks, "tracks.json", to="tracks")
print(f"{len(list(Path('masks').iterdir()))} masks, and tracks.json")
