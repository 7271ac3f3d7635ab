"""Stopping a run by a signal: a first SIGTERM or SIGINT asks, a second insists."""

import signal
from types import FrameType

from movseg_jax.system import signals

STOPPED = signals.STOPPED


class StopRequest:
    """True in `requested` once a signal has asked this process to stop.

    A context manager. A second signal of the same kind has the effect that it has
    outside of the block. Signals that are ignored stay ignored. Outside of the main
    thread, which alone handles signals, this does nothing.
    """

    def __init__(self):
        self.requested = False
        self._previous = {}

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
        self.requested = True
        signal.signal(number, self._previous[number])

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
