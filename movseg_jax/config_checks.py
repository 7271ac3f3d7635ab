"""Checks that the dataclasses of `config` share."""

import math
import numbers
import typing
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
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else None
        if choices and value not in choices:
            expected = ", ".join(map(repr, choices))
            raise InputError(
                f"{where}.{name} is {value!r}, expected one of {expected}."
            )
        accepted, expected = KINDS.get(kind, (object, ""))
        is_flag = isinstance(value, bool) and kind in (int, float)
        if is_flag or not isinstance(value, accepted):
            raise InputError(f"{where}.{name} is {value!r}, expected {expected}.")
        least = 0 if name in may_be_zero else 1
        if kind is int and value < least:
            raise InputError(f"{where}.{name} is {value}, expected at least {least}.")
        if kind is float and not math.isfinite(value):
            raise InputError(f"{where}.{name} is {value}, expected a finite number.")
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            expected = (
                f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            )
            raise InputError(f"{where}.{name} is {value}, expected {expected}.")
