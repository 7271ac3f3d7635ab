"""What the pickles of weight files may name, and what we build for each name.

`GLOBALS` is the whole list: PyTorch's tensors, parameters and storages, NumPy's arrays
and the containers around them. Each stands for a function of ours; none of PyTorch's
or NumPy's own is called by name.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

MAX_DIMENSIONS = 32
MAX_SIZE = 2**40  # Of one dimension; so that sizes are not thousands of digits long.
NUMPY_DTYPES = frozenset("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1 ?".split())

_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
# Counts bytes that we copy, and raises `Malformed` when a pickle made us copy too many.
Spend = Callable[[int], None]


class Malformed(Exception):
    """The pickle is damaged or wants something forbidden; the message says what."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """The memory of PyTorch tensors, which lies elsewhere in the file."""

    key: str
    dtype: np.dtype
    size: int  # In elements.


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A PyTorch tensor: a view of a storage, checked to lie within it."""

    storage: Storage
    offset: int  # In elements, as are `strides`.
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, memory: bytes | memoryview) -> np.ndarray:
        """The tensor, given the bytes of its storage; copies nothing."""
        flat = np.frombuffer(memory, self.storage.dtype)[self.offset :]
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(
            flat, self.shape, strides, writeable=False
        )


class Array:
    """A NumPy array; `value` is None until the pickle has given it its data."""

    def __init__(self, value: np.ndarray | None = None):
        self.value = value

    def set_state(self, spend: Spend, version, shape, dtype, is_fortran, data, *_):
        """Does what `numpy.ndarray.__setstate__` would."""
        self.value = _array(spend, data, dtype, shape, "F" if is_fortran else "C")


class Dtype:
    """A NumPy dtype of numbers."""

    def __init__(self, value: np.dtype):
        self.value = value

    def set_state(self, spend: Spend, version, order, subdtype, names, fields, *_):
        """Does what `numpy.dtype.__setstate__` would: sets the byte order."""
        is_plain = subdtype is None and names is None and fields is None
        if not is_plain or order not in ("<", ">", "|", "="):
            raise Malformed("an array has a dtype that is not of numbers.")
        self.value = self.value.newbyteorder(order)


@dataclasses.dataclass(frozen=True)
class Global:
    """A name in a pickle, and what we do where unpickling would call it."""

    name: str
    call: Callable[..., Any] | None = None  # Called with a `Spend`, then its arguments.
    dtype: np.dtype | None = None  # Of the elements, if it is a type of storage.


def find_global(name: str) -> Global:
    """Looks a name up in `GLOBALS`; raises `Malformed` if it is not there."""
    # NumPy 2 renamed what NumPy 1 wrote.
    known = GLOBALS.get(name.replace("numpy._core.", "numpy.core.", 1))
    if known is None:
        raise Malformed(
            f"it refers to {name!r:.200}, which is neither an array nor plain data; "
            f"unpickling it could run any code, so it is refused. Save only the "
            f"weights, with torch.save(model.state_dict(), path) or as .safetensors."
        )
    return known


def short_tuple(value: Any) -> tuple:
    """Checks that arguments, a state or a shape is a tuple that is cheap to copy."""
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        raise Malformed("its pickle has something else where a short tuple belongs.")
    return value


def set_items(target: Any, items: list):
    """Sets `[key, value, key, value, ...]` in a dict."""
    if not isinstance(target, dict) or len(items) % 2:
        raise Malformed("its pickle sets items of what is not a dict.")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashing a tuple of tuples of tuples, or a long number, can take forever.
        is_short = not isinstance(key, int) or abs(key) < 2**64
        if not isinstance(key, str | bytes | int | float | None) or not is_short:
            raise Malformed(f"it has a dict with a {type(key).__name__} as key.")
        target[key] = value


