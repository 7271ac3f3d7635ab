"""Where every piece of a scene is in the image at one time, and in which order.

A scene's pieces are numbered: its planes first, then every thing's bones.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from movseg_jax.scenes.camera import NEAREST, View
from movseg_jax.scenes.motion import Time

if TYPE_CHECKING:
    from movseg_jax.scenes.scene import Scene, Thing

HIDDEN = -1  # Rank of what is not drawn: behind the camera, or facing away.


class Layout(NamedTuple):
    """All pieces of a scene at a time.

    Attributes:
        view: The camera.
        homographies: From texels to pixels.
        inverses: From pixels to texels; their third number is positive in front.
        nearness: Inverse depth of pixel (x, y, 1) is the product with these.
        corners: Pixel (x, y) of every piece's texture's corners; of planes NaN.
        order: Pieces to draw, the farthest first.
        rank: Of every piece in that order; `HIDDEN` if it is not drawn.
    """

    view: View
    homographies: Float64[np.ndarray, "n 3 3"]
    inverses: Float64[np.ndarray, "n 3 3"]
    nearness: Float64[np.ndarray, "n 3"]
    corners: Float64[np.ndarray, "n 4 2"]
    order: Int32[np.ndarray, " k"]
    rank: Int32[np.ndarray, " n"]


def make_layout(scene: "Scene", time: Time) -> Layout:
    """The layout at a time, frames."""
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
        # A thing is drawn as a whole or not at all; but for faces turned away.
        if depths[number] > NEAREST:
            order += [i for i in range(start, stop) if shown[i]]
    rank = np.full(len(surfaces), HIDDEN, np.int32)
    rank[order] = np.arange(len(order))
    return Layout(view, homographies, inverses, nearness, corners,
                  np.array(order, np.int32), rank)  # fmt: skip


def all_surfaces(scene: "Scene", time: Time) -> Float64[np.ndarray, "n 4 3"]:
    """Every piece's surface in the world."""
    fixed = np.array([plane.surface for plane in scene.planes])
    return np.concatenate([fixed, *(place(thing, time) for thing in scene.things)])


def place(thing: "Thing", time: Time) -> Float64[np.ndarray, "n 4 3"]:
    """The surfaces of a thing's bones in the world."""
    path = thing.path
    own = thing.rig.surfaces(path.distance(time), path.active(time))
    if any(path.spin):  # About its middle, not its foot.
        middle = thing.rig.height / 2
        own = own.copy()
        own[:, 1] += middle * own[:, 3]
    return path.pose(time) @ own


def _outline(scene, homographies):
    """Corners of every bone's texture in pixels, and whether the bone can be drawn."""
    sizes = np.array([bone.sprite.texture.size for thing in scene.things
                      for bone in thing.rig.bones], float)  # fmt: skip
    sided = np.array([bone.one_sided for thing in scene.things
                      for bone in thing.rig.bones], bool)  # fmt: skip
    height, width = sizes[:, 0], sizes[:, 1]
    low, high = -0.5 + 0 * width, width - 0.5
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
