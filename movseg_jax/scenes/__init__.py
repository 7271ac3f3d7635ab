"""Renders short clips of an artificial world, with exact truth; no downloads needed.

A clip shows a meadow, a street, a room or a photograph through a moving camera, with
things that stand still and things that move by themselves. Every frame comes with
masks, optical flow, occlusions and depth, and every clip says what moves when.

The truth is exact because the world is made of planes: backgrounds, sprites and the
faces of boxes. The image of a plane moves by a homography, so the flow of each pixel
is computed from geometry instead of being estimated, and the masks come from the same
textures and homographies as the picture. Equal configs, seeds and clip numbers give
equal bytes.

The entry points:

- `scene_config.SceneConfig` says how clips look.
- `library.read_library` adds photographs and cut-outs of the user.
- `staging.make_scene` draws a scene from a config, a seed and a number.
- `render.render_frame` and `render.render_clip` render it.
- `clips.write_clips` writes clips to a folder.

`data.datasets.synthetic` makes a data set of these clips; nothing here imports `data`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