def load_storage(identifier: Any) -> Storage:
    """Makes a storage of PyTorch's ("storage", type, key, device, size[, view])."""
    identifier = short_tuple(identifier)
    if len(identifier) not in (5, 6):
        raise Malformed("it refers to data in an unknown way.")
    tag, kind, key, _, size = identifier[:5]
    if tag != "storage" or not isinstance(key, str) or type(size) is not int:
        raise Malformed("it refers to data in an unknown way.")
    if not isinstance(kind, Global) or kind.dtype is None:
        raise Malformed("a tensor's storage is of an unknown type.")
    if identifier[5:] not in ((), (None,)):
        raise Malformed("it has views of storages, which only PyTorch 0.1 wrote.")
    return Storage(key, kind.dtype, size)


def _rebuild_tensor(spend: Spend, storage, offset, shape, strides, *_) -> Tensor:
    shape, strides = short_tuple(shape), short_tuple(strides)
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise Malformed("a tensor is not described by its storage, shape and strides.")
    count = _count(shape)
    if not all(type(n) is int and 0 <= n <= MAX_SIZE for n in (offset, *strides)):
        raise Malformed("a tensor has an offset or stride that is not a small number.")
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    # An expanded tensor, larger than its storage, could be copied to any size.
    if count and (offset + last >= storage.size or count > storage.size):
        raise Malformed(
            f"a tensor of shape {list(shape)} leaves its storage of {storage.size} "
            f"elements."
        )
    return Tensor(storage, offset if count else 0, shape, strides)


def _rebuild_parameter(spend: Spend, tensor, *_) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Malformed("a parameter is not a tensor.")
    return tensor


def _array(spend: Spend, data, dtype, shape, order="C") -> np.ndarray:
    if not isinstance(dtype, Dtype):
        raise Malformed("an array's dtype is not one.")
    if isinstance(data, str):  # Python 2's byte strings.
        spend(len(data))
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise Malformed("an array's data are not bytes.")
    shape = short_tuple(shape)
    if _count(shape) * dtype.value.itemsize != len(data):
        raise Malformed(
            f"an array of shape {list(shape)} and dtype {dtype.value} has {len(data)} "
            f"bytes of data."
        )
    order = "F" if order == "F" else "C"
    array = np.frombuffer(data, dtype.value).reshape(shape, order=order)
    if not array.dtype.isnative:
        spend(len(data))
        array = array.astype(array.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array


def _count(shape: tuple) -> int:
    """The number of elements of a shape, in integers that do not overflow."""
    count = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_SIZE:
            raise Malformed("an array's shape is not one of small numbers.")
        count *= size
    return count


def _make_dtype(spend: Spend, name, *_) -> Dtype:
    if not isinstance(name, str) or name.lstrip("<>|=") not in NUMPY_DTYPES:
        raise Malformed(f"an array has dtype {name!r:.40}, which is not of numbers.")
    return Dtype(np.dtype(name))


def _encode(spend: Spend, text, encoding) -> bytes:
    # How Python 3 writes bytes in protocol 2.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Malformed("its pickle encodes what is not latin-1.")
    spend(len(text))
    return text.encode("latin-1")


def _empty_bytes(spend: Spend) -> bytes:
    return b""  # How Python 3 writes them in protocol 2.


def _ordered_dict(spend: Spend, items=()) -> collections.OrderedDict:
    spend(128 * len(items))
    result = collections.OrderedDict()
    set_items(result, [part for key, value in items for part in (key, value)])
    return result


def _size(spend: Spend, sizes=()) -> tuple:
    return short_tuple(sizes)


def _scalar(spend: Spend, dtype, data) -> Array:
    return Array(_array(spend, data, dtype, ()))


def _from_buffer(spend: Spend, data, dtype, shape, order) -> Array:
    return Array(_array(spend, data, dtype, shape, order))


_CALLS = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
    "numpy.core.multiarray._reconstruct": lambda spend, *_: Array(),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _make_dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
}
_PLAIN_NAMES = ["numpy.ndarray"] + [
    f"torch.{name}"
    for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8".split()
]
GLOBALS: Mapping[str, Global] = {
    **{name: Global(name, call) for name, call in _CALLS.items()},
    **{name: Global(name) for name in _PLAIN_NAMES},
    **{
        f"{module}.{name}": Global(f"{module}.{name}", dtype=dtype)
        for module in ("torch", "torch.cuda")
        for name, dtype in _STORAGE_DTYPES.items()
    },
}
