"""Stopping a run from outside: SIGTERM and SIGINT ask for it, a second one insists."""

import signal
from types import FrameType

STOPPED = 75  # Exit status of a run that was asked to stop: start it again to go on.


class StopRequest:
    """True in `requested` once a signal has asked this process to stop.

    A context manager; a second signal of the same kind has its usual effect, at once.
    Signals can be handled in the main thread only; elsewhere this does nothing.
    """

    def __init__(self):
        self.requested = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # Not the main thread.
                break
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = True
        signal.signal(number, signal.SIG_DFL)

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
