"""A trained detector, ready for any frame."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from movseg_jax.config import ModelConfig, Precision
from movseg_jax.errors import InputError
from movseg_jax.model.kept_program import detect_function
from movseg_jax.model.weights import (
    BUNDLED,
    RUN_WEIGHTS,
    Weights,
    check_parameters,
    load_weights,
)
from movseg_jax.system.devices import multiplies_bfloat16, start_devices
from movseg_jax.types import Inputs, Outputs

_EVERYWHERE, _SPLIT = PartitionSpec(), PartitionSpec("device")
# The kernels of fully connected layers, 1x1 convolutions and transposed convolutions,
# which `nn.products` rounds without transforming them first.
SHAPES_OF_FACTORS = ((), (1, 1), (2, 2))

Use = Literal["joint", "appearance", "motion"]


class TrainedDetector(NamedTuple):
    """A model and its parameters.

    Attributes:
        config: The model's config.
        params: The parameters, on the device.
        name: The name of the weights, for messages.
        digest: The sha256 of the weights' file, as in its card and by `sha256sum`.
        licence: The licence of the weights; "" if their card does not say.
        precision: The precision of products of float32 numbers, instead of that of the
            config's convention.
    """

    config: ModelConfig
    params: Any
    name: str
    digest: str
    licence: str = ""
    precision: Precision | None = None

    def __repr__(self) -> str:
        streams = " and ".join(self.config.streams)
        return f"TrainedDetector({self.name!r}, {streams}, sha256 {self.digest[:12]})"

    def __call__(self, inputs: Inputs, min_score: float = 0.0) -> Outputs:
        """Detects in a batch; compiled once for each shape. Returns before it is done.

        All devices of this process share a batch if its size is a multiple of their
        number; otherwise the first one does everything.

        Args:
            inputs: See `types` for shapes.
            min_score: Detections with more are valid, if `config` has no more; of
                others no masks are computed, which takes its time.

        Raises:
            InputError: The parameters are not those of the model.
        """
        least = max(min_score, self.config.min_score)
        try:
            config = dataclasses.replace(self.config, min_score=least)
            count = jax.local_device_count()
            if len(inputs.scale) % count:
                count = 1
            params, inputs = _place(self.params, inputs, count)
            detect = _compiled(config, self.precision, count)
            return detect({"params": params}, inputs)
        except Exception:
            # This takes seconds, so it is done only after a failure. `load_weights` has
            # seen that the file is the one its card is about.
            from movseg_jax.model.parameters import parameter_shapes

            check_parameters(self.params, parameter_shapes(self.config), self.name)
            raise


@functools.lru_cache(maxsize=8)
def _compiled(
    config: ModelConfig, precision: Precision | None, devices: int
) -> Callable[[Any, Inputs], Any]:
    if devices == 1:
        return detect_function(config, precision)
    from movseg_jax.model.detector import Detector

    detect = Detector(config, precision=precision).apply
    # Each device runs the program of one device on its part of the batch. XLA itself
    # would make the devices wait for one another in every round of NMS.
    parts = {"mesh": _mesh(devices), "in_specs": (_EVERYWHERE, _SPLIT)}
    return jax.jit(jax.shard_map(detect, **parts, out_specs=_SPLIT, check_vma=False))


def _place(params: Any, inputs: Inputs, devices: int) -> tuple[Any, Inputs]:
    """Moves parameters and a batch to devices; `replicate` has spared most copies."""
    if devices == 1:
        if jax.local_device_count() > 1:
            # The copy on the first device, if there is one on each.
            params = jax.tree.map(_on_first, params)
        return params, jax.device_put(inputs, jax.local_devices()[0])
    split = NamedSharding(_mesh(devices), _SPLIT)
    return replicate(params, devices), jax.device_put(inputs, split)


def replicate(params: Any, devices: int | None = None) -> Any:
    """Copies parameters to the first devices of this process, by default to all."""
    mesh = _mesh(devices or jax.local_device_count())
    return jax.device_put(params, NamedSharding(mesh, _EVERYWHERE))


def _on_first(array: Any) -> Any:
    is_copied = isinstance(array, jax.Array) and array.is_fully_replicated
    return array.addressable_data(0) if is_copied else array


def _mesh(devices: int) -> Mesh:
    """The first devices of this process."""
    return Mesh(np.array(jax.local_devices()[:devices]), ("device",))


def load_detector(
    weights: str | Path | Weights | None = None,
    *,
    use: Use | None = None,
    static: bool = True,
    max_side: int | None = None,
    fusion: str | None = None,
    precision: Precision | None = None,
) -> TrainedDetector:
    """Loads a detector.

    Args:
        weights: A .safetensors file, the folder of a finished training run, or weights
            that are loaded already. The default, or "bundled", is the model that comes
            with the package.
        use: The streams to detect with, by default all. "appearance" takes the
            backbone of appearance and the heads of the static branch out of a joint
            model, and finds objects whether they move or not.
        static: Whether to detect with the static branch of a joint model, if it has
            one. Without it, objects are only found while they move.
        max_side: The longer side that frames are reduced to, in pixels; less is faster.
            The default is the model's own.
        fusion: The name of the model's fusion, "package.module:attribute", if it is
            code of yours; see `load_weights`.
        precision: The precision of products of float32 numbers: "highest" does not
            round them on any device. The default is that of `fastest_precision`.

    Raises:
        InputError: There are no such weights, they are damaged or incomplete, or lack
            what is to be used; or JAX has no device.
    """
    start_devices()
    found = _found(weights, fusion)
    name, params, config = found.name, found.params, found.config
    parts = (*config.streams, "rpn", "box_head", "mask_head")
    parts += ("static",) * config.static_branch
    missing = [part for part in parts if part not in params]
    if missing:
        raise InputError(
            f"{name}: has no {', '.join(missing)}: a part to start training from, not "
            "a detector; hand in weights of a whole model."
        )
    config, params = _used(config, params, use, name)
    if not static and config.static_branch:
        config = dataclasses.replace(config, static_branch=False)
        params = {part: params[part] for part in params if part != "static"}
    if max_side is not None:
        if max_side < 32:
            raise InputError(f"`max_side` is {max_side}, expected 32 or more pixels.")
        long = min(config.long_side, max_side)
        config = dataclasses.replace(
            config, long_side=long, short_side=min(config.short_side, long)
        )
    licence = str(found.card.get("licence", ""))
    if precision is None:
        precision = fastest_precision(config)
    params = replicate(params)
    return TrainedDetector(config, params, name, found.sha256, licence, precision)


def fastest_precision(config: ModelConfig) -> Precision:
    """The precision with which a model detects fastest on this machine.

    Where the model's convention leaves the precision to the device, that is "bfloat16"
    on CPUs with instructions for it; JAX would not use them by itself.
    """
    precision = config.arithmetic.precision
    on_cpu = jax.default_backend() == "cpu"
    if precision == "default" and on_cpu and multiplies_bfloat16():
        return "bfloat16"
    return precision


def round_kernels(detector: TrainedDetector) -> TrainedDetector:
    """Returns a detector that finds the same, bit for bit, with less memory.

    Kernels that are rounded to bfloat16 for each product are rounded once. Kernels of
    3x3 stay as they are: they are rounded after a transform, or not at all. So do those
    of a fusion of the user's own, which may not be rounded there. The detector is
    returned as it is if its precision is not "bfloat16".
    """
    if detector.precision != "bfloat16":
        return detector
    own_fusion = ":" in detector.config.fusion

    def rounded(path, parameter):
        names = [key.key for key in path]
        is_factor = names[-1] == "kernel" and parameter.shape[:-2] in SHAPES_OF_FACTORS
        if not is_factor or (own_fusion and names[0] == "fusion"):
            return parameter
        # By NumPy: JAX would compile a program for each shape.
        return np.asarray(parameter).astype(ml_dtypes.bfloat16)

    params = jax.tree_util.tree_map_with_path(rounded, detector.params)
    return detector._replace(params=replicate(params))


def is_unfinished_run(weights: str | Path) -> bool:
    """True if this is a folder without the weights that a finished run leaves."""
    path = Path(weights)
    return path.is_dir() and not (path / RUN_WEIGHTS).is_file()


def _found(weights: str | Path | Weights | None, fusion: str | None) -> Weights:
    """Loads the weights that were asked for."""
    if isinstance(weights, Weights):
        return weights
    if weights is None or str(weights) == "bundled":
        if not BUNDLED.is_file():
            raise InputError(f"{BUNDLED}: is missing; reinstall, or hand in weights.")
        return load_weights("bundled")
    if is_unfinished_run(weights):
        raise InputError(
            f"{weights}: has no {RUN_WEIGHTS}, which a finished training run has. "
            "`movseg_jax.train.initialise.load_trained` also loads the last checkpoint "
            "of a run that has not finished."
        )
    path = Path(weights)
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file or folder; expected weights (.safetensors) "
            "or the folder of a training run."
        )
    if path.is_dir():
        path = path / RUN_WEIGHTS
    return load_weights(path, fusion=fusion)._replace(name=str(weights))


def _used(
    config: ModelConfig, params: Mapping[str, Any], use: Use | None, name: str
) -> tuple[ModelConfig, Mapping[str, Any]]:
    """The part of a model to use."""
    streams = config.streams
    has = "joint" if len(streams) == 2 else streams[0]
    if use is None or use == has:
        return config, params
    if has != "joint" or use == "motion" or not config.static_branch:
        offered = [has]
        if has == "joint" and config.static_branch:
            offered.append("appearance")
        hint = (
            ", or weights of a motion stage" if has == "joint" and use == "motion"
            else ", or other weights"
        )  # fmt: skip
        raise InputError(
            f"{name}: cannot be used as a model of {use}; expected "
            f"{' or '.join(offered)}{hint}."
        )
    if config.mask_features != "appearance":
        raise InputError(
            f"{name}: its masks are of {config.mask_features!r} features, so that it "
            "cannot be used with appearance alone."
        )
    config = dataclasses.replace(
        config,
        motion=None,
        static_branch=False,
        rpn_features="fused",
        box_features="fused",
        mask_features="fused",
    )
    taken = {"appearance": params["appearance"], "mask_head": params["mask_head"]}
    return config, taken | dict(params["static"])
