"""The one kind of error, and of note, for what users hand in."""


class InputError(ValueError):
    """Something handed in is wrong; the message says what, where and how to fix it.

    Raised at the border of the package (files, command lines, arrays from outside).
    The command line prints its message as one line and exits with status 2.
    """


class InputNote(UserWarning):
    """Something handed in was used, but perhaps not as it was meant.

    Issued by `warnings.warn`. The command line prints its message as one line.
    """
