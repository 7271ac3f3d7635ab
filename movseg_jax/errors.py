"""The one kind of error, and of note, for what users hand in."""


class InputError(ValueError):
    """Something handed in is wrong; the message says what, where and how to fix it.

    Raised at the border of the package (files, command lines, arrays from outside).
    The command line prints its message as one line and exits with status 2.

    Parameters of functions stand in backquotes in a message, with a value or without:
    "`max_side` is 5". The command line puts its option there, "--max-side is 5", if the
    command at hand has it.

    Attributes:
        message: The error.
        way_out: Advice that takes the parameters it names. The command line
            leaves this out if the command at hand has no such options.
    """

    def __init__(self, message: str, *, way_out: str = ""):
        super().__init__(f"{message} {way_out}" if way_out else message)
        self.message, self.way_out = message, way_out


class InputNote(UserWarning):
    """Something handed in was used, but perhaps not as it was meant.

    Issued by `warnings.warn`. The command line prints its message as one line.
    """
