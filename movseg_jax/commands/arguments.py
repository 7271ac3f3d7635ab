"""Arguments to dataclasses, by tyro; a wrong one is an `InputError`."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from movseg_jax.config import Config, load_config
from movseg_jax.errors import InputError


def read_config(path: Path, settings: Sequence[str]) -> Config:
    """A config file's config, with settings such as --train.steps 100.

    Raises:
        InputError: There is no such file or setting.
    """
    return parse_arguments(
        Config,
        list(settings),
        default=load_config(path),
        config=(tyro.conf.AvoidSubcommands,),
    )


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
    """What tyro draws a box around: a title, what is wrong, and advice below lines."""
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
