"""Weights of flow networks, and functions in their place, which compile nothing."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save_file

from movseg_jax.convert.models import convert_weights
from movseg_jax.flow.networks import estimator
from movseg_jax.flow.networks.flownet2 import FlowNet2
from movseg_jax.model.weights import save_weights
from tests.oracles import FLOWNET2_WIDTH, hashed_weights, unpack_shapes

GOLDEN = Path(__file__).parents[1] / "golden" / "flow_networks.npz"


@functools.cache
def foreign_weights(network="raft_small"):
    """Reproducible weights, with the names of torchvision or of a network's port."""
    return hashed_weights(unpack_shapes(np.load(GOLDEN)[f"{network}_weights"]))


def write_weights(folder, network="raft_small", change=0.0):
    """Converts the reproducible weights; returns the file."""
    weights = dict(foreign_weights(network))
    if change:
        bias = "update_block.flow_head.conv2.bias"
        weights[bias] = weights[bias] + np.float32(change)
    save_file(weights, folder / "theirs.safetensors")
    converted = convert_weights(folder / "theirs.safetensors")
    file = folder / f"{network}.safetensors"
    arguments = converted.params, converted.config, converted.card
    save_weights(file, *arguments, overwrite=True)
    return file


def shrink_flownet2(monkeypatch):
    """Gives FlowNet2 as few channels as the reproducible weights have."""
    model = FlowNet2(FLOWNET2_WIDTH)
    smaller = estimator.MODELS["flownet2"]._replace(model=model)
    monkeypatch.setitem(estimator.MODELS, "flownet2", smaller)
    for function in (estimator.network_shapes, estimator.compiled_network):
        # The cache holds the usual size, and must not hold this one later.
        monkeypatch.setattr(estimator, function.__name__, function.__wrapped__)


def replace_network(monkeypatch):
    """Replaces the networks; their flow is the difference of the frames' means.

    Returns:
        The shapes of all images whose features were computed, and of those whose flow.
    """
    done = SimpleNamespace(features=[], pairs=[])

    def features(params, image):
        done.features.append(image.shape)
        return float(image.mean())

    def flow(params, image, first, second):
        done.pairs.append(image.shape)
        return np.full((*image.shape[:3], 2), second - first, np.float32)

    monkeypatch.setattr(
        estimator, "compiled_network", lambda network, updates: (features, flow)
    )
    return done
