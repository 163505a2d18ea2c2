"""Ctrl-C and SIGTERM: training finishes its step, writes a checkpoint and leaves."""

import atexit
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children, resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any, Self
from weakref import WeakSet

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - as KeyboardInterrupt, it is no error
    """A signal has ended the training after a step, from which it can go on.

    Attributes:
        status: The exit status that tells the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"interrupted after step {step}; the same command goes on from there")
        self.status = 128 + signal_number


class Interruption:
    """As a context: remembers that a signal asks to stop, instead of stopping at once.

    Args:
        repeated: Whether a second Ctrl-C stops at once. Not under torchrun, which passes on to its
            processes the Ctrl-C that the terminal has sent them already.

    Attributes:
        signal: The number of the signal that came; 0 where none did.
    """

    def __init__(self, repeated: bool = True) -> None:
        self.signal = 0
        self.repeated = repeated
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python hands signals to the main thread alone; elsewhere they stay the caller's.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def received(self) -> int:
        """The number of the signal that has come by now; 0 where none did."""
        return self.signal

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT and self.repeated:
            raise KeyboardInterrupt
        if not self.signal:
            # Not by print, which the signal may have interrupted.
            os.write(2, b"stopping after this step\n")
        self.signal = number


@contextmanager
def shielded() -> Iterator[None]:
    """Processes that are started in here never see these signals: their parent does, for them.

    A terminal, or a cluster, sends them to all processes at once, and a training whose readers are
    dead cannot finish its step.
    """
    resource_tracker.ensure_running()  # it would lift the block while it starts
    there = set(active_children())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for process in set(active_children()) - there:
            _shielded.add(process)


_shielded: WeakSet[BaseProcess] = WeakSet()


def _end_shielded() -> None:
    """End what is left at exit: multiprocessing would send it SIGTERM and wait for it forever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes this for a crash
    for process in set(active_children()) & set(_shielded):
        process.kill()


atexit.register(_end_shielded)  # after multiprocessing's own, so that it comes first
