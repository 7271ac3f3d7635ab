"""Slow, plain definitions and reproducible numbers that several tests share."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np


def hashed(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [-1, 1) from nothing but a name: the same on every machine for ever.

    Whole networks can be filled with these on both sides of a comparison, so that no
    weights need be stored, and no library's random generator need stay as it is.
    """
    state = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint32)
    seed = 2166136261
    for character in name.encode():
        seed = ((seed ^ character) * 16777619) % 2**32
    state ^= np.uint32(seed)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        state ^= state >> np.uint32(shift)
        state *= np.uint32(factor)
    return (state.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(shape)


def hashed_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights for a network of torchvision, from the names and shapes alone.

    Scaled so that activations keep their size through the layers and the heads' logits
    spread: equal scores, which any rounding reorders, would be no comparison.
    """
    return {name: _hashed_weight(name, shape) for name, shape in shapes.items()}


def _hashed_weight(name, shape):
    value = hashed(name, shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return 1 + 0.5 * value
    if name.endswith(("running_mean", "bias")):
        return 0.1 * value
    if len(shape) == 1:  # The weight of a batch norm; the last of a block is small.
        return (0.3 if "bn3" in name else 1.0) * (1 + 0.2 * value)
    # LiteFlowNet enlarges and averages its flow, which keeps its size.
    averages = {"moduleUpflow": 0.25, "moduleScale": 1.0}
    for part, mean in averages.items():
        if part in name:
            return (mean * (1 + 0.2 * value)).astype(np.float32)
    fan_in = np.prod(shape[1:])
    gain = next((g for part, g in GAINS.items() if part in name), 1.0)
    return (gain * np.sqrt(6 / fan_in) * value).astype(np.float32)


# FlowNet2 is tested with an eighth of its channels: it has 162 million parameters.
FLOWNET2_WIDTH = 8

# Of the layers whose outputs are scores or deltas.
GAINS = {
    "cls_logits": 1.0,
    "rpn.head.bbox_pred": 0.1,
    "cls_score": 1.5,
    "box_predictor.bbox_pred": 0.3,
    "mask_fcn_logits": 1.0,
    "fpn": 0.5,
    "flow_head.conv2": 0.2,
    # FlowNet2 divides this flow by 400; so it is as large as a trained one's.
    "flownets_d.predict_flow2": 10.0,
}


def frame_of_blobs(height=120, width=168, moved=(0, 0)) -> np.ndarray:
    """A small frame, uint8 RGB, with structure at several sizes, moved by (x, y)."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x - moved[0], y - moved[1]
    channels = [
        128
        + 60 * np.sin(x / (7 + 5 * c) + c)
        + 40 * np.cos(y / (11 - 3 * c))
        + 25 * np.sign(np.sin(x / 23 + c) * np.sin(y / 17))
        for c in range(3)
    ]
    return np.clip(np.round(np.stack(channels, -1)), 0, 255).astype(np.uint8)


def pair_of_blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two frames, uint8 [136, 184, 3], whose features have odd sides in RAFT."""
    return frame_of_blobs(136, 184), frame_of_blobs(136, 184, moved=(3.5, -2.25))


def pair_of_even_blobs(network: str) -> tuple[np.ndarray, np.ndarray]:
    """Two frames, uint8 RGB, whose sides are multiples of those the network needs."""
    size = {"liteflownet": (64, 96), "flownet2": (128, 192)}[network]
    return frame_of_blobs(*size), frame_of_blobs(*size, moved=(3.5, -2.25))


def hashed_image() -> np.ndarray:
    """An image of noise, float32 [1, 96, 128, 3]."""
    return hashed("image", (1, 96, 128, 3))


def unpack_shapes(lines) -> dict[str, tuple[int, ...]]:
    """Names and shapes from a golden file's `weights`."""
    split = (line.split() for line in lines)
    return {name: tuple(map(int, shape)) for name, *shape in split}


def random_params(shapes, seed: int = 0):
    """Parameters of the shapes that `jax.eval_shape` of a module's `init` gives.

    Kernels keep the size of activations, scales are near 1, the rest near 0; all
    differ from their initial values, which could hide what is forgotten. Much faster
    than compiling the initialisers.
    """
    rng = np.random.default_rng(seed)

    def make(path, leaf):
        name, values = path[-1].key, rng.normal(size=leaf.shape)
        if name == "kernel":
            values *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
            if path[-2].key == "deltas":  # A trained model's are well below 1.
                values *= 0.1
        elif name == "scale":
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(make, shapes)


def top_of_largest_piece(mask):
    """The middle (x, y) of the uppermost row of a mask's largest piece."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    rows, columns = np.nonzero(pieces == largest)
    return int(columns[rows == rows.min()].mean()), int(rows.min())
