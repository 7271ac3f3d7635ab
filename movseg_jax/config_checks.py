"""Checks that the dataclasses of `config` share."""

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from movseg_jax.errors import InputError

# The values that a field of each type accepts, and their name. Numbers of NumPy are
# numbers, too, and whole numbers will do where any number does.
KINDS = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
}


def check_fields(
    config: Any, may_be_zero: tuple[str, ...] = (), **ranges: tuple[float, float]
) -> None:
    """Refuses values of the wrong kind, no choice, not finite, or out of range.

    Args:
        config: A dataclass.
        may_be_zero: Names of whole numbers that may be 0; others are at least 1.
        ranges: The least and the largest value of numbers by name, both included.

    Raises:
        InputError: A field has such a value; the message names it.
    """
    where = type(config).__name__
    for name, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        expected = _expected(kind, value)
        least = 0 if name in may_be_zero else 1
        low, high = ranges.get(name, (-math.inf, math.inf))
        if expected or value is None:
            pass
        elif kind in (float, float | None) and not math.isfinite(value):
            expected = "a finite number"
        elif name in ranges and not low <= value <= high:
            is_open = math.isinf(high)
            expected = f"at least {low:g}" if is_open else f"{low:g} to {high:g}"
        elif kind in (int, int | None) and name not in ranges and value < least:
            expected = f"at least {least}"
        if expected:
            raise InputError(f"{where}.{name} is {value!r}, expected {expected}.")


def _expected(kind: Any, value: Any) -> str:
    """Returns what a field expects instead of a value; empty if the value fits."""
    kinds = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "" if value in kinds else f"one of {', '.join(map(repr, kinds))}"
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        wrong = [_expected(kind, value) for kind in kinds]
        return "" if "" in wrong else " or ".join(wrong)
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            return "a tuple"
        of_items = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        if len(of_items) != len(value):
            return f"{len(of_items)} values"
        return next(filter(None, map(_expected, of_items, value)), "")
    if kind is types.NoneType:
        return "" if value is None else "None"
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return "" if isinstance(value, kind) else f"a {kind.__name__}"
    accepted, name = KINDS.get(kind, (object, ""))
    is_flag = isinstance(value, bool) and kind in (int, float)
    return name if is_flag or not isinstance(value, accepted) else ""
