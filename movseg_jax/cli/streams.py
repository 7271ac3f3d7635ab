"""The process's streams, whatever they are: closed, full, unread, of any encoding."""

import contextlib
import io
import os
import select
import sys

from movseg_jax.errors import InputError


class _Lenient(io.FileIO):
    """A file whose failures to be written to are noted and otherwise ignored.

    Results must not be lost because nobody reads about them.

    Attributes:
        problem: The first error.
    """

    problem: OSError | None = None

    def write(self, data) -> int:
        """Writes all of it, or as much as can be."""
        data = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(data) and self.problem is None:
                count = super().write(data[written:])
                if count is None:  # The other end made it one that does not wait.
                    select.select([], [self], [])
                else:
                    written += count
        except OSError as error:
            self.problem = error
        return len(data)


def prepare_streams() -> None:
    """Makes stdout and stderr take any text, and never fail; see `check_output`.

    Characters that their encoding lacks are written as escapes. Streams that were
    closed lead nowhere: see `Interrupts.start`.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not original:  # A caller's own, which is its to handle.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
            continue
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.flush()
        lenient = io.TextIOWrapper(
            io.BufferedWriter(_Lenient(descriptor, "wb", closefd=False)),
            encoding="utf-8" if stream is None else stream.encoding,
            errors="backslashreplace",
            line_buffering=name == "stderr" or os.isatty(descriptor),
        )
        setattr(sys, name, lenient)


def check_output() -> None:
    """Checks that stdout took what was printed, unless its reader had enough of it.

    Raises:
        InputError: It did not.
    """
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    problem = getattr(file, "problem", None)
    if problem is not None and not isinstance(problem, BrokenPipeError):
        raise InputError(
            f"standard output: cannot be written to: {problem}. What the command was "
            "to do is done."
        )
