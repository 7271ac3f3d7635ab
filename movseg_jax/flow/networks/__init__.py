"""Networks that estimate optical flow, with weights that users convert.

No network is imported unless it is asked for by its name.
"""

from pathlib import Path
from typing import Any

from movseg_jax.config import NETWORKS
from movseg_jax.errors import InputError


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
