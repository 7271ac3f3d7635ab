"""The error and the note about what users hand in."""


class InputError(ValueError):
    """Something that a user handed in is wrong.

    The message says what is wrong, where, and how to fix it. It is raised where input
    enters the package: files, command lines, arrays. The command line prints the
    message as one line and exits with status 2.

    Parameters of functions stand in backquotes in a message, with a value or without:
    "`max_side` is 5". The command line puts its option there, "--max-side is 5", if the
    command has one.

    Attributes:
        message: The error.
        way_out: Advice that uses the parameters it names. The command line leaves it
            out if the command does not have these options.
    """

    def __init__(self, message: str, *, way_out: str = ""):
        super().__init__(f"{message} {way_out}" if way_out else message)
        self.message = message
        self.way_out = way_out


class InputNote(UserWarning):
    """Something that a user handed in was used, but may have been meant differently.

    It is issued with `warnings.warn`. The command line prints the message as one line.
    """


class MissingInput(InputError):
    """A file or folder of a data set that is missing, such as a video's frames."""
