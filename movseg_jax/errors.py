"""The one kind of error for what users hand in, and the notes on how it was read."""

import contextlib
import sys
import warnings
from collections.abc import Iterator


class InputError(ValueError):
    """Something handed in is wrong; the message says what, where and how to fix it.

    Raised at the border of the package (files, command lines, arrays from outside).
    The command line prints its message as one line and exits with status 2.
    """


class InputNote(UserWarning):
    """How something handed in was read, where its file might be meant otherwise.

    For what is plain to a reader, but not as its format has it. What could be meant
    either way is an `InputError`.
    """


def note(message: str) -> None:
    """Says how something was read: a Python warning; `notes_in_lines` prints it."""
    warnings.warn(message, InputNote, stacklevel=2)


@contextlib.contextmanager
def notes_in_lines() -> Iterator[None]:
    """Prints notes as lines on stderr, each once, as command lines do."""
    with warnings.catch_warnings():
        others, said = warnings.showwarning, set()

        def show(message, category, *rest, **options):
            if not issubclass(category, InputNote):
                others(message, category, *rest, **options)
            elif str(message) not in said:
                said.add(str(message))
                print(f"movseg: note: {message}", file=sys.stderr)

        warnings.showwarning = show
        warnings.simplefilter("always", InputNote)
        yield


@contextlib.contextmanager
def notes_kept() -> Iterator[list[str]]:
    """Keeps notes, each once, instead of showing them.

    The list is filled when the block ends.
    """
    kept: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield kept
        finally:
            notes = [w for w in caught if issubclass(w.category, InputNote)]
            kept.extend(dict.fromkeys(str(w.message) for w in notes))
    for other in caught:
        if not issubclass(other.category, InputNote):
            warnings.warn_explicit(
                other.message, other.category, other.filename, other.lineno
            )
