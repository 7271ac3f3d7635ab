"""Arguments to dataclasses, by tyro; a wrong one is an `InputError`."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tyro

from movseg_jax.config import Config
from movseg_jax.config_files import load_config
from movseg_jax.errors import InputError
from movseg_jax.system.paths import refuse_addresses, refuse_overlap


def read_config(path: Path, settings: Sequence[str]) -> Config:
    """A config file's config, with settings such as --train.steps 100.

    A part that the file has not, such as `data.validation` or one more of
    `data.sources`, comes into being when one of its fields is set; `--data.validation
    None` takes it away.

    Raises:
        InputError: There is no such file or setting.
    """
    config, others, removed = load_config(path), [], []
    arguments = iter(settings)
    for argument in arguments:
        option, _, value = argument.partition("=")
        fields = option.removeprefix("--").replace("-", "_").split(".")
        if not option.startswith("--"):
            others.append(argument)
        elif _is_optional_part(config, fields):
            value = value or next(arguments, "")
            if value != "None":
                raise InputError(f"{option} is {value!r}, expected None.")
            removed.append(fields)
        else:
            config = _with_parts(config, fields)
            others.append(argument)
    for fields in removed:  # Last: of two streams there has to be one at any moment.
        config = _without(config, fields)
    config = parse_arguments(
        Config, others, default=config, config=(tyro.conf.AvoidSubcommands,)
    )
    refuse_addresses(config)
    return config


class Replacing(Protocol):
    """A command that may replace what it writes, `overwrite`."""

    overwrite: bool

    def inputs(self) -> list[Path]:
        """The files and folders that it reads."""
        ...

    def outputs(self) -> list[Path]:
        """The files and folders that it writes."""
        ...


def check_paths(command: Any) -> None:
    """Refuses addresses, and outputs that overlap with inputs, before anything is done.

    Raises:
        InputError: There is one.
    """
    command = getattr(command, "command", command)  # A group's.
    refuse_addresses(command)
    if hasattr(command, "overwrite"):
        replacing: Replacing = command
        inputs = replacing.inputs()
        for output in replacing.outputs():
            refuse_overlap(output, inputs)


def _kind_of_part(config: Any, name: str) -> type | None:
    """The dataclass that a field holds, as such, or None, or several."""
    hint = typing.get_type_hints(type(config)).get(name)
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def _is_optional_part(config: Any, fields: Sequence[str]) -> bool:
    for name in fields[:-1]:
        config = getattr(config, name, None)
    hints = typing.get_type_hints(type(config)) if config is not None else {}
    optional = type(None) in typing.get_args(hints.get(fields[-1]))
    return optional and _kind_of_part(config, fields[-1]) is not None


def _with_parts(config: Any, fields: Sequence[str]) -> Any:
    """The config with the parts on the way to a field; an unknown one is left out."""
    name, *rest = fields
    if not rest or not hasattr(config, name):
        return config
    value, kind = getattr(config, name), _kind_of_part(config, name)
    if isinstance(value, tuple) and kind and rest[0].isdecimal():
        index = int(rest[0])
        value = [*value, _empty(kind)] if index == len(value) else [*value]
        if index < len(value):
            value[index] = _with_parts(value[index], rest[1:])
        value = tuple(value)
    elif kind:
        value = _with_parts(_empty(kind) if value is None else value, rest)
    return dataclasses.replace(config, **{name: value})


def _without(config: Any, fields: Sequence[str]) -> Any:
    name, *rest = fields
    value = _without(getattr(config, name), rest) if rest else None
    return dataclasses.replace(config, **{name: value})


def _empty(kind: type) -> Any:
    """A part with its defaults; fields without one have to be set."""
    hints = typing.get_type_hints(kind)
    required = {
        field.name: hints[field.name]()
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory  # Neither is there.
    }
    part = kind(**required)
    for name in required:
        object.__setattr__(part, name, tyro.MISSING)  # What tyro takes for that.
    return part


def parse_arguments(kind: Any, arguments: Sequence[str], **options: Any) -> Any:
    """What the arguments say; `--help` exits.

    Raises:
        InputError: They are wrong.
    """
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                kind,
                prog="movseg",
                description="Segment and track anything that moves in a video.",
                args=arguments,
                **options,
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        cause = exit.__context__
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__context__
        raise cause or InputError(_in_one_line(message.getvalue())) from None


def _in_one_line(box: str) -> str:
    """Reads a box that tyro drew: a title, the errors, and advice below lines."""
    title, *lines = (line.strip("│╭╮╰╯ ") for line in box.splitlines())
    parts, wanted = [[]], True
    for line in lines:
        if line and not line.strip("─-"):
            parts.append([])
            wanted = True
        # Below an empty line is what Python says about it.
        elif wanted := wanted and line != "":
            parts[-1].append(line)
    title = title.strip("─ ")
    what, *advice = [" ".join(part) for part in parts if part]
    begin = what.lower().split()[:2]
    if not any(word in begin for word in title.lower().split()):
        what = f"{title}: {what}"
    return ". ".join(part.rstrip(".") for part in (what, *advice)) + "."


def read_options(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Options of a data set from "key=value"; its reader knows what the values say.

    Raises:
        InputError: One is not of that form, unknown or given twice.
    """
    from movseg_jax.data.sources import option_names

    known = option_names(name)
    read = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--options: {option!r} is not of the form key=value.")
        if key not in known:
            raise InputError(
                f"--options: {name} has no option {key!r}; expected one of "
                f"{', '.join(known)}."
            )
        if key in read:
            raise InputError(f"--options: {key} is given twice.")
        read[key] = value
    return read
