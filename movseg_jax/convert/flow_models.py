"""Converts flow networks of other frameworks to parameters of ours."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from movseg_jax.config import FlowNetworkConfig, NetworkName
from movseg_jax.convert.flow_names import FLOWNET2, LITEFLOWNET
from movseg_jax.convert.mapping import Layer, Source

# RAFT's authors save the norm of a shortcut under two names.
SAVED_TWICE = re.compile(r"(cnet\.layer[23]\.0)\.norm3(\..*)")


def take_flow_network(source: Source) -> FlowNetworkConfig:
    """Takes the layers of the network that a file holds; returns which one it is."""
    # Imported here, as the network needs JAX and most files are of detectors.
    from movseg_jax.flow.networks.estimator import network_shapes

    network = _network(source)
    for path, leaves in _layers(network_shapes(network)):
        if "kernel" in leaves:
            *size, inputs, outputs = leaves["kernel"].shape
            # A depthwise kernel is [out, 1, h, w] there, transposed or not.
            transposed = "upconv" in path and inputs > 1
            shape = (inputs, outputs) if transposed else (outputs, inputs)
            layer = Layer(path, (*shape, *size), transposed=transposed)
            source.convert_layer(layer._replace(has_bias="bias" in leaves))
        else:
            source.convert_norm(Layer(path, leaves["scale"].shape))
    for name, array in source.tensors.items():
        if found := SAVED_TWICE.fullmatch(name):
            other = "{}.downsample.1{}".format(*found.groups())
            if not np.array_equal(array, source.tensors.get(other, np.empty(0))):
                source.problems.append(f"{name} differs from {other}")
    return FlowNetworkConfig(network)


def _network(source: Source) -> NetworkName:
    """Returns the name of the network that a file holds."""
    if source.family is FLOWNET2:
        return "flownet2"
    if source.family is LITEFLOWNET:
        return "liteflownet"
    return "raft_large" if source.has(Layer("mask_conv1", ())) else "raft_small"


def _layers(shapes: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the paths of layers, and the shapes of their parameters by name."""
    for name, node in shapes.items():
        if any(isinstance(child, dict) for child in node.values()):
            yield from _layers(node, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", node
