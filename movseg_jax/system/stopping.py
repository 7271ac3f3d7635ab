"""Stopping a run from outside: SIGTERM and SIGINT ask for it, a second one insists."""

import signal
from types import FrameType

from movseg_jax.system import signals

STOPPED = signals.STOPPED


class StopRequest:
    """True in `requested` once a signal has asked this process to stop.

    A context manager; a second signal of the same kind has the effect that it has
    outside of it. Signals that are ignored there stay so. They can be handled in the
    main thread only; elsewhere this does nothing.
    """

    def __init__(self):
        self.requested = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in signals.SIGNALS:
            previous = signal.getsignal(number)
            if previous == signal.SIG_IGN:
                continue
            self._previous[number] = previous  # First: a signal may come at once.
            try:
                signal.signal(number, self._handle)
            except ValueError:  # Not the main thread.
                self._previous.clear()
                break
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.requested = True
        signal.signal(number, self._previous[number])

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
