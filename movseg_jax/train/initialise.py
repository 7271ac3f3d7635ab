"""Puts together the parameters that training starts from.

They are weights of earlier stages and, for the rest, random ("fresh"). The paper's
joint model takes each backbone from the model of its stream, and the heads
from the appearance model; its fusion starts from random weights (section 3.3).
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from movseg_jax.config import Config, ModelConfig, StartConfig
from movseg_jax.config_json import from_json
from movseg_jax.errors import InputError
from movseg_jax.model.loading import (
    TrainedDetector,
    is_unfinished_run,
    load_detector,
)
from movseg_jax.model.parameters import fresh, parameter_shapes
from movseg_jax.model.weights import (
    RUN_WEIGHTS,
    Weights,
    load_weights,
    read_config,
)
from movseg_jax.train import manifest
from movseg_jax.train.checkpoints import CHECKPOINTS, Checkpoints, restore_params

HEADS = ("rpn", "box_head", "mask_head")
# Layers whose size depends on the number of classes: fresh if that has changed.
OUTPUTS = ("box_head/logits", "box_head/deltas", "mask_head/logits")


class Start(NamedTuple):
    """Parameters to start from.

    Attributes:
        params: The parameters of the complete model, nested dicts of NumPy arrays.
        report: Lines that say where each part is from.
        licence: Licence of the weights that were used, several joined by "and"; "" if
            their cards name none.
    """

    params: dict[str, Any]
    report: tuple[str, ...]
    licence: str


def start(config: ModelConfig, sources: StartConfig, seed: int) -> Start:
    """Takes the parameters that `sources` names, and fresh ones for the rest.

    Raises:
        InputError: Weights cannot be read, or are not of such a model: see `find`.
    """
    licences: dict[str, None] = {}  # A set in the order of the sources.

    def read(source: str) -> Weights:
        part = _read_parts(source)
        if licence := part.card.get("licence"):
            licences[str(licence)] = None
        return part

    origins, unused = find(config, sources, parameter_shapes(config), read)
    known: dict[str, Any] = flatten_dict(fresh(config, seed), sep="/")
    parts: dict[str, dict[str, int]] = {}  # Numbers of arrays by origin and part.
    for path in known:
        origin = "fresh"
        if path in origins:
            array, origin = origins[path]
            if array is not None:
                known[path] = np.array(array, np.float32)
        counts = parts.setdefault(origin, {})
        counts[_part(path)] = counts.get(_part(path), 0) + 1
    report = []
    for origin, counts in parts.items():
        what = "everything" if len(parts) == 1 else ", ".join(counts)
        report.append(f"{origin}: {what} ({sum(counts.values())} arrays)")
    if unused:
        report.append(f"not used: {', '.join(unused)}")
    if any(part.startswith("static/") for part in parts.get("fresh", ())):
        report.append(
            "The static branch starts from no weights, and no loss trains it: what it "
            "finds is random. Give train.start.appearance, or set "
            "model.static_branch=False."
        )
    params = unflatten_dict(known, sep="/")
    return Start(params, tuple(report), " and ".join(licences))


def find(
    config: ModelConfig,
    sources: StartConfig,
    shapes: Mapping[str, Any],
    read: Callable[[str], Weights],
) -> tuple[dict[str, tuple[Any, str]], list[str]]:
    """Finds the arrays to start from, by path; computes nothing.

    Args:
        config: The config of the model to start.
        sources: The names of the weights to start from.
        shapes: The shapes of the model's parameters, or the parameters themselves.
        read: A function from a name in `sources` to its weights, whose arrays may be
            shapes.

    Returns:
        For each parameter that is not just fresh, its array and "from" which weights;
        None instead of the array where the number of classes has changed. And the parts
        of weights that were asked for but have no place in this model.

    Raises:
        InputError: Weights lack what is asked of them, or are of another architecture.
    """
    taken: dict[str, tuple[Any, str]] = {}

    take = functools.partial(_take, taken)
    if sources.weights:
        part = read(sources.weights)
        take(part, "", "")
        for stream in config.streams:
            if stream in part.params and not getattr(sources, stream):
                _check_stream(part, stream, config, stream)
    if sources.heads == "motion" and not sources.motion:
        raise InputError(
            "train.start.heads is 'motion', but train.start.motion names no weights."
        )
    for stream in ("appearance", "motion"):
        if not getattr(sources, stream):
            continue
        if stream not in config.streams:
            raise InputError(
                f"train.start.{stream}: the model has no stream for {stream}."
            )
        part = read(getattr(sources, stream))
        own = stream
        if stream == "motion" and part.config.motion is None:
            own = "appearance"  # ImageNet's backbone, for example, which sees flow now.
        take(part, own, stream)
        _check_stream(part, own, config, stream)
        if sources.heads == stream and "rpn" in part.params:
            for head in HEADS:
                take(part, head, head)
        if stream == "appearance" and config.static_branch and "rpn" in part.params:
            for head in HEADS[:2]:
                take(part, head, f"static/{head}")
    return _fit(flatten_dict(shapes, sep="/"), taken)


def _take(taken, part, there, here):
    """Takes the subtree called `there` as what this model calls `here`."""
    node = part.params.get(there) if there else part.params
    if node is None:
        raise InputError(
            f"{part.name}: has no {there!r}, only {', '.join(part.params)}."
        )
    for path, array in flatten_dict(node, sep="/").items():
        taken[f"{here}/{path}" if here else path] = (array, part.name)


def _check_stream(part, own, config, stream):
    """Refuses a backbone whose arrays would fit but which computes something else."""
    theirs, ours = getattr(part.config, own), getattr(config, stream)
    for field in dataclasses.fields(ours):
        there, here = getattr(theirs, field.name), getattr(ours, field.name)
        if there != here:
            raise InputError(
                f"{part.name}: its {own} trunk has {field.name}={there!r}, that of the "
                f"model to train has {here!r}. Set model.{stream}.{field.name} to "
                f"{there!r}, or start from other weights."
            )
    if stream == "appearance":
        there, here = part.config.arithmetic, config.arithmetic
        if (there.channel_order, there.mean, there.std) != (
            here.channel_order,
            here.mean,
            here.std,
        ):
            raise InputError(
                f"{part.name}: its pixels are normalised as model.convention "
                f"{part.config.convention!r} does, those of the model to train as "
                f"{config.convention!r} does. Set model.convention, or start from "
                "other weights."
            )
    elif own == "motion" and part.config.flow_encoding != config.flow_encoding:
        raise InputError(
            f"{part.name}: saw flow in the encoding {part.config.flow_encoding!r}, the "
            f"model to train gets it in {config.flow_encoding!r}. Set "
            "model.flow_encoding, or start from other weights."
        )


def _fit(shapes, taken):
    """The result of `find`: arrays that have the shapes of the model's."""
    found = {}
    for path, (array, origin) in taken.items():
        if path not in shapes:
            continue
        expected = shapes[path].shape
        if array.shape == expected:
            found[path] = (array, f"from {origin}")
        elif any(f"{layer}/" in path for layer in OUTPUTS):
            found[path] = (None, f"fresh, since {origin} has other classes")
        else:
            raise InputError(
                f"{origin}: {path} has shape {array.shape}, expected {expected}: its "
                "model is another one."
            )
    return found, sorted({_part(path) for path in taken.keys() - shapes.keys()})


