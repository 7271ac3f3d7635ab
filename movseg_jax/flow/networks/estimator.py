"""A flow network with its weights, as an estimator of the flow between two frames."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from movseg_jax.config import FlowNetworkConfig, NetworkName
from movseg_jax.errors import InputError
from movseg_jax.flow.encoding import resize_flow
from movseg_jax.flow.estimators import check_frames, reduce_frame
from movseg_jax.flow.networks import flownet2, liteflownet, raft
from movseg_jax.model.weights import check_parameters, read_weights
from movseg_jax.system.devices import start_devices

UPDATES = 12


class _Network(NamedTuple):
    """A network and what it asks of its images and callers.

    Attributes:
        model: The network.
        stride: The number that sides have to be multiples of.
        least_side: The smallest side.
        iterates: Whether the flow is improved by a number of steps.
    """

    model: Any
    stride: int
    least_side: int
    iterates: bool


MODELS: dict[NetworkName, _Network] = {
    "raft_large": _Network(raft.Raft(raft.LARGE), raft.STRIDE, raft.LEAST_SIDE, True),
    "raft_small": _Network(raft.Raft(raft.SMALL), raft.STRIDE, raft.LEAST_SIDE, True),
    "liteflownet": _Network(
        liteflownet.LiteFlowNet(), liteflownet.STRIDE, liteflownet.STRIDE, False
    ),
    "flownet2": _Network(flownet2.FlowNet2(), flownet2.STRIDE, flownet2.STRIDE, False),
}


@dataclasses.dataclass(frozen=True, eq=False)
class FlowNetwork:
    """An estimator that runs a network on JAX's device.

    A frame's features serve the pair that it ends and the pair that it begins, if the
    pairs are estimated one after the other. Threads may share an estimator; they take
    turns, as each pair uses the whole device.

    Attributes:
        network: The name of the network.
        params: The parameters, on the device.
        sha256: The hash of the weights' file.
        updates: The number of steps that improve the flow; None if there are none.
        working_side: The longer side to which larger frames are reduced, as in
            `get_estimator`.
    """

    network: NetworkName
    params: Mapping[str, Any] = dataclasses.field(repr=False)
    sha256: str
    updates: int | None
    working_side: int | None = None
    _last: list = dataclasses.field(default_factory=list, init=False, repr=False)
    _lock: Any = dataclasses.field(
        default_factory=threading.Lock, init=False, repr=False
    )

    def at_side(self, working_side: int | None) -> "FlowNetwork":
        """Returns the same network for another `working_side`."""
        return dataclasses.replace(self, working_side=working_side)

    def __call__(
        self, frame: UInt8[np.ndarray, "h w 3"], next_frame: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        """Returns the flow from `frame` to `next_frame`.

        Frames whose sides do not suit the network are extended by their border's
        pixels, on all sides.

        Raises:
            InputError: They are not RGB frames of one size.
        """
        check_frames(frame, next_frame)
        images = [
            reduce_frame(image, self.working_side) for image in (frame, next_frame)
        ]
        size = images[0].shape[:2]
        borders = [self._border(side) for side in size]
        images = [np.pad(image, (*borders, (0, 0)), mode="edge") for image in images]
        with self._lock:
            flow = self._estimate(*images)
        (top, _), (left, _) = borders
        flow = flow[top : top + size[0], left : left + size[1]]
        return resize_flow(flow, frame.shape[:2])

    def _border(self, side):
        """Returns how many pixels are added before and after a side."""
        _, stride, least, _ = MODELS[self.network]
        missing = max(least, -(-side // stride) * stride) - side
        return missing // 2, missing - missing // 2

    def _estimate(self, image, next_image):
        features, estimate = compiled_network(self.network, self.updates)
        params = {"params": self.params}
        image, next_image = image[None], next_image[None]
        if self._last and np.array_equal(self._last[0], image):
            first = self._last[1]
        else:
            first = features(params, image)
        second = features(params, next_image)
        self._last[:] = next_image, second
        return np.asarray(estimate(params, image, first, second))[0]


def load_network(
    weights: str | Path | None,
    network: NetworkName | None = None,
    *,
    updates: int | None = None,
    working_side: int | None = None,
) -> FlowNetwork:
    """Loads a flow network, whose weights `movseg convert` has made.

    Args:
        weights: The .safetensors file. The package has no weights of flow networks.
        network: The name of the network that is expected; None accepts any.
        updates: The number of steps in which RAFT improves the flow; the default is 12.
        working_side: The longer side to which larger frames are reduced.

    Raises:
        InputError: There are no such weights, they are damaged or of another network,
            or a number is not positive; or JAX has no device.
    """
    if weights is None:
        raise InputError(
            f"the flow network {network} needs weights, and the package has none: hand "
            "in `flow_weights`, a file that `movseg convert` made."
        )
    for name, value in (
        ("number of updates", updates),
        ("working side", working_side),
    ):
        if value is not None and value < 1:
            raise InputError(f"the {name} is {value}, expected at least 1.")
    config, params, content = read_weights(weights, FlowNetworkConfig)
    if network not in (None, config.network):
        raise InputError(
            f"{weights}: these are weights of {config.network}, expected those of "
            f"{network}."
        )
    if MODELS[config.network].iterates:
        updates = updates or UPDATES
    elif updates is not None:
        raise InputError(f"{config.network} has no steps, so no number of updates.")
    check_parameters(params, network_shapes(config.network), str(weights))
    start_devices()
    params = jax.device_put(params)
    sha256 = content["sha256"]
    return FlowNetwork(config.network, params, sha256, updates, working_side)


@functools.cache
def network_shapes(network: NetworkName) -> dict[str, Any]:
    """Returns the shapes of a network's parameters; computes nothing."""
    model, _, side, _ = MODELS[network]

    def both(model, image):
        features = model.features(image)
        return model(image, features, features)

    def initialise():  # It is only traced, so no device is needed.
        image = jnp.zeros((1, side, side, 3), jnp.uint8)
        return nn.init(both, model)(jax.random.key(0, impl="threefry2x32"), image)

    return jax.eval_shape(initialise)["params"]


@functools.lru_cache(maxsize=8)
def compiled_network(
    network: NetworkName, updates: int | None
) -> tuple[Callable, Callable]:
    """Returns the functions of one image and of a pair, compiled once per size."""
    model = MODELS[network].model
    options = {} if updates is None else {"updates": updates}
    features = jax.jit(functools.partial(model.apply, method="features"))
    return features, jax.jit(functools.partial(model.apply, **options))
