"""Notes on how an input was read: `errors.InputNote`."""

import contextlib
import warnings
from collections.abc import Iterator

from movseg_jax.errors import InputNote


def note(message: str) -> None:
    """Notes how a file was read that differs from its format.

    Notes are for files that can be read in one way only. A file that can be read in two
    ways is an `InputError`.
    """
    warnings.warn(message, InputNote, stacklevel=2)


@contextlib.contextmanager
def notes_kept() -> Iterator[list[str]]:
    """Collects the notes of a block, each once, instead of showing them.

    The list is filled when the block ends. Other warnings are shown then.
    """
    kept: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield kept
    for warning in caught:
        if not issubclass(warning.category, InputNote):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif str(warning.message) not in kept:
            kept.append(str(warning.message))
