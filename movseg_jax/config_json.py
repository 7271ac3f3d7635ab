"""Config dataclasses as JSON and back, whatever the JSON holds."""

import dataclasses
import json
import types
import typing
from typing import Any, Literal

from movseg_jax.errors import InputError
from movseg_jax.system.bounded import check_format

T = typing.TypeVar("T")


# Raised when an older version would misread newer files; JSON without it has format 1.
FORMAT = 1


def to_json(config: Any) -> str:
    """A config dataclass and a format number as JSON; `from_json` is its inverse."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(config)}, indent=2)


def from_json(kind: type[T], text: str, source: str = "config") -> T:
    """Reads a config dataclass, such as `ModelConfig`, from its JSON.

    Raises:
        InputError: Not JSON, an unknown field or a value of the wrong type; `source`
            says in the message where the text is from.
    """
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{source}: not JSON: {error}.") from None
    if isinstance(value, dict):
        check_format(value.pop("format", FORMAT), FORMAT, source)
    return typing.cast(T, _parse(kind, value, source))


def _parse(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected an object, got {value!r:.80}.")
        kinds = typing.get_type_hints(kind)
        for name in value:
            if name not in kinds:
                raise InputError(
                    f"{where}: {kind.__name__} has no field {name!r}; its fields are "
                    f"{', '.join(kinds)}."
                )
        for field in dataclasses.fields(kind):
            if field.default is dataclasses.MISSING and field.name not in value:
                raise InputError(f"{where}: {kind.__name__} needs a {field.name!r}.")
        return kind(
            **{k: _parse(kinds[k], v, f"{where}.{k}") for k, v in value.items()}
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return _parse(
            next((a for a in kinds if type(value) is a), kinds[0]), value, where
        )
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if Ellipsis in arguments else arguments
        if len(value) == len(kinds):
            pairs = zip(kinds, value, strict=True)
            return tuple(_parse(kind, item, where) for kind, item in pairs)
    if origin is Literal and value in arguments:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    expected = getattr(kind, "__name__", str(kind))
    if origin is Literal:
        expected = f"one of {', '.join(map(repr, arguments))}"
    raise InputError(f"{where}: expected {expected}, got {value!r:.80}.")
