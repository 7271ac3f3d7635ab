"""Reads weight files of other frameworks as NumPy arrays.

It reads PyTorch's `.pth` and `.pt` (zip archives, and the format before PyTorch 1.6),
the `.pkl` of Detectron and detectron2, `.npz` and `.safetensors`, and recognises them
by content. Nothing in a file is ever executed (see `pickle_machine`). Reading takes one
to three times the memory of the file; a file that is made to take more is refused at
20 times plus 300 MiB.
"""

import hashlib
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from movseg_jax.convert import pickle_machine, pickled_objects
from movseg_jax.convert.pickled_objects import Malformed, Storage, Tensor
from movseg_jax.errors import InputError
from movseg_jax.model.weights import MAX_WEIGHTS_BYTES, read_safetensors
from movseg_jax.system.bounded import read_bytes

MAX_NAMES = 20_000  # The most entries of a file, at any depth.
MAX_NAME_LENGTH = 500
MAX_DEPTH = 16  # The deepest nesting of dicts.
# The keys of a file's model, unless it is at the top level: those of detectron2 and
# Detectron.pytorch, Lightning, Detectron and PyTorch's tutorials; then those of a
# moving average, which are used if there is nothing else.
MODEL_KEYS = (
    *("model", "state_dict", "blobs", "model_state_dict"),
    *("model_ema", "ema", "state_dict_ema", "ema_state_dict"),
)

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z?]\d*)', 'fortran_order': (True|False), "
    rb"'shape': \(([\dL, ]*)\),? *\}\s*"
)


class ForeignFile(NamedTuple):
    """The content of a weight file.

    Attributes:
        tensors: The read-only arrays by name; names in nested dicts are "outer.inner".
        ignored: The names of entries that are not arrays of the model, such as the
            optimizer's state, the step and settings.
        sha256: The hash of the complete file, hexadecimal.
    """

    tensors: dict[str, np.ndarray]
    ignored: list[str]
    sha256: str


def read_file(path: str | Path) -> ForeignFile:
    """Reads a weight file of PyTorch, Detectron, detectron2, NumPy or safetensors.

    If a file holds more than a model, only the dict under one of `MODEL_KEYS` is read.

    Raises:
        InputError: The file is missing, damaged or of another format, or it refers to
            anything but arrays and plain data.
    """
    path = Path(path)
    data = read_bytes(path, MAX_WEIGHTS_BYTES, "weights.MAX_WEIGHTS_BYTES")
    source = str(path)
    if data.startswith(b"PK"):
        tensors, ignored = _read_zip(data, source)
    elif _is_safetensors(data):
        tensors = read_safetensors(data, source)
        ignored = []
    elif data[:1] in (b"\x80", b"(", b"c", b"]", b"}", b"d", b"l", b"i", b"S", b"V"):
        tensors, ignored = _read_pickles(data, source)
    else:
        raise InputError(
            f"{path}: not a weight file: it starts with {data[:16]!r}. Known are .pth, "
            f".pkl, .npz and .safetensors; is it a web page instead of a download?"
        )
    return ForeignFile(tensors, ignored, hashlib.sha256(data).hexdigest())


def _is_safetensors(data: bytes) -> bool:
    if len(data) < 10:
        return False
    return struct.unpack("<Q", data[:8])[0] <= len(data) - 8 and data[8:9] == b"{"


def _read_zip(data: bytes, source: str):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            _check_sizes(members, len(data), source)

            def read(name: str) -> bytes:
                if name not in members:
                    raise InputError(f"{source}: it has no member {name!r}.")
                # Reading is bounded, because the content may be larger than the header
                # says.
                size = members[name].file_size
                with archive.open(members[name]) as member:
                    content = member.read(size)
                if len(content) != size:
                    raise InputError(f"{source}: its member {name!r} is cut off.")
                return content

            if members and all(name.endswith(".npy") for name in members):
                arrays = {}
                for name in members:
                    array = _read_npy(read(name), f"{source}: {name}")
                    arrays[name.removesuffix(".npy")] = array
                return arrays, []
            return _read_torch_zip(members, read, source)
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        ArithmeticError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,  # The archive is encrypted; or it is a NotImplementedError.
        ValueError,
    ) as error:
        raise InputError(
            f"{source}: not a complete zip archive: {error}; download or copy it again."
        ) from None


def _check_sizes(members: dict[str, zipfile.ZipInfo], length: int, source: str):
    total = sum(info.file_size for info in members.values())
    limit = 64 * 2**20 + 20 * length
    if total > limit or len(members) > MAX_NAMES:
        raise InputError(
            f"{source}: its {len(members)} members would unpack to {total} bytes; for "
            f"{length} bytes the limits are {MAX_NAMES} members and {limit} bytes."
        )
    for info in members.values():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{source}: its member {info.filename!r} is compressed in a way that "
                f"weight files never are."
            )


