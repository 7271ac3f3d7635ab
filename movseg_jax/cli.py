"""The command line: `movseg demo | convert`.

Parses, calls one public function and reports; no logic of its own. Heavy modules are
imported by the command that needs them, so that `movseg --help` is instant.
"""

import contextlib
import ctypes
import dataclasses
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from movseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Demo:
    """Run the detector on a rendered frame; needs no data."""

    out: Path = Path("demo")
    """Folder for the frame, its encoded flow and the detections."""
    weights: Path | None = None
    """Weights from `movseg convert`; random ones without it."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax import demo

        return demo.run(self.out, self.weights)


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert weights of torchvision, Detectron, detectron2 or the paper's authors.

    Nothing in the file is executed, and every array in it is used or named.
    """

    file: tyro.conf.Positional[Path]
    """A .pth, .pkl, .npz or .safetensors file."""
    out: Path
    """The safetensors file to write; a JSON card is written beside it."""
    appearance_heads: Path | None = None
    """A second file, whose objectness heads become the static branch."""
    stream: Literal["appearance", "motion"] = "appearance"
    """Which stream a model of one stream is."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> str:
        """Runs the command; returns what to print."""
        from movseg_jax.convert import convert_weights
        from movseg_jax.weights.files import save_weights

        converted = convert_weights(
            self.file, appearance_heads=self.appearance_heads, stream=self.stream
        )
        save_weights(
            self.out,
            converted.params,
            converted.config,
            converted.card,
            overwrite=self.overwrite,
        )
        what = "a trunk without heads" if "rpn" not in converted.params else "a model"
        streams = " and ".join(converted.config.streams)
        return f"{converted.kind}: {what} ({streams}), written to {self.out}"


def prepare_jax() -> None:
    """Sets what makes JAX fast here, unless the user has; importing JAX comes after.

    A compilation cache in the user's cache folder, which nobody else can write to (JAX
    runs what it finds there), and `keep_memory`.
    """
    keep_memory()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    cache = cache / "movseg_jax" / "xla"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.chmod(0o700)
    except OSError:
        return  # A read-only home: compile every time.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")


def keep_memory() -> None:
    """Lets this process keep the memory that it frees, where the C library can.

    Otherwise every call of a compiled function gets its temporary memory anew, page by
    page, which on a CPU takes as long as some layers (docs/performance.md).
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt:
        arena_max, mmap_max, trim_threshold, top_pad = -8, -4, -1, -2
        for parameter, value in (
            (arena_max, 1),
            (mmap_max, 0),
            (trim_threshold, 2**31 - 1),
            (top_pad, 2**26),
        ):
            mallopt(parameter, value)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 2 if its input is wrong."""
    try:
        command = _parse(argv)
        prepare_jax()
        print(command.run())
    except InputError as error:
        print(f"movseg: {error}", file=sys.stderr)
        return 2
    return 0


def _parse(argv):
    """The command asked for; `--help` exits, a wrong argument is an `InputError`."""
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                Demo | Convert,
                prog="movseg",
                description="Segment and track anything that moves in a video.",
                args=argv,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as exit:
        if not exit.code:
            raise
        words = re.sub("[─│╭╮╰╯]+", " ", message.getvalue()).split()
        raise InputError(" ".join(words)) from None
