"""This package's weight files: a `.safetensors` file and a `.json` card beside it.

The card says which model the weights are for and where they are from, and holds the
weights' sha256, so that a damaged or exchanged file is refused. Neither file can hold
code. The same weights always give the same bytes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import unflatten_dict

from movseg_jax.config import ModelConfig
from movseg_jax.config_json import from_json
from movseg_jax.errors import InputError
from movseg_jax.system.atomic import make_folder, write_file
from movseg_jax.system.bounded import check_format, read_bytes

FORMAT = 1  # Raised when older code would misread newer files.
MAX_CARD_BYTES = 2**20
MAX_WEIGHTS_BYTES = 4 * 2**30
_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
# The model that comes with the package, which is also known as "bundled".
BUNDLED = Path(__file__).parents[1] / "weights" / "default.safetensors"
RUN_WEIGHTS = "weights.safetensors"  # What a finished training run leaves.


class Weights(NamedTuple):
    """A model's weights and what they are.

    Attributes:
        params: Nested dicts of read-only float32 arrays, as Flax takes them.
        config: The model that the parameters are for.
        card: Where they are from: what was given to `save_weights`.
        sha256: The sha256 of the .safetensors file, as in the card and by `sha256sum`.
        name: The path that was asked for, for messages.
    """

    params: Mapping[str, Any]
    config: ModelConfig
    card: dict[str, Any]
    sha256: str
    name: str = ""

    def __repr__(self) -> str:
        return f"Weights({self.name!r}, sha256 {self.sha256[:12]})"


def save_weights(
    path: str | Path,
    params: Mapping[str, Any],
    config: ModelConfig,
    card: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Writes `<name>.safetensors` and its card, `<name>.json`; makes their folder.

    The weights are written first and each file appears only when it is complete, so a
    crash leaves the old files, the new ones, or a card that refuses to load.

    Args:
        path: The file of weights, whose name ends in .safetensors.
        params: Nested dicts of arrays, in any floating dtype: they are stored as given
            and loaded as float32.
        config: The model that the parameters are for.
        card: Where the weights are from, as JSON: training run, source. Its "licence"
            is named in what the weights make.
        overwrite: Whether to replace existing files.

    Raises:
        InputError: The name is wrong, the files exist or cannot be written, a
            parameter is not finite, or the card is not JSON.
    """
    path, card_path = _paths(path)
    existing = [str(p) for p in (path, card_path) if p.exists()]
    if existing and not overwrite:
        raise InputError(
            f"{' and '.join(existing)}: exist already.",
            way_out="`overwrite=True` replaces them.",
        )
    flat = _checked(params, str(path))
    data = safetensors.numpy.save(flat)
    content = {
        "format": FORMAT,
        "model": dataclasses.asdict(config),
        "parameters": sum(array.size for array in flat.values()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "card": dict(card),
    }
    try:
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{card_path}: the card is not JSON: {error}.") from None
    make_folder(path.parent)
    write_file(path, data)
    write_file(card_path, text.encode())


def load_weights(path: str | Path, *, fusion: str | None = None) -> Weights:
    """Reads what `save_weights` wrote.

    Args:
        path: The file of weights or their card; "bundled" is the model of the package.
        fusion: If the model's fusion is "package.module:attribute", its name once
            more: building the model imports it, and a file must not choose what runs.

    Raises:
        InputError: A file is missing, damaged, of a newer version, or not the one that
            the card is about.
    """
    source = str(path)
    path, card_path = _paths(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    content = _read_card(card_path)
    config = _model_of(content, card_path)
    if ":" in config.fusion and config.fusion != fusion:
        raise InputError(
            f"{card_path}: the model's fusion is code, {config.fusion!r}. If you trust "
            f"it, load the weights with `fusion={config.fusion!r}`."
        )
    data = read_bytes(path, MAX_WEIGHTS_BYTES, "weights.MAX_WEIGHTS_BYTES")
    if hashlib.sha256(data).hexdigest() != content["sha256"]:
        raise InputError(
            f"{path}: damaged, or not the file that {card_path.name} is about: its "
            f"sha256 is not {content['sha256']}. Copy or convert both files again."
        )
    flat = read_safetensors(data, str(path))
    for name, array in flat.items():
        flat[name] = array.astype(np.float32, copy=False)
        flat[name].flags.writeable = False
    params = unflatten_dict(dict(sorted(flat.items())), sep="/")
    return Weights(params, config, content["card"], content["sha256"], source)


def read_safetensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Raises:
        InputError: The file is damaged, or holds a dtype NumPy does not have.
    """
    try:
        entries = safetensors.deserialize(data)
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        raise InputError(
            f"{source}: not a whole safetensors file: {error}; download it again."
        ) from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise InputError(f"{source}: {name} has dtype {entry['dtype']}.")
        array = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return tensors


def read_config(path: str | Path) -> ModelConfig:
    """Reads which model weights are for, from their card alone.

    Raises:
        InputError: The card is missing, damaged or of a newer version.
    """
    _, card_path = _paths(path)
    return _model_of(_read_card(card_path), card_path)


def _model_of(content: Mapping[str, Any], card_path: Path) -> ModelConfig:
    text = json.dumps(content["model"])
    return from_json(ModelConfig, text, f"{card_path}: `model`")


def _paths(path: str | Path) -> tuple[Path, Path]:
    path = BUNDLED if str(path) == "bundled" else Path(path)
    if path.suffix not in (".safetensors", ".json"):
        raise InputError(f"{path}: the name of weights ends in .safetensors.")
    return path.with_suffix(".safetensors"), path.with_suffix(".json")


def _read_card(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(path, MAX_CARD_BYTES, "weights.MAX_CARD_BYTES"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a whole JSON file: {error}.") from None
    expected = {"format": int, "model": dict, "sha256": str, "card": dict}
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(
            f"{path}: not the card of weights; `movseg convert` makes one."
        )
    check_format(content["format"], FORMAT, path)
    for name, kind in expected.items():
        if not isinstance(content.get(name), kind):
            raise InputError(f"{path}: `{name}` is missing or not a {kind.__name__}.")
    return content


def _checked(params: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    flat = {}
    for name, leaf in _leaves(params, "", source):
        array = np.ascontiguousarray(leaf)
        # bfloat16 is of kind "V", void, for NumPy.
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise InputError(f"{source}: {name} has dtype {array.dtype}, not floating.")
        with np.errstate(over="ignore"):  # To infinity, which is refused.
            as_loaded = array.astype(np.float32, copy=False)
        if not np.isfinite(as_loaded).all():
            raise InputError(f"{source}: {name} is not finite; nothing was saved.")
        flat[name] = array
    return dict(sorted(flat.items()))


def _leaves(node: Mapping[Any, Any], prefix: str, source: str) -> Iterator:
    for key, value in node.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise InputError(f"{source}: {prefix}{key!r} is not a parameter's name.")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/", source)
        else:
            yield f"{prefix}{key}", value
