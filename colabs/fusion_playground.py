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
# # Fusion playground
#
# The detector sees each frame (appearance) and its optical flow (motion). A fusion
# combines the features of both. In this notebook you write a fusion of your own, look
# at what it does to features, train it in small, compare it with the fusion of the
# paper, and use the result on a clip.

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
    print((done.stdout + done.stderr.replace("\r", "\n"))[-2500:])
    done.check_returncode()


# %% [markdown]
# ## Write a fusion
#
# A fusion is a function of two feature maps, `[batch, height, width, channels]`, or a
# Flax module if it has parameters. It is applied to every level of the pyramid. It is
# written to a file, so that the command line can import it, too. If you change it after
# training, give its arm a new name.

# %%
# %%writefile my_fusions.py
import flax.linen as nn


class MotionGate(nn.Module):
    """Motion decides for each cell and channel how much appearance counts."""

    @nn.compact
    def __call__(self, appearance, motion):
        gate = nn.sigmoid(nn.Conv(appearance.shape[-1], (3, 3))(motion))
        return gate * appearance + motion


# %% [markdown]
# ## Look at features
#
# The model of the package shows what the two streams give. Each picture is the mean
# size of the features in a cell of the pyramid's level 3. The gate has not been trained
# yet, so it is about a half everywhere.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import movseg_jax as ms

scene = ms.scenes.SceneConfig(frames=8, size=(256, 448), movers=(2, 2), nothing_moves=0)
clip = ms.data.SyntheticSource(scene, clips=1, seed=2)
example = clip[3]
detector = ms.load_detector(max_side=320)
inputs = ms.stack([ms.model.make_inputs(example.image, example.flow, detector.config)])
model = ms.Detector(detector.config)
pyramids = jax.jit(lambda p, x: model.apply({"params": p}, x, method="features"))(
    detector.params, inputs
)
appearance, motion = (pyramids[stream][3] for stream in ("appearance", "motion"))
mine = ms.nn.get_fusion("my_fusions:MotionGate")
fused, _ = mine.init_with_output(jax.random.key(0), appearance, motion)
maps = {"appearance": appearance, "motion": motion}
maps |= {"fused, as in the paper": pyramids["fused"][3], "fused, mine": fused}
figure, axes = plt.subplots(1, 5, figsize=(15, 2.4), layout="constrained")
axes[0].imshow(example.image)
for chart, (title, features) in zip(axes[1:], maps.items()):
    chart.imshow(np.abs(features[0]).mean(axis=-1))
    chart.set_title(title)
for chart in axes:
    chart.axis("off")

# %% [markdown]
# ## Train it and compare it
#
# `movseg fusion-lab` renders scenes, trains every arm with every seed, and evaluates on
# other scenes. The numbers below only show that everything runs: 300 steps and three
# seeds are the least that says anything, and take a minute or two per model.

# %%
STEPS, SEEDS = 8, 1  # For a real comparison, 300 and 3 or more.

arms = ["concat_convs", "mine=my_fusions:MotionGate"]
size = ["--seeds", str(SEEDS), "--train.steps", str(STEPS)]
scenes = ["--clips", "6", "--held-out", "2"]
movseg("fusion-lab", *arms, "--out", "lab", *size, *scenes, "--quiet")

# %%
from IPython.display import Image as Picture
from IPython.display import display

display(Picture("lab/results.png", width=900))

# %% [markdown]
# ## Use the trained weights
#
# Weights name their fusion, but a file must not choose which code runs, so you name it
# once more. `movseg segment VIDEO --out results --weights lab/runs/mine/0 --fusion
# my_fusions:MotionGate` does the same. A model that was trained this briefly is sure of
# nothing, so its best detections are shown instead of tracks.

# %%
mine = ms.load_detector("lab/runs/mine/0", fusion="my_fusions:MotionGate")
images = [clip[i].image for i in range(4)]
video = [ms.video.Frame(i, f"{i:05d}", image, None) for i, image in enumerate(images)]
drawn = []
for found in ms.detect_frames(video, mine, min_score=0):
    best = sorted(found.detections.moving, key=lambda d: -d.score)[:2]
    shapes = [ms.masks.decode(detection.mask) for detection in best]
    drawn.append(ms.video.draw_masks(found.frame.image, shapes))
figure, axes = plt.subplots(1, 3, figsize=(15, 3), layout="constrained")
for chart, picture in zip(axes, drawn):
    chart.imshow(picture)
    chart.axis("off")
