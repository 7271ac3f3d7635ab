"""The command line, `movseg`: what it was asked for, run and reported.

The commands are in `commands`. Heavy modules are imported by the command that needs
them, so that `movseg --help` is instant.
"""

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from movseg_jax.commands.arguments import check_paths, parse_arguments, read_config
from movseg_jax.commands.data import Data, Synth
from movseg_jax.commands.evaluation import Eval
from movseg_jax.commands.training import Convert, Plot, Train
from movseg_jax.commands.video import ConvertTracks, Demo, Flow, Segment
from movseg_jax.errors import InputError, InputNote
from movseg_jax.process import prepare_jax


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 2 if its input is wrong."""
    try:
        with _unread_output_ignored():
            command = _parse(argv)
        _print_notes()
        check_paths(command)
        prepare_jax()
        report = command.run()
        with _unread_output_ignored():
            print(report, flush=True)
    except InputError as error:
        print(f"movseg: {error}", file=sys.stderr)
        return 2
    return 0


def _print_notes() -> None:
    """Prints notes to users as lines, each once, and other warnings as before."""
    show_other, shown = warnings.showwarning, set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        if not issubclass(category, InputNote):
            show_other(message, category, filename, lineno, file, line)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"movseg: note: {message}", file=sys.stderr)

    warnings.showwarning = show
    warnings.filterwarnings("always", category=InputNote)


@contextlib.contextmanager
def _unread_output_ignored() -> Iterator[None]:
    """Ends the process in peace if nobody reads the rest of its output, as `head`."""
    try:
        yield
    except BrokenPipeError:
        # Else Python says so once more when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _parse(argv):
    """The command asked for; `--help` exits, a wrong argument is an `InputError`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["train"] and "--help" in argv[2:]:
        read_config(Path(argv[1]), ["--help"])
    commands = (
        Segment
        | Eval
        | Demo
        | ConvertTracks
        | Flow
        | Synth
        | Data
        | Train
        | Plot
        | Convert
    )
    options: Any = {"config": (tyro.conf.OmitSubcommandPrefixes,)}
    if argv[:1] != ["train"]:
        return parse_arguments(commands, argv, **options)
    command, settings = parse_arguments(
        commands, argv, return_unknown_args=True, **options
    )
    return dataclasses.replace(command, settings=tuple(settings))
