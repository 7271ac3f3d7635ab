"""Control-C and SIGTERM end a command, whatever code is running.

Python turns Control-C into an exception. It is lost where exceptions cannot leave: in
destructors, in callbacks of C code, in the import of many extension modules. And while
the main thread runs C code, it does not learn of a signal.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 75  # Exit status of a run that resumes when it is started again.
GRACE = 3.0  # Seconds that a command has to end by itself.
# Packages in whose code nothing is raised: while extension modules are imported, an
# exception prints a traceback; in what JAX's C++ code calls, it aborts the process; and
# a worker process that is just being started would print a traceback of its own.
FRAGILE = {"importlib", "jax", "jaxlib", "multiprocessing", "numpy"}


class Interrupts:
    """Makes signals end the command, from `start` to `stop`.

    The first signal raises KeyboardInterrupt in the main thread, so that files and
    processes are cleaned up; in code of the packages in `FRAGILE` it waits until that
    code has returned. If the command has not ended `GRACE` seconds later, the
    exception was lost or the cleaning up hangs: then the process ends at once. The same
    happens `GRACE` seconds after a second signal, whatever the main thread is doing.

    Signals that were ignored when the process started (`nohup`) stay ignored. Outside
    of the main thread, which alone handles signals, this does nothing.

    Attributes:
        number: The signal that came; None before that.
    """

    def __init__(self, *, resumable: bool):
        self.number: int | None = None
        self._resumable = resumable
        self._told = threading.Lock()
        self._deferred = False
        self._previous, self._wakeup = {}, -1
        self._pipe: tuple[int, int] | None = None

    @property
    def status(self) -> int:
        """The exit status: that of shells, or `STOPPED`."""
        return STOPPED if self._resumable else 128 + (self.number or signal.SIGINT)

    def start(self) -> None:
        """Handles signals from now on, and opens streams that are closed."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        if os.name != "posix":  # `select` knows no pipes there.
            return
        for descriptor in range(3):
            try:
                os.fstat(descriptor)
            except OSError:  # Otherwise the next file opened would get the output.
                os.open(os.devnull, os.O_RDWR)
        self._pipe = read, write = os.pipe()
        os.set_blocking(write, False)
        self._wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=[read], daemon=True).start()

    def stop(self, *, process_ends: bool) -> None:
        """Handles signals as before `start`, unless one has come to end the command.

        Args:
            process_ends: Whether the process ends now anyway. Then a signal ends it at
                once, without the traceback that Python prints.
        """
        if self.number is not None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if process_ends else handler)
        if self._pipe:
            signal.set_wakeup_fd(self._wakeup)
            os.close(self._pipe[1])  # Ends the thread, which closes the other end.
            self._pipe = None

    def tell(self) -> None:
        """Prints one line, once, that the command was interrupted."""
        if self._told.acquire(blocking=False):
            further = "; start it again to resume" if self._resumable else ""
            with contextlib.suppress(OSError):
                os.write(2, f"movseg: interrupted{further}.\n".encode())

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        # Otherwise Python prints the exception where it is lost.
        sys.unraisablehook = lambda unraisable: None
        # The watching thread sends the signal again until it may be raised.
        self._deferred = self._pipe is not None and _is_fragile(frame)
        if not self._deferred:
            raise KeyboardInterrupt

    def _watch(self, read: int) -> None:
        """Ends the process if it does not end by itself."""
        count, deadline = 0, None
        while True:
            # Signals wake this thread even if the main thread cannot handle them.
            if select.select([read], [], [], 0.1 if count else None)[0]:
                received = os.read(read, 64)
                if not received:
                    os.close(read)
                    return
                count += sum(number in SIGNALS for number in received)
            if deadline is None and (self.number is not None or count > 1):
                deadline = time.monotonic() + GRACE
            if deadline is not None and time.monotonic() >= deadline:
                self._end()
            if self._deferred and self.number is not None:
                self._deferred = False
                os.kill(os.getpid(), self.number)

    def _end(self) -> None:
        self.tell()
        if "multiprocessing" in sys.modules:
            for process in sys.modules["multiprocessing"].active_children():
                process.kill()
        os._exit(self.status)


def _is_fragile(frame: FrameType | None) -> bool:
    """True if code is running that no exception may interrupt."""
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] in FRAGILE:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Keeps Control-C from the processes that the block starts.

    A terminal sends it to all processes of a command. Workers leave it to the main
    process. They inherit the blocked signal, so they are safe while they start.
    """
    mask = getattr(signal, "pthread_sigmask", None)
    if mask is None:  # Windows.
        yield
        return
    previous = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, previous)
