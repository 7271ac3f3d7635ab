"""Converts the layers of another framework's weight file to ours, one by one.

Our kernels are `[h, w, in, out]` (convolutions) and `[in, out]` (dense layers); a batch
norm is folded into a scale and a bias. `Source` keeps account of every name in the file
and of every problem, so that one message can list them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from movseg_jax.convert.flow_names import FLOW_FAMILIES
from movseg_jax.convert.foreign import read_file
from movseg_jax.convert.names import DETECTOR_FAMILIES, Family
from movseg_jax.errors import InputError

FAMILIES = (*DETECTOR_FAMILIES, *FLOW_FAMILIES)
CROP = 7  # The height and width of the RoIs that the box head sees.
EPSILON = 1e-5  # The number that is added to a batch norm's variance.
# Files that need another epsilon, by the start of their sha256: torchvision's own
# COCO_V1 weights, for which it calls `overwrite_eps(model, 0.0)`.
EPSILON_OF_FILES = {"bf2d0c1e": 0.0}
# Gluon's prefix of every name; wrappers in PyTorch add words with dots.
GLUON_PREFIX = re.compile(r"resnetv2\d*_")
MAX_WRAPPERS = 6  # The most words in front of a name; "model.module." has two.
MAX_LISTED = 8  # The most problems in one message.


class Layer(NamedTuple):
    """A layer of our model, and the shape of its weights in the file.

    Attributes:
        name: A key of `Family.names`; it may be a format string.
        shape: The shape in the file: [out, in, ...] for a kernel, [n] for a norm.
        values: The values for format strings.
        has_bias: Whether the layer has a bias.
        transposed: Whether the layer is a transposed convolution, whose shape in the
            file is [in, out, ...].
    """

    name: str
    shape: tuple[int, ...]
    values: Mapping[str, Any] = MappingProxyType({})
    has_bias: bool = True
    transposed: bool = False

    @property
    def path(self) -> str:
        """The path of the layer's parameters in our model."""
        return self.name.format(**self.values)


class Source:
    """A file that is being converted: its arrays, which were taken, and problems."""

    def __init__(self, path: Path, prefix: str | None = None):
        """Reads the file.

        Args:
            path: The path of the file.
            prefix: The start of the names of the model's arrays; None finds it if the
                file holds just one model.

        Raises:
            InputError: The file cannot be read, or holds no known model or several.
        """
        self.path = path
        file = read_file(path)
        found = _find_prefix(path, file.tensors) if prefix is None else prefix
        self.tensors = {
            name.removeprefix(found): array
            for name, array in file.tensors.items()
            if name.startswith(found)
        }
        if file.tensors and not self.tensors:
            first = ", ".join(sorted(file.tensors)[:5])
            raise InputError(
                f"{path}: no array's name begins with {prefix!r}; its first are "
                f"{first:.300}."
            )
        outside = [name for name in file.tensors if not name.startswith(found)]
        self.family = _recognise(path, self.tensors)
        self.sha256 = file.sha256
        self.epsilon = EPSILON_OF_FILES.get(file.sha256[:8], EPSILON)
        self.params: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.problems: list[str] = []
        self.ignorable = dict(self.family.ignorable)
        self.ignored: dict[str, list[str]] = {}
        if file.ignored:
            self.ignored["not an array of the model"] = file.ignored
        if outside:
            self.ignored[f"its name does not begin with {found!r}"] = outside
            if prefix is None:  # Single numbers are wrappers' counters, others weights.
                self.problems += [
                    f"{name} does not begin with {found!r} as the model's arrays do"
                    for name in outside
                    if file.tensors[name].size > 1
                ]

    def spell(self, layer: Layer) -> str:
        """Returns the file's name of the layer."""
        spellings = self.family.names.get(layer.path) or self.family.names[layer.name]
        if isinstance(spellings, str):
            return spellings.format(**layer.values)
        formatted = [spelling.format(**layer.values) for spelling in spellings]
        kernel = self.family.suffixes[0]
        there = (name for name in formatted if name + kernel in self.tensors)
        return next(there, formatted[0])

    def has(self, layer: Layer) -> bool:
        """Returns whether the file has the layer's kernel."""
        return self.spell(layer) + self.family.suffixes[0] in self.tensors

    def rows(self, layer: str, **values) -> int:
        """Returns a layer's number of output channels, on which others depend."""
        name = self.spell(Layer(layer, (), values)) + self.family.suffixes[0]
        if name not in self.tensors or self.tensors[name].ndim == 0:
            raise InputError(f"{self.path}: is a {self.family.kind} without {name!r}.")
        return self.tensors[name].shape[0]

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """Takes an array of the file; returns None and notes why if it does not fit."""
        array = self.tensors.get(name)
        if array is None:
            self.problems.append(f"{name} is missing")
            return None
        self.taken.add(name)
        if array.shape != shape:
            self.problems.append(
                f"{name} has shape {list(array.shape)}, expected {list(shape)}"
            )
            return None
        if not _is_finite(array):
            self.problems.append(f"{name} is not finite")
            return None
        return array

    def put(self, path: str, leaves: Mapping[str, np.ndarray]) -> None:
        """Stores a layer's parameters."""
        node = self.params
        for group in path.split("/"):
            node = node.setdefault(group, {})
        for name, array in leaves.items():
            node[name] = np.ascontiguousarray(array, np.float32)

    def convert_layer(self, layer: Layer, prefix: str = "") -> None:
        """Moves a convolution or dense layer to our parameters."""
        theirs = self.spell(layer)
        kernel_suffix, bias_suffix = self.family.suffixes
        taken = {"kernel": self.take(theirs + kernel_suffix, layer.shape)}
        if layer.has_bias:
            outputs = layer.shape[layer.transposed]
            taken["bias"] = self.take(theirs + bias_suffix, (outputs,))
        leaves = {k: self.reorder(layer, a) for k, a in taken.items() if a is not None}
        if len(leaves) < len(taken):
            return
        leaves["kernel"] = _transpose(layer, leaves["kernel"])
        self.put(prefix + layer.path, leaves)

    def reorder(self, layer: Layer, rows: np.ndarray) -> np.ndarray:
        """Brings the outputs per class into our order, with the background first."""
        if self.family.background == "last":
            return np.roll(rows, 1, axis=0) if layer.name == "box_head/logits" else rows
        useless = {"box_head/deltas": 4, "mask_head/logits": 1}.get(layer.name, 0)
        if useless:
            reason = f"the first {useless} rows, of the background: nothing uses them"
            self.ignored.setdefault(reason, [self.spell(layer)])
        return rows[useless:]

    def convert_norm(self, layer: Layer, prefix: str = "") -> None:
        """Folds a batch norm into a scale and a bias."""
        theirs = self.spell(layer)
        suffixes = self.family.norm_suffixes
        taken = [self.take(theirs + suffix, layer.shape) for suffix in suffixes]
        arrays = [array for array in taken if array is not None]
        if len(arrays) < len(taken):
            return
        scale, bias, *statistics = (array.astype(np.float64) for array in arrays)
        if statistics:
            mean, variance = statistics
            with np.errstate(all="ignore"):
                scale = scale / np.sqrt(variance + self.epsilon)
                bias = bias - mean * scale
            if not (_is_finite(scale) and _is_finite(bias)):
                self.problems.append(f"{theirs} has a variance that is not positive")
                return
        self.put(prefix + layer.path, {"scale": scale, "bias": bias})

    def finish(self) -> dict[str, Any]:
        """Returns the card; raises InputError if an array was not accounted for."""
        for name in self.tensors:
            reasons = (r for p, r in self.ignorable.items() if re.fullmatch(p, name))
            if name in self.taken:
                continue
            if reason := next(reasons, None):
                self.ignored.setdefault(reason, []).append(name)
            else:
                self.problems.append(f"{name} is unknown")
        if self.problems:
            listed = "; ".join(self.problems[:MAX_LISTED])
            if (more := len(self.problems) - MAX_LISTED) > 0:
                listed += f"; and {more} more"
            raise InputError(
                f"{self.path}: looks like a {self.family.kind}, but {listed}. "
                f"Every name has to be known and every layer to be there."
            )
        return {
            "kind": self.family.kind,
            "source": self.path.name,
            "source_sha256": self.sha256,
            "mapped": len(self.taken),
            "ignored": self.ignored,
            "partial": self.family.contents == "trunk",
        }


