"""Processes that work for this one: fresh interpreters that end with it and leave Ctrl-C to it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import Any


def start(function: Callable[..., object], *arguments: Any) -> SpawnProcess:
    """Call an importable function in a process of its own, which does not outlive this one."""
    # A fresh interpreter: the threads of OpenCV and of CUDA do not survive a fork.
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_call, args=(function, *arguments), daemon=True)
    with _interrupts_ignored():
        process.start()
    return process


def cause_of_death(status: int | None) -> str:
    """Why a process may have ended with an exit status, and what to do, without a full stop."""
    if status is None or status >= 0:
        return f"its process ended with status {status}; run again, or report it with the video"
    name = signal.Signals(-status).name
    if name == "SIGKILL":
        return "its process was killed, as happens when memory runs out; run with fewer workers"
    return f"its process crashed with {name}; re-encode the video, or report it with the video"


def _call(function: Callable[..., object], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """A process that starts here does not hear Ctrl-C, not even before its first line."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
