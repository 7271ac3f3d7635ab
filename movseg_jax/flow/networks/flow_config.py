"""The names of the flow networks, and the part of a card that says which one it is.

This module imports neither JAX nor NumPy.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args

from movseg_jax.errors import InputError

NetworkName = Literal["raft_large", "raft_small"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)


@dataclasses.dataclass(frozen=True)
class FlowNetworkConfig:
    """The network that weights are for.

    Attributes:
        network: The name of the network.
    """

    network: NetworkName


def load_if_network(
    flow: object,
    weights: str | Path | None,
    updates: int | None,
    working_side: int | None = None,
) -> Any:
    """Returns the `FlowNetwork` that a source of flow names; None if it names none.

    Args:
        flow: The source: the name of a network or of another estimator, or a folder.
        weights: The file of the network's weights.
        updates: The number of steps that improve the flow.
        working_side: The longer side to which larger frames are reduced.

    Raises:
        InputError: A network has no weights, or they cannot be read; or something else
            than a network has weights.
    """
    if flow in NETWORKS:
        # Imported here, so that nobody loads a network who does not use one.
        from movseg_jax.flow.networks.estimator import load_network

        return load_network(weights, flow, updates=updates, working_side=working_side)
    if weights is not None or updates is not None:
        raise InputError(
            f"flow {str(flow)!r} takes neither `flow_weights` nor `flow_updates`; "
            f"expected one of the networks {', '.join(NETWORKS)}."
        )
    return None
