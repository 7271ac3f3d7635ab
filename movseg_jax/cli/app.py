"""The command line, `movseg`: parses the arguments, runs a command, reports errors.

Each command is a dataclass of its arguments, in a module of its own in this folder.
A command imports the heavy modules that it needs only when it runs, so that
`movseg --help` is instant. `main` imports larger modules that it needs itself after it
has begun to handle Control-C, which may come while they are imported.
"""

import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Union

from movseg_jax.errors import InputError, InputNote
from movseg_jax.system.process import prepare_memory
from movseg_jax.system.signals import Interrupts

# Commands that resume when they are started again.
RESUMABLE = {"segment", "detect", "demo", "flow", "synth", "train", "fusion-lab"}
# Commands whose options also set fields of a config file.
CONFIGURED = {"train", "fusion-lab"}
VERBOSE = {"-v", "--verbose"}  # Options of every command.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    The status is 0, or 2 if the input is wrong. After Control-C it is 75 if the command
    resumes when it is started again, else 130.

    Args:
        argv: The arguments; None takes those of the process.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None:  # The process is ours.
        prepare_memory()  # Before the first thread, which watches for signals.
    name = [argument for argument in arguments if argument not in VERBOSE][:1]
    interrupts = Interrupts(resumable=not RESUMABLE.isdisjoint(name))
    status = 0
    try:
        try:
            interrupts.start()
            status = _run(arguments)
        finally:
            interrupts.stop(process_ends=argv is None)
    except BaseException:
        # If a signal came, the exception is its consequence.
        if interrupts.number is None:
            raise
    if interrupts.number is None:
        return status
    interrupts.tell()
    return interrupts.status


def _run(arguments: list[str]) -> int:
    from movseg_jax.cli.arguments import check_paths
    from movseg_jax.cli.messages import in_options
    from movseg_jax.cli.streams import check_output, prepare_streams
    from movseg_jax.system.process import installed_version, prepare_jax

    prepare_streams()
    verbose = not VERBOSE.isdisjoint(arguments)
    arguments = [argument for argument in arguments if argument not in VERBOSE]
    try:
        if verbose:
            _log_everything()
        if arguments == ["--version"]:
            print(f"movseg {installed_version()}")
        else:
            command = parse(arguments)
            _print_notes()
            check_paths(command)
            prepare_jax()
            print(command.run())
        check_output()
    except ModuleNotFoundError as error:
        if verbose:
            traceback.print_exc()
        name = (error.name or "").partition(".")[0]
        if not name or name == "movseg_jax":
            raise
        print(
            f"movseg: the package {name!r} is missing or incomplete; install "
            "movseg-jax again, or see `movseg doctor`.",
            file=sys.stderr,
        )
        return 2
    except InputError as error:
        if verbose:
            traceback.print_exc()
        message = in_options(error, _kinds_of_options(arguments))
        print(f"movseg: {message}", file=sys.stderr)
        return 2
    return 0


def _log_everything() -> None:
    """Prints what libraries log, such as the programs that JAX compiles."""
    import logging
    import os

    os.environ.setdefault("JAX_LOG_COMPILES", "1")
    logging.basicConfig(level=logging.INFO)


def _print_notes() -> None:
    """Prints each note to users once, as a line; other warnings stay as they are."""
    import warnings

    show_other = warnings.showwarning
    shown = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        if not issubclass(category, InputNote):
            show_other(message, category, filename, lineno, file, line)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"movseg: note: {message}", file=sys.stderr)

    warnings.showwarning = show
    warnings.filterwarnings("always", category=InputNote)


def _commands() -> tuple[type, ...]:
    from movseg_jax.cli.batch import Batch
    from movseg_jax.cli.bench import Bench
    from movseg_jax.cli.configs import Configs
    from movseg_jax.cli.convert import Convert
    from movseg_jax.cli.convert_tracks import ConvertTracks
    from movseg_jax.cli.data import Data
    from movseg_jax.cli.demo import Demo
    from movseg_jax.cli.detect import Detect
    from movseg_jax.cli.doctor import Doctor
    from movseg_jax.cli.evaluate import Eval
    from movseg_jax.cli.export import Export
    from movseg_jax.cli.flow import Flow
    from movseg_jax.cli.fusion_lab import FusionLab
    from movseg_jax.cli.plot import Plot
    from movseg_jax.cli.segment import Segment
    from movseg_jax.cli.serve import Serve
    from movseg_jax.cli.synth import Synth
    from movseg_jax.cli.train import Train

    return (
        Segment, Batch, Demo, Serve, Detect, Eval, ConvertTracks, Flow, Synth, Data,
        Train, Plot, FusionLab, Convert, Export, Configs, Doctor, Bench,
    )  # fmt: skip


def parse(arguments: list[str]) -> Any:
    """Returns the command that the arguments ask for; `--help` exits.

    Raises:
        InputError: An argument is wrong.
    """
    import dataclasses
    from pathlib import Path

    import tyro

    from movseg_jax.cli.arguments import parse_arguments, read_config
    from movseg_jax.cli.segment import expand_presets

    if arguments[:1] == ["train"] and "--help" in arguments[2:]:
        read_config(Path(arguments[1]), ["--help"])
    if arguments[:1] == ["segment"]:
        arguments = ["segment", *expand_presets(arguments[1:])]
    kind = Union[_commands()]  # noqa: UP007
    options: Any = {"config": (tyro.conf.OmitSubcommandPrefixes,)}
    if CONFIGURED.isdisjoint(arguments[:1]):
        return parse_arguments(kind, arguments, **options)
    # Settings of the config are parsed when the config has been read.
    command, settings = parse_arguments(
        kind, arguments, return_unknown_args=True, **options
    )
    return dataclasses.replace(command, settings=tuple(settings))


def _kinds_of_options(arguments: list[str]) -> Sequence[type]:
    """The dataclasses whose fields are the options of the command in the arguments."""
    from movseg_jax.cli.data import DATA_COMMANDS
    from movseg_jax.config import Config

    name, *rest = arguments or [""]
    commands = _commands()
    if name == "data":
        name, commands = (rest or [""])[0], DATA_COMMANDS
    kinds = [kind for kind in commands if _name(kind) == name]
    return [*kinds, Config] if name in CONFIGURED else kinds


def _name(command: type) -> str:
    """The name of a command: `ConvertTracks` is "convert-tracks"."""
    return re.sub("(?<!^)(?=[A-Z])", "-", command.__name__).lower()
