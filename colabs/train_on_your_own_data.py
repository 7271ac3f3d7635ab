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
# # Train on your own data
#
# This notebook fine-tunes the model of the package on your own annotated frames. With
# nothing of your own at hand, it renders three short clips, so that every cell runs.

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


def movseg(*arguments: str) -> None:
    command = [sys.executable, "-m", "movseg_jax", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    print((done.stdout + done.stderr.replace("\r", "\n"))[-1500:])
    done.check_returncode()


# %% [markdown]
# ## The data
#
# `MY_FOLDER` needs frames in `JPEGImages/<video>/00000.jpg` and annotations in
# `Annotations/<video>/00000.png`. The value of a pixel in an annotation is the number
# of the moving object there, and 0 elsewhere. Frames may lack an annotation.

# %%
MY_FOLDER = ""
STEPS = 12  # 300 are a good start for a few hundred frames.

if not MY_FOLDER:
    MY_FOLDER = "clips"
    size = ["--scene.frames", "6", "--scene.size", "256", "448"]
    movseg("synth", "--out", MY_FOLDER, "--clips", "3", *size, "--quiet")

# %% [markdown]
# `data check` finds missing and damaged files, `data prepare` computes the optical flow
# once and writes everything as array records.

# %%
movseg("data", "check", "folder", "--manual-dir", MY_FOLDER, "--split", "all")
prepare = ["data", "prepare", "folder", "--manual-dir", MY_FOLDER, "--data-dir", "data"]
movseg(*prepare, "--flow", "dis", "--overwrite")

# %% [markdown]
# ## Look at an example

# %%
import numpy as np
from IPython.display import Image as Picture
from IPython.display import display
from PIL import Image

import movseg_jax as ms

source = ms.data.open_source("folder", "all", "data")
example = source[0]
truth = ms.video.draw_masks(example.image, list(example.masks[example.moving]))
display(Image.fromarray(np.hstack([example.image, truth])))

# %% [markdown]
# ## Train
#
# The config `finetune` starts from the model of the package and trains what fuses both
# streams, and the heads. Options set any of its fields. If the run is interrupted, the
# same call resumes it.

# %%
run = ["--workdir", "run", "--data-dir", "data", "--train.steps", str(STEPS)]
options = ["--data.batch-size", "2", "--train.log-every", "2"]
movseg("train", "finetune", *run, *options, "--quiet")

# %%
movseg("plot", "run", "--out", "curves.png", "--overwrite")
display(Picture("curves.png", width=900))

# %% [markdown]
# ## Use the new weights

# %%
detector = ms.load_detector("run")
frames = [source[i].image for i in range(4)]
video = [ms.video.Frame(i, f"{i:05d}", image, None) for i, image in enumerate(frames)]
tracks = ms.segment_video(video, detector, min_frames=1)
drawn = [ms.draw_tracks(frame, tracked) for frame, tracked in zip(frames, tracks)]
display(Image.fromarray(np.vstack([np.hstack(drawn[:2]), np.hstack(drawn[2:])])))
