"""The names that the pickles of weight files may use, and our functions for them.

`GLOBALS` is the complete list: PyTorch's tensors, parameters and storages, NumPy's
arrays, the containers around them, and a command's arguments. Each name stands for a
function in this module; no function of PyTorch or NumPy is ever called by a name from a
file.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

MAX_DIMENSIONS = 32
MAX_SIZE = 2**40  # The largest size of a dimension; longer numbers are slow.
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
# A function that counts copied bytes; it raises `Malformed` if there are too many.
Spend = Callable[[int], None]


class Malformed(Exception):
    """An error for a pickle that is damaged or needs something forbidden."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """The memory of PyTorch tensors, which is elsewhere in the file."""

    key: str
    dtype: np.dtype
    size: int  # The number of elements.


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A PyTorch tensor: a view of a storage, checked to lie within it."""

    storage: Storage
    offset: int  # Counted in elements, as `strides` are.
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, memory: bytes | memoryview) -> np.ndarray:
        """Returns the tensor as a view of the bytes of its storage."""
        flat = np.frombuffer(memory, self.storage.dtype)[self.offset :]
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(
            flat, self.shape, strides, writeable=False
        )


class Array:
    """A NumPy array; `value` is None until the pickle has set its data."""

    def __init__(self, value: np.ndarray | None = None):
        self.value = value

    def set_state(self, spend: Spend, version, shape, dtype, is_fortran, data, *_):
        """Sets the data, as `numpy.ndarray.__setstate__` does."""
        self.value = _array(spend, data, dtype, shape, "F" if is_fortran else "C")


class Dtype:
    """A NumPy dtype of numbers."""

    def __init__(self, value: np.dtype):
        self.value = value

    def set_state(self, spend: Spend, version, order, subdtype, names, fields, *_):
        """Sets the byte order, as `numpy.dtype.__setstate__` does."""
        is_plain = subdtype is None and names is None and fields is None
        if not is_plain or order not in ("<", ">", "|", "="):
            raise Malformed("an array has a dtype that is not of numbers.")
        self.value = self.value.newbyteorder(order)


class Arguments:
    """An `argparse.Namespace`, of which nothing is kept."""


@dataclasses.dataclass(frozen=True)
class Global:
    """A name in a pickle, and the function that is called in its place.

    Attributes:
        name: The name with its module.
        call: The function, called with a `Spend` and the arguments in the pickle; None
            if the name is never called.
        dtype: The elements' dtype if the name is a type of storage.
    """

    name: str
    call: Callable[..., Any] | None = None
    dtype: np.dtype | None = None


def find_global(name: str) -> Global:
    """Looks a name up in `GLOBALS`; raises `Malformed` if it is not there."""
    # NumPy 2 renamed this module of NumPy 1.
    known = GLOBALS.get(name.replace("numpy._core.", "numpy.core.", 1))
    if known is None:
        raise Malformed(
            f"it refers to {name!r:.200}, which is neither an array nor plain data; "
            f"unpickling it could run any code, so it is refused. Save only the "
            f"weights, with torch.save(model.state_dict(), path) or as .safetensors."
        )
    return known


def short_tuple(value: Any) -> tuple:
    """Returns arguments, a state or a shape after checking that it is a short tuple."""
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        raise Malformed("its pickle has something else where a short tuple belongs.")
    return value


def set_items(target: Any, items: list):
    """Sets `[key, value, key, value, ...]` in a dict."""
    if not isinstance(target, dict) or len(items) % 2:
        raise Malformed("its pickle sets items of what is not a dict.")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashing nested tuples or long numbers can take forever.
        is_short = not isinstance(key, int) or abs(key) < 2**64
        if not isinstance(key, str | bytes | int | float | None) or not is_short:
            raise Malformed(f"it has a dict with a {type(key).__name__} as key.")
        target[key] = value


def load_storage(identifier: Any) -> Storage:
    """Makes a storage from PyTorch's ("storage", type, key, device, size[, view])."""
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
    # An expanded tensor, larger than its storage, is refused: a copy of it could have
    # any size.
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
        raise Malformed("an array has something else as its dtype.")
    if isinstance(data, str):  # Python 2 wrote byte strings like this.
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
    """Returns the number of elements of a shape, in integers that do not overflow."""
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in shape):
        raise Malformed("an array's shape has other values than small numbers.")
    return math.prod(shape)


def _make_dtype(spend: Spend, name, *_) -> Dtype:
    if not isinstance(name, str) or name.lstrip("<>|=") not in NUMPY_DTYPES:
        raise Malformed(f"an array has dtype {name!r:.40}, which is not of numbers.")
    return Dtype(np.dtype(name))


def _encode(spend: Spend, text, encoding) -> bytes:
    # Python 3 writes bytes like this in protocol 2.
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Malformed("its pickle encodes what is not latin-1.")
    spend(len(text))
    return text.encode("latin-1")


def _empty_bytes(spend: Spend) -> bytes:
    return b""  # Python 3 writes empty bytes as this call in protocol 2.


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
    "argparse.Namespace": lambda spend: Arguments(),
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