def _recognise(path: Path, tensors: Mapping[str, np.ndarray]) -> Family:
    for family in FAMILIES:
        if any(re.match(family.signature, name) for name in tensors):
            return family
    first = ", ".join(sorted(tensors)[:5])
    kinds = ", ".join(family.kind for family in FAMILIES)
    raise InputError(
        f"{path}: none of the kinds that can be converted: {kinds}. It has "
        f"{len(tensors)} arrays: {first:.300} ..."
    )


def _find_prefix(path: Path, tensors: Mapping[str, np.ndarray]) -> str:
    """Returns the prefix that wrappers added to the model's names, such as "model.".

    Raises:
        InputError: Several models are in the file, such as one and its moving average.
    """
    found = {
        start
        for name in tensors
        for start in _starts(name)
        if any(re.match(family.signature, name[len(start) :]) for family in FAMILIES)
    }
    # A detector's backbone looks like a model, too, but the detector is meant.
    models = sorted(
        start
        for start in found
        if not any(start != other and start.startswith(other) for other in found)
    )
    if len(models) > 1:
        shown = ", ".join(map(repr, models[:MAX_LISTED]))
        raise InputError(
            f"{path}: holds {len(models)} models, whose arrays' names begin with "
            f"{shown}; choose one of them by `prefix`."
        )
    return models[0] if models else ""


def _starts(name: str) -> Iterator[str]:
    """Yields the possible prefixes of a name: none, its first word, two words, ..."""
    yield ""
    end = 0
    for _ in range(MAX_WRAPPERS):
        end = name.find(".", end) + 1
        if not end:
            break
        yield name[:end]
    if gluon := GLUON_PREFIX.match(name):
        yield gluon[0]


def _is_finite(array: np.ndarray) -> bool:
    """Returns whether all values are finite as float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


def _transpose(layer: Layer, kernel: np.ndarray) -> np.ndarray:
    if layer.transposed:
        return kernel.transpose(2, 3, 0, 1)
    if layer.name == "box_head/fc1":  # Theirs flattens crops of [channels, y, x].
        outputs, inputs = kernel.shape
        kernel = kernel.reshape(outputs, inputs // CROP**2, CROP, CROP)
        return kernel.transpose(2, 3, 1, 0).reshape(inputs, outputs)
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)
