"""Reads the data in a pickle without importing or calling what the pickle names.

A pickle is a program: unpickling imports and calls whatever it names. The stack machine
here runs only the instructions that build data, and it knows only the names that weight
files need (`pickled_objects.GLOBALS`). It never imports, looks up or calls anything by
a name from the file; any other name is an `InputError`.

`MAX_OPCODES` and `_Machine.spend` bound work and memory by a multiple of the pickle's
length.
"""

import collections
import io
import itertools
import pickletools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from movseg_jax.convert.pickled_objects import (
    Arguments,
    Array,
    Dtype,
    Global,
    Malformed,
    Storage,
    find_global,
    set_items,
    short_tuple,
)
from movseg_jax.errors import InputError

MAX_OPCODES = 1_000_000  # A two-stream Mask R-CNN with its optimizer has 60,000.


def read_pickle(
    stream: io.BytesIO,
    source: str,
    load_storage: Callable[[Any], Storage] | None = None,
) -> Any:
    """Reads the data of one pickle, and leaves the stream at its end.

    Args:
        stream: The stream at the start of a pickle; bytes after the pickle's end are
            not read.
        source: The name of the pickle's file in messages.
        load_storage: A function that makes a storage from a persistent id, which
            PyTorch's pickles have; it may raise `Malformed`.

    Returns:
        Numbers, strings, `pickled_objects.Array` and `pickled_objects.Tensor`, in
        lists, tuples and dicts.

    Raises:
        InputError: The pickle is damaged, too long, or refers to anything but tensors,
            arrays and plain data.
    """
    try:
        with warnings.catch_warnings():
            # Strings of protocol 0 may have escapes that Python warns about.
            warnings.simplefilter("ignore")
            return _Machine(stream, load_storage).run()
    except Malformed as error:
        raise InputError(f"{source}: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f"{source}: not a complete pickle ({error!s:.200}); download or copy it "
            "again."
        ) from None


_MARK = object()


class _Machine:
    """Runs one pickle; `_ACTIONS` defines the effect of each instruction."""

    def __init__(self, stream: io.BytesIO, load_storage):
        self.opcodes = pickletools.genops(stream)
        self.load_storage = load_storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # Weight files hold each array once, with little overhead. Without a budget, a
        # short pickle could copy the same array a million times.
        position = stream.tell()
        self.budget = 2 * stream.seek(0, io.SEEK_END) + 2**16
        stream.seek(position)

    def run(self) -> Any:
        for opcode, argument, _ in itertools.islice(self.opcodes, MAX_OPCODES):
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise Malformed(
                    f"its pickle uses the instruction {opcode.name}, which no weights "
                    f"need; it is refused."
                )
        raise Malformed(f"its pickle has more than {MAX_OPCODES} instructions.")

    def spend(self, size: int):
        """Counts bytes that are copied, and refuses too many."""
        self.budget -= size
        if self.budget < 0:
            raise Malformed("its pickle holds the same data too many times.")

    def pop_to_mark(self) -> list:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def extend(self, items: list):
        if type(self.stack[-1]) is not list:
            raise Malformed("its pickle appends to what is not a list.")
        self.stack[-1].extend(items)

    def join(self, count: int):
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def set_items(self, items: list):
        set_items(self.stack[-1], items)

    def make_dict(self):
        items = self.pop_to_mark()
        self.stack.append({})
        self.set_items(items)

    def remember(self, index: int | None):
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def push_global(self, module: Any, name: Any):
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Malformed("its pickle has a name that is not a string.")
        self.stack.append(find_global(f"{module}.{name}"))

    def push_stacked_global(self):
        name = self.stack.pop()
        self.push_global(self.stack.pop(), name)

    def push_instance(self, name: str):
        find_global(name.replace(" ", ".", 1))  # This refuses most names, by name.
        raise Malformed("its pickle uses the instruction INST; it is refused.")

    def call(self):
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, Global) or function.call is None:
            raise Malformed("its pickle calls what is not a function.")
        self.stack.append(function.call(self.spend, *short_tuple(arguments)))

    def make_instance(self):
        if getattr(self.stack[-2], "name", None) != "argparse.Namespace":
            raise Malformed(
                "its pickle uses the instruction NEWOBJ for what is not plain data; it "
                "is refused."
            )
        self.call()

    def set_state(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Array | Dtype):
            target.set_state(self.spend, *short_tuple(state))
        elif not isinstance(target, collections.OrderedDict | Arguments):
            # An OrderedDict's state is PyTorch's `_metadata`, which is not needed, and
            # neither are the arguments of a command.
            raise Malformed(f"its pickle sets the state of a {type(target).__name__}.")

    def push_storage(self):
        if self.load_storage is None:
            raise Malformed("its pickle refers to data outside of it.")
        self.stack.append(self.load_storage(self.stack.pop()))


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8".split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_ACTIONS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.join(1),
    "TUPLE2": lambda m, _: m.join(2),
    "TUPLE3": lambda m, _: m.join(3),
    "DICT": lambda m, _: m.make_dict(),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.remember),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda m, i: m.stack.append(m.memo[i])
    ),
    "GLOBAL": lambda m, name: m.push_global(*name.split(" ", 1)),
    "INST": lambda m, name: m.push_instance(name),
    "STACK_GLOBAL": lambda m, _: m.push_stacked_global(),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.make_instance(),
    "BUILD": lambda m, _: m.set_state(),
    "BINPERSID": lambda m, _: m.push_storage(),
}
