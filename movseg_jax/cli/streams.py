"""Standard output and error that cannot fail: closed, full, unread, of any encoding."""

import contextlib
import io
import os
import select
import sys

from movseg_jax.errors import InputError


class _Lenient(io.FileIO):
    """A file that remembers errors of writing instead of raising them.

    Results must not be lost because nobody reads what is printed about them.

    Attributes:
        problem: The first error, or None.
    """

    problem: OSError | None = None

    def write(self, data) -> int:
        """Writes the data, or as much of it as possible; returns its length."""
        data = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(data) and self.problem is None:
                count = super().write(data[written:])
                if count is None:  # The other end made the file non-blocking.
                    select.select([], [self], [])
                else:
                    written += count
        except OSError as error:
            self.problem = error
        return len(data)


def prepare_streams() -> None:
    """Makes stdout and stderr take any text and never fail; see `check_output`.

    Characters that their encoding lacks are written as escapes. Closed streams have
    been opened to the null device by `Interrupts.start`.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not original:  # The caller replaced it and handles its errors.
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
    """Checks that everything was printed; a reader may close its pipe early.

    Raises:
        InputError: Writing to stdout failed.
    """
    sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    problem = getattr(file, "problem", None)
    if problem is not None and not isinstance(problem, BrokenPipeError):
        raise InputError(
            f"standard output: cannot be written to: {problem}. The command itself "
            "has finished."
        )
