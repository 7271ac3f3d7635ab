"""Errors of the library, reworded for the command line."""

import dataclasses
import re
import typing
from collections.abc import Sequence
from typing import Any

from movseg_jax.errors import InputError

# `name`, `name=value`, and a config's field, such as TrackConfig.start_score.
_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`|\b([A-Z]\w*Config\.\w+)")

# The name of a limit in the code, such as (images.MAX_PIXELS).
_LIMIT = re.compile(r" \((?:\w+\.)*MAX_\w+\)")


def in_options(error: InputError, kinds: Sequence[Any]) -> str:
    """Returns an error's message, with options in the place of parameters.

    Args:
        error: The error.
        kinds: The dataclasses whose fields are the options of the command.
    """
    options = {}
    for kind in kinds:
        _collect(kind, "--", options)
    text = error.message
    named = [match[1] or match[3] for match in _PARAMETER.finditer(error.way_out)]
    if error.way_out and all(name in options for name in named):
        text = f"{text} {error.way_out}"
    text = _LIMIT.sub("", text)
    return _PARAMETER.sub(lambda match: _option(match, options), text)


def _option(match, options) -> str:
    option = options.get(match[1] or match[3])
    if option is None:
        return match[0]
    # A flag is an option without a value.
    value = "" if match[2] in (None, "True") else " " + match[2].strip("\"'")
    return option + value


def _collect(kind, prefix, options) -> None:
    """Adds the options of a dataclass to a dictionary, by the names of its fields."""
    annotated = typing.get_type_hints(kind, include_extras=True)
    for name, hint in typing.get_type_hints(kind).items():
        option = prefix + name.replace("_", "-")
        below = f"{option}."
        if _has_no_name(annotated[name]):
            below = prefix
        else:
            options.setdefault(name, option)
            options.setdefault(f"{kind.__name__}.{name}", option)
        for part in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(part):
                _collect(part, below, options)


def _has_no_name(annotation) -> bool:
    """Whether a part's fields are options of the command itself: `arg(name="")`."""
    extras = getattr(annotation, "__metadata__", ())
    return any(getattr(extra, "name", None) == "" for extra in extras)