def _read_npy(data: bytes, source: str) -> np.ndarray:
    width = {b"\x01": 2, b"\x02": 4, b"\x03": 4}.get(data[6:7], 0)
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    header = _NPY_HEADER.fullmatch(data[8 + width : min(start, 10_000)])
    if not data.startswith(b"\x93NUMPY") or not width or not header:
        raise InputError(f"{source}: not an array of numbers in NumPy's format.")
    descr, fortran_order, shape = (group.decode() for group in header.groups())
    if descr.lstrip("<>|=") not in pickled_objects.NUMPY_DTYPES:
        raise InputError(f"{source}: has dtype {descr!r}, which is not of numbers.")
    dtype = np.dtype(descr)
    shape = [int(size.strip(" L")) for size in shape.split(",") if size.strip()]
    array = np.frombuffer(data[start:], dtype)
    # Python's integers do not overflow as NumPy's do.
    if len(shape) > pickled_objects.MAX_DIMENSIONS or array.size != math.prod(shape):
        raise InputError(f"{source}: is cut off, or its shape {shape} is wrong.")
    array = array.reshape(shape, order="F" if fortran_order == "True" else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_torch_zip(members, read: Callable[[str], bytes], source: str):
    roots = [name for name in members if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
    if len(roots) != 1:
        raise InputError(f"{source}: a zip archive, but neither PyTorch's nor NumPy's.")
    root = roots[0].removesuffix("data.pkl")
    if f"{root}byteorder" in members and read(f"{root}byteorder") != b"little":
        raise InputError(f"{source}: written by a big-endian machine.")
    storages = _Storages()
    tree = pickle_machine.read_pickle(io.BytesIO(read(roots[0])), source, storages.load)
    memories: dict[str, bytes] = {}

    def memory(storage: Storage) -> bytes:
        if storage.key not in memories:
            memories[storage.key] = read(f"{root}data/{storage.key}")
        return memories[storage.key]

    return _select(tree, memory, source)


def _read_pickles(data: bytes, source: str):
    stream = io.BytesIO(data)
    tree = pickle_machine.read_pickle(stream, source)
    if type(tree) is not int or tree != _LEGACY_MAGIC:
        return _select(tree, None, source)
    # PyTorch before 1.6 writes five pickles, then the size and the bytes of each
    # storage.
    version = pickle_machine.read_pickle(stream, source)
    system = pickle_machine.read_pickle(stream, source)
    storages = _Storages()
    tree = pickle_machine.read_pickle(stream, source, storages.load)
    keys = pickle_machine.read_pickle(stream, source)
    if version != 1001 or not isinstance(system, dict) or not isinstance(keys, list):
        raise InputError(f"{source}: not PyTorch's format, though it starts like it.")
    if system.get("little_endian") is not True:
        raise InputError(f"{source}: written by a big-endian machine.")
    memories: dict[str, memoryview] = {}
    position = stream.tell()
    for key in keys:
        storage = storages.by_key.get(key) if isinstance(key, str) else None
        size = int.from_bytes(data[position : position + 8], "little")
        if storage is None or size != storage.size or key in memories:
            raise InputError(f"{source}: its list of storages is damaged.")
        end = position + 8 + size * storage.dtype.itemsize
        if end > len(data):
            raise InputError(
                f"{source}: is cut off: {len(data)} bytes, but storage {key} ends at "
                f"{end}; download or copy it again."
            )
        memories[key] = memoryview(data)[position + 8 : end]
        position = end
    return _select(tree, lambda storage: memories.get(storage.key, b""), source)


class _Storages:
    """The storages that a PyTorch pickle refers to, collected while it is read."""

    def __init__(self):
        self.by_key: dict[str, Storage] = {}

    def load(self, identifier: Any) -> Storage:
        storage = pickled_objects.load_storage(identifier)
        if self.by_key.setdefault(storage.key, storage) != storage:
            raise Malformed(f"storage {storage.key} has two sizes or dtypes.")
        return storage


def _select(tree: Any, memory: Callable[[Storage], Any] | None, source: str):
    """Finds the model in the unpickled data, and gives its tensors their memory."""
    ignored = []
    if isinstance(tree, dict):
        for key in MODEL_KEYS:
            if isinstance(tree.get(key), dict):
                ignored = [str(other) for other in tree if other != key]
                tree = tree[key]
                break
    if not isinstance(tree, dict):
        raise InputError(
            f"{source}: holds a {type(tree).__name__}, expected a dict of arrays such "
            f"as `model.state_dict()`."
        )
    tensors = {}
    visited = 0
    pending = [("", tree, 0)]
    while pending:
        prefix, node, depth = pending.pop()
        for key, value in node.items():
            length = len(prefix) + len(str(key))
            if not isinstance(key, str | int) or length > MAX_NAME_LENGTH:
                raise InputError(f"{source}: {key!r:.80} is not a parameter's name.")
            name = f"{prefix}{key}"
            visited += 1
            if visited > MAX_NAMES or depth > MAX_DEPTH or name in tensors:
                raise InputError(
                    f"{source}: {name:.200}: there twice, or more than {MAX_NAMES} "
                    f"entries, or more than {MAX_DEPTH} dicts in one another."
                )
            if isinstance(value, dict):
                pending.append((f"{name}.", value, depth + 1))
            elif isinstance(value, Tensor):
                tensors[name] = _view(value, memory, f"{source}: {name}")
            elif isinstance(value, pickled_objects.Array) and value.value is not None:
                tensors[name] = value.value
            else:
                ignored.append(name)
    return tensors, ignored


def _view(tensor: Tensor, memory, source: str) -> np.ndarray:
    storage = tensor.storage
    content = memory(storage)
    if len(content) != storage.size * storage.dtype.itemsize:
        raise InputError(
            f"{source}: has {len(content)} bytes, expected {storage.size} elements of "
            f"{storage.dtype.itemsize} bytes."
        )
    return tensor.view(content)
