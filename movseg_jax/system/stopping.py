"""Stopping a run by a signal: a first SIGTERM or SIGINT asks, a second insists."""

import signal
import threading
from types import FrameType

from movseg_jax.system import signals

STOPPED = signals.STOPPED

_asked = threading.Event()  # Set if all of this process is asked to stop.


def request_stop() -> None:
    """Asks all that this process runs to stop, as a signal would.

    It is for workers whose main thread, which alone handles signals, is not ours.
    """
    _asked.set()


class StopRequest:
    """True in `requested` once a signal, or `request_stop`, has asked to stop.

    A context manager. A second signal of the same kind has the effect that it has
    outside of the block. Signals that are ignored stay ignored. Outside of the main
    thread, which alone handles signals, this does nothing.
    """

    def __init__(self):
        self._signalled = False
        self._previous = {}

    @property
    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        return self._signalled or _asked.is_set()

    def __enter__(self) -> "StopRequest":
        for number in signals.SIGNALS:
            previous = signal.getsignal(number)
            if previous == signal.SIG_IGN:
                continue
            # Before the handler is set, as a signal may come at once.
            self._previous[number] = previous
            try:
                signal.signal(number, self._handle)
            except ValueError:  # Not the main thread.
                self._previous.clear()
                break
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signalled = True
        signal.signal(number, self._previous[number])

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