def _read_parts(source: str) -> Weights:
    """Reads weights to take arrays from.

    No model is built from their config, so their fusion may be code: it is not run.
    """
    fusion = read_config(source).fusion if _is_file(source) else None
    return read_weights(source, fusion)


def _is_file(source: str) -> bool:
    return source == "bundled" or Path(source).suffix in (".safetensors", ".json")


def read_weights(source: str, fusion: str | None = None) -> Weights:
    """Reads weights from a file, or from the last intact checkpoint of a run.

    Args:
        source: A .safetensors file, the folder of a training run, or "bundled" for the
            model that comes with the package.
        fusion: See `load_weights`; the config of a run's folder is trusted.

    Returns:
        The weights. Those of a run are the averaged ones if it averages, their `sha256`
        is that of the checkpoint's manifest, which holds the hashes of all its files.

    Raises:
        InputError: There are no weights, or they are damaged.
    """
    path = Path(source)
    if _is_file(source):
        return load_weights(source, fusion=fusion)
    config_file = path / "config.json"
    if not config_file.is_file():
        raise InputError(
            f"{source}: neither weights (.safetensors) nor the folder of a training "
            "run, which has a config.json."
        )
    config = from_json(Config, config_file.read_text(), str(config_file))
    average = config.train.ema_decay > 0  # As in the weights that the run leaves.
    checkpoints = Checkpoints(path / CHECKPOINTS)
    step = checkpoints.latest_good()
    if step is None:
        if (path / RUN_WEIGHTS).is_file():
            known = fusion or config.model.fusion
            return load_weights(path / RUN_WEIGHTS, fusion=known)
        raise InputError(f"{path / CHECKPOINTS}: has no intact checkpoint.")
    params = restore_params(checkpoints.folder, step, average=average)
    hashes = (checkpoints.folder / str(step) / manifest.NAME).read_bytes()
    digest = hashlib.sha256(hashes).hexdigest()
    card = {"run": source, "step": step}
    if licence := manifest.read(checkpoints.folder / str(step)).extra.get("licence"):
        card["licence"] = licence
    return Weights(params, config.model, card, digest, source)


def load_trained(weights: str | Path | None, **options: Any) -> TrainedDetector:
    """`load_detector`, which also takes the folder of a run that has not finished.

    Args:
        weights: Weights as for `load_detector`, or the folder of a run that has only
            checkpoints.
        options: The other arguments of `load_detector`.
    """
    if weights is not None and is_unfinished_run(weights):
        found = read_weights(str(weights), options.get("fusion"))
        return load_detector(found, **options)
    return load_detector(weights, **options)


def _part(path):
    return "/".join(path.split("/")[:2])
