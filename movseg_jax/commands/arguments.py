"""Arguments to dataclasses, by tyro; a wrong one is an `InputError`."""

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tyro

from movseg_jax.config import Config, load_config
from movseg_jax.errors import InputError
from movseg_jax.paths import refuse_addresses, refuse_overlap


def read_config(path: Path, settings: Sequence[str]) -> Config:
    """A config file's config, with settings such as --train.steps 100.

    Raises:
        InputError: There is no such file or setting.
    """
    config = parse_arguments(
        Config,
        list(settings),
        default=load_config(path),
        config=(tyro.conf.AvoidSubcommands,),
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
        words = re.sub("[─│╭╮╰╯]+", " ", message.getvalue()).split()
        raise InputError(" ".join(words)) from None


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
