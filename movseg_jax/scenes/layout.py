"""The layout of a scene: the place and drawing order of every piece at one time.

The pieces of a scene are numbered: first its planes, then the bones of every thing.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from movseg_jax.scenes.camera import NEAREST, View
from movseg_jax.scenes.motion import Time

if TYPE_CHECKING:
    from movseg_jax.scenes.scene import Scene, Thing

HIDDEN = -1  # The rank of a piece behind the camera, or facing away from it.


class Layout(NamedTuple):
    """All pieces of a scene at one time.

    Attributes:
        view: The camera's view.
        homographies: The homographies from texels to pixels.
        inverses: The homographies from pixels to texels; their third number is positive
            in front of the camera.
        nearness: The vectors whose product with (x, y, 1) is the pixel's inverse depth.
        corners: The pixels (x, y) of the corners of every texture; NaN for planes.
        order: The numbers of the pieces to draw, the farthest first.
        rank: The place of every piece in that order; `HIDDEN` if it is not drawn.
    """

    view: View
    homographies: Float64[np.ndarray, "n 3 3"]
    inverses: Float64[np.ndarray, "n 3 3"]
    nearness: Float64[np.ndarray, "n 3"]
    corners: Float64[np.ndarray, "n 4 2"]
    order: Int32[np.ndarray, " k"]
    rank: Int32[np.ndarray, " n"]


def make_layout(scene: "Scene", time: Time) -> Layout:
    """Returns the layout of a scene at a time, frames."""
    view = scene.camera.view(time)
    surfaces = all_surfaces(scene, time)
    homographies = view.projection @ surfaces
    inverses = np.linalg.inv(homographies)
    nearness = np.einsum("nj,njk->nk", surfaces[:, 3], inverses)
    first = len(scene.planes)
    corners = np.full((len(surfaces), 4, 2), np.nan)
    shown = np.ones(len(surfaces), bool)
    if len(surfaces) > first:
        corners[first:], shown[first:] = _outline(scene, homographies[first:])
    order = [*range(first)]
    depths = [view.project(thing.path.position(time)[None])[0, 2]
              for thing in scene.things]  # fmt: skip
    for number in np.argsort(-np.array(depths), kind="stable"):
        start, stop = scene.spans[number]
        # A thing is drawn completely or not at all, except for faces turned away.
        if depths[number] > NEAREST:
            order += [i for i in range(start, stop) if shown[i]]
    rank = np.full(len(surfaces), HIDDEN, np.int32)
    rank[order] = np.arange(len(order))
    return Layout(view, homographies, inverses, nearness, corners,
                  np.array(order, np.int32), rank)  # fmt: skip


def all_surfaces(scene: "Scene", time: Time) -> Float64[np.ndarray, "n 4 3"]:
    """Returns the surface of every piece in the world."""
    fixed = np.array([plane.surface for plane in scene.planes])
    return np.concatenate([fixed, *(place(thing, time) for thing in scene.things)])


def place(thing: "Thing", time: Time) -> Float64[np.ndarray, "n 4 3"]:
    """Returns the surfaces of a thing's bones in the world."""
    path = thing.path
    own = thing.rig.surfaces(path.distance(time), path.active(time))
    if any(path.spin):  # It spins about its middle, not about its foot.
        middle = thing.rig.height / 2
        own = own.copy()
        own[:, 1] += middle * own[:, 3]
    return path.pose(time) @ own


def _outline(scene, homographies):
    """Returns the corners of every bone in pixels, and whether it can be drawn."""
    sizes = np.array([bone.sprite.texture.size for thing in scene.things
                      for bone in thing.rig.bones], float)  # fmt: skip
    sided = np.array([bone.one_sided for thing in scene.things
                      for bone in thing.rig.bones], bool)  # fmt: skip
    height, width = sizes.T
    low = np.full_like(width, -0.5)
    high = width - 0.5
    texels = np.stack(
        [
            np.stack([low, high, high, low], axis=1),
            np.stack([low, low, height - 0.5, height - 0.5], axis=1),
            np.ones((len(sizes), 4)),
        ],
        axis=1,
    )
    seen = homographies @ texels
    depth = seen[:, 2]
    front: Bool[np.ndarray, " n"] = (depth > NEAREST).all(axis=1)
    corners = seen[:, :2] / np.where(front[:, None], depth, 1.0)[:, None]
    # A face is turned away where its texels appear mirrored.
    turned = np.linalg.det(homographies) <= 0
    return corners.transpose(0, 2, 1), front & ~(sided & turned)
