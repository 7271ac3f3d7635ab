"""Notes on how something handed in was read: `errors.InputNote`s."""

import contextlib
import warnings
from collections.abc import Iterator

from movseg_jax.errors import InputNote


def note(message: str) -> None:
    """Says how something was read, where its file might be meant otherwise.

    Notes are for files that differ from their format, but can only be read in one way.
    A file that can be read in two ways is an `InputError`.
    """
    warnings.warn(message, InputNote, stacklevel=2)


@contextlib.contextmanager
def notes_kept() -> Iterator[list[str]]:
    """Keeps the notes of a block, each once, instead of showing them.

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
