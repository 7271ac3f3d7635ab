"""Parsing arguments to dataclasses with tyro; a wrong argument is an `InputError`."""

import contextlib
import dataclasses
import io
import os
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import tyro

from movseg_jax.config import Config
from movseg_jax.config_files import load_config
from movseg_jax.errors import InputError
from movseg_jax.system.paths import refuse_addresses, refuse_overlap

if TYPE_CHECKING:
    from movseg_jax.model.loading import TrainedDetector


def optional(default: str, metavar: str | None = None) -> object:
    """Returns tyro's annotation of an option that may be left out.

    Its help says what happens then, instead of "(default: None)".

    Args:
        default: Text that says what happens without the option.
        metavar: The placeholder of the value in the help; None is tyro's.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def load_model(
    weights: Path | None,
    *,
    fusion: str | None = None,
    only_detects: bool = True,
    **options: Any,
) -> "TrainedDetector":
    """Loads a detector from a file of weights or from a training run.

    Orbax is only imported for a run that has not finished: its import takes seconds.

    Args:
        weights: The file or folder; None is the model in the package.
        fusion: The fusion as it was named on the command line: see `make_importable`.
        only_detects: Whether the command only detects, so that parameters may be
            rounded as `round_kernels` does.
        options: Further arguments of `load_detector`.

    Raises:
        InputError: The weights cannot be read.
    """
    from movseg_jax.model.loading import (
        is_unfinished_run,
        load_detector,
        round_kernels,
    )

    make_importable(fusion)
    if weights is None or not is_unfinished_run(weights):
        load = load_detector
    else:
        from movseg_jax.train.initialise import load_trained as load
    detector = load(weights, fusion=fusion, **options)
    return round_kernels(detector) if only_detects else detector


def make_importable(fusion: str | None) -> None:
    """Lets Python import a fusion of the user's from the current folder.

    Only a name that was given on the command line, or in a config of the user's, may do
    so: what a file of weights names must not choose the code that runs.

    Args:
        fusion: "module:attribute"; other names and None change nothing.
    """
    if fusion is not None and ":" in fusion and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def read_config(path: Path, settings: Sequence[str]) -> Config:
    """Reads a config file and applies settings to it: see `apply_settings`.

    Args:
        path: The config file.
        settings: The settings, as arguments of a command line.

    Raises:
        InputError: There is no such file or setting.
    """
    return apply_settings(load_config(path), settings)


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """Returns a config with settings such as --train.steps 100 applied.

    Setting a field of a part that the config does not have, such as `data.validation`
    or one more of `data.sources`, adds the part; `--data.validation None` removes it.

    Args:
        config: The config to start from.
        settings: The settings, as arguments of a command line.

    Raises:
        InputError: There is no such setting.
    """
    others = []
    removed = []
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
    # Parts are removed last: a model needs a stream at any time, so the new stream has
    # to be there before the other one goes.
    for fields in removed:
        config = _without(config, fields)
    config = parse_arguments(
        Config, others, default=config, config=(tyro.conf.AvoidSubcommands,)
    )
    refuse_addresses(config)
    return config


class Replacing(Protocol):
    """A command with the option `overwrite`, which replaces what it writes."""

    overwrite: bool

    def inputs(self) -> list[Path]:
        """The files and folders that the command reads."""
        ...

    def outputs(self) -> list[Path]:
        """The files and folders that the command writes."""
        ...


def check_paths(command: Any) -> None:
    """Refuses addresses, and outputs that overlap with inputs, before a command runs.

    Args:
        command: A command, or a group that holds one.

    Raises:
        InputError: A path is an address, or an output overlaps with an input.
    """
    command = getattr(command, "command", command)
    refuse_addresses(command, getattr(command, "addresses", ()))
    if hasattr(command, "overwrite"):
        replacing: Replacing = command
        inputs = replacing.inputs()
        for output in replacing.outputs():
            refuse_overlap(output, inputs)


def _kind_of_part(config: Any, name: str) -> type | None:
    """The dataclass that a field holds: one, several in a tuple, or possibly None."""
    hint = typing.get_type_hints(type(config)).get(name)
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def _is_optional_part(config: Any, fields: Sequence[str]) -> bool:
    """Whether a field holds a part that may be None."""
    for name in fields[:-1]:
        config = getattr(config, name, None)
    hints = typing.get_type_hints(type(config)) if config is not None else {}
    optional = type(None) in typing.get_args(hints.get(fields[-1]))
    return optional and _kind_of_part(config, fields[-1]) is not None


def _with_parts(config: Any, fields: Sequence[str]) -> Any:
    """Adds the parts that lead to a field to a config; unknown names are left out."""
    name, *rest = fields
    if not rest or not hasattr(config, name):
        return config
    value = getattr(config, name)
    kind = _kind_of_part(config, name)
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
    """Sets a field of a config to None."""
    name, *rest = fields
    value = _without(getattr(config, name), rest) if rest else None
    return dataclasses.replace(config, **{name: value})


def _empty(kind: type) -> Any:
    """A part with its defaults; tyro reports fields that have none and are not set."""
    hints = typing.get_type_hints(kind)
    required = {
        field.name: hints[field.name]()
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory  # Both are MISSING.
    }
    part = kind(**required)
    for name in required:
        object.__setattr__(part, name, tyro.MISSING)
    return part


def parse_arguments(kind: Any, arguments: Sequence[str], **options: Any) -> Any:
    """Parses arguments to a dataclass; `--help` exits.

    Args:
        kind: The dataclass, or a union of dataclasses with a subcommand for each.
        arguments: The arguments.
        options: Further arguments of `tyro.cli`.

    Raises:
        InputError: The arguments are wrong.
    """
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                kind,
                prog="movseg",
                description="Segment and track anything that moves in a video. "
                "`movseg --version` prints the version. With -v, any command prints "
                "what libraries log, and where an error was found.",
                args=arguments,
                **options,
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        # A dataclass may have refused a value; tyro shows that in its own words.
        cause = exit.__context__
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__context__
        raise cause or InputError(_in_one_line(message.getvalue())) from None


def _in_one_line(box: str) -> str:
    """The text in a box that tyro drew: a title, the errors, and advice below rules."""
    title, *lines = (line.strip("│╭╮╰╯ ") for line in box.splitlines())
    parts = [[]]
    wanted = True
    for line in lines:
        if line and not line.strip("─-"):
            parts.append([])
            wanted = True
        # Below an empty line stands Python's own message, which is left out.
        elif wanted := wanted and line != "":
            parts[-1].append(line)
    title = title.strip("─ ")
    what, *advice = [" ".join(part) for part in parts if part]
    # The title is left out if the error begins with it anyway.
    begin = what.lower().split()[:2]
    if not any(word in begin for word in title.lower().split()):
        what = f"{title}: {what}"
    return ". ".join(part.rstrip(".") for part in (what, *advice)) + "."


def read_options(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Reads options of a data set, each "key=value"; its reader parses the values.

    Args:
        name: Name of the data set.
        options: The options.

    Raises:
        InputError: An option does not have that form, is unknown or is given twice.
    """
    from movseg_jax.data.sources import option_names

    known = option_names(name)
    read = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--options: {option!r} does not have the form key=value.")
        if key not in known:
            raise InputError(
                f"--options: {name} has no option {key!r}; expected one of "
                f"{', '.join(known)}."
            )
        if key in read:
            raise InputError(f"--options: {key} is given twice.")
        read[key] = value
    return read
